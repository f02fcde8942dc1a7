//! The registry under hearsay: what each event makes known, and which client is believed to be a Pi, on a clock of the test's.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use pinetboot_core::dhcp::{HardwareAddress, MessageType};
use pinetboot_core::pi::boot::Seen;
use pinetboot_core::pi::{PiIdentity, Prefix, Stage};
use pinetboot_core::tftp::{Direction, ErrorCode, Options, Outcome};

#[path = "tests/bridge.rs"]
mod bridge;

use super::registry::Registry;
use super::*;
use crate::config::Settings;
use crate::events::{self, Dhcp, Fact, Finished, Network, Root, Tftp};

const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
const ONE: Prefix = Prefix::Serial(1);
const TWO: Prefix = Prefix::Serial(2);
const MAC_ONE: Mac = [2, 0, 0, 0, 0, 1];
const MAC_TWO: Mac = [2, 0, 0, 0, 0, 2];

/// A registry, and the time.
struct World {
    registry: Registry,
    now: Duration,
}

impl World {
    fn new() -> Self {
        Self { registry: Registry::default(), now: Duration::from_secs(1) }
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.registry.set_now(self.now);
    }

    /// What is due, on a server that has heard everything.
    fn tick(&mut self) -> Vec<(Subject, Option<Ipv4Addr>, Fact)> {
        let due = self.registry.due(self.now);
        self.registry.tick(self.now, due)
    }

    fn tell(&mut self, client: Ipv4Addr, fact: impl Into<Fact>) -> Vec<Fact> {
        self.registry.apply(self.now, Some(client), &fact.into()).follows
    }

    /// Whether that begins a boot.
    fn discover(&mut self, mac: Mac, serial: u32, xid: u32) -> Option<u32> {
        let (hardware, kind) = (HardwareAddress::ethernet(mac), Some(MessageType::Discover));
        let identity = PiIdentity::repeated(serial);
        began(&self.tell(Ipv4Addr::UNSPECIFIED, asked(hardware, kind, xid, identity)))
    }

    fn lease(&mut self, mac: Mac, address: Ipv4Addr) {
        self.tell(address, Dhcp::TookOther { hardware: HardwareAddress::ethernet(mac), address });
    }

    fn ask(&mut self, address: Ipv4Addr, file: &str) -> Vec<Fact> {
        let (peer, file, options) = (SocketAddrV4::new(address, 4000), file.to_owned(), Options::default());
        self.tell(address, Tftp::Requested { peer, direction: Direction::Read, file, options })
    }

    /// Asks for a file and gets it. What follows from both.
    fn fetch(&mut self, address: Ipv4Addr, mac: Option<Mac>, file: &str) -> Vec<Fact> {
        let mut follows = self.ask(address, file);
        let (peer, file) = (SocketAddrV4::new(address, 4000), file.to_owned());
        let finished = Finished {
            peer,
            mac,
            looked: true,
            direction: Direction::Read,
            file,
            outcome: Outcome::Complete { bytes: 100 },
            message: None,
            seconds: 0.1,
            bytes: 100,
            resent: 0,
            probe: false,
            lacks_last_ack: false,
        };
        follows.extend(self.tell(address, Tftp::Finished(finished)));
        follows
    }

    fn miss(&mut self, address: Ipv4Addr, file: &str) {
        self.ask(address, file);
        let refused = Tftp::Refused {
            peer: SocketAddrV4::new(address, 4000),
            direction: Direction::Read,
            file: file.to_owned(),
            code: ErrorCode::FILE_NOT_FOUND,
            answer: "file not found",
            place: None,
            cause: None,
            harmless: true,
            foreign: false,
        };
        self.tell(address, refused);
    }

    fn boot(&mut self, address: Ipv4Addr, mac: Option<Mac>, pi: Prefix) {
        self.fetch(address, mac, &format!("{pi}/config.txt"));
        self.fetch(address, mac, &format!("{pi}/kernel8.img"));
    }

