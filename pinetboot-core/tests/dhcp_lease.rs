//! The lease server, message by message.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod dhcp;

use core::time::Duration;

use dhcp::{MAC, XID, arrival, captured, hardware, ip, message, pi4};
use pinetboot_core::Instant;
use pinetboot_core::dhcp::{
    BootFileName, Clients, HardwareAddress, Header, Lease, LeaseServer, LeaseSlot, LeaseState, MAX_LEN,
    Message, MessageType, Network, NextServer, NoReply, NotKept, OptionCode, Profile, Selected, pxe,
};
use pinetboot_core::pi::Prefix;

const HOUR: u64 = 3600;

fn network() -> Network<'static> {
    range("10.77.0.100", "10.77.0.109")
}

/// One with these addresses for clients.
fn range(first: &str, last: &str) -> Network<'static> {
    let mut network = Network::new(ip("10.77.0.1"), 24, ip(first), ip(last)).unwrap();
    network.lease_time = Duration::from_secs(HOUR);
    network.first_lease_time = Some(Duration::from_secs(300));
    network.clients = Clients::All;
    network
}

/// The client by its MAC address.
fn mac(client: u32) -> Prefix {
    Prefix::Mac(hardware(client).mac().unwrap())
}

/// A server, and what is said to it.
struct Talk<'a, const N: usize> {
    server: LeaseServer<'a, [LeaseSlot; N]>,
    now: Instant,
    out: [u8; MAX_LEN],
}

/// `OFFER 10.77.0.100`, `NAK 0.0.0.0`, or why nothing.
type Answer = Result<String, NoReply>;

impl<'a, const N: usize> Talk<'a, N> {
    fn new(network: Network<'a>) -> Self {
        Self {
            server: LeaseServer::new(network, [LeaseSlot::EMPTY; N]),
            now: Instant::ZERO,
            out: [0; MAX_LEN],
        }
    }

    fn later(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
    }

    fn say(&mut self, bytes: &[u8]) -> Answer {
        let reply =
            self.server.respond(&arrival(self.now), &Message::parse(bytes).unwrap(), &mut self.out)?;
        let message = Message::parse(&self.out[..reply.len.into()]).unwrap();
        assert_eq!((message.kind(), message.header.yiaddr), (Some(reply.kind), reply.address));
        assert_eq!(message.server_id(), Some(ip("10.77.0.1")));
        assert!((300..=548).contains(&reply.len), "{}", reply.len);
        Ok(format!("{} {}", reply.kind, reply.address))
    }

    /// The reply of last.
    fn reply(&self) -> Message<'_> {
        Message::parse(&self.out).unwrap()
    }

    fn discover(&mut self, client: u32) -> Answer {
        self.say(&message(&Header::request(hardware(client), 1), MessageType::Discover, &[]))
    }

    /// Takes an offer of this server.
    fn select(&mut self, client: u32, address: &str) -> Answer {
        self.select_from(client, address, "10.77.0.1")
    }

    fn select_from(&mut self, client: u32, address: &str, server: &str) -> Answer {
        let options: [(OptionCode, &[u8]); 2] = [
            (OptionCode::REQUESTED_ADDRESS, &ip(address).octets()),
            (OptionCode::SERVER_ID, &ip(server).octets()),
        ];
        self.say(&message(&Header::request(hardware(client), 1), MessageType::Request, &options))
    }

    /// Remembers an address from before it was switched off.
    fn reboot(&mut self, client: u32, address: &str) -> Answer {
        let options: [(OptionCode, &[u8]); 1] = [(OptionCode::REQUESTED_ADDRESS, &ip(address).octets())];
        self.say(&message(&Header::request(hardware(client), 1), MessageType::Request, &options))
    }

    fn renew(&mut self, client: u32, address: &str) -> Answer {
        self.with_address(client, address, MessageType::Request)
    }

    fn with_address(&mut self, client: u32, address: &str, kind: MessageType) -> Answer {
        let mut header = Header::request(hardware(client), 1);
        header.ciaddr = ip(address);
        self.say(&message(&header, kind, &[]))
    }

    fn decline(&mut self, client: u32, address: &str) -> Answer {
        let options: [(OptionCode, &[u8]); 1] = [(OptionCode::REQUESTED_ADDRESS, &ip(address).octets())];
        self.say(&message(&Header::request(hardware(client), 1), MessageType::Decline, &options))
    }

    /// From DISCOVER to ACK, and seen at the address; which address it gets.
    fn get(&mut self, client: u32) -> String {
        let address = self.get_unseen(client);
        assert!(self.server.confirm(self.now, ip(&address)));
        address
    }

    /// From DISCOVER to ACK; which address it gets.
    fn get_unseen(&mut self, client: u32) -> String {
        let offer = self.discover(client).unwrap();
        let address = offer.strip_prefix("OFFER ").unwrap();
        assert_eq!(self.select(client, address), Ok(format!("ACK {address}")));
        address.to_owned()
    }
}

