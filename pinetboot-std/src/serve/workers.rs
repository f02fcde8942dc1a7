//! The TFTP workers: one, or several threads, each with the clients that the kernel assigns to its sockets.
//!
//! The kernel assigns a client to one worker from the first request to the last, so workers exchange nothing about a boot:
//! the decisions for a boot are where its transfers are. Workers share the registry of Pis, with DHCP and NFS, and the
//! memory budget of open files.

use std::sync::{Arc, mpsc};
use std::thread;

use pinetboot_core::block_on;
use pinetboot_core::tftp::{Limits, Server};

use super::Args;
use super::service::Service;
use super::sources::{configure, open, reload};
use crate::bus::Bus;
use crate::config::{Config, MOST_TRANSFERS};
use crate::events::{self, Transfers};
use crate::exit::{Exit, Failed};
use crate::net::{Control, Interrupt, LinuxNet, Ports};
use crate::observe::TftpObserver;
use crate::roots::Roots;
use crate::storage::{BootStorage, Budget, UploadQuota};

/// Shared by all TFTP workers.
#[derive(Debug, Clone)]
pub(super) struct Workers<'a> {
    pub(super) options: &'a Args,
    pub(super) config: &'a Config,
    pub(super) roots: Option<Arc<Roots>>,
    pub(super) bus: &'a Bus,
    pub(super) budget: &'a Budget,
    pub(super) quota: &'a UploadQuota,
    pub(super) controls: &'a [Control],
    /// Listening addresses, for the `ready` line.
    pub(super) addresses: Vec<String>,
    /// Whether the kernel cuts a window into datagrams (UDP segmentation offload).
    pub(super) cuts_windows: bool,
}

impl Workers<'_> {
    /// Serves over these networks until a control stops the workers, or one of them fails. Calls `ready` when all workers
    /// have opened their storage.
    pub(super) fn run(
        &self,
        nets: Vec<LinuxNet>,
        storage: BootStorage,
        ready: impl FnOnce() -> Result<(), Failed>,
    ) -> Result<Transfers, Failed> {
        let mut nets = nets.into_iter();
        let Some(first) = nets.next() else { return Ok(Transfers::default()) };
        thread::scope(|scope| {
            let _all_or_none = StopAll(self.controls);
            let mut others = Vec::new();
            let (opened, all_opened) = mpsc::channel();
            for net in nets {
                let opened = opened.clone();
                let other = thread::Builder::new().name("tftp".into()).spawn_scoped(scope, || {
                    let _all_or_none = StopAll(self.controls);
                    let storage = open(self.config, self.roots.clone(), self.bus, self.budget, self.quota)?;
                    let _heard = opened.send(());
                    drop(opened);
                    self.serve(net, storage, false)
                });
                others.push(other.map_err(|error| Failed::new(Exit::Failure, error))?);
            }
            drop(opened);
            // If one worker failed to open its storage, all are stopped already.
            if all_opened.into_iter().count() == others.len() {
                ready()?;
            }
            let mut all: Transfers = self.serve(first, storage, true)?;
            for other in others {
                let died = |_| Failed::new(Exit::Failure, "a TFTP worker panicked");
                let Transfers { open, rejected } = other.join().map_err(died)??;
                all.open += open;
                all.rejected += rejected;
            }
            Ok(all)
        })
    }

    /// Runs one worker; the `first` emits the events that concern all of them.
    fn serve(&self, net: LinuxNet, storage: BootStorage, first: bool) -> Result<Transfers, Failed> {
        let trees = storage.trees.clone();
        let observer = TftpObserver::new(self.bus.clone());
        let places = self.config.max_transfers.div_ceil(self.config.threads.into());
        let mut places: Vec<_> = (0..places).map(|_| None).collect();
        let mut server =
            Server::<_, _, _, TABLE>::new(net, storage, observer, Limits::default(), &mut places);
        let mut running = self.config.clone();
        loop {
            match block_on(server.run()) {
                Ok(never) => match never {},
                Err(Interrupt::Stop) => break,
                Err(Interrupt::Reload) => {
                    let reloaded = configure(self.options).and_then(|config| {
                        Ok((reload(&config, &running, &trees, self.quota, self.bus)?, config))
                    });
                    let told = match reloaded {
                        Ok(((uploads, mut told), config)) => {
                            server.storage_mut().uploads = uploads;
                            told.push(events::Server::Reloaded {
                                serving: config.serving().display().to_string(),
                            });
                            running = Config { tree: config.tree, inventory: config.inventory, ..running };
                            told
                        }
                        Err(error) => vec![events::Server::NotReloaded { error: error.to_string() }],
                    };
                    if first {
                        told.into_iter().for_each(|fact| self.bus.emit(None, fact));
                    }
                }
                Err(Interrupt::Failed(error)) => {
                    return Err(Failed::new(Exit::Failure, format!("the network failed: {error}")));
                }
            }
        }
        let served = Transfers { open: server.transfers(), rejected: server.observer_mut().rejected() };
        // The server stops anyway if the last ERRORs could not be sent.
        let _sent = block_on(server.stop());
        Ok(served)
    }
}

impl Service for Workers<'_> {
    fn describe(&self) -> String {
        let ports = match self.config.net.ports {
            Ports::PerTransfer => "a port for each transfer",
            Ports::Single => "single port",
        };
        let fallback = if self.cuts_windows { "" } else { ", no segmentation offload" };
        format!("tftp {} ({ports}{fallback})", self.addresses.join(" "))
    }
}

/// Stops all workers when one ends: the kernel would go on assigning clients to it, and they would get no answer.
struct StopAll<'a>(&'a [Control]);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(Control::stop);
    }
}

/// Slots of the session table: twice the most transfers, because a nearly full table is slow.
const TABLE: usize = 2 * MOST_TRANSFERS;
