//! The log of a recorded list of events, as text: the place to read the log's words, and the effect of a change on them.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pinetboot_core::Instant;
use pinetboot_core::dhcp::{HardwareAddress, NoReply};
use pinetboot_core::pi::boot::{self as machine, Boot as Machine, Hearing, Verdict};
use pinetboot_core::pi::{PiIdentity, Prefix, Stage};
use pinetboot_core::tftp::{Direction, ErrorCode, Options, Outcome};
use tracing::Level;

use super::Log;
use crate::events::{
    Boot, Cause, Dhcp, Event, Evidence, Fact, Finished, LayerSize, Listener, Nfs, Root, Server, Shortage,
    Tftp, Transfers,
};
use crate::net::Lack;

/// The output.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that these events make, with their levels.
fn log(events: &[Event], level: Level) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(move || writer.clone())
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .fmt_fields(crate::logging::message_only())
        .finish();
    let log = Log::default();
    tracing::subscriber::with_default(subscriber, || events.iter().for_each(|event| log.listen(event)));
    let text = lines.0.lock().unwrap().clone();
    String::from_utf8(text).unwrap().lines().map(str::trim_start).collect::<Vec<_>>().join("\n")
}

const HERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 113);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 200);
const KITCHEN: Prefix = Prefix::Serial(0xbd98_9ae1);

fn event(client: Option<Ipv4Addr>, pi: Option<&str>, fact: impl Into<Fact>) -> Event {
    Event { at: Duration::ZERO, pi: pi.map(Into::into), boot: None, client, again: false, fact: fact.into() }
}

fn finished(file: &str, outcome: Outcome, bytes: u64, message: Option<&str>) -> Event {
    let finished = Finished {
        peer: SocketAddrV4::new(HERE, 4000),
        mac: None,
        looked: false,
        direction: Direction::Read,
        file: file.into(),
        outcome,
        message: message.map(Into::into),
        seconds: 0.5,
        bytes,
        resent: 0,
        probe: false,
        lacks_last_ack: false,
    };
    event(Some(HERE), Some("kitchen"), Tftp::Finished(finished))
}

/// What the boot machine says of a Pi that finds no kernel.
fn no_kernel() -> Verdict {
    let mut boot = Machine::new(Hearing::TFTP);
    boot.step(&machine::Event::FileAsked { path: "config.txt" }, Instant::ZERO);
    boot.step(&machine::Event::FileSent { path: "config.txt" }, Instant::ZERO);
    boot.step(&machine::Event::FileMissing { path: "kernel8.img", own_directory: false }, Instant::ZERO);
    boot.step(&machine::Event::Tick, boot.deadline()).verdict.unwrap()
}

