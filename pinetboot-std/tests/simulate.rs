//! A simulated Pi and a real server, on the loopback interface.

#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pinetboot::bus::Bus;
use pinetboot::exit::Exit;
use pinetboot::net::{Control, LinuxNet, Options, Ports};
use pinetboot::simulate::{Pi, simulate};
use pinetboot::storage::{BootStorage, BootTree, Budget, Sources, Trees};
use pinetboot_core::block_on;
use pinetboot_core::pi::Model;
use pinetboot_core::tftp::{Limits, RetryPolicy, Server};
use tempfile::TempDir;

const LOOPBACK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

/// A server in a thread; dropping this stops the server.
struct Running {
    address: SocketAddrV4,
    control: Control,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn serve(tree: &Path, ports: Ports) -> Self {
        let (tell, told) = mpsc::channel();
        let tree = tree.to_owned();
        let thread = thread::spawn(move || {
            let net = LinuxNet::listen(&[LOOPBACK], Options { ports, ..Options::default() }).unwrap();
            tell.send((net.addresses().unwrap()[0], net.control())).unwrap();
            let tree = BootTree::open_at(&tree).unwrap();
            let trees = Trees::new(Sources::directory(tree), Bus::silent());
            let storage = BootStorage::new(Arc::new(trees), None, Budget::default());
            let mut places = [const { None }; 4];
            let mut server = Server::<_, _, _, 8>::new(net, storage, (), Limits::default(), &mut places);
            block_on(server.run()).unwrap_err();
        });
        let (address, control) = told.recv().unwrap();
        Self { address, control, thread: Some(thread) }
    }

    fn boot(&self, model: Model) -> (Exit, String) {
        let mut out = Vec::new();
        let exit = simulate(&Pi::new(model, 0xbd98_9ae1, self.address), &mut out).unwrap().exit();
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
        (exit, out)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.control.stop();
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || joined.is_some_and(|joined| joined.is_ok()));
    }
}

/// A tree with these files; in each its own name, but for those that are read.
fn tree(names: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in names {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = match *name {
            name if name.ends_with("config.txt") => {
                b"arm_64bit=1\nauto_initramfs=1\ndtoverlay=disable-bt\n".to_vec()
            }
            name if name.ends_with("cmdline.txt") => b"root=/dev/nfs ip=dhcp\n".to_vec(),
            name if name.ends_with("bcm2712-rpi-5-b.dtb") => device_tree(),
            name if name.ends_with("kernel8.img") => kernel(),
            name if name.ends_with("initramfs8") => b"070701".to_vec(),
            name => name.into(),
        };
        fs::write(path, content).unwrap();
    }
    directory
}

/// The magic of an arm64 Image at byte 56, and filler.
fn kernel() -> Vec<u8> {
    let mut image = vec![8; 300_000];
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// As dtc makes it of `/ { compatible = "brcm,bcm2712"; };`.
fn device_tree() -> Vec<u8> {
    let header = [0xd00d_feed_u32, 0x6f, 0x38, 0x64, 0x28, 17, 16, 0, 11, 0x2c, 0, 0, 0, 0];
    let property = [1, 0, 3, 13, 0];
    let mut bytes: Vec<u8> = header.into_iter().chain(property).flat_map(u32::to_be_bytes).collect();
    bytes.extend(b"brcm,bcm2712\0\0\0\0\0\0\0\x02\0\0\0\x09compatible\0");
    bytes
}

const PI5: &[&str] = &[
    "config.txt",
    "cmdline.txt",
    "bcm2712-rpi-5-b.dtb",
    "kernel8.img",
    "initramfs8",
    "overlays/overlay_map.dtb",
    "overlays/disable-bt.dtbo",
];

#[test]
fn a_complete_tree_boots() {
    let tree = tree(PI5);
    for ports in [Ports::PerTransfer, Ports::Single] {
        let (exit, out) = Running::serve(tree.path(), ports).boot(Model::Pi5);
        assert_eq!(exit, Exit::Success, "{out}");
        assert!(
            out.contains(
                "Would start the kernel: kernel8.img, initramfs8, bcm2712-rpi-5-b.dtb and 1 overlay."
            ),
            "{out}"
        );
        assert!(out.contains("300,000 B  size only"), "{out}");
        assert!(!out.contains("Warning"), "{out}");
    }
}

#[test]
fn older_models_boot_too() {
    let tree = tree(
        &[
            PI5,
            &["bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat"],
            &["bcm2710-rpi-3-b.dtb", "bcm2711-rpi-4-b.dtb"],
        ]
        .concat(),
    );
    let server = Running::serve(tree.path(), Ports::PerTransfer);
    for (model, device_tree) in [(Model::Pi4, "bcm2711-rpi-4-b.dtb"), (Model::Pi3, "bcm2710-rpi-3-b.dtb")] {
        let (exit, out) = server.boot(model);
        assert_eq!(exit, Exit::Success, "{out}");
        assert!(
            out.contains(&format!(
                "Would start the kernel: kernel8.img, initramfs8, {device_tree} and 1 overlay."
            )),
            "{out}"
        );
    }
}

#[test]
fn a_missing_device_tree_is_named() {
    let tree = tree(PI5);
    fs::remove_file(tree.path().join("bcm2712-rpi-5-b.dtb")).unwrap();
    let server = Running::serve(tree.path(), Ports::PerTransfer);
    let (exit, out) = server.boot(Model::Pi5);
    assert_eq!(exit, Exit::WouldNotBoot, "{out}");
    let flat = out.replace("\n  ", " ");
    assert!(flat.contains("Would not boot, because of bcm2712-rpi-5-b.dtb."), "{out}");
    assert!(flat.contains("bcm2712-rpi-5-b.dtb: not found. [rule 19]"), "{out}");
    assert!(flat.contains("does not indicate support for Raspberry Pi 5"), "{out}");
    assert!(flat.contains("To do: Copy the file from"), "{out}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_pinetboot"));
    let output = command.args(["simulate", "--server", &server.address.to_string()]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("Would not boot"));
}

