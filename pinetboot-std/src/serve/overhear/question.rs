//! The question that a reader has under way: one at a time.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use pinetboot_core::dhcp::{HardwareAddress, MAX_LEN, Message, MessageType, Profile, SERVER_PORT};
use pinetboot_core::pi::Model;
use pinetboot_core::pi::boot::Survey;

use super::asks::Ask;
use crate::events::{Mac, Network};
use crate::net::Capture;
use crate::probe::{self, ProbeClient};

/// The question under way, and the answers to the last DISCOVER.
#[derive(Debug, Default)]
pub(super) struct Questions {
    under_way: Option<Question>,
    last: Option<Answer>,
}

#[derive(Debug)]
struct Question {
    ask: Ask,
    xid: u32,
    until: Instant,
    heard: Vec<(Ipv4Addr, Vec<u8>)>,
}

/// The answer to a DISCOVER, which holds for all Pis of a model for a while: a rack of them asks the network once.
#[derive(Debug)]
struct Answer {
    model: Model,
    at: Instant,
    survey: Survey,
    said: Vec<String>,
}

impl Questions {
    /// The time left for the question under way.
    pub(super) fn left(&self) -> Option<Duration> {
        let question = self.under_way.as_ref()?;
        Some(question.until.saturating_duration_since(Instant::now()))
    }

    /// Begins a question; returns its answer if that is known.
    pub(super) fn begin(&mut self, capture: &Capture, own: Option<Ipv4Addr>, ask: Ask) -> Option<Network> {
        let (within, xid) = match ask {
            Ask::Survey { mac, model, within } => {
                if let Some(answer) = self.last.as_ref().filter(|last| last.holds_for(model)) {
                    return Some(answer.fact(mac));
                }
                let xid = match model {
                    Model::Pi3 => Profile::BOOT_ROM_XID,
                    _ => probe::random(),
                };
                let mut discover = [0; MAX_LEN];
                let profile = ProbeClient::Pi(model).profile(capture.mac(), probe::SERIAL)?;
                let len = profile.discover(capture.mac(), xid, 0, &mut discover)?;
                // A failure is a silence of the network; so is one that is told of a server which is not there.
                capture.broadcast(SERVER_PORT, discover.get(..len)?).ok()?;
                (within, xid)
            }
            Ask::Arp { address, within, .. } => {
                capture.ask(own?, address).ok()?;
                (within, 0)
            }
        };
        self.under_way = Some(Question { ask, xid, until: Instant::now() + within, heard: Vec::new() });
        None
    }

    /// Takes an OFFER in.
    pub(super) fn hear(&mut self, from: Ipv4Addr, bytes: &[u8], message: &Message<'_>, own: Mac) {
        let Some(question) = &mut self.under_way else { return };
        let Ask::Survey { .. } = question.ask else { return };
        let header = &message.header;
        let is_answer = header.xid == question.xid
            && header.hardware == HardwareAddress::ethernet(own)
            && message.kind() == Some(MessageType::Offer);
        if is_answer
            && question.heard.len() < MOST_OFFERS
            && question.heard.iter().all(|(_, known)| known != bytes)
        {
            question.heard.push((from, bytes.to_vec()));
        }
    }

    /// Takes an ARP reply in; returns the answer that it is.
    pub(super) fn answered(&mut self, from: Mac, sender: Ipv4Addr) -> Option<Network> {
        match self.under_way.as_ref()?.ask {
            Ask::Arp { mac, address, .. } if mac == from && address == sender => {
                self.under_way = None;
                Some(Network::ArpAnswered { hardware: HardwareAddress::ethernet(mac), alive: true })
            }
            _ => None,
        }
    }

    /// The answer of a question whose time is over.
    pub(super) fn end(&mut self) -> Option<Network> {
        let Question { ask, heard, .. } =
            self.under_way.take_if(|question| question.until <= Instant::now())?;
        match ask {
            Ask::Survey { mac, model, .. } => {
                let (survey, said) = probe::judge(model, &heard);
                let answer = Answer { model, at: Instant::now(), survey, said };
                Some(self.last.insert(answer).fact(mac))
            }
            Ask::Arp { mac, .. } => {
                Some(Network::ArpAnswered { hardware: HardwareAddress::ethernet(mac), alive: false })
            }
        }
    }
}

impl Answer {
    fn holds_for(&self, model: Model) -> bool {
        self.model == model && self.at.elapsed() < HOLDS
    }

    fn fact(&self, mac: Mac) -> Network {
        let hardware = HardwareAddress::ethernet(mac);
        Network::Surveyed { hardware, survey: self.survey, said: self.said.clone() }
    }
}

/// The time for which an answer holds: no network is asked more often as one model.
const HOLDS: Duration = Duration::from_secs(30);
/// DHCP servers in a network.
const MOST_OFFERS: usize = 16;
