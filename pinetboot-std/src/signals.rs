//! Signals, turned into calls.

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::exit::Exit;
use crate::net::Control;

/// From here on SIGINT and SIGTERM stop the networks behind `controls`, a second one ends the process at once, and
/// SIGHUP makes them reload. To be called before any other thread is started.
///
/// # Errors
///
/// The system's.
pub fn watch(controls: Vec<Control>) -> io::Result<()> {
    let reload = controls.clone();
    spawn(move || controls.iter().for_each(Control::stop), move || reload.iter().for_each(Control::reload))
}

/// From here on SIGINT, SIGTERM and SIGHUP call `stop`, and a second one ends the process at once. To be called before any
/// other thread is started.
///
/// # Errors
///
/// The system's.
pub fn on_stop(stop: impl Fn() + Clone + Send + 'static) -> io::Result<()> {
    spawn(stop.clone(), stop)
}

fn spawn(stop: impl Fn() + Send + 'static, hang_up: impl Fn() + Send + 'static) -> io::Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut stopping = false;
        loop {
            match signals.wait() {
                Ok(Signal::SIGHUP) => hang_up(),
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
