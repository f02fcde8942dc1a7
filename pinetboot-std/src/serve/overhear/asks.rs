//! What the boot machines want to know of the network: a listener of the bus hands it to the readers of the interfaces.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pinetboot_core::pi::Model;

use crate::events::{Event, Fact, Listener, Mac, Network};
use crate::net::Control;

/// A question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ask {
    /// A DISCOVER as this Pi's bootloader sends it, with another MAC address.
    Survey {
        /// The Pi.
        mac: Mac,
        /// Its model.
        model: Model,
        /// The time for answers.
        within: Duration,
    },
    /// An ARP request.
    Arp {
        /// The Pi.
        mac: Mac,
        /// Its address.
        address: Ipv4Addr,
        /// The time for the answer.
        within: Duration,
    },
}

/// A queue for each reader.
#[derive(Debug, Clone, Default)]
pub(in crate::serve) struct Asks(Arc<Mutex<Vec<Queue>>>);

/// A reader's questions.
#[derive(Debug)]
struct Queue {
    control: Control,
    asks: VecDeque<Ask>,
}

impl Asks {
    /// Adds a reader; returns its number.
    pub(super) fn add(&self, control: Control) -> usize {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.push(Queue { control, asks: VecDeque::new() });
        readers.len() - 1
    }

    /// The oldest question for this reader.
    pub(super) fn take(&self, reader: usize) -> Option<Ask> {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.get_mut(reader)?.asks.pop_front()
    }
}

impl Listener for Asks {
    fn listen(&self, event: &Event) {
        let ask = match &event.fact {
            Fact::Network(Network::AsksNetwork { mac, model, within }) => {
                Ask::Survey { mac: *mac, model: *model, within: *within }
            }
            Fact::Network(Network::AsksPi { mac, address, within }) => {
                Ask::Arp { mac: *mac, address: *address, within: *within }
            }
            _ => return,
        };
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Queue { control, asks } in readers.iter_mut() {
            // The verdict does without.
            if asks.len() < MOST {
                asks.push_back(ask);
                control.wake();
            }
        }
    }
}

/// Questions that wait.
const MOST: usize = 32;