#[test]
fn a_pi_asks_three_times_in_a_boot_and_gets_the_same_address() {
    let mut network = network();
    (network.clients, network.router) = (Clients::Pi, Some(ip("10.77.0.1")));
    let mut talk = Talk::<8>::new(network);
    let mut out = [0; MAX_LEN];

    // Its kernel comes too early.
    assert_eq!(talk.say(&captured("dhclient-discover")), Err(NoReply::NotServed));

    // Its bootloader.
    let offer = talk.say(&captured("pi4-discover")).unwrap();
    let address = offer.strip_prefix("OFFER ").unwrap().to_owned();
    assert_eq!(talk.reply().header.siaddr, ip("10.77.0.1"));
    assert!(talk.reply().option(OptionCode::VENDOR).unwrap() == pxe::RASPBERRY_PI[..]);
    assert!(talk.reply().option(OptionCode::TFTP_SERVER_NAME).unwrap() == b"10.77.0.1"[..]);
    assert_eq!(talk.reply().pi(), Some(pi4()), "echoed");
    assert_eq!(talk.reply().option(OptionCode::ROUTER).unwrap().address(), Some(ip("10.77.0.1")));
    assert_eq!(talk.reply().option(OptionCode::NAME_SERVER), None);
    let selected = Selected::new(ip(&address), ip("10.77.0.1"));
    let len = Profile::Pi(pi4()).request(MAC, XID, 0, &selected, &mut out).unwrap();
    assert_eq!(talk.say(&out[..len]), Ok(format!("ACK {address}")));

    // Its kernel, without an identifier, and its userspace with one.
    for name in ["dhclient-discover", "udhcpc-discover"] {
        assert_eq!(talk.say(&captured(name)), Ok(format!("OFFER {address}")), "{name}");
        assert_eq!(talk.reply().option(OptionCode::VENDOR), None);
        let echoed = talk.reply().option(OptionCode::CLIENT_ID).is_some();
        assert_eq!(echoed, name == "udhcpc-discover");
        let len = Profile::Plain.request(MAC, XID, 0, &selected, &mut out).unwrap();
        assert_eq!(talk.say(&out[..len]), Ok(format!("ACK {address}")));
    }
    assert_eq!(talk.server.leases().count(), 1);
    assert_eq!(talk.server.changes(), 3);
}

#[test]
fn a_lease_says_how_long() {
    let mut talk = Talk::<8>::new(network());
    let address = talk.get(1);
    assert_eq!(talk.renew(1, &address), Ok(format!("ACK {address}")));
    let reply = talk.reply();
    assert_eq!(reply.lease_secs(), Some(3600));
    let secs = |code| reply.option(code).unwrap().u32();
    assert_eq!((secs(OptionCode::RENEWAL_TIME), secs(OptionCode::REBINDING_TIME)), (Some(1800), Some(3150)));
    let address = |code| reply.option(code).unwrap().address().unwrap();
    assert_eq!(address(OptionCode::SUBNET_MASK), ip("255.255.255.0"));
    assert_eq!(address(OptionCode::BROADCAST), ip("10.77.0.255"));
}

#[test]
fn a_client_keeps_its_address_after_its_lease_is_over() {
    let mut talk = Talk::<8>::new(network());
    let address = talk.get(1);
    talk.later(HOUR - 1);
    assert_eq!(talk.renew(1, &address), Ok(format!("ACK {address}")));
    talk.later(5 * HOUR);
    assert_eq!(talk.get(1), address);
    assert_eq!(talk.with_address(1, &address, MessageType::Release), Err(NoReply::Released(ip(&address))));
    assert_eq!(talk.get(1), address);
    // From another, or twice, it means nothing.
    assert_eq!(talk.with_address(2, &address, MessageType::Release), Err(NoReply::ForAnother));
}