/// A boot from DHCP to the root, and a third host that wants the root, too.
fn recorded() -> Vec<Event> {
    let hardware = HardwareAddress::ethernet([0xd8, 0x3a, 0xdd, 0xe8, 0x27, 0x1e]);
    let identity = PiIdentity::parse(b"\x00RPi5\x70\x41\xd0\x00\xdd\xe8\x27\x1e\xe1\x9a\x98\xbd").unwrap();
    let kitchen = |fact: Fact| event(Some(HERE), Some("kitchen"), fact);
    let peer = SocketAddrV4::new(HERE, 4000);
    let requested = |file: &str| {
        let (file, options, direction) = (file.into(), Options::default(), Direction::Read);
        kitchen(Tftp::Requested { peer, direction, file, options }.into())
    };
    let cause = Cause::Discover { hardware: hardware.to_string(), identity };
    let missing = Tftp::Refused {
        peer,
        direction: Direction::Read,
        file: "bd989ae1/bcm2712-rpi-5-b.dtb".into(),
        code: ErrorCode::FILE_NOT_FOUND,
        answer: "file not found",
        place: Some("/srv/tftp/bcm2712-rpi-5-b.dtb".into()),
        cause: Some("No such file or directory".into()),
        harmless: false,
        foreign: false,
    };
    let refused = |again| {
        let why = String::from("that Pi is up at 10.9.0.113, last heard 3 s ago");
        let refused = Root::MountRefused {
            pi: Some(KITCHEN),
            path: "/bd989ae1".into(),
            why,
            failed: false,
            not_found: false,
        };
        Event { again, ..event(Some(THERE), None, refused) }
    };
    vec![
        event(None, Some("kitchen"), Boot::Began { number: 3, by: cause }),
        event(Some(HERE), Some("kitchen"), Dhcp::Leased { hardware, address: HERE }),
        requested("bd989ae1/config.txt"),
        finished("bd989ae1/config.txt", Outcome::Complete { bytes: 51 }, 51, None),
        kitchen(Boot::Stage { stage: Stage::Config, seconds: 0.1 }.into()),
        kitchen(Boot::HasAddress { address: HERE }.into()),
        kitchen(missing.into()),
        kitchen(
            Boot::Rendered {
                pi: Some(KITCHEN),
                token: true,
                file: "cmdline.txt".into(),
                changes: Some("root=/dev/nfs instead of root=PARTUUID=1-02".into()),
                unknown: vec!["mac"],
            }
            .into(),
        ),
        kitchen(
            Boot::Stuck {
                number: 3,
                verdict: no_kernel(),
                seconds: 10.0,
                details: vec!["kernel_2712.img".into(), "kernel8.img".into()],
            }
            .into(),
        ),
        kitchen(Boot::GoesOn { number: 3, verdict: no_kernel(), seconds: 31.0 }.into()),
        finished("bd989ae1/kernel_2712.img", Outcome::PeerError(ErrorCode::DISK_FULL), 3000, Some("no room")),
        finished("bd989ae1/kernel_2712.img", Outcome::Complete { bytes: 3_000_000 }, 3_000_000, None),
        kitchen(
            Boot::KernelSent {
                number: 3,
                files: 2,
                bytes: 3_000_051,
                seconds: 0.4,
                since_dhcp: Some(2.9),
                dhcp_unused: false,
                largest: vec!["kernel_2712.img".into(), "initramfs_2712".into()],
                missing: 3,
                wanted: vec!["cmdline.txt".into()],
                resent: 0,
            }
            .into(),
        ),
        kitchen(Boot::KernelAsks { seconds: 7.0 }.into()),
        kitchen(
            Root::LayerMade { pi: KITCHEN, image: "trixie".into(), host_name: "kitchen".into(), kept: None }
                .into(),
        ),
        kitchen(
            Root::Mounted { pi: KITCHEN, path: "/bd989ae1-1".into(), mac: None, evidence: Evidence::Dhcp }
                .into(),
        ),
        kitchen(Root::Active { pi: KITCHEN }.into()),
        kitchen(Boot::Up { seconds: 23.2 }.into()),
        refused(false),
        refused(true),
        event(None, None, Dhcp::Unanswered { hardware, why: NoReply::Exhausted }),
        event(
            Some(THERE),
            None,
            Nfs::CallRefused {
                peer: SocketAddrV4::new(THERE, 700),
                program: 100_003,
                version: 4,
                procedure: 0,
                why: "NFS version 4 is not served, only 3 to 3".into(),
                remedy: Some(
                    "Write vers=3 into the mount options of the command line (nfsroot=..,vers=3)".into(),
                ),
            },
        ),
        finished("bd989ae1/initramfs_2712", Outcome::Displaced, 0, None),
        finished("bd989ae1/initramfs_2712", Outcome::Displaced, 2000, None),
        event(None, None, Tftp::Unanswered { requests: 12, seconds: 10 }),
        event(None, None, Server::Stopped(Transfers { open: 2, rejected: 5 })),
    ]
}

