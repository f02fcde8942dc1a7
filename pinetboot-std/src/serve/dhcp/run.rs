//! The loop around a responder.

use std::time::Duration;

use pinetboot_core::dhcp::{Port, Respond, Responder, Standing};
use pinetboot_core::{Instant, Net, Quota, block_on};

use super::queue::Queue;
use crate::bus::Bus;
use crate::net::{Interrupt, LinuxNet, Local};
use crate::observe::DhcpObserver;

/// What a responder does besides answering. The defaults are a proxy's.
pub(super) trait Attend: Respond {
    /// What is known of the client of a message.
    fn standing(&self, message: &[u8]) -> Standing {
        let _ = message;
        Standing::New
    }

    /// The time at which the last message has to come again.
    fn comes_again(&mut self) -> Option<Instant> {
        None
    }

    /// Called after each message, before its reply is sent; with `more`, that is after the next message at the earliest.
    fn store(&mut self, now: Instant, more: bool) {
        let _ = (now, more);
    }
}

/// The end of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The control stopped it.
    Stopped,
    /// The responder has to be made anew.
    Outdated,
}

/// Answers until the control stops the loop, or says that addresses changed and the responder is `outdated`.
///
/// # Errors
///
/// The failure of the network.
pub(super) fn run<R: Attend>(
    net: &mut LinuxNet,
    respond: &mut R,
    bus: &Bus,
    delay: Duration,
    mut outdated: impl FnMut() -> bool,
) -> Result<Ended, String> {
    let observer = DhcpObserver::new(bus.clone());
    let mut responder =
        Responder::<_, _, _>::new(Queue::new(net), respond, observer).with_delay(delay).with_ports(port);
    let mut clients = Box::new(Quota::<1024>::new());
    loop {
        let (queue, respond) = responder.parts_mut();
        let turned = queue.read_ahead(|at, message| {
            clients.admit(at, number(message), MOST_MESSAGES, SECOND).then(|| respond.standing(message))
        });
        match turned.and_then(|()| block_on(responder.turn())) {
            Ok(()) => {
                let (queue, respond) = responder.parts_mut();
                if let Some(time) = respond.comes_again() {
                    queue.hold(time);
                }
                respond.store(queue.now(), queue.has_more());
            }
            Err(Interrupt::Stop) => return Ok(Ended::Stopped),
            Err(Interrupt::Reload) if outdated() => return Ok(Ended::Outdated),
            Err(Interrupt::Reload | Interrupt::Reloaded) => {}
            Err(Interrupt::Failed(failure)) => return Err(format!("the network failed: {failure}")),
        }
    }
}

/// A number that tells clients apart, by their hardware address: 28 bytes into the message.
fn number(message: &[u8]) -> u32 {
    let hardware = message.get(28..34).unwrap_or_default();
    hardware.iter().fold(0, |number: u32, byte| number.rotate_left(8) ^ u32::from(*byte))
}

/// Messages of a client in a second. A Pi sends one in 4 s, a relay agent those of many clients.
const MOST_MESSAGES: u32 = 32;

const SECOND: Duration = Duration::from_secs(1);

/// The role of a socket: its listeners are opened in this order.
fn port(local: Local) -> Port {
    match local.listener() {
        0 => Port::Server,
        _ => Port::Pxe,
    }
}