    fn mount(&mut self, pi: Prefix, address: Ipv4Addr, mac: Option<Mac>) -> Result<Evidence, NotThatPi> {
        let evidence = self.check(pi, address, mac)?;
        self.tell(address, Root::Granted { pi });
        self.tell(address, Root::Active { pi });
        self.tell(address, Root::Mounted { pi, path: format!("/{pi}"), mac, evidence });
        Ok(evidence)
    }

    fn check(&self, pi: Prefix, address: Ipv4Addr, mac: Option<Mac>) -> Result<Evidence, NotThatPi> {
        self.registry.check(&Claim { pi, address, mac, handle: false, token: None })
    }

    fn check_handle(&self, pi: Prefix, address: Ipv4Addr, mac: Option<Mac>) -> Result<Evidence, NotThatPi> {
        self.registry.check(&Claim { pi, address, mac, handle: true, token: None })
    }

    fn inventory(&mut self, text: &str) {
        let settings: Settings = toml::from_str(&format!("tree = '/x'\n{text}")).unwrap();
        self.registry.set_inventory(Arc::new(settings.resolve().unwrap().inventory));
    }
}

/// A state file may hold any number.
#[test]
fn the_highest_number_of_a_boot_is_not_counted_up() {
    let mut world = World::new();
    let last = events::BootRecord { number: u32::MAX, began: u64::MAX, ..events::BootRecord::default() };
    let boots = vec![last];
    world.tell(HERE, Root::Remembered { pi: ONE, address: Some(HERE), mac: Some(MAC_ONE), boots });
    assert_eq!(began(&world.ask(HERE, &format!("{ONE}/config.txt"))), Some(u32::MAX));
}

fn asked(
    hardware: HardwareAddress,
    kind: Option<MessageType>,
    xid: u32,
    identity: Option<PiIdentity>,
) -> Dhcp {
    Dhcp::Asked { hardware, kind, xid, identity, relayed: false, has_duid: false, is_boot_code: false }
}

/// The number of a boot that begins.
fn began(facts: &[Fact]) -> Option<u32> {
    facts.iter().find_map(|fact| match fact {
        Fact::Boot(events::Boot::Began { number, .. }) => Some(*number),
        _ => None,
    })
}

fn alive(at: Ipv4Addr, ago: u64, in_doubt: bool) -> Result<Evidence, NotThatPi> {
    Err(NotThatPi::Alive { at, ago, in_doubt, in_use: true })
}

#[test]
fn a_fetch_of_the_first_files_is_no_evidence_and_a_kernel_is() {
    let mut world = World::new();
    assert_eq!(world.check(ONE, HERE, None), Err(NotThatPi::Unknown));
    world.fetch(HERE, None, "00000001/config.txt");
    assert_eq!(world.check(ONE, HERE, None), Err(NotThatPi::NotBooted));
    // Whatever config.txt may name, known to the tables of boot files or not.
    for (number, kernel) in
        ["Image", "boot.scr", "mykernel.bin", "kernel8.img", "RPI_EFI.fd"].iter().enumerate()
    {
        let address = Ipv4Addr::new(192, 0, 2, 100 + number as u8);
        let pi = Prefix::Serial(100 + number as u32);
        world.fetch(address, None, &format!("{pi}/{kernel}"));
        assert_eq!(world.check(pi, address, None), Ok(Evidence::Fetched), "{kernel}");
    }
}

