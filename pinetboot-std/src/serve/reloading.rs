//! SIGHUP: a worker's configuration and trees are read by another thread, since they may lie on a disk that hangs.

use std::sync::mpsc;
use std::thread;

use crate::config::Config;
use crate::events;
use crate::exit::Failed;
use crate::net::Control;
use crate::storage::Uploads;

/// The reloads of one worker, one at a time.
#[derive(Debug)]
pub(super) struct Reloading {
    running: Config,
    under_way: Option<mpsc::Receiver<Result<Reloaded, Failed>>>,
    /// Another SIGHUP came while the last one was obeyed.
    again: bool,
}

/// The configuration that was read, and applied as far as other threads can.
#[derive(Debug)]
pub(super) struct Reloaded {
    pub(super) config: Config,
    pub(super) uploads: Option<Uploads>,
    pub(super) notices: Vec<events::Server>,
}

impl Reloading {
    pub(super) const fn new(running: Config) -> Self {
        Self { running, under_way: None, again: false }
    }

    /// Begins a reload: `read` gets the running configuration. The control tells of its end.
    pub(super) fn begin<R>(&mut self, control: &Control, read: R)
    where
        R: FnOnce(&Config) -> Result<Reloaded, Failed> + Send + 'static,
    {
        if self.under_way.is_some() {
            self.again = true;
            return;
        }
        let (running, control) = (self.running.clone(), control.clone());
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new().name("reload".into()).spawn(move || {
            let _worker_ended = tell.send(read(&running));
            control.reloaded();
        });
        self.under_way = thread.is_ok().then_some(told);
    }

    /// The end of a reload: the facts about it, and the directory for uploads if that may have changed. Whether another
    /// reload is to begin.
    pub(super) fn end(&mut self) -> (Vec<events::Server>, Option<Option<Uploads>>, bool) {
        let Some(result) = self.under_way.take().and_then(|under_way| under_way.recv().ok()) else {
            return (Vec::new(), None, false);
        };
        let again = std::mem::take(&mut self.again);
        match result {
            Ok(Reloaded { config, uploads, mut notices }) => {
                notices.push(events::Server::Reloaded { serving: config.serving().display().to_string() });
                let Config { tree, inventory, .. } = config;
                (self.running.tree, self.running.inventory) = (tree, inventory);
                (notices, Some(uploads), again)
            }
            Err(error) => (vec![events::Server::NotReloaded { error: error.to_string() }], None, again),
        }
    }
}