#[test]
fn a_thread_or_loop_that_fails_is_named() {
    let (thread, threads) = (String::from("tftp 1"), vec!["tftp 0".into(), "tftp 1".into()]);
    let (within, interval) = (Duration::from_secs(4), Duration::from_millis(1500));
    let facts = [
        Server::NoNotify { error: "No such file or directory".into() },
        Server::ThreadEnded { thread: thread.clone(), why: "panicked".into() },
        Server::StopOverdue { service: "tftp", threads, within },
        Server::StopOverdue { service: "", threads: vec!["main".into()], within },
        Server::LoopStalled { thread: thread.clone(), interval },
        Server::LoopTurns { thread },
    ];
    let expected = "\
WARN no notification to the service manager, NOTIFY_SOCKET or PINETBOOT_HEALTH cannot be used: No such file or directory
ERROR thread tftp 1 panicked: the server stops. Restart the server, and report a panic with the lines above
ERROR tftp did not end within 4 s of the stop: the process ends without threads tftp 0, tftp 1
ERROR the start did not end within 4 s of the stop: the process ends without thread main
ERROR loop tftp 1 did not turn for 1.5 s: the service manager's watchdog gets no notification
INFO loop tftp 1 turns again";
    assert_eq!(log(&facts.map(|fact| event(None, None, fact)), Level::INFO), expected);
}

#[test]
fn the_user_of_the_server_and_what_the_sandbox_lacks_are_named() {
    let facts = [
        Server::SandboxLacks { part: "user".into(), why: "user nobody cannot enter /root".into() },
        Server::SandboxLacks { part: "seccomp".into(), why: "no filter for arm".into() },
        Server::Confined { user: Some("pinetboot".into()) },
    ];
    let expected = "\
WARN the server stays root: user nobody cannot enter /root. Serve boot files as a user that can read them, and write uploads and leases, with --user
WARN the sandbox lacks seccomp: no filter for arm. --require-sandbox refuses to serve without it
INFO the server runs as user pinetboot without capabilities";
    assert_eq!(log(&facts.map(|fact| event(None, None, fact)), Level::INFO), expected);
}

#[test]
fn the_log_of_a_recorded_boot() {
    let expected = "\
INFO kitchen asks by DHCP: Raspberry Pi 5 Model B Rev 1.0 (8 GB), serial bd989ae1, d8:3a:dd:e8:27:1e (boot 3)
INFO kitchen has 10.9.0.113
WARN {mac} in cmdline.txt has no value for kitchen, and is left empty
WARN kitchen ! stuck: no kernel: kernel_2712.img, kernel8.img, since 10 s. Most likely: Kernel or device tree are missing, or a filter such as [pi4] in config.txt hides the lines that name them. [rule 20: pinetboot explain 20]
do: Serve kernel_2712.img or kernel8.img and the device tree; end filters with [all].
INFO kitchen goes on after 31 s: no kernel [20]
WARN kitchen ended the transfer of bd989ae1/kernel_2712.img after 3.00 kB: error 3, disk full or allocation exceeded: \"no room\"
INFO kitchen files: 2 in 0.4 s, 3.00 MB (kernel_2712.img, initramfs_2712); normal misses: 2; missing: cmdline.txt
INFO kitchen kernel runs: asks by DHCP again
INFO kitchen gets a new layer on trixie, host name kitchen
INFO kitchen root /bd989ae1-1 mounted
INFO kitchen up, 23 s after the boot began
WARN 10.9.0.200 may not mount /bd989ae1: that Pi is up at 10.9.0.113, last heard 3 s ago
WARN d8:3a:dd:e8:27:1e gets no address: all addresses of the lease range are in use. Enlarge --lease-range, or wait until leases expire
WARN the NFS call of 10.9.0.200 is refused: NFS version 4 is not served, only 3 to 3. Write vers=3 into the mount options of the command line (nfsroot=..,vers=3)
WARN kitchen lost the transfer of bd989ae1/initramfs_2712 after 2.00 kB: all transfers are in use, and this one was slow. Raise --max-transfers if as many Pis boot at once
WARN all transfers are in use, unanswered requests in 10 s: 12. Raise --max-transfers if as many Pis boot at once
INFO stopped, open transfers ended: 2";
    assert_eq!(log(&recorded(), Level::INFO), expected);
}

#[test]
fn frequent_events_are_logged_at_debug() {
    let log = log(&recorded(), Level::DEBUG);
    assert!(log.contains("DEBUG 10.9.0.113:4000 requests bd989ae1/config.txt"), "{log}");
    assert_eq!(log.matches("may not mount /bd989ae1").count(), 2, "{log}");
    assert!(log.ends_with("DEBUG datagrams outside of any transfer: 5"), "{log}");
}

