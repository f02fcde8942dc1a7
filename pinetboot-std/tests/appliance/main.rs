//! The appliance of `pinetboot-embassy` at work: on Linux behind a TAP device, and as firmware on an emulated board.
//!
//! The environment names those programs; `.ci/run` builds them and sets it.

#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod configured;
mod frames;
#[path = "../namespace/mod.rs"]
mod namespace;

use std::env;
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use frames::{Frames, OURS, SENDERS, Wire, udp};
use namespace::{End, Namespace, PINETBOOT, Process, SOON, cable, content, dnsmasq, end, part};
use tempfile::TempDir;

#[test]
#[ignore = "needs root, network namespaces, curl and PINETBOOT_APPLIANCE_TAP; run by .ci/run"]
fn on_a_tap_it_boots_a_pi_and_serves_others() {
    let files = Files::new(30 << 20);
    let network = network();
    let mut appliance = on_tap(&network, &files);
    files.boots_a_pi(&network);
    files.are_fetched(&network, &["--tftp-blksize", "1468"]);
    files.are_fetched(&network, &[]);
    let line = appliance.line("kernel_2712.img, 31457280 bytes", SOON);
    println!("{line}");
    assert!(line.ends_with(" 0 sent again"), "{line}");
}

/// The firmware itself, on a Cortex-M that QEMU emulates, through an emulated Ethernet controller.
#[test]
#[ignore = "needs root, network namespaces, curl, QEMU and PINETBOOT_APPLIANCE_MPS2; run by .ci/run"]
fn on_an_emulated_board_it_boots_a_pi_and_serves_others_at_once() {
    let files = Files::new(4 << 20);
    let network = network();
    let mut board = on_qemu(&network, &files);
    files.boots_a_pi(&network);
    thread::scope(|scope| {
        for client in 0..4 {
            let (files, network) = (&files, &network);
            scope.spawn(move || files.are_fetched_to(&format!("got{client}"), network, &[]));
        }
    });
    for _ in 0..4 {
        println!("{}", board.line(" kernel_2712.img, 4194304 bytes", SOON));
    }
}

/// The rule's number and some words, ten seconds after the last request.
#[test]
#[ignore = "needs root, network namespaces, curl and PINETBOOT_APPLIANCE_TAP; run by .ci/run"]
fn on_a_tap_a_missing_kernel_is_named() {
    let files = Files::new(1 << 20);
    let network = network();
    let mut appliance = on_tap(&network, &files);
    network.enter(|| {
        for (name, answer) in [("config.txt", 3), ("kernel8.img", 5), ("kernel8-32.img", 5)] {
            let socket = UdpSocket::bind("10.55.0.50:0").unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            let request = format!("\0\x01bd989ae1/{name}\0octet\0");
            let mut reply = [0; 600];
            let server = (0..10).find_map(|_| {
                socket.send_to(request.as_bytes(), "10.55.0.1:69").unwrap();
                Some(socket.recv_from(&mut reply).ok()?.1)
            });
            assert_eq!(reply[1], answer, "{name}");
            socket.send_to(b"\0\x04\0\x01", server.unwrap()).unwrap();
        }
    });
    let line = appliance.line("stuck: ", SOON);
    assert!(line.ends_with("10.55.0.50: stuck: no kernel [20]"), "{line}");
}

