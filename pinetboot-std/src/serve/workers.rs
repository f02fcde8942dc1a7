//! The TFTP workers: one, or several threads, each with the clients that the kernel assigns to its sockets.
//!
//! The kernel assigns a client to one worker from the first request to the last, so workers exchange nothing about a boot:
//! the decisions for a boot are where its transfers are. Workers share the registry of Pis, with DHCP and NFS, and the
//! memory budget of open files.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use pinetboot_core::block_on;
use pinetboot_core::tftp::{Limits, Server};

use super::Args;
use super::confine::check;
use super::findings::Told;
use super::reloading::{Reloaded, Reloading};
use super::service::Service;
use super::sources::{Served, configure, open, reload};
use crate::bus::Bus;
use crate::config::{Config, MOST_TRANSFERS};
use crate::events::Transfers;
use crate::exit::{Exit, Failed};
use crate::net::{Control, Interrupt, LinuxNet, Ports};
use crate::observe::TftpObserver;
use crate::sandbox::Paths;
use crate::storage::{BootStorage, Budget, NETASCII, Pool, Trees, UploadQuota};
use crate::supervisor::Supervisor;

/// The running workers; dropping them stops them: transfers end with an ERROR.
#[derive(Debug)]
pub(super) struct Workers {
    controls: Vec<Control>,
    threads: Vec<JoinHandle<()>>,
    description: String,
}

/// Shared by all TFTP workers.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) options: Args,
    pub(super) config: Config,
    /// The most concurrent transfers.
    pub(super) transfers: usize,
    pub(super) served_beside: Served,
    pub(super) bus: Bus,
    pub(super) budget: Budget,
    /// The threads that wait for disks.
    pub(super) pool: Pool,
    pub(super) quota: UploadQuota,
    /// The files that the sandbox left; `None`: all.
    pub(super) paths: Option<Paths>,
    /// The findings that were told.
    pub(super) told: Arc<Told>,
    /// Counts of the ended workers.
    pub(super) served: Arc<Mutex<Transfers>>,
}

impl Workers {
    /// Starts a worker for each network. Returns when all workers have opened their storage.
    ///
    /// # Errors
    ///
    /// The obstacle and the remedy.
    pub(super) fn start(
        nets: Vec<LinuxNet>,
        shared: &Shared,
        supervisor: &Supervisor,
    ) -> Result<Self, Failed> {
        let description = describe(&nets, &shared.config)?;
        let controls = nets.iter().map(LinuxNet::control).collect();
        let mut workers = Self { controls, threads: Vec::new(), description };
        let (opened, all_opened) = mpsc::channel();
        for (number, net) in nets.into_iter().enumerate() {
            let (shared, opened, name) = (shared.clone(), opened.clone(), format!("tftp {number}"));
            supervisor.watch(&name, net.control());
            shared.bus.hear_by(name.clone(), net.control());
            let thread = supervisor.spawn(&shared.bus.clone(), name, move || {
                let storage =
                    open(&shared.config, &shared.served_beside, &shared.bus, &shared.budget, &shared.quota);
                let (storage, result) = match storage {
                    Ok(storage) => (Some(storage), Ok(())),
                    Err(failed) => (None, Err(failed)),
                };
                // The start waits for the result, unless another worker failed before.
                let _heard = opened.send(result);
                drop(opened);
                storage.map_or(Ok(()), |storage| shared.serve(net, storage, number == 0))
            });
            workers.threads.push(thread.map_err(|error| Failed::new(Exit::Failure, error))?);
        }
        drop(opened);
        all_opened.into_iter().collect::<Result<(), _>>()?;
        Ok(workers)
    }
}

impl Shared {
    /// Runs one worker; the `first` emits the events that concern all of them.
    fn serve(&self, net: LinuxNet, storage: BootStorage, first: bool) -> Result<(), String> {
        let control = net.control();
        let trees = Arc::clone(storage.trees());
        let storage = storage.with_pool(self.pool.clone(), control.clone());
        let observer = TftpObserver::new(self.bus.clone());
        let places = self.transfers.div_ceil(self.config.threads.into());
        let mut places: Vec<_> = (0..places).map(|_| None).collect();
        let limits = Limits::default().with_netascii_len(NETASCII);
        let mut server = Server::<_, _, _, TABLE>::new(net, storage, observer, limits, &mut places);
        server.set_key(RandomState::new().hash_one(()));
        let mut reloading = Reloading::new(self.config.clone());
        loop {
            match block_on(server.run()) {
                Ok(never) => match never {},
                Err(Interrupt::Stop) => break,
                Err(Interrupt::Reload) => reloading.begin(&control, self.reload(&trees)),
                Err(Interrupt::Reloaded) => {
                    let (told, uploads, again) = reloading.end();
                    if let Some(uploads) = uploads {
                        server.storage_mut().set_uploads(uploads);
                    }
                    if first {
                        told.into_iter().for_each(|fact| self.bus.emit(None, fact));
                    }
                    if again {
                        reloading.begin(&control, self.reload(&trees));
                    }
                }
                Err(Interrupt::Failed(error)) => {
                    return Err(format!("the network failed: {error}"));
                }
            }
        }
        {
            let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
            served.open += server.transfers();
            served.rejected += server.observer_mut().rejected();
        }
        // The server stops anyway if the last ERRORs could not be sent.
        let _sent = block_on(server.stop());
        Ok(())
    }

    /// Reads the configuration again, for these trees.
    fn reload(
        &self,
        trees: &Arc<Trees>,
    ) -> impl FnOnce(&Config) -> Result<Reloaded, Failed> + Send + 'static {
        let (by, trees) = (self.clone(), Arc::clone(trees));
        move |running| {
            let config = configure(&by.options)?;
            by.paths.as_ref().map_or(Ok(()), |paths| check(&config, paths))?;
            let (uploads, notices) = reload(&config, running, &trees, &by.quota, &by.bus)?;
            by.told.check(&config, &trees, &by.bus);
            Ok(Reloaded { config, uploads, notices })
        }
    }
}

impl Service for Workers {
    fn name(&self) -> &'static str {
        "tftp"
    }

    fn describe(&self) -> Option<String> {
        Some(self.description.clone())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.controls.iter().for_each(Control::stop);
        for thread in self.threads.drain(..) {
            let _reported = thread.join();
        }
    }
}

/// The protocol and its addresses, for the `ready` line.
fn describe(nets: &[LinuxNet], config: &Config) -> Result<String, Failed> {
    let Some(first) = nets.first() else { return Ok(String::new()) };
    let addresses = first.listeners().map_err(|error| Failed::new(Exit::Bind, error))?;
    let ports = match config.net.ports {
        Ports::PerTransfer => "a port for each transfer".to_owned(),
        Ports::Range { first, last } => format!("ports {first} to {last}"),
        Ports::Single => "single port".to_owned(),
    };
    let fallback = if first.cuts_windows() { "" } else { ", no segmentation offload" };
    Ok(format!("tftp {} ({ports}{fallback})", addresses.join(" ")))
}

/// Slots of the session table: twice the most transfers, because a nearly full table is slow.
const TABLE: usize = 2 * MOST_TRANSFERS;