/// 10,000 forged packets of each kind in a second, for three minutes, each from another address and MAC address.
#[test]
fn a_flood_makes_few_lines_and_hides_no_other() {
    let mut events = Vec::new();
    let at = |event: Event, millis: u32| Event { at: Duration::from_millis(millis.into()), ..event };
    for millis in 0..180_000_u32 {
        // One in ten of them, or the test would take long.
        let client = Some(Ipv4Addr::from_bits(0x0b00_0000 + millis));
        let [a, b, c, d] = millis.to_be_bytes();
        let hardware = HardwareAddress::ethernet([2, 0, a, b, c, d]);
        let vanished = finished("kernel8.img", Outcome::TimedOut, 0, None);
        let refused = Tftp::Refused {
            peer: SocketAddrV4::new(HERE, 4000),
            direction: Direction::Read,
            file: "a".into(),
            code: ErrorCode::FILE_NOT_FOUND,
            answer: "file not found",
            place: Some("/srv/a".into()),
            cause: None,
            harmless: false,
            foreign: false,
        };
        let discover = Cause::Discover {
            hardware: hardware.to_string(),
            identity: PiIdentity::parse(b"\x00RPi5\x70\x41\xd0\x00\xdd\xe8\x27\x1e\xe1\x9a\x98\xbd").unwrap(),
        };
        let forged = [
            Event { client, pi: None, ..vanished },
            event(client, None, refused),
            event(client, None, Boot::Began { number: 1, by: discover }),
            event(None, None, Dhcp::Leased { hardware, address: HERE }),
            event(None, None, Dhcp::Unanswered { hardware, why: NoReply::Exhausted }),
            event(None, None, Dhcp::Unanswered { hardware, why: NoReply::Declined(THERE) }),
        ];
        events.extend(forged.map(|event| at(event, millis)));
        if millis.is_multiple_of(10_000) {
            let fetched = finished("config.txt", Outcome::Complete { bytes: 9 }, 9, None);
            events.push(at(Event { pi: None, ..fetched }, millis));
        }
    }
    let stopped = Server::Stopped(Transfers { open: 0, rejected: 0 });
    events.push(at(event(None, None, stopped), 180_000));
    let text = log(&events, Level::INFO);
    let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
    let lines = text.lines().count();
    // 20 + 300 + 600 + 300 + 20 + 60 in a minute.
    assert!((3900..=3930).contains(&lines), "{lines} lines in three minutes");
    assert_eq!(count("10.9.0.113 fetched config.txt"), 18, "the client's lines are all there");
    assert_eq!(count("log lines left out"), 3);
    assert!(text.contains("unanswered transfers: 59980"), "{}", text.lines().last().unwrap());
}

#[test]
fn one_client_makes_few_lines_and_others_have_theirs() {
    let vanished = Event { pi: None, ..finished("kernel8.img", Outcome::TimedOut, 0, None) };
    let mut events = vec![vanished; 100];
    events.push(Event { client: Some(THERE), pi: None, ..events[0].clone() });
    let text = log(&events, Level::INFO);
    assert_eq!(text.lines().filter(|line| line.contains("10.9.0.113")).count(), 5);
    assert_eq!(text.lines().filter(|line| line.contains("10.9.0.200 stopped answering")).count(), 1);
}