#[test]
fn a_root_in_use_is_lost_by_no_fetch_and_no_forged_dhcp() {
    let mut world = World::new();
    world.boot(HERE, Some(MAC_ONE), ONE);
    world.mount(ONE, HERE, Some(MAC_ONE)).unwrap();
    // Any user of the Pi fetches another name, to the kernel.
    world.boot(HERE, Some(MAC_ONE), TWO);
    assert_eq!(world.check_handle(ONE, HERE, Some(MAC_ONE)), Ok(Evidence::Mount));
    assert_eq!(world.registry.name_at(HERE), Some(ONE));
    // Two forged broadcasts claim its address for another board.
    world.discover(MAC_TWO, 2, 77);
    world.lease(MAC_TWO, HERE);
    assert_eq!(world.check_handle(ONE, HERE, Some(MAC_ONE)), Ok(Evidence::Mount));
    assert_eq!(world.check(ONE, HERE, Some(MAC_ONE)), Ok(Evidence::Mount), "it may mount once more");
    assert_eq!(world.registry.name_at(HERE), Some(ONE));
    // However quiet it is, and whether the kernel knows its MAC address or not.
    world.later(10 * SILENT.as_secs());
    assert_eq!(world.check_handle(ONE, HERE, Some(MAC_ONE)), Ok(Evidence::SameAdapter));
    assert_eq!(world.check_handle(ONE, HERE, None), Ok(Evidence::Mount));
    assert_eq!(world.check_handle(ONE, HERE, Some(MAC_TWO)), Err(NotThatPi::OtherBoard(MAC_ONE, MAC_TWO)));
}

#[test]
fn dhcp_of_another_server_does_not_make_a_host_the_same_board() {
    let mut world = World::new();
    world.boot(HERE, Some(MAC_ONE), ONE);
    world.mount(ONE, HERE, Some(MAC_ONE)).unwrap();
    // A host behind a router, whose MAC address the kernel does not know, and a forged REQUEST for its address.
    world.discover(MAC_ONE, 1, 99);
    world.lease(MAC_ONE, THERE);
    assert_eq!(world.check(ONE, THERE, None), alive(HERE, 0, true));
    assert_eq!(world.check_handle(ONE, THERE, None), alive(HERE, 0, true));
    let leased = Dhcp::Leased { hardware: HardwareAddress::ethernet(MAC_ONE), address: THERE };
    world.tell(THERE, leased);
    assert_eq!(
        world.check_handle(ONE, THERE, None),
        Ok(Evidence::SameAdapter),
        "this server gave it the address"
    );
}

#[test]
fn a_mac_address_alone_makes_no_layer() {
    let mut world = World::new();
    let pi = Prefix::Mac(MAC_TWO);
    assert_eq!(world.check(pi, HERE, Some(MAC_TWO)), Err(NotThatPi::Unknown));
    world.lease(MAC_TWO, HERE);
    assert_eq!(world.check(pi, HERE, Some(MAC_TWO)), Ok(Evidence::Dhcp));
}

#[test]
fn another_address_gets_nothing_of_a_pi_that_is_up() {
    let mut world = World::new();
    world.boot(HERE, Some(MAC_ONE), ONE);
    world.mount(ONE, HERE, Some(MAC_ONE)).unwrap();
    world.later(10);
    // The third host fetches all that a Pi would.
    world.boot(THERE, Some(MAC_TWO), ONE);
    assert_eq!(world.check(ONE, THERE, Some(MAC_TWO)), alive(HERE, 10, false));
    assert_eq!(world.check_handle(ONE, THERE, Some(MAC_TWO)), alive(HERE, 10, false));
    let claim = Claim { pi: ONE, address: THERE, mac: Some(MAC_TWO), handle: false, token: None };
    assert!(world.registry.is_elsewhere(&claim).is_some(), "nor what is rendered for the Pi");
    // It may be the Pi, behind a router: a client that has a handle is told to wait.
    assert_eq!(world.check_handle(ONE, THERE, None), alive(HERE, 10, true));
    assert!(world.check_handle(ONE, THERE, None).unwrap_err().in_doubt());
    // The same board with another lease goes on at once.
    assert_eq!(world.check_handle(ONE, THERE, Some(MAC_ONE)), Ok(Evidence::SameAdapter));
    // With a sign of life every now and then it stays so.
    for _ in 0..10 {
        world.later(30);
        world.tell(HERE, Root::Active { pi: ONE });
    }
    assert_eq!(world.check(ONE, THERE, Some(MAC_TWO)), alive(HERE, 0, false));
}