/// curl is shown the report as a page while a file is sent, and a query to the group of multicast DNS has the address.
#[test]
#[ignore = "needs root, network namespaces, curl and PINETBOOT_APPLIANCE_TAP; run by .ci/run"]
fn on_a_tap_a_browser_and_a_resolver_are_answered() {
    let files = Files::new(8 << 20);
    let network = network();
    network.ip("route add 224.0.0.0/4 dev tap0");
    let mut appliance = on_tap(&network, &files);
    let page = |path: &str| {
        let mut curl = network.command("curl");
        curl.args(["-sSi", "--retry", "5", "--retry-connrefused", &format!("http://10.55.0.1/{path}")]);
        let (status, said) = Process::start(curl).finish(4 * SOON);
        assert!(status.success(), "{said}");
        said
    };
    thread::scope(|scope| {
        let fetch = scope.spawn(|| files.are_fetched(&network, &[]));
        for _ in 0..10 {
            let said = page("");
            assert!(said.starts_with("HTTP/1.0 200 OK\r\n"), "{said}");
            assert!(said.contains("\r\n\r\npinetboot ") && said.contains("\nfiles: "), "{said}");
        }
        assert!(page("favicon.ico").starts_with("HTTP/1.0 404 "));
        fetch.join().unwrap();
    });
    let line = appliance.line("kernel_2712.img, 8388608 bytes", SOON);
    assert!(line.ends_with(" 0 sent again"), "{line}");
    // A client that is silent, and one that ends its side, are given up.
    network.enter(|| {
        let silent = TcpStream::connect("10.55.0.1:80").unwrap();
        silent.set_read_timeout(Some(2 * SOON)).unwrap();
        let ended = (&silent).read(&mut [0; 10]);
        assert!(!matches!(&ended, Ok(1..)), "{ended:?}");

        let socket = UdpSocket::bind("0.0.0.0:5353").unwrap();
        socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::new(10, 55, 0, 50)).unwrap();
        socket.set_multicast_loop_v4(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let query = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x09pinetboot\x05local\0\0\x01\0\x01";
        let mut answer = [0; 600];
        let len = (0..10).find_map(|_| {
            socket.send_to(query, "224.0.0.251:5353").unwrap();
            socket.recv(&mut answer).ok()
        });
        let answer = &answer[..len.unwrap()];
        assert_eq!(answer[..12], [0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert!(answer.windows(6).any(|bytes| bytes == [0, 4, 10, 55, 0, 1]), "{answer:?}");
    });
    assert!(page("").starts_with("HTTP/1.0 200 OK\r\n"));
}

/// smoltcp holds back packets for a host that answers no ARP request, and all packets behind them.
#[test]
#[ignore = "needs root, network namespaces, curl and PINETBOOT_APPLIANCE_TAP; run by .ci/run"]
fn on_a_tap_a_client_without_arp_holds_up_no_other() {
    let files = Files::new(1 << 20);
    if part().is_some() {
        let wire = Wire::open("tap0");
        for last in 60..64 {
            for name in [&b"config.txt"[..], b"not-there"] {
                let request = [&[0, 1], name, b"\0octet\0"].concat();
                wire.send(&udp([10, 55, 0, last], 40_000, OURS, 69, &request));
            }
        }
        return;
    }
    let network = network();
    let _appliance = on_tap(&network, &files);
    network.rerun("on_a_tap_a_client_without_arp_holds_up_no_other", "send");
    // Three of the four places may be taken by those for a while, and some of the requests be lost.
    let began = Instant::now();
    files.are_fetched(&network, &["--tftp-blksize", "1468"]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// As many as PINETBOOT_FRAMES says.
#[test]
#[ignore = "needs root, network namespaces, curl and PINETBOOT_APPLIANCE_TAP; run by .ci/run"]
fn on_a_tap_no_frame_brings_it_down() {
    let files = Files::new(1 << 20);
    if part().is_some() {
        return throw_frames();
    }
    let network = network();
    let mut appliance = on_tap(&network, &files);
    let said = network.rerun_within("on_a_tap_no_frame_brings_it_down", "throw", 20 * SOON);
    println!("{}", said.lines().find(|line| line.contains("frames taken in")).unwrap());
    files.are_fetched(&network, &["--tftp-blksize", "1468"]);
    appliance.line("kernel_2712.img, 1048576 bytes", SOON);
}

/// Only a few at once, as a socket has room for eight datagrams: what comes when it is full is dropped unseen.
///
/// Between them the appliance learns the hardware addresses of those who seem to send them. Else nearly all the time
/// would go by with waiting for answers to ARP requests, which it makes one of in a second.
fn throw_frames() {
    let count: usize = env::var("PINETBOOT_FRAMES").map_or(20_000, |count| count.parse().unwrap());
    let wire = Wire::open("tap0");
    let mut frames = Frames::new();
    let mut senders = SENDERS.cycle();
    let asker = UdpSocket::bind("10.55.0.50:0").unwrap();
    asker.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    for few in 0..count / 4 {
        for _ in 0..4 {
            wire.send(&frames.next());
        }
        let taken_in = wire.asks_who_has(senders.next().unwrap(), SOON);
        assert!(taken_in, "its stack hangs after {} frames", 4 * few);
        if few % 5000 == 0 {
            // Any answer counts: often that all places are taken.
            let mut answered = (0..30).map(|_| {
                asker.send_to(b"\0\x01not-there\0octet\0", "10.55.0.1:69").unwrap();
                asker.recv_from(&mut [0; 600]).is_ok()
            });
            assert!(answered.any(|answered| answered), "its server hangs after {} frames", 4 * few);
        }
    }
    let counter = |name: &str| {
        fs::read_to_string(format!("/sys/class/net/tap0/statistics/{name}")).unwrap().trim().to_owned()
    };
    println!("{count} frames taken in, of {} in all", counter("tx_packets"));
    assert_eq!(counter("tx_dropped"), "0");
}

/// A network with nothing but a TAP device, on which this machine is 10.55.0.50.
fn network() -> Namespace {
    let network = Namespace::new("appliance");
    network.tap("tap0");
    network.address("tap0", "10.55.0.50/24");
    network
}

/// The appliance as a Linux program.
fn on_tap(network: &Namespace, files: &Files) -> Process {
    let mut command = network.command(env::var_os("PINETBOOT_APPLIANCE_TAP").unwrap());
    command.arg("tap0").arg(files.archive());
    let mut appliance = Process::start(command);
    appliance.line("serving on 10.55.0.1", SOON);
    appliance
}

/// The appliance as firmware, with the archive where it would be in flash.
fn on_qemu(network: &Namespace, files: &Files) -> Process {
    let mut command = network.command("qemu-system-arm");
    let archive = files.archive();
    command.args(["-M", "mps2-an385", "-nographic", "-kernel"]);
    command.arg(env::var_os("PINETBOOT_APPLIANCE_MPS2").unwrap());
    command.args(["-device", &format!("loader,file={},addr=0x21000000,force-raw=on", archive.display())]);
    command.args(["-netdev", "tap,id=net,ifname=tap0,script=no,downscript=no"]);
    command.args(["-net", "nic,model=lan9118,netdev=net"]);
    let mut board = Process::start(command);
    board.line("serving on 10.55.0.1", SOON);
    board
}

/// The boot files of a Pi 5, as a tree and as an archive.
struct Files {
    directory: TempDir,
    kernel: Vec<u8>,
}

impl Files {
    fn new(kernel: usize) -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap(), kernel: content(kernel) };
        let tree = files.directory.path().join("tree");
        fs::create_dir_all(tree.join("overlays")).unwrap();
        fs::write(tree.join("config.txt"), CONFIG_TXT).unwrap();
        fs::write(tree.join("cmdline.txt"), "root=/dev/nfs ip=dhcp\n").unwrap();
        fs::write(tree.join("bcm2712-rpi-5-b.dtb"), device_tree()).unwrap();
        fs::write(tree.join("kernel_2712.img"), &files.kernel).unwrap();
        files.pack();
        files
    }

    /// Adds one more.
    fn add(&self, name: &str, content: &str) {
        let path = self.directory.path().join("tree").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self.pack();
    }

    fn pack(&self) {
        let mut tar = Command::new("tar");
        let tree = self.directory.path().join("tree");
        tar.args(["--format=ustar", "-cf"]).arg(self.archive()).arg("-C").arg(&tree).arg(".");
        assert!(tar.status().unwrap().success());
    }

    fn archive(&self) -> PathBuf {
        self.directory.path().join("boot.tar")
    }

    /// A simulated Pi 5 leases an address and fetches every file that it asks for.
    fn boots_a_pi(&self, network: &Namespace) {
        let mut command = network.command(PINETBOOT);
        command.args(["simulate", "--interface", "tap0", "--model", "pi5"]);
        let (status, said) = Process::start(command).finish(4 * SOON);
        println!("{said}");
        assert!(status.success(), "{said}");
    }

    /// curl fetches the kernel.
    fn are_fetched(&self, network: &Namespace, options: &[&str]) {
        self.are_fetched_to("got", network, options);
    }

    fn are_fetched_to(&self, name: &str, network: &Namespace, options: &[&str]) {
        let got = self.directory.path().join(name);
        fetch(network, &got, options);
        assert!(fs::read(got).unwrap() == self.kernel);
    }
}

fn fetch(network: &Namespace, to: &Path, options: &[&str]) {
    let mut curl = network.command("curl");
    curl.args(["-sS", "--retry", "20", "--retry-all-errors", "--retry-delay", "1"]).args(options);
    curl.arg("-o").arg(to).arg("tftp://10.55.0.1/kernel_2712.img");
    let (status, said) = Process::start(curl).finish(4 * SOON);
    assert!(status.success(), "{said}");
}

const CONFIG_TXT: &str = "arm_64bit=1\nos_check=0\n";

/// The device tree that dtc makes of `/ { compatible = "brcm,bcm2712"; };`.
fn device_tree() -> Vec<u8> {
    let header = [0xd00d_feed_u32, 0x6f, 0x38, 0x64, 0x28, 17, 16, 0, 11, 0x2c, 0, 0, 0, 0];
    let property = [1, 0, 3, 13, 0];
    let mut bytes: Vec<u8> = header.into_iter().chain(property).flat_map(u32::to_be_bytes).collect();
    bytes.extend(b"brcm,bcm2712\0\0\0\0\0\0\0\x02\0\0\0\x09compatible\0");
    bytes
}