#[test]
fn a_disk_without_space_is_told_with_the_largest_layers() {
    let largest = vec![
        LayerSize { name: "kitchen".into(), bytes: 1_200_000_000 },
        LayerSize { name: "00000002".into(), bytes: 3_000_000 },
    ];
    let short = |why| {
        let largest = largest.clone();
        event(None, Some("kitchen"), Root::NoSpace { pi: Some(KITCHEN), why, largest })
    };
    let filling =
        Root::DiskFilling { place: "/state".into(), percent: 91, left: 5_000_000, largest: largest.clone() };
    let remedy =
        "Remove files, reset a layer ('pinetboot roots reset'), or bound layers with --max-root-size";
    let most = "; the largest layers are those of kitchen (1.20 GB), 00000002 (3.00 MB)";
    let events = [
        event(None, None, filling),
        short(Shortage::Reserve),
        short(Shortage::Disk),
        short(Shortage::Near { used: 950_000, limit: 1_000_000 }),
        short(Shortage::Limit { limit: 1_000_000 }),
        event(None, None, Root::UnusedRemoved { layers: vec![(KITCHEN, Some(HERE)), (KITCHEN, None)] }),
        event(None, None, Server::LeftoversRemoved { place: "/state".into(), number: 3 }),
        event(None, None, Root::Limits { by_file_system: true }),
        event(None, None, Root::Limits { by_file_system: false }),
    ];
    let lines = [
        format!("WARN the disk of /state is 91 % full, Pis may write 5.00 MB more{most}. {remedy}"),
        format!(
            "WARN kitchen gets \"no space\": the disk is full except for the server's reserve (--disk-reserve){most}. {remedy}"
        ),
        format!("WARN kitchen gets \"no space\": the disk is full{most}. {remedy}"),
        "WARN the layer of kitchen has 950.00 kB of 1.00 MB, its limit: remove files on the Pi, or raise max-root-size".into(),
        "WARN kitchen gets \"no space\": its layer has reached its limit of 1.00 MB. Remove files on the Pi, or raise \
         max-root-size"
            .into(),
        "INFO removed new layers to which no Pi wrote and which no Pi used for two minutes: 2".into(),
        "INFO removed the temporary files of killed processes in /state: 3".into(),
        "INFO the file system limits each new layer to max-root-size, by a project quota".into(),
        "INFO the server counts the size of each layer for max-root-size: the file system of the layers has no project quotas (mount \
         option prjquota)"
            .into(),
    ];
    assert_eq!(log(&events, Level::INFO), lines.join("\n"));
}

#[test]
fn limits_of_the_system_name_the_setting_that_raises_them() {
    let events = [
        event(None, None, Server::FewForTransfers { allowed: 128, transfers: 32 }),
        event(None, None, Server::FewForLayers { allowed: 1024, pis: 92 }),
        event(None, None, Server::FewNeighbours { pis: 1500, most: 1024 }),
        event(None, None, Server::NeighboursByTable { why: "Operation not supported".into() }),
        event(None, None, Server::KernelDrops { lack: Lack::Neighbours, packets: 501 }),
        event(None, None, Server::KernelDrops { lack: Lack::Connections, packets: 16 }),
    ];
    let lines = [
        "WARN the limit of 128 open files is too low: it allows 32 transfers. Raise the limit (ulimit -Hn, LimitNOFILE=), or lower \
         --max-transfers",
        "WARN the limit of 1024 open files is too low: it allows 92 Pis with a layer. Raise the limit (ulimit -Hn, LimitNOFILE=), or \
         lower --max-pis",
        "WARN the kernel's neighbour table has 1024 places for 1500 known Pis, and Pis beyond get no packets: sysctl \
         net.ipv4.neigh.default.gc_thresh3=6000, and gc_thresh2 half of it",
        "WARN the kernel names no single neighbour (Operation not supported): each look-up of a MAC address reads the whole table, which \
         is slow with many Pis. RTM_GETNEIGH requires Linux 5.0, and in a container AF_NETLINK sockets",
        "WARN the kernel dropped 501 packets of this machine: the neighbour table is full (table_fulls). Raise the limit: sysctl \
         net.ipv4.neigh.default.gc_thresh3=8192 net.ipv4.neigh.default.gc_thresh2=4096. Later drops are not logged",
        "WARN the kernel dropped 16 packets of this machine: the firewall's table of connections is full (nf_conntrack drop). Raise the \
         limit: sysctl net.netfilter.nf_conntrack_max=262144, or a rule of nftables with 'notrack' for UDP port 69 and the ports of \
         transfers. Later drops are not logged",
    ];
    assert_eq!(log(&events, Level::INFO), lines.join("\n"));
}