#[test]
fn beyond_a_router_a_pi_may_fetch_from_another_address_while_it_boots() {
    let mut world = World::new();
    world.discover(MAC_ONE, 1, 1);
    world.lease(MAC_ONE, HERE);
    let why = |world: &World, mac| {
        let claim = Claim { pi: ONE, address: THERE, mac, handle: false, token: None };
        world.registry.is_elsewhere(&claim)
    };
    assert!(why(&world, None).unwrap().may_be_booting());
    assert!(!why(&world, Some(MAC_TWO)).unwrap().may_be_booting(), "another board, as the kernel knows");
    assert!(world.check(ONE, THERE, None).is_err(), "files are sent, a root is not");
    // Nor does the client take the command line from the Pi, which fetched it a moment ago.
    for client in [HERE, THERE] {
        world.fetch(client, None, "00000001/config.txt");
        let (file, changes, unknown) = (String::from("cmdline.txt"), None, Vec::new());
        world.tell(client, events::Boot::Rendered { pi: Some(ONE), token: true, file, changes, unknown });
    }
    assert_eq!(world.registry.pi(ONE).unwrap().boot.as_ref().unwrap().rendered_to(), Some(HERE));
    world.boot(HERE, None, ONE);
    world.mount(ONE, HERE, None).unwrap();
    assert!(!why(&world, None).unwrap().may_be_booting(), "the root is in use");
}

#[test]
fn after_a_silence_a_pi_may_be_elsewhere_but_not_another_board() {
    let mut world = World::new();
    world.boot(HERE, None, ONE);
    world.mount(ONE, HERE, None).unwrap();
    world.later(SILENT.as_secs());
    assert_eq!(world.check_handle(ONE, THERE, None), Ok(Evidence::Mount), "behind a router");

    let mut world = World::new();
    world.boot(HERE, Some(MAC_ONE), ONE);
    world.mount(ONE, HERE, Some(MAC_ONE)).unwrap();
    world.later(100 * SILENT.as_secs());
    world.boot(THERE, Some(MAC_TWO), ONE);
    let other = Err(NotThatPi::OtherBoard(MAC_ONE, MAC_TWO));
    assert_eq!(world.check(ONE, THERE, Some(MAC_TWO)), other);
    assert_eq!(world.check_handle(ONE, THERE, Some(MAC_TWO)), other);
    world.inventory("[pi.00000001]\naddress = '192.0.2.8'");
    assert_eq!(world.check(ONE, THERE, Some(MAC_TWO)), Ok(Evidence::Inventory), "the owner knows better");
}

#[test]
fn what_was_proven_before_a_restart_holds_after_it() {
    let mut world = World::new();
    let remembered = |address| Root::Remembered { pi: ONE, address, mac: Some(MAC_ONE), boots: Vec::new() };
    world.tell(HERE, remembered(Some(HERE)));
    assert_eq!(world.check_handle(ONE, HERE, Some(MAC_ONE)), Ok(Evidence::Mount));
    world.boot(THERE, Some(MAC_TWO), ONE);
    assert_eq!(world.check(ONE, THERE, Some(MAC_TWO)), alive(HERE, 0, false));
    assert_eq!(world.check_handle(ONE, THERE, Some(MAC_ONE)), Ok(Evidence::SameAdapter));
}

#[test]
fn the_inventory_goes_before_all() {
    let mut world = World::new();
    world.inventory("[pi.00000001]\naddress = '192.0.2.7'\nname = 'kitchen'");
    world.boot(HERE, None, TWO);
    assert_eq!(world.registry.name_at(HERE), Some(ONE));
    assert_eq!(world.check(ONE, HERE, None), Ok(Evidence::Inventory));
    assert_eq!(world.check(TWO, HERE, None), Err(NotThatPi::Other(ONE)));
    world.boot(THERE, None, ONE);
    assert_eq!(world.check(ONE, THERE, None), Err(NotThatPi::Elsewhere(HERE)));
    assert_eq!(world.registry.display_name(Subject::Pi(ONE)).as_deref(), Some("kitchen"));
    assert_eq!(world.registry.display_name(Subject::Pi(TWO)).as_deref(), Some("00000002"));
}