#[test]
fn addresses_run_out_and_come_back() {
    let mut talk = Talk::<8>::new(range("10.77.0.1", "10.77.0.3"));
    let first = talk.get(1);
    talk.later(10);
    let second = talk.get(2);
    let mut both = [first.as_str(), second.as_str()];
    both.sort_unstable();
    assert_eq!(both, ["10.77.0.2", "10.77.0.3"], "never the server's own");

    assert_eq!(talk.discover(3), Err(NoReply::Exhausted));
    talk.later(HOUR - 10);
    assert_eq!(talk.get(3), first, "the first lease is over");
    assert_eq!(talk.discover(1), Err(NoReply::Exhausted));
    assert_eq!(talk.renew(1, &first), Err(NoReply::NoRecord), "it is another's now");
    assert_eq!(talk.select(1, &first), Ok("NAK 0.0.0.0".to_owned()));
    assert!(talk.reply().header.broadcast());
    assert_eq!(talk.discover(2), Ok(format!("OFFER {second}")));
}

#[test]
fn the_table_bounds_it_as_well() {
    let mut talk = Talk::<2>::new(network());
    let first = talk.get(1);
    talk.later(1);
    talk.get(2);
    assert_eq!(talk.discover(3), Err(NoReply::Exhausted));
    talk.later(HOUR);
    assert_eq!(talk.get(3), first);
    assert_eq!(talk.server.leases().count(), 2);
}

#[test]
fn what_is_not_theirs_is_refused() {
    let mut talk = Talk::<8>::new(network());
    let (one, two) = (talk.get(1), talk.get(2));
    let nak = Ok("NAK 0.0.0.0".to_owned());
    assert_eq!(talk.select(3, &one), nak);
    assert_eq!(talk.select(3, "10.77.0.50"), nak, "outside the range");
    assert_eq!(talk.renew(1, &two), nak);
    // After a reboot: a stranger is not answered, unless it comes from another network.
    assert_eq!(talk.reboot(1, &one), Ok(format!("ACK {one}")));
    assert_eq!(talk.reboot(1, &two), nak);
    assert_eq!(talk.reboot(3, "10.77.0.105"), Err(NoReply::NoRecord));
    assert_eq!(talk.reboot(3, "192.168.1.7"), nak);
    // A client that says nothing.
    assert_eq!(
        talk.say(&message(&Header::request(hardware(4), 1), MessageType::Request, &[])),
        Err(NoReply::NoRecord)
    );
}

#[test]
fn a_pi_that_runs_keeps_its_address_when_the_server_forgot_it() {
    let mut talk = Talk::<8>::new(network());
    assert_eq!(talk.renew(1, "10.77.0.105"), Ok("ACK 10.77.0.105".to_owned()));
    assert_eq!(talk.renew(2, "10.77.0.105"), Err(NoReply::NoRecord));
    assert_eq!(talk.renew(2, "10.77.0.99"), Err(NoReply::NoRecord), "outside the range");
    // And one that boots gets the same as before, if nobody has it.
    let address = Talk::<8>::new(network()).get(7);
    assert_eq!(Talk::<8>::new(network()).get(7), address);
}

#[test]
fn another_servers_client_is_let_go() {
    let mut talk = Talk::<8>::new(network());
    let offer = talk.discover(1).unwrap();
    assert_eq!(talk.server.leases().count(), 1);
    assert_eq!(talk.select_from(1, "10.77.0.7", "10.77.0.2"), Err(NoReply::ForAnother));
    assert_eq!(talk.server.leases().count(), 0, "the offer is void");
    assert_eq!(talk.discover(1), Ok(offer));
}

#[test]
fn an_address_in_use_is_not_given() {
    let mut talk = Talk::<8>::new(network());
    let taken = talk.get(1);
    assert_eq!(talk.decline(2, &taken), Err(NoReply::ForAnother), "not its own");
    assert_eq!(talk.decline(1, &taken), Err(NoReply::Declined(ip(&taken))));
    let other = talk.get(1);
    assert_ne!(other, taken);
    assert_eq!(talk.select(2, &taken), Ok("NAK 0.0.0.0".to_owned()));
    talk.later(HOUR + 1);
    assert_eq!(talk.select(2, &taken), Ok(format!("ACK {taken}")), "after an hour");
}

