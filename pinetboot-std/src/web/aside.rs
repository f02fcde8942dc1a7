//! Work that may wait for a disk or another process: in a thread of its own, one at a time, so that it keeps no other answer back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::sync::oneshot;

/// The place of one such work.
#[derive(Debug, Clone, Default)]
pub(super) struct Aside(Arc<AtomicBool>);

impl Aside {
    /// Does the work, unless the last one has not ended.
    ///
    /// # Errors
    ///
    /// Those of the work, or `busy`.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        name: &str,
        busy: &str,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        if self.0.swap(true, Ordering::AcqRel) {
            return Err(busy.into());
        }
        let (send, done) = oneshot::channel();
        let is_busy = Busy(Arc::clone(&self.0));
        let work = move || {
            let result = work();
            drop(is_busy);
            let _the_client_went_away = send.send(result);
        };
        // Without a thread, the closure is dropped, and the place is free again.
        thread::Builder::new().name(name.into()).spawn(work).map_err(|error| error.to_string())?;
        done.await.unwrap_or_else(|_| Err(format!("the thread {name} ended")))
    }
}

/// Frees the place when the work ends, however it ends.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