#[test]
fn dhcp_outranks_what_was_fetched() {
    let mut world = World::new();
    // A host that fetched the Pi's files is not yet the Pi when the board itself asks by DHCP.
    world.boot(THERE, Some(MAC_TWO), ONE);
    world.discover(MAC_ONE, 1, 5);
    world.lease(MAC_ONE, HERE);
    assert_eq!(world.registry.name_at(HERE), Some(ONE));
    assert_eq!(world.check(ONE, HERE, Some(MAC_ONE)), Ok(Evidence::Dhcp));
    let booting = NotThatPi::Alive { at: HERE, ago: 0, in_doubt: false, in_use: false };
    assert_eq!(world.check(ONE, THERE, Some(MAC_TWO)), Err(booting));
    assert_eq!(world.check(Prefix::Mac(MAC_ONE), HERE, Some(MAC_ONE)), Ok(Evidence::Dhcp), "its other name");
}

#[test]
fn a_boot_rom_that_says_nothing_is_known_by_what_it_asks_for() {
    let mut world = World::new();
    let (hardware, kind) = (HardwareAddress::ethernet(MAC_ONE), Some(MessageType::Discover));
    let identity = Some(PiIdentity::BOOT_ROM);
    world.tell(HERE, asked(hardware, kind, 0x26f3_0339, identity));
    world.lease(MAC_ONE, HERE);
    world.boot(HERE, Some(MAC_ONE), ONE);
    assert!(world.check(ONE, HERE, Some(MAC_ONE)).is_ok());
}

#[test]
fn two_boards_of_one_serial_number_are_two_pis() {
    let mut world = World::new();
    world.discover(MAC_ONE, 1, 5);
    world.lease(MAC_ONE, HERE);
    world.boot(HERE, Some(MAC_ONE), ONE);
    world.mount(ONE, HERE, Some(MAC_ONE)).unwrap();

    let (hardware, kind) = (HardwareAddress::ethernet(MAC_TWO), Some(MessageType::Discover));
    let follows = world.tell(THERE, asked(hardware, kind, 6, PiIdentity::repeated(1)));
    let same = follows.iter().find_map(|fact| match fact {
        Fact::Boot(events::Boot::SameSerial { owner, other, apart, .. }) => Some((*owner, *other, *apart)),
        _ => None,
    });
    let apart = Prefix::Mac(MAC_TWO);
    assert_eq!(same, Some((MAC_ONE, MAC_TWO, apart)));
    world.lease(MAC_TWO, THERE);
    world.boot(THERE, Some(MAC_TWO), ONE);
    assert_eq!(
        world.registry.boot_of(THERE, Some(ONE)).pi,
        Some(apart),
        "it asks by the serial number all the same"
    );
    assert_eq!(world.registry.boot_of(HERE, Some(ONE)).pi, Some(ONE));
    assert!(world.mount(apart, THERE, Some(MAC_TWO)).is_ok());
    assert_eq!(world.check(ONE, THERE, Some(MAC_TWO)), alive(HERE, 0, false));
    assert_eq!(world.check_handle(ONE, HERE, Some(MAC_ONE)), Ok(Evidence::Mount));

    // After a restart, whichever board comes first.
    let mut world = World::new();
    for (pi, address, mac) in [(ONE, HERE, MAC_ONE), (apart, THERE, MAC_TWO)] {
        world.tell(
            address,
            Root::Remembered { pi, address: Some(address), mac: Some(mac), boots: Vec::new() },
        );
    }
    world.discover(MAC_TWO, 1, 7);
    world.lease(MAC_TWO, THERE);
    assert_eq!(world.registry.boot_of(THERE, Some(ONE)).pi, Some(apart));
}

