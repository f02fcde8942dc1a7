//! SIGINT and SIGTERM as a call of a function, for commands that end at once; `serve` has a
//! [`supervisor`](crate::supervisor).

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::exit::Exit;

/// Lets SIGINT, SIGTERM and SIGHUP call `stop`, and a second SIGINT or SIGTERM exit the process. Call before the first other
/// thread starts: threads inherit the blocked signals.
///
/// # Errors
///
/// The system's.
pub fn on_stop(stop: impl Fn() + Send + 'static) -> io::Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut stopping = false;
        loop {
            match signals.wait() {
                Ok(Signal::SIGHUP) => stop(),
                Ok(_) if stopping => std::process::exit(Exit::Interrupted as i32),
                Ok(_) => {
                    stopping = true;
                    stop();
                }
                Err(_) => {}
            }
        }
    })?;
    Ok(())
}
