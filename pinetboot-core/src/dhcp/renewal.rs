//! The upkeep of a lease: renewing, rebinding and the end (RFC 2131, section 4.4.5).

use core::net::Ipv4Addr;
use core::time::Duration;

use super::client::Outcome;
use super::emit::Emitter;
use super::hardware::HardwareAddress;
use super::message::{Header, Message, Op};
use super::option::{MessageType, OptionCode};
use crate::Instant;

/// The lease of a [`Client`](super::Client), kept up. A value without a socket, a clock or a buffer.
///
/// Once its address is configured, a host drives the lease as it drove the client: after every [`handle`](Self::handle), `poll` until the
/// step is [`Wait`](RenewalStep::Wait) or [`Lost`](RenewalStep::Lost).
///
/// ```
/// use core::time::Duration;
/// use pinetboot_core::Instant;
/// use pinetboot_core::dhcp::{MAX_LEN, Renewal, RenewalStep};
///
/// let (now, mac) = (Instant::ZERO, [2, 0, 0, 0, 0, 1]);
/// let server = "10.55.0.1".parse().unwrap();
/// let mut lease = Renewal::new("10.55.0.128".parse().unwrap(), server, mac, 7, Some(3600), now);
/// let half = now + Duration::from_secs(1800);
/// assert_eq!(lease.poll(now), RenewalStep::Wait { until: half });
/// assert_eq!(lease.poll(half), RenewalStep::Send { to: server });
/// let mut datagram = [0; MAX_LEN];
/// let len = lease.emit(half, &mut datagram).unwrap(); // from port 68 of the own address, to port 67
/// # assert!(len >= 300);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Renewal {
    address: Ipv4Addr,
    server: Ipv4Addr,
    mac: [u8; 6],
    xid: u32,
    /// T1, T2 and the end; `None`: the lease never ends.
    times: Option<Times>,
    /// The time of the first REQUEST of this renewal.
    began: Option<Instant>,
    deadline: Instant,
    lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct Times {
    renew: Instant,
    rebind: Instant,
    end: Instant,
}

/// The output of a [`Renewal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "the caller has to do each of them")]
pub enum RenewalStep {
    /// Send a REQUEST, which [`Renewal::emit`] writes, to port 67 of this address: the server, or broadcast.
    Send {
        /// The destination.
        to: Ipv4Addr,
    },
    /// Wait until a message comes or this time passes.
    Wait {
        /// The time to poll again if no message comes.
        until: Instant,
    },
    /// The address is no longer this host's: the lease has ended, or the server refuses to extend it. The host stops using the address
    /// at once, and begins anew with a [`Client`](super::Client).
    Lost,
}

impl Renewal {
    /// A lease of `secs` seconds, from `now` on; without `secs` the lease never ends.
    pub fn new(
        address: Ipv4Addr,
        server: Ipv4Addr,
        mac: [u8; 6],
        xid: u32,
        secs: Option<u32>,
        now: Instant,
    ) -> Self {
        let mut lease =
            Self { address, server, mac, xid, times: None, began: None, deadline: now, lost: false };
        lease.extend(now, secs, None, None);
        lease
    }

    /// The lease of a client's outcome; `None` if the client has no address.
    pub fn of(outcome: &Outcome, mac: [u8; 6], xid: u32, now: Instant) -> Option<Self> {
        let Outcome::Bound { address, server, lease_secs, .. } = *outcome else { return None };
        Some(Self::new(address, server, mac, xid, lease_secs, now))
    }

    /// The leased address.
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Takes in a message. A message for another client changes nothing.
    pub fn handle(&mut self, now: Instant, message: &Message<'_>) {
        let header = &message.header;
        let is_answer = header.op == Op::Reply
            && header.xid == self.xid
            && header.hardware == HardwareAddress::ethernet(self.mac)
            && self.began.is_some()
            && !self.lost;
        match message.kind().filter(|_| is_answer) {
            Some(MessageType::Ack) if header.yiaddr == self.address => {
                // When it was rebound, another server may have answered.
                self.server = message.server_id().unwrap_or(self.server);
                let seconds = |code| message.option(code).and_then(|value| value.u32());
                // > The client computes the lease expiration time as the sum of the time at which the client sent the DHCPREQUEST message
                // > and the duration of the lease in the DHCPACK message (section 4.4.5).
                let sent = self.began.unwrap_or(now);
                let (renew, rebind) =
                    (seconds(OptionCode::RENEWAL_TIME), seconds(OptionCode::REBINDING_TIME));
                self.extend(sent, message.lease_secs(), renew, rebind);
            }
            Some(MessageType::Nak) => self.lost = true,
            _ => {}
        }
    }