#[test]
fn reservations_are_kept() {
    let network = Network::new(ip("10.77.0.1"), 24, ip("10.77.0.100"), ip("10.77.0.101")).unwrap();
    let mut network_of_all = network;
    (network_of_all.clients, network_of_all.lease_time) = (Clients::All, Duration::from_secs(HOUR));
    let talk = |network| {
        let mut talk = Talk::<8>::new(network);
        talk.server.reserve(mac(1), ip("10.77.0.20")).unwrap();
        talk.server.reserve(mac(2), ip("10.77.0.100")).unwrap();
        talk
    };
    // Whoever has a reservation is answered, whoever it is.
    let mut first = talk(network);
    assert_eq!(first.discover(3), Err(NoReply::NotServed));
    assert_eq!(first.get(1), "10.77.0.20");
    assert_eq!(first.select(1, "10.77.0.101"), Ok("NAK 0.0.0.0".to_owned()), "it has its own");

    let mut talk = talk(network_of_all);
    assert_eq!(talk.get(3), "10.77.0.101");
    assert_eq!(talk.discover(4), Err(NoReply::Exhausted), "the other is kept for 2");
    assert_eq!(talk.get(2), "10.77.0.100");
    // Someone else sits on it: better any address than none.
    assert_eq!(talk.decline(2, "10.77.0.100"), Err(NoReply::Declined(ip("10.77.0.100"))));
    assert_eq!(talk.discover(2), Err(NoReply::Exhausted));
    talk.with_address(3, "10.77.0.101", MessageType::Release).unwrap_err();
    assert_eq!(talk.get(2), "10.77.0.101");
    talk.later(2 * HOUR);
    assert_eq!(talk.get(2), "10.77.0.100");
}

#[test]
fn a_serial_number_has_its_address() {
    let serial = pi4().prefix().unwrap();
    let mut talk = Talk::<8>::new(network());
    talk.server.reserve(serial, ip("10.77.0.9")).unwrap();
    for (pi, address, why) in [
        (serial, "10.77.0.10", NotKept::Twice),
        (mac(5), "10.77.0.9", NotKept::Twice),
        (mac(5), "10.77.0.1", NotKept::InUse),
        (mac(5), "10.77.0.255", NotKept::Outside),
        (mac(5), "10.78.0.9", NotKept::Outside),
    ] {
        assert_eq!(talk.server.reserve(pi, ip(address)), Err(why), "{address}");
    }
    // Not for another client, which has the address by a mistake or asks for it.
    assert_eq!(talk.select(7, "10.77.0.9"), Ok("NAK 0.0.0.0".to_owned()));
    // The bootloader has option 97; kernel and userspace do not.
    assert_eq!(talk.say(&captured("pi4-discover")), Ok("OFFER 10.77.0.9".to_owned()));
    let mut out = [0; MAX_LEN];
    let selected = Selected::new(ip("10.77.0.9"), ip("10.77.0.1"));
    let len = Profile::Pi(pi4()).request(MAC, XID, 0, &selected, &mut out).unwrap();
    assert_eq!(talk.say(&out[..len]), Ok("ACK 10.77.0.9".to_owned()));
    assert_eq!(talk.say(&captured("dhclient-discover")), Ok("OFFER 10.77.0.9".to_owned()));
    assert_eq!(talk.say(&captured("udhcpc-discover")), Ok("OFFER 10.77.0.9".to_owned()));

    // After a restart.
    let lease = *talk.server.leases().next().unwrap();
    assert!(lease.reserved);
    let mut after = Talk::<8>::new(network());
    after.server.reserve(serial, ip("10.77.0.9")).unwrap();
    assert!(!after.server.restore(Lease::new(hardware(7), ip("10.77.0.9"), LeaseState::Bound, Instant::MAX)));
    assert!(after.server.restore(lease));
    assert_eq!(after.say(&captured("dhclient-discover")), Ok("OFFER 10.77.0.9".to_owned()));
    // A lease from before the reservation does not keep the Pi from its address.
    let mut before = Talk::<8>::new(network());
    before.server.reserve(serial, ip("10.77.0.9")).unwrap();
    let mut elsewhere = lease;
    (elsewhere.reserved, elsewhere.address) = (false, ip("10.77.0.105"));
    assert!(before.server.restore(elsewhere));
    assert_eq!(before.say(&captured("pi4-discover")), Ok("OFFER 10.77.0.9".to_owned()));
}

