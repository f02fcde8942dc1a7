//! The client: asks for an address and a boot server as a Pi does, as U-Boot does, or plainly.
//!
//! A host that stays keeps its lease by a [`Renewal`](super::Renewal).

use core::net::Ipv4Addr;

use super::choice::{BootClient, NoBoot, Offer, Shortfall};
use super::hardware::HardwareAddress;
use super::message::{Message, Op};
use super::option::{MessageType, OptionCode};
use super::profile::{Profile, Selected};
use crate::Instant;

/// One DHCP exchange, seen from the client. A value without a socket, a clock or a buffer.
///
/// ```
/// use pinetboot_core::Instant;
/// use pinetboot_core::dhcp::{Client, MAX_LEN, Message, Outcome, Profile, Step};
///
/// fn boot(mut exchange: impl FnMut(&[u8], Instant) -> Option<(Instant, Vec<u8>)>) -> Outcome {
///     let mut client = Client::new(Profile::Plain, [2, 0, 0, 0, 0, 1], 7);
///     let (mut now, mut out) = (Instant::ZERO, [0; MAX_LEN]);
///     loop {
///         let (len, until) = match client.poll(now) {
///             Step::Send(kind) => (client.emit(now, kind, &mut out).unwrap(), now),
///             Step::Wait { until } => (0, until),
///             Step::Done(outcome) => return outcome,
///         };
///         let Some((at, datagram)) = exchange(&out[..len], until) else { now = until; continue };
///         now = at;
///         if let Ok(message) = Message::parse(&datagram) {
///             client.handle(now, "10.77.0.1".parse().unwrap(), &message);
///         }
///     }
/// }
/// # use pinetboot_core::dhcp::NoBoot;
/// # assert_eq!(boot(|_, _| None), Outcome::NoBoot(NoBoot::NoOffer));
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    profile: Profile,
    mac: [u8; 6],
    xid: u32,
    began: Option<Instant>,
    /// Messages of this phase that were sent.
    sent: u8,
    deadline: Instant,
    phase: Phase,
    /// The first offer of an address.
    selected: Option<Selected>,
    /// The boot server, as the first offer that names one names it.
    boot_server: Option<Ipv4Addr>,
    /// The shortfall of the other offers.
    shortfall: Option<Shortfall>,
    next_server: Option<Ipv4Addr>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Selecting,
    Requesting,
    Over(Outcome),
}

/// The output of a [`Client`]. After every `handle`, `poll` until the step is [`Wait`](Self::Wait) or
/// [`Done`](Self::Done).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "the caller has to do each of them")]
pub enum Step {
    /// Broadcast this message to port 67; [`Client::emit`] writes it.
    Send(MessageType),
    /// Wait until a message comes or this time passes.
    Wait {
        /// The time to poll again if no message comes.
        until: Instant,
    },
    /// The exchange is over. Every later poll says the same.
    Done(Outcome),
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "an exchange ends with an address or without")]
pub enum Outcome {
    /// The client has an address.
    #[non_exhaustive]
    Bound {
        /// The address.
        address: Ipv4Addr,
        /// The subnet mask, if the server sent it.
        mask: Option<Ipv4Addr>,
        /// The router, if the server sent it.
        router: Option<Ipv4Addr>,
        /// The DHCP server that gave it.
        server: Ipv4Addr,
        /// The lease time in seconds.
        lease_secs: Option<u32>,
        /// The boot server. A Pi always has one; U-Boot without one takes its variable `serverip`.
        boot_server: Option<Ipv4Addr>,
    },
    /// The client has given up. A Pi begins anew, as often as its settings say.
    NoBoot(NoBoot),
}

impl Client {
    /// A client with this profile. `xid` should be random. A Pi 3's boot ROM always sends the same and ignores the argument.
    pub const fn new(profile: Profile, mac: [u8; 6], xid: u32) -> Self {
        Self {
            profile,
            mac,
            xid: match profile {
                Profile::PiBootRom => Profile::BOOT_ROM_XID,
                _ => xid,
            },
            began: None,
            sent: 0,
            deadline: Instant::ZERO,
            phase: Phase::Selecting,
            selected: None,
            boot_server: None,
            shortfall: None,
            next_server: None,
        }
    }

    /// Takes in a message that came from `from`. A message for another client changes nothing.
    pub fn handle(&mut self, now: Instant, from: Ipv4Addr, message: &Message<'_>) {
        let header = &message.header;
        if header.op != Op::Reply
            || header.xid != self.xid
            || header.hardware != HardwareAddress::ethernet(self.mac)
            || self.began.is_none()
        {
            return;
        }
        match (self.phase, message.kind()) {
            (Phase::Selecting, Some(MessageType::Offer)) => {
                self.offered(&Offer { from, message: *message });
                self.proceed(now, message);
            }
            (Phase::Requesting, Some(MessageType::Ack)) => self.granted(message),
            (Phase::Requesting, Some(MessageType::Nak)) if self.is_from_selected(message) => {
                self.selected = None;
                self.enter(now, Phase::Selecting);
            }
            _ => {}
        }
    }