#[test]
fn a_pi_finds_its_own_directory() {
    // Everything in its own directory.
    let own: Vec<String> = PI5.iter().map(|name| format!("bd989ae1/{name}")).collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let first = tree(&own);
    let (exit, out) = Running::serve(first.path(), Ports::PerTransfer).boot(Model::Pi5);
    assert_eq!(exit, Exit::Success, "{out}");
    // The Pi's own directory has no config.txt: the Pi uses the shared directory.
    let second = tree(&[PI5, &["bd989ae1/notes.txt"]].concat());
    let (exit, out) = Running::serve(second.path(), Ports::PerTransfer).boot(Model::Pi5);
    assert_eq!(exit, Exit::Success, "{out}");
    assert!(out.contains("missing (normal: no own files)"), "{out}");
    assert!(out.contains("  config        /config.txt "), "{out}");
}

#[test]
fn the_files_of_a_server_cannot_act_on_a_terminal() {
    const HOSTILE: &str = "\x1b]0;owned\x07\u{9b}2J\u{202e}\r";
    let tree = tree(PI5);
    let write = |name: &str, text: &str| fs::write(tree.path().join(name), text).unwrap();
    let config = format!(
        "kernel=k{HOSTILE}.img\ninitramfs i{HOSTILE} 0\ndtoverlay=o{HOSTILE}\n{HOSTILE}\n[{HOSTILE}]\n"
    );
    write("config.txt", &config);
    write("cmdline.txt", &format!("root={HOSTILE} nfsroot={HOSTILE}"));
    let (_, out) = Running::serve(tree.path(), Ports::PerTransfer).boot(Model::Pi5);
    let acts = |char: char| char != '\n' && char.is_control() || char == '\u{202e}';
    assert!(!out.contains(acts) && out.contains("\\u{1b}]0;owned"), "{out:?}");
}

#[test]
fn a_silent_server_is_reported() {
    // A bound port that never answers.
    let silent = UdpSocket::bind(LOOPBACK).unwrap();
    let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, silent.local_addr().unwrap().port());
    let retry_policy = RetryPolicy::new(Duration::from_millis(20), 1);
    let began = Instant::now();
    let failed =
        simulate(&Pi { retry_policy, ..Pi::new(Model::Pi5, 1, server) }, &mut Vec::new()).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(failed.exit, Exit::NoAnswer);
    for says in ["does not answer", "[rule 16]", "00000001/config.txt", "firewall", "--single-port"] {
        assert!(failed.message.contains(says), "{failed}");
    }
}

#[test]
fn the_demo_ends_well() {
    let output = Command::new(env!("CARGO_BIN_EXE_pinetboot")).arg("demo").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("Would start the kernel: kernel_2712.img"), "{out}");
}