#[test]
fn a_first_lease_is_short_until_the_client_is_seen() {
    let mut talk = Talk::<8>::new(network());
    let address = talk.get_unseen(1);
    assert_eq!(talk.reply().lease_secs(), Some(300));
    talk.later(150);
    assert_eq!(talk.renew(1, &address), Ok(format!("ACK {address}")));
    assert_eq!(talk.reply().lease_secs(), Some(300), "not seen yet");
    let changes = talk.server.changes();
    assert!(talk.server.confirm(talk.now, ip(&address)));
    assert!(talk.server.confirm(talk.now, ip(&address)));
    assert_eq!(talk.server.changes(), changes + 1);
    let lease = *talk.server.leases().next().unwrap();
    assert!(lease.seen && lease.until == talk.now + Duration::from_secs(HOUR));
    assert_eq!(talk.renew(1, &address), Ok(format!("ACK {address}")));
    assert_eq!(talk.reply().lease_secs(), Some(3600));
    // The kernel of a Pi does not renew, but works.
    talk.later(HOUR - 100);
    assert!(talk.server.confirm(talk.now, ip(&address)));
    talk.later(HOUR - 100);
    assert!(talk.server.leases().next().unwrap().until > talk.now);

    assert!(!talk.server.confirm(talk.now, ip("10.77.0.50")), "nobody's");
    let mut full = network();
    full.first_lease_time = None;
    let mut talk = Talk::<8>::new(full);
    talk.get_unseen(1);
    assert_eq!(talk.reply().lease_secs(), Some(3600));
    (2..=8).for_each(|client| drop(talk.get_unseen(client)));
    let mut short = network();
    short.lease_time = Duration::from_secs(60);
    let mut talk = Talk::<8>::new(short);
    talk.get_unseen(1);
    assert_eq!(talk.reply().lease_secs(), Some(60));
}

/// Whole handshakes of made-up clients, and an attacker that seems to be each in turn.
#[test]
fn made_up_clients_leave_a_share_to_known_ones() {
    let listed = [mac(900)];
    let mut network = range("10.77.0.100", "10.77.0.199");
    network.listed = &listed;
    let mut talk = Talk::<128>::new(network);
    let known: Vec<String> = (1..=20).map(|client| talk.get(client)).collect();
    talk.later(2 * HOUR); // they are off
    let flood = |talk: &mut Talk<'_, 128>, from| {
        let mut held = 0;
        for client in from..from + 1000 {
            let Ok(offer) = talk.discover(client) else { continue };
            let address = offer.strip_prefix("OFFER ").unwrap();
            held += u32::from(talk.select(client, address) == Ok(format!("ACK {address}")));
        }
        held
    };
    assert_eq!(flood(&mut talk, 10_000), 88, "100 addresses, of which 12 are kept");
    assert_eq!(talk.discover(3000), Err(NoReply::Exhausted));
    // Those who were seen last keep their records, and a listed Pi gets an address.
    let kept: Vec<_> = (1..=20)
        .zip(&known)
        .filter(|(client, address)| talk.discover(*client) == Ok(format!("OFFER {address}")))
        .collect();
    assert_eq!(kept.len(), 12);
    talk.later(61);
    assert!(talk.discover(900).is_ok());
    // The made-up clients hold their addresses for five minutes, not for the lease time.
    talk.later(300);
    assert!(talk.discover(3000).is_ok());

    // Nor does a crowd of offers take these records.
    let mut talk = Talk::<128>::new(network);
    let mut known = Vec::new();
    for client in 1..=20 {
        talk.later(1);
        known.push(talk.get(client));
    }
    talk.later(2 * HOUR);
    for client in 10_000..11_000 {
        talk.discover(client).unwrap();
    }
    for (client, address) in (1..=20).zip(&known).skip(8) {
        assert_eq!(talk.discover(client), Ok(format!("OFFER {address}")));
    }
    // Reservations in the range count for the share.
    let mut talk = Talk::<128>::new(network);
    for (client, last) in (1..=12).zip(100..) {
        talk.server.reserve(mac(client), ip(&format!("10.77.0.{last}"))).unwrap();
    }
    assert_eq!(flood(&mut talk, 10_000), 88);
    assert_eq!(talk.get(7), "10.77.0.106");
}

#[test]
fn a_decline_counts_from_the_client_that_has_the_address() {
    let mut talk = Talk::<8>::new(network());
    let address = talk.get_unseen(1);
    assert_eq!(talk.decline(2, &address), Err(NoReply::ForAnother));
    let offer = talk.discover(2).unwrap();
    let offered = offer.strip_prefix("OFFER ").unwrap();
    assert_eq!(talk.decline(2, offered), Err(NoReply::ForAnother), "only offered");
    talk.later(200);
    assert_eq!(talk.decline(1, &address), Err(NoReply::Declined(ip(&address))));
    assert_eq!(talk.decline(1, &address), Err(NoReply::ForAnother), "twice");
    assert_eq!(talk.select(2, &address), Ok("NAK 0.0.0.0".to_owned()));
    // The client was never seen, and blocks the address no longer than its lease.
    talk.later(101);
    assert_eq!(talk.select(2, &address), Ok(format!("ACK {address}")));
    // After the end of the lease.
    talk.later(301);
    assert_eq!(talk.decline(2, &address), Err(NoReply::ForAnother));
    // A DECLINE to another server.
    assert_eq!(talk.select(2, &address), Ok(format!("ACK {address}")));
    let options: [(OptionCode, &[u8]); 2] =
        [(OptionCode::REQUESTED_ADDRESS, &ip(&address).octets()), (OptionCode::SERVER_ID, &[10, 77, 0, 2])];
    let bytes = message(&Header::request(hardware(2), 1), MessageType::Decline, &options);
    assert_eq!(talk.say(&bytes), Err(NoReply::ForAnother));
}