#[test]
fn a_reboot_within_seconds_is_another_boot() {
    let mut world = World::new();
    assert_eq!(world.discover(MAC_ONE, 1, 5), Some(1));
    world.later(4);
    assert_eq!(world.discover(MAC_ONE, 1, 5), None, "the question is repeated");
    world.later(4);
    assert_eq!(world.discover(MAC_ONE, 1, 6), None, "asked anew, and nothing was asked for by TFTP yet");
    world.lease(MAC_ONE, HERE);
    world.miss(HERE, "00000001/bcm2712-rpi-5-b.dtb");
    world.later(8);
    assert_eq!(world.discover(MAC_ONE, 1, 7), Some(2));

    // Without DHCP: the first stage after a kernel, and not the six times before it.
    let mut world = World::new();
    assert_eq!(began(&world.ask(HERE, "00000002/config.txt")), Some(1));
    for _ in 0..5 {
        assert_eq!(began(&world.fetch(HERE, None, "00000002//config.txt")), None);
    }
    world.later(300);
    assert_eq!(began(&world.fetch(HERE, None, "00000002/kernel8.img")), None, "however long it took");
    assert_eq!(began(&world.fetch(HERE, None, "00000002/kernel8.img")), None, "twice, as was captured");
    assert_eq!(began(&world.ask(HERE, "00000002/config.txt")), Some(2));
    let records = world.registry.pi(TWO).unwrap().records();
    assert_eq!(
        records.iter().map(|boot| (boot.number, boot.kernel)).collect::<Vec<_>>(),
        [(1, true), (2, false)]
    );
}

#[test]
fn a_kernel_that_asks_by_dhcp_shows_that_it_runs() {
    let mut world = World::new();
    world.discover(MAC_ONE, 1, 5);
    world.lease(MAC_ONE, HERE);
    let asks = |world: &mut World| {
        let (hardware, kind) = (HardwareAddress::ethernet(MAC_ONE), Some(MessageType::Discover));
        world.tell(HERE, asked(hardware, kind, 99, None))
    };
    assert_eq!(asks(&mut world), [], "not before it has one");
    world.boot(HERE, Some(MAC_ONE), ONE);
    world.later(7);
    assert_eq!(asks(&mut world), [events::Boot::KernelAsks { seconds: 7.0 }.into()]);
    assert_eq!(asks(&mut world), [], "its REQUEST, and userspace");
}

#[test]
fn last_boots_are_bounded() {
    let mut world = World::new();
    for xid in 0..100 {
        world.discover(MAC_ONE, 1, xid);
        world.ask(HERE, "00000001/config.txt");
    }
    let boots = world.registry.pi(ONE).unwrap().records();
    assert_eq!((boots.len(), boots.last().unwrap().number), (9, 100));
}

#[test]
fn a_token_is_for_the_boot_and_the_address_that_fetched_it() {
    let mut world = World::new();
    world.boot(HERE, Some(MAC_ONE), ONE);
    let rendered = |world: &mut World| {
        let (file, changes, unknown) = (String::from("cmdline.txt"), None, Vec::new());
        world.tell(HERE, events::Boot::Rendered { pi: Some(ONE), token: true, file, changes, unknown });
        world.registry.pi(ONE).unwrap().boot.as_ref().unwrap().nonce
    };
    let nonce = rendered(&mut world);
    let check = |world: &World, address, mac, token| {
        world.registry.check(&Claim { pi: ONE, address, mac, handle: false, token })
    };
    let good = Some(Token::Good(nonce));
    assert_eq!(check(&world, HERE, Some(MAC_ONE), good), Ok(Evidence::Fetched));
    // All that a server that was started anew in between has to go by.
    assert_eq!(check(&World::new(), HERE, None, good), Ok(Evidence::Fetched));
    assert_eq!(check(&World::new(), HERE, None, Some(Token::Wrong)), Err(NotThatPi::Token));
    for token in [Some(Token::Wrong), Some(Token::Good(nonce + 1)), Some(Token::Good(nonce - 1))] {
        assert_eq!(check(&world, HERE, Some(MAC_ONE), token), Err(NotThatPi::Token), "{token:?}");
    }
    assert_eq!(check(&world, HERE, Some(MAC_ONE), None), Ok(Evidence::Fetched), "it has the command line");
    assert_eq!(
        check(&world, HERE, Some(MAC_TWO), None),
        Err(NotThatPi::Token),
        "the address went to another board"
    );
    assert_eq!(
        check(&world, THERE, Some(MAC_ONE), good),
        Ok(Evidence::Fetched),
        "the kernel has another lease"
    );
    world.boot(THERE, Some(MAC_TWO), ONE);
    assert!(check(&world, THERE, Some(MAC_TWO), good).is_err());
    // The next boot has another, though it begins in the same second.
    world.boot(HERE, Some(MAC_ONE), ONE);
    let next = rendered(&mut world);
    assert_ne!(next, nonce);
    assert_eq!(check(&world, HERE, Some(MAC_ONE), good), Err(NotThatPi::Token));
    assert_eq!(check(&world, HERE, Some(MAC_ONE), Some(Token::Good(next))), Ok(Evidence::Fetched));
}

