//! The loops that answer TFTP: one, or several in threads, each with the clients that the kernel gives it.
//!
//! A client has to do with one loop from its first request to its last, so no loop has anything to ask another about: what
//! a boot began with, and its line in the log, are where its transfers are. What they share is what DHCP, NFS and
//! they know of Pis, and how much memory files may take.

use std::sync::{Arc, mpsc};
use std::thread;

use pinetboot_core::tftp::Limits;
use pinetboot_core::{Server, block_on};
use tracing::subscriber::{self, DefaultGuard, NoSubscriber};
use tracing::{error, info};

use super::{configure, open, reload};
use crate::cli;
use crate::config::{Config, MOST_TRANSFERS};
use crate::exit::{Exit, Failed};
use crate::net::{Control, Interrupt, LinuxNet};
use crate::observe::Log;
use crate::pis::Pis;
use crate::roots::Roots;
use crate::storage::{BootStorage, Budget};

/// What all loops go by.
#[derive(Debug, Clone)]
pub(super) struct Loops<'a> {
    pub(super) options: &'a cli::Serve,
    pub(super) config: &'a Config,
    pub(super) roots: Option<Arc<Roots>>,
    pub(super) pis: &'a Pis,
    pub(super) budget: &'a Budget,
    pub(super) controls: &'a [Control],
}

/// How it was at the end.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// Transfers that were under way.
    pub(super) transfers: usize,
    /// Datagrams that were no part of any.
    pub(super) rejected: u64,
}

impl Loops<'_> {
    /// Serves over these networks until told to stop, or until one of them fails. Says that all are `ready` when they have
    /// opened what they serve.
    pub(super) fn run(
        &self,
        nets: Vec<LinuxNet>,
        storage: BootStorage,
        ready: impl FnOnce() -> Result<(), Failed>,
    ) -> Result<Served, Failed> {
        let mut nets = nets.into_iter();
        let Some(first) = nets.next() else { return Ok(Served::default()) };
        thread::scope(|scope| {
            let _all_or_none = StopAll(self.controls);
            let mut others = Vec::new();
            let (opened, all_opened) = mpsc::channel();
            for net in nets {
                let opened = opened.clone();
                let other = thread::Builder::new().name("tftp".into()).spawn_scoped(scope, || {
                    let _all_or_none = StopAll(self.controls);
                    let silence = silence();
                    let storage = open(self.config, self.roots.clone(), self.pis, self.budget)?;
                    drop(silence);
                    let _heard = opened.send(());
                    drop(opened);
                    self.serve(net, storage, false)
                });
                others.push(other.map_err(|error| Failed::new(Exit::Failure, error))?);
            }
            drop(opened);
            // Where one could not, all are stopped already.
            if all_opened.into_iter().count() == others.len() {
                ready()?;
            }
            let mut all = self.serve(first, storage, true)?;
            for other in others {
                let died = |_| Failed::new(Exit::Failure, "a thread that served died");
                let Served { transfers, rejected } = other.join().map_err(died)??;
                all.transfers += transfers;
                all.rejected += rejected;
            }
            Ok(all)
        })
    }

    /// One loop; what concerns all of them is said by the `first`.
    fn serve(&self, net: LinuxNet, storage: BootStorage, first: bool) -> Result<Served, Failed> {
        let trees = storage.trees.clone();
        let log = Log::new(trees.clone(), self.pis.clone());
        let places = self.config.max_transfers.div_ceil(self.config.threads.into());
        let mut places: Vec<_> = (0..places).map(|_| None).collect();
        let mut server = Server::<_, _, _, TABLE>::new(net, storage, log, Limits::default(), &mut places);
        let mut running = self.config.clone();
        loop {
            match block_on(server.run()) {
                Ok(never) => match never {},
                Err(Interrupt::Stop) => break,
                Err(Interrupt::Reload) => {
                    let _silence = (!first).then(silence);
                    match configure(self.options)
                        .and_then(|config| Ok((reload(&config, &running, &trees, self.pis)?, config)))
                    {
                        Ok((inbox, config)) => {
                            server.storage_mut().inbox = inbox;
                            info!("serving {} from here on", config.serving().display());
                            running = Config { tree: config.tree, inventory: config.inventory, ..running };
                        }
                        Err(error) => error!("nothing changes: {error}"),
                    }
                }
                Err(Interrupt::Failed(error)) => {
                    return Err(Failed::new(Exit::Failure, format!("the network failed: {error}")));
                }
            }
        }
        let served = Served { transfers: server.transfers(), rejected: server.observer_mut().rejected() };
        // Whether the farewells went out changes nothing any more.
        let _sent = block_on(server.stop());
        Ok(served)
    }
}

/// What another loop has said need not be said again: lasts until dropped.
fn silence() -> DefaultGuard {
    subscriber::set_default(NoSubscriber::default())
}

/// However one loop ends, the others end too: the clients that were its own would wait in vain.
struct StopAll<'a>(&'a [Control]);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(Control::stop);
    }
}

/// Twice the most transfers: the table slows down when nearly full.
const TABLE: usize = 2 * MOST_TRANSFERS;