#[test]
fn the_servers_addresses_are_never_given() {
    let mut network = range("10.77.0.1", "10.77.0.6");
    (network.router, network.name_server) = (Some(ip("10.77.0.2")), Some(ip("10.77.0.3")));
    let mut talk = Talk::<8>::new(network);
    assert_eq!(talk.server.exclude(ip("10.77.0.4")), Ok(()));
    assert_eq!(talk.server.exclude(ip("10.77.0.4")), Ok(()));
    assert_eq!(talk.server.exclude(ip("10.78.0.4")), Err(NotKept::Outside));
    assert_eq!(talk.server.reserve(mac(1), ip("10.77.0.4")), Err(NotKept::InUse));
    let mut given = [talk.get(1), talk.get(2)];
    given.sort_unstable();
    assert_eq!(given, ["10.77.0.5", "10.77.0.6"]);
    assert_eq!(talk.discover(3), Err(NoReply::Exhausted));
    for last in 1..=4 {
        let address = format!("10.77.0.{last}");
        assert_eq!(talk.select(3, &address), Ok("NAK 0.0.0.0".to_owned()));
        assert_eq!(talk.renew(3, &address), Err(NoReply::NoRecord));
        let lease = Lease::new(hardware(9), ip(&address), LeaseState::Bound, Instant::MAX);
        assert!(!talk.server.restore(lease));
    }
    assert_eq!(talk.server.leases().count(), 2);
}

#[test]
fn a_flood_of_offers_keeps_no_pi_from_its_lease() {
    let mut talk = Talk::<8>::new(network());
    let old = talk.get(1);
    talk.later(10);
    for client in 1000..101_000 {
        talk.discover(client).unwrap();
        assert!(talk.server.leases().count() <= 8);
    }
    // One that boots in the midst of it.
    let offer = talk.discover(2).unwrap();
    let address = offer.strip_prefix("OFFER ").unwrap();
    for client in 2000..2100 {
        talk.discover(client).unwrap();
    }
    assert_eq!(talk.select(2, address), Ok(format!("ACK {address}")));
    assert_eq!(talk.renew(1, &old), Ok(format!("ACK {old}")));
    for client in 3000..3100 {
        assert!(talk.select(client, address).unwrap().starts_with("NAK"));
    }
}

#[test]
fn informed_clients_get_no_address() {
    let mut talk = Talk::<8>::new(network());
    assert_eq!(talk.with_address(1, "10.77.0.7", MessageType::Inform), Ok("ACK 0.0.0.0".to_owned()));
    assert_eq!(talk.reply().lease_secs(), None);
    assert_eq!(talk.reply().option(OptionCode::SUBNET_MASK).unwrap().address(), Some(ip("255.255.255.0")));
    assert_eq!(talk.server.leases().count(), 0);
    // Not to be used to send something to anyone.
    assert_eq!(talk.with_address(1, "192.0.2.7", MessageType::Inform), Err(NoReply::OtherNetwork));
}

#[test]
fn relays_of_other_networks_get_nothing() {
    let mut talk = Talk::<8>::new(network());
    assert_eq!(talk.say(&captured("relay-discover")), Err(NoReply::OtherNetwork));
    for wrong in ["10.77.0.255", "10.77.0.0", "255.255.255.255", "127.0.0.1"] {
        let mut header = Header::request(hardware(1), 1);
        header.giaddr = ip(wrong);
        assert_eq!(
            talk.say(&message(&header, MessageType::Discover, &[])),
            Err(NoReply::OtherNetwork),
            "{wrong}"
        );
    }
    let mut header = Header::request(hardware(1), 1);
    header.giaddr = ip("10.77.0.9");
    assert!(talk.say(&message(&header, MessageType::Discover, &[])).is_ok());
    // > Server MUST set the broadcast bit in the DHCPNAK
    let options: [(OptionCode, &[u8]); 1] = [(OptionCode::REQUESTED_ADDRESS, &[192, 168, 1, 7])];
    assert_eq!(talk.say(&message(&header, MessageType::Request, &options)), Ok("NAK 0.0.0.0".to_owned()));
    assert!(talk.reply().header.broadcast());
}