    /// The next step. Poll until it is `Wait` or `Lost`.
    pub fn poll(&mut self, now: Instant) -> RenewalStep {
        let Some(Times { renew, rebind, end }) = self.times.filter(|_| !self.lost) else {
            return if self.lost { RenewalStep::Lost } else { RenewalStep::Wait { until: Instant::MAX } };
        };
        if now >= end {
            self.lost = true;
            return RenewalStep::Lost;
        }
        if now < renew.max(self.deadline) {
            return RenewalStep::Wait { until: renew.max(self.deadline) };
        }
        self.began.get_or_insert(now);
        // > the client SHOULD wait one-half of the remaining time until T2 (in RENEWING state) and one-half of the remaining lease time (in
        // > REBINDING state), down to a minimum of 60 seconds, before retransmitting the DHCPREQUEST message.
        let (to, phase_ends) = if now < rebind { (self.server, rebind) } else { (Ipv4Addr::BROADCAST, end) };
        let wait = (phase_ends.since(now) / 2).max(LEAST_WAIT);
        self.deadline = (now + wait).min(phase_ends);
        RenewalStep::Send { to }
    }

    /// Writes the REQUEST of [`RenewalStep::Send`] into `out` and returns its length in bytes; `None` if `out` is too short
    /// ([`MAX_LEN`](super::MAX_LEN) bytes suffice).
    pub fn emit(&self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let secs = u16::try_from(now.since(self.began.unwrap_or(now)).as_secs()).unwrap_or(u16::MAX);
        // > 'server identifier' MUST NOT be filled in, 'requested IP address' option MUST NOT be filled in, 'ciaddr' MUST be filled in with
        // > client's IP address (section 4.3.2).
        let header = Header {
            ciaddr: self.address,
            secs,
            ..Header::request(HardwareAddress::ethernet(self.mac), self.xid)
        };
        let mut message = Emitter::new(&header, out)?;
        message.kind(MessageType::Request)?;
        let [a, b, c, d, e, f] = self.mac;
        message.option(OptionCode::CLIENT_ID, &[HardwareAddress::ETHERNET, a, b, c, d, e, f])?;
        message.finish()
    }

    /// The lease counts from `from` on.
    fn extend(&mut self, from: Instant, secs: Option<u32>, renew: Option<u32>, rebind: Option<u32>) {
        let span = secs.filter(|secs| *secs != u32::MAX).map(u64::from); // all ones is for ever (RFC 2132, section 9.2)
        self.times = span.map(|secs| {
            let secs = secs.max(1);
            let at = |secs: u64| from + Duration::from_secs(secs);
            // > T1 defaults to (0.5 * duration_of_lease). T2 defaults to (0.875 * duration_of_lease).
            let rebind = rebind.map(u64::from).filter(|rebind| *rebind < secs).unwrap_or(secs * 7 / 8);
            let renew =
                renew.map(u64::from).filter(|renew| *renew <= rebind).unwrap_or((secs / 2).min(rebind));
            Times { renew: at(renew), rebind: at(rebind), end: at(secs) }
        });
        self.began = None;
        self.deadline = from;
    }
}