#[test]
fn a_boot_that_finds_none_of_several_files_is_told_once() {
    let mut world = World::new();
    world.fetch(HERE, None, "00000001/config.txt");
    world.miss(HERE, "00000001/kernel_2712.img");
    world.miss(HERE, "00000001/kernel8.img");
    assert!(world.registry.deadline() < Duration::MAX);
    world.later(9);
    assert_eq!(world.tick(), []);
    world.later(2);
    let stopped = world.tick();
    let [(subject, address, Fact::Boot(events::Boot::Stuck { verdict, details, .. }))] = &stopped[..] else {
        panic!("{stopped:?}")
    };
    assert_eq!(
        (*subject, *address, verdict.seen),
        (Subject::Pi(ONE), Some(HERE), Seen::Missing(Stage::Kernel))
    );
    assert_eq!(verdict.rules(), [20]);
    assert_eq!(details, &["kernel_2712.img", "kernel8.img"]);
    assert_eq!(world.registry.deadline(), Duration::MAX);

    // One of them is enough.
    world.fetch(HERE, None, "00000001/config.txt");
    world.miss(HERE, "00000001/kernel_2712.img");
    world.fetch(HERE, None, "00000001/kernel8.img");
    world.later(100);
    assert_eq!(world.tick(), []);
}

/// Requests of two Pis from one address, whose transfers stand still at 0 bytes: a cluster translates addresses.
#[test]
fn pis_behind_one_address_are_told_from_a_firewall() {
    let stalled = |world: &mut World| {
        let peer = SocketAddrV4::new(HERE, 4000);
        let file = "00000001/config.txt".to_owned();
        world.tell(HERE, Tftp::Stalled { peer, file, bytes: 0, block_size: 1468, after: Duration::ZERO });
        let late = world.tick();
        let [(_, _, Fact::Boot(events::Boot::Stuck { verdict, .. }))] = &late[..] else { panic!("{late:?}") };
        verdict.rules().to_vec()
    };
    let mut world = World::new();
    world.ask(HERE, "00000002/config.txt");
    world.ask(HERE, "00000001/config.txt");
    assert_eq!(stalled(&mut world), [59, 16]);
    // The address of a Pi that was switched off is another's now.
    let mut world = World::new();
    world.ask(HERE, "00000002/config.txt");
    world.later(600);
    world.ask(HERE, "00000001/config.txt");
    assert_eq!(stalled(&mut world), [16]);
}

/// A thousand boots, each with a deadline: the earliest one is known without a look at the others.
#[test]
fn what_a_system_says_is_of_the_boot_that_fetched_from_its_address() {
    let mut world = World::new();
    world.boot(HERE, None, ONE);
    // No bootloader has sent a DHCP message with this MAC address.
    let hardware = HardwareAddress::ethernet(MAC_ONE);
    let line = "pinetboot-init: the server refuses the disk [rule 98]".to_owned();
    world.tell(HERE, Network::Console { hardware, line, rule: Some(98) });
    world.later(11);
    let told = world.tick();
    let [(subject, _, Fact::Boot(events::Boot::Stuck { verdict, .. }))] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((*subject, verdict.seen, verdict.rules()), (Subject::Pi(ONE), Seen::Console, &[98][..]));
}