#[test]
fn pxe_clients_and_u_boot_get_a_file_if_there_is_one() {
    let next_server = NextServer::new(ip("10.77.0.2")).with_file(BootFileName::parse(b"boot.efi").unwrap());
    let mut with_file = network();
    with_file.next_server = next_server;
    let mut talk = Talk::<8>::new(with_file);
    for (name, class) in [("edk2-discover", true), ("uboot-discover", false)] {
        assert!(talk.say(&captured(name)).is_ok());
        let reply = talk.reply();
        assert_eq!(reply.header.siaddr, ip("10.77.0.2"));
        assert_eq!(reply.boot_file().unwrap().to_string(), "boot.efi");
        assert_eq!(reply.is_pxe(), class, "{name}");
    }
    let mut talk = Talk::<8>::new(network());
    assert!(talk.say(&captured("edk2-discover")).is_ok());
    assert_eq!((talk.reply().boot_file(), talk.reply().is_pxe()), (None, false));
}

#[test]
fn leases_survive_a_restart() {
    let mut talk = Talk::<8>::new(network());
    let kept = [talk.get(1), talk.get(2)];
    let leases: Vec<Lease> = talk.server.leases().copied().collect();
    assert!(leases.iter().all(|lease| lease.state == LeaseState::Bound));

    let mut after = Talk::<8>::new(network());
    for lease in &leases {
        assert!(after.server.restore(*lease));
        assert!(!after.server.restore(*lease), "twice");
    }
    let mut elsewhere = leases[0];
    (elsewhere.address, elsewhere.hardware) = (ip("10.78.0.1"), hardware(9));
    assert!(!after.server.restore(elsewhere));
    assert_eq!([after.get(1), after.get(2)], kept);
}

#[test]
fn nobody_else_is_answered() {
    let mut talk = Talk::<8>::new(network());
    assert_eq!(talk.say(&captured("dnsmasq-plain")), Err(NoReply::NotAClient));
    let nameless = HardwareAddress::new(1, &[]).unwrap();
    let bytes = message(&Header::request(nameless, 1), MessageType::Discover, &[]);
    assert_eq!(talk.say(&bytes), Err(NoReply::NotAClient));
    let bytes = message(&Header::request(hardware(1), 1), MessageType::Offer, &[]);
    assert_eq!(talk.say(&bytes), Err(NoReply::NotAClient));
}

#[test]
fn a_reply_that_is_too_long_is_none() {
    let mut talk = Talk::<8>::new(network());
    let header = Header::request(hardware(1), 1);
    let mut bytes = message(&header, MessageType::Discover, &[(OptionCode::CLIENT_ID, &[7; 255])]);
    assert!(talk.say(&bytes).is_ok());
    // As no client that keeps to 548 bytes can say.
    bytes.truncate(240 + 3 + 257);
    bytes.extend([OptionCode::RELAY_AGENT.0, 255]);
    bytes.extend([7; 255]);
    assert_eq!(talk.say(&bytes), Err(NoReply::TooLong));
}

/// A message through a relay agent, with this option 82.
fn relayed(client: u32, agent: &str, information: &[u8]) -> Vec<u8> {
    let mut header = Header::request(hardware(client), 1);
    header.giaddr = ip(agent);
    message(&header, MessageType::Discover, &[(OptionCode::RELAY_AGENT, information)])
}