    /// The next step. Poll until it is `Wait` or `Done`.
    pub fn poll(&mut self, now: Instant) -> Step {
        if let Phase::Over(outcome) = self.phase {
            return Step::Done(outcome);
        }
        if now < self.deadline {
            return Step::Wait { until: self.deadline };
        }
        let timing = self.profile.timing();
        let began = *self.began.get_or_insert(now);
        if now.since(began) >= timing.in_all || self.sent >= timing.tries {
            let outcome = Outcome::NoBoot(self.why_not());
            self.phase = Phase::Over(outcome);
            return Step::Done(outcome);
        }
        if let (Profile::UBoot, Phase::Requesting, 1..) = (self.profile, self.phase, self.sent) {
            // `bootp_timeout_handler` begins anew.
            self.selected = None;
            self.phase = Phase::Selecting;
            self.sent = 0;
        }
        let (first, longest) = timing.wait;
        let mut wait = first.saturating_mul(1 << self.sent.min(16)).min(longest);
        let kind = match self.phase {
            Phase::Requesting => MessageType::Request,
            _ => MessageType::Discover,
        };
        if let (Profile::UBoot, MessageType::Request) = (self.profile, kind) {
            wait = UBOOT_REQUEST;
        }
        self.sent = self.sent.saturating_add(1);
        self.deadline = (now + wait).min(began + timing.in_all);
        Step::Send(kind)
    }

    /// Writes the message of [`Step::Send`] into `out` and returns its length in bytes; `None` if `out` is too short
    /// ([`MAX_LEN`](super::MAX_LEN) bytes suffice).
    pub fn emit(&self, now: Instant, kind: MessageType, out: &mut [u8]) -> Option<usize> {
        let secs = u16::try_from(now.since(self.began.unwrap_or(now)).as_secs()).unwrap_or(u16::MAX);
        match (kind, &self.selected) {
            (MessageType::Request, Some(selected)) => {
                self.profile.request(self.mac, self.xid, secs, selected, out)
            }
            _ => self.profile.discover(self.mac, self.xid, secs, out),
        }
    }

    /// The address that was offered first and its server, before the server grants it.
    pub const fn selected(&self) -> Option<Selected> {
        self.selected
    }

    fn offered(&mut self, offer: &Offer<'_>) {
        let header = &offer.message.header;
        if !header.yiaddr.is_unspecified() {
            let server = offer.message.server_id().unwrap_or(offer.from);
            self.selected.get_or_insert(Selected { address: header.yiaddr, server });
        }
        let Some(client @ (BootClient::PiEeprom | BootClient::PiBootRom)) = self.profile.boot_client() else {
            return;
        };
        match client.named_to_pi(offer) {
            Ok(named) => self.boot_server = self.boot_server.or(named.address()),
            Err(shortfall) => {
                self.shortfall = self.shortfall.max(Some(shortfall));
                let next_server = Some(header.siaddr).filter(|address| !address.is_unspecified());
                self.next_server = self.next_server.or(next_server);
            }
        }
    }

    /// Enters the next phase if the offers suffice.
    fn proceed(&mut self, now: Instant, offer: &Message<'_>) {
        match (self.selected, self.profile) {
            (Some(_), Profile::Pi(_)) if self.boot_server.is_some() => self.enter(now, Phase::Requesting),
            (Some(_), Profile::PiBootRom) if self.boot_server.is_some() => self.bind(offer),
            (Some(_), Profile::UBoot | Profile::Plain) => self.enter(now, Phase::Requesting),
            _ => {}
        }
    }

    fn granted(&mut self, ack: &Message<'_>) {
        let selected = self.selected.map(|selected| selected.address);
        if !self.is_from_selected(ack) || selected != Some(ack.header.yiaddr) {
            return;
        }
        if let Profile::UBoot = self.profile {
            self.boot_server = Some(ack.header.siaddr).filter(|address| !address.is_unspecified());
        }
        self.bind(ack);
    }

    fn bind(&mut self, message: &Message<'_>) {
        let Some(Selected { address, server }) = self.selected else { return };
        let option = |code| message.option(code).and_then(|value| value.address());
        self.phase = Phase::Over(Outcome::Bound {
            address,
            mask: option(OptionCode::SUBNET_MASK),
            router: option(OptionCode::ROUTER),
            server,
            lease_secs: message.lease_secs(),
            boot_server: self.boot_server,
        });
    }

    fn is_from_selected(&self, message: &Message<'_>) -> bool {
        let server = message.server_id();
        server.is_none() || server == self.selected.map(|selected| selected.server)
    }

    fn enter(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        self.sent = 0;
        self.deadline = now;
    }

    fn why_not(&self) -> NoBoot {
        match (self.phase, self.selected, self.boot_server, self.shortfall) {
            (Phase::Requesting, ..) => NoBoot::NotConfirmed,
            (_, Some(_), _, shortfall) => self
                .profile
                .boot_client()
                .unwrap_or(BootClient::PiEeprom) // the others need none
                .without_boot_server(shortfall.unwrap_or(Shortfall::Nothing), self.next_server),
            (_, None, None, None) => NoBoot::NoOffer,
            (_, None, ..) => NoBoot::NoAddress,
        }
    }
}

/// > net_set_timeout_handler(5000, bootp_timeout_handler) (U-Boot, `dhcp_handler`)
const UBOOT_REQUEST: core::time::Duration = core::time::Duration::from_secs(5);