#[test]
fn deadlines_of_a_thousand_boots_pass_in_order() {
    let mut world = World::new();
    for number in 0..1000_u32 {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + number);
        world.fetch(address, None, &format!("{}/config.txt", Prefix::Serial(number)));
        world.miss(address, &format!("{}/kernel8.img", Prefix::Serial(number)));
        world.now += Duration::from_millis(10);
    }
    let first = world.registry.deadline();
    world.now = first;
    let late = world.tick();
    assert_eq!(late.len(), 1, "{late:?}");
    assert!(matches!(late[0].2, Fact::Boot(events::Boot::Stuck { .. })));
    world.later(60);
    assert_eq!(world.tick().len(), 999);
    assert_eq!(world.registry.deadline(), Duration::MAX);
}

#[test]
fn a_flood_of_made_up_names_displaces_no_pi_that_is_up() {
    let mut world = World::new();
    world.boot(HERE, Some(MAC_ONE), ONE);
    world.mount(ONE, HERE, Some(MAC_ONE)).unwrap();
    for number in 0..10_000_u32 {
        let [_, _, c, d] = number.to_be_bytes();
        let address = Ipv4Addr::new(10, 0, c, d);
        world.now += Duration::from_micros(10);
        // Requests whose sender may be made up, and now and then a client that is there.
        world.ask(address, &format!("{}/config.txt", Prefix::Serial(1000 + number)));
        if number % 100 == 99 {
            world.boot(address, None, Prefix::Serial(1000 + number));
        }
        world.discover([2, 9, 9, 9, c, d], 100_000 + number, number);
        world.lease([2, 9, 9, 9, c, d], address);
    }
    assert_eq!(world.check_handle(ONE, HERE, Some(MAC_ONE)), Ok(Evidence::Mount));
    assert_eq!(world.registry.name_at(HERE), Some(ONE));
    // So are those that were there, the first as well as the last.
    assert!(world.check(Prefix::Serial(1099), Ipv4Addr::new(10, 0, 0, 99), None).is_ok());
    assert!(world.check(Prefix::Serial(10_999), Ipv4Addr::new(10, 0, 0x27, 0x0f), None).is_ok());
}

#[test]
fn a_refusal_is_told_once_a_minute() {
    let mut world = World::new();
    let refused =
        |pi| Root::MountRefused { pi, path: "/x".into(), why: "no".into(), failed: false, not_found: false };
    let again = |world: &mut World, client, pi| {
        world.registry.apply(world.now, Some(client), &refused(pi).into()).again
    };
    assert!(!again(&mut world, HERE, Some(ONE)));
    assert!(again(&mut world, HERE, Some(ONE)));
    assert!(!again(&mut world, HERE, Some(TWO)) && !again(&mut world, THERE, Some(ONE)));
    world.later(61);
    assert!(!again(&mut world, HERE, Some(ONE)));
}

#[test]
fn a_mount_that_is_taken_back_proves_nothing() {
    let mut world = World::new();
    let take_back = |world: &mut World, address| world.tell(address, Root::Unmounted { pi: ONE });
    // A trial, then the Pi itself at once, with another MAC address.
    world.boot(HERE, Some(MAC_TWO), ONE);
    world.mount(ONE, HERE, Some(MAC_TWO)).unwrap();
    take_back(&mut world, HERE);
    world.boot(THERE, Some(MAC_ONE), ONE);
    world.mount(ONE, THERE, Some(MAC_ONE)).unwrap();
    let known = world.registry.pi(ONE).unwrap().clone();
    assert_eq!((known.mac, known.mac_proven), (Some(MAC_ONE), true));

    // Only the client of the last mount takes it back, and only once.
    take_back(&mut world, HERE);
    assert_eq!(world.registry.pi(ONE).unwrap().presence, known.presence);
    // A trial at the Pi's own address leaves the Pi its root.
    world.mount(ONE, THERE, Some(MAC_ONE)).unwrap();
    take_back(&mut world, THERE);
    take_back(&mut world, THERE);
    assert_eq!(world.registry.pi(ONE).unwrap().presence, known.presence);
    assert!(world.check(ONE, HERE, Some(MAC_TWO)).is_err());
}