#[test]
fn a_relay_agent_chooses_the_network_of_its_client() {
    let mut network =
        Network::beyond(ip("10.77.0.1"), ip("10.98.0.0"), 24, ip("10.98.0.100"), ip("10.98.0.109")).unwrap();
    (network.clients, network.router) = (Clients::All, Some(ip("10.98.0.1")));
    let mut talk = Talk::<8>::new(network);
    assert!(talk.say(&relayed(1, "10.98.0.1", &[1, 1, 7])).unwrap().starts_with("OFFER 10.98.0.10"));
    let reply = talk.reply();
    assert!(reply.option(OptionCode::RELAY_AGENT).unwrap() == [1, 1, 7][..], "echoed");
    assert!(reply.option(OptionCode::ROUTER).unwrap() == [10, 98, 0, 1][..]);

    assert_eq!(talk.say(&relayed(2, "10.99.0.1", &[1, 1, 7])), Err(NoReply::OtherNetwork));
    // RFC 3527: the agent's address is in another network than its client.
    let selection = [1, 1, 7, 5, 4, 10, 98, 0, 0];
    assert!(talk.say(&relayed(2, "10.99.0.1", &selection)).is_ok());
    assert_eq!(talk.say(&relayed(3, "10.98.0.1", &[5, 4, 10, 97, 0, 0])), Err(NoReply::OtherNetwork));
    assert_eq!(talk.say(&relayed(3, "224.0.0.1", &selection)), Err(NoReply::OtherNetwork));
    assert_eq!(talk.say(&relayed(3, "10.98.0.255", &[])), Err(NoReply::OtherNetwork));
    // What is cut or too long is no selection.
    for broken in [&[5, 9, 10, 98][..], &[5], &[5, 3, 10, 97, 0]] {
        assert!(talk.say(&relayed(3, "10.98.0.1", broken)).is_ok(), "{broken:?}");
    }
}

#[test]
fn with_an_empty_range_reservations_alone_are_given() {
    let (first, last) = (ip("10.77.0.100"), ip("10.77.0.99"));
    let mut network = Network::beyond(ip("10.77.0.1"), ip("10.77.0.0"), 24, first, last).unwrap();
    network.clients = Clients::All;
    let mut talk = Talk::<8>::new(network);
    talk.server.reserve(mac(1), ip("10.77.0.9")).unwrap();
    assert_eq!(talk.get_unseen(1), "10.77.0.9");
    assert_eq!(talk.discover(2), Err(NoReply::Exhausted));
    assert_eq!(talk.renew(2, "10.77.0.50"), Err(NoReply::NoRecord));
    assert_eq!(talk.renew(1, "10.77.0.50"), Ok("NAK 0.0.0.0".into()), "its reservation is another address");
}

/// The other server has the same inventory. It may die at any time.
#[test]
fn a_reservation_taken_from_another_server_is_known_here() {
    let mut network = network();
    network.clients = Clients::Pi;
    let mut talk = Talk::<8>::new(network);
    let pi = Message::parse(&captured("pi4-discover")).unwrap().pi().unwrap().prefix().unwrap();
    talk.server.reserve(pi, ip("10.77.0.9")).unwrap();
    let (profile, mut out) = (Profile::Pi(pi4()), [0; MAX_LEN]);
    let selected = Selected::new(ip("10.77.0.9"), ip("10.77.0.2"));
    let len = profile.request(MAC, XID, 0, &selected, &mut out).unwrap();
    // This server may have missed the DISCOVER.
    assert_eq!(talk.say(&out[..len]), Err(NoReply::ForAnother));
    let changes = talk.server.changes();
    let lease = *talk.server.lease_of(&HardwareAddress::ethernet(MAC)).unwrap();
    assert_eq!((lease.address, lease.state, lease.reserved), (ip("10.77.0.9"), LeaseState::Released, true));
    assert!(changes > 0, "to be stored");

    // The kernel names no serial number.
    let len = Profile::Plain.discover(MAC, XID, 0, &mut out).unwrap();
    assert_eq!(talk.say(&out[..len]), Ok("OFFER 10.77.0.9".into()));
    let mut header = Header::request(HardwareAddress::ethernet(MAC), 1);
    header.ciaddr = ip("10.77.0.9");
    assert_eq!(talk.say(&message(&header, MessageType::Request, &[])), Ok("ACK 10.77.0.9".into()));
}

#[test]
fn the_lease_of_a_server_with_another_range_is_left_alone() {
    let mut talk = Talk::<8>::new(network());
    // Known here from an offer that it did not take.
    talk.discover(1).unwrap();
    assert_eq!(talk.renew(1, "10.77.0.200"), Err(NoReply::NoRecord));
    assert_eq!(talk.reboot(1, "10.77.0.200"), Err(NoReply::NoRecord));
    // It has another address here.
    talk.get(1);
    assert_eq!(talk.reboot(1, "10.77.0.200"), Ok("NAK 0.0.0.0".into()));
}

#[test]
fn bootp_is_named() {
    let mut talk = Talk::<8>::new(network());
    let mut bootp = message(&Header::request(hardware(1), 1), MessageType::Discover, &[]);
    let at = bootp.iter().rposition(|byte| *byte == 53).unwrap();
    bootp[at..at + 3].fill(0);
    assert_eq!(talk.say(&bootp), Err(NoReply::Bootp));
}