const LEAST_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::MAX_LEN;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OWN: Ipv4Addr = Ipv4Addr::new(10, 55, 0, 128);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 55, 0, 1);

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn lease(secs: Option<u32>) -> Renewal {
        Renewal::new(OWN, SERVER, MAC, 7, secs, at(0))
    }

    fn answer(
        lease: &mut Renewal,
        now: Instant,
        kind: MessageType,
        change: impl Fn(&mut Header),
        options: &[(u8, u32)],
    ) {
        let mut header =
            Header { op: Op::Reply, yiaddr: OWN, ..Header::request(HardwareAddress::ethernet(MAC), 7) };
        change(&mut header);
        let mut out = [0; MAX_LEN];
        let mut message = Emitter::new(&header, &mut out).unwrap();
        message.kind(kind).unwrap();
        for (code, value) in options {
            message.seconds(OptionCode(*code), *value).unwrap();
        }
        let len = message.finish().unwrap();
        lease.handle(now, &Message::parse(&out[..len]).unwrap());
    }

    /// All that happens to a lease without an answer.
    fn script(mut lease: Renewal) -> std::vec::Vec<(u64, RenewalStep)> {
        let (mut now, mut steps) = (at(0), std::vec::Vec::new());
        loop {
            let step = lease.poll(now);
            steps.push((now.as_micros() / 1_000_000, step));
            match step {
                RenewalStep::Wait { until } => now = until,
                RenewalStep::Send { .. } => {}
                RenewalStep::Lost => return steps,
            }
        }
    }

    #[test]
    fn without_an_answer_the_server_is_asked_and_then_all_and_then_the_address_is_lost() {
        let steps = script(lease(Some(800)));
        let sent: std::vec::Vec<_> = steps
            .iter()
            .filter_map(|(secs, step)| match step {
                RenewalStep::Send { to } => Some((*secs, *to)),
                _ => None,
            })
            .collect();
        let all = Ipv4Addr::BROADCAST;
        assert_eq!(
            sent,
            [(400, SERVER), (550, SERVER), (625, SERVER), (685, SERVER), (700, all), (760, all)]
        );
        assert_eq!(steps.last(), Some(&(800, RenewalStep::Lost)));
    }

    #[test]
    fn an_answer_extends_the_lease_from_the_request_on() {
        let mut lease = lease(Some(800));
        assert_eq!(lease.poll(at(400)), RenewalStep::Send { to: SERVER });
        answer(&mut lease, at(410), MessageType::Ack, |_| {}, &[(51, 1000), (58, 100), (59, 300)]);
        assert_eq!(lease.poll(at(410)), RenewalStep::Wait { until: at(500) });
        assert_eq!(lease.poll(at(500)), RenewalStep::Send { to: SERVER });
        // Times that make no sense are the defaults.
        answer(&mut lease, at(500), MessageType::Ack, |_| {}, &[(51, 1000), (58, 2000), (59, 3000)]);
        assert_eq!(lease.poll(at(500)), RenewalStep::Wait { until: at(1000) });
        assert_eq!(script(lease).last(), Some(&(1500, RenewalStep::Lost)));
    }

    #[test]
    fn what_is_no_answer_to_this_client_changes_nothing() {
        let mut lease = lease(Some(800));
        let before = lease;
        answer(&mut lease, at(1), MessageType::Nak, |_| {}, &[]);
        assert_eq!(lease, before, "nothing was asked");
        let _sent = lease.poll(at(400));
        let before = lease;
        let changes: [fn(&mut Header); 3] = [
            |header| header.xid = 8,
            |header| header.op = Op::Request,
            |header| header.hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, 2]),
        ];
        for change in changes {
            for kind in [MessageType::Ack, MessageType::Nak] {
                answer(&mut lease, at(401), kind, change, &[(51, 9000)]);
            }
        }
        answer(&mut lease, at(401), MessageType::Ack, |header| header.yiaddr = SERVER, &[(51, 9000)]);
        answer(&mut lease, at(401), MessageType::Offer, |_| {}, &[(51, 9000)]);
        assert_eq!(lease, before);
        answer(&mut lease, at(402), MessageType::Nak, |header| header.yiaddr = Ipv4Addr::UNSPECIFIED, &[]);
        assert_eq!(lease.poll(at(402)), RenewalStep::Lost);
    }

    #[test]
    fn a_lease_without_end_and_one_of_no_time() {
        for secs in [None, Some(u32::MAX)] {
            assert_eq!(lease(secs).poll(at(1_000_000_000)), RenewalStep::Wait { until: Instant::MAX });
        }
        assert_eq!(script(lease(Some(0))).last(), Some(&(1, RenewalStep::Lost)));
        // A year of a lease of an hour, with every answer.
        let (mut lease, mut now) = (lease(Some(3600)), at(0));
        while now < at(365 * 86_400) {
            match lease.poll(now) {
                RenewalStep::Wait { until } => now = until,
                RenewalStep::Send { to } => {
                    assert_eq!(to, SERVER);
                    answer(&mut lease, now, MessageType::Ack, |_| {}, &[(51, 3600)]);
                }
                RenewalStep::Lost => panic!("lost at {now}"),
            }
        }
    }

    #[test]
    fn the_request_names_the_own_address_in_its_header_alone() {
        let mut lease = lease(Some(800));
        let _sent = lease.poll(at(400));
        let mut out = [0; MAX_LEN];
        let len = lease.emit(at(403), &mut out).unwrap();
        let request = Message::parse(&out[..len]).unwrap();
        assert_eq!(
            (request.kind(), request.header.ciaddr, request.header.secs),
            (Some(MessageType::Request), OWN, 3)
        );
        assert_eq!((request.server_id(), request.requested_address()), (None, None));
        assert_eq!(lease.emit(at(403), &mut out[..200]), None);
    }
}
