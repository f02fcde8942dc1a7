//! SIGINT, SIGTERM and SIGHUP as calls of functions.

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::exit::Exit;
use crate::net::Control;

/// Lets SIGINT and SIGTERM stop the networks behind `controls`, a second one exit the process, and SIGHUP reload. Call before
/// the first other thread starts: threads inherit the blocked signals.
///
/// # Errors
///
/// The system's.
pub fn watch(controls: Vec<Control>) -> io::Result<()> {
    let reload = controls.clone();
    spawn(move || controls.iter().for_each(Control::stop), move || reload.iter().for_each(Control::reload))
}

/// Lets SIGINT, SIGTERM and SIGHUP call `stop`, and a second SIGINT or SIGTERM exit the process. Call before the first other
/// thread starts: threads inherit the blocked signals.
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
