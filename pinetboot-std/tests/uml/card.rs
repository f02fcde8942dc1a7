//! An image for a card, not changed in a byte, as the disk of a machine: `pinetboot-init` out of an initramfs that is made of the image.

use std::env;
use std::fs::{self, File};
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use pinetboot_disk::{Access, Disk, Export, Exports, Initramfs, Limits, Overlay, Refused, Server, kernels};
use pinetboot_image::ext4::Ext4;
use pinetboot_image::{Choice, Fat, Layout, Part, Partitions, SystemView};

use super::disk::run;
use super::machine::{MINUTES, ethernet, kernel};
use crate::debian::OPTIONS;
use crate::namespace::{Namespace, Process, SOON, part};
use crate::shell::Shell;

#[test]
#[ignore = "needs root, user-mode Linux, nbdinfo, qemu-img, PINETBOOT_UML_IMAGE and PINETBOOT_UML_INIT; run by .ci/run"]
fn an_untouched_card_boots_and_outlives_the_server_but_not_the_servers_machine() {
    let network = Namespace::new("card");
    network.tap("tap0");
    network.bridge("lan", &["tap0"]);
    network.address("lan", "10.77.0.1/24");
    let files = tempfile::tempdir().unwrap();
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("config.txt"), "").unwrap(); // what is served is addresses alone
    let _leases = network.serve(tree.path(), &OPTIONS);
    let began = Instant::now();
    let stage = |what: &str| println!("{:5.1} s: {what}", began.elapsed().as_secs_f64());
    let card = Card::open();
    fs::write(files.path().join("initramfs"), &card.initramfs).unwrap();
    let overlay = files.path().join("pi.qcow2");
    Overlay::create(&overlay, &card.image, 2 << 30).unwrap();
    let serve = |run: &str| {
        let mut server = network.start_part(SERVE, &format!("{} {run}", overlay.display()));
        server.expect("disk served", SOON);
        server
    };

    let mut server = serve(SAME);
    let mut refused = boot(&network, files.path(), &card, "5e9f2a01-wrong");
    refused.expect("the server refuses the disk: no such disk for this client", MINUTES);
    refused.expect("cmdline.txt is of an earlier boot", SOON);
    drop(refused);
    stage("a wrong secret is refused");

    let mut machine = Shell::log_in(boot(&network, files.path(), &card, SECRET), MINUTES);
    stage("logged in");
    let (_, state) = machine.try_run("systemctl is-system-running --wait", MINUTES);
    let failed = machine.run("systemctl list-units --failed --plain --no-legend", SOON);
    assert_eq!((state.trim(), failed.trim()), ("running", ""));
    for (place, partition) in [("/", "/dev/nbd0p2"), ("/boot/firmware", "/dev/nbd0p1")] {
        assert_eq!(machine.run(&format!("findmnt -n -o SOURCE {place}"), SOON), partition);
    }

    // No other client has the disk, nor learns that it exists.
    for name in [SECRET, "5e9f2a01-wrong"] {
        let mut other = network.command("nbdinfo");
        other.arg(format!("nbd://10.77.0.1/{name}"));
        let (status, said) = Process::start(other).finish(SOON);
        assert!(!status.success(), "{name}: {said}");
    }

    stage("running");

    // Each line is on the disk before the next one is written.
    machine.start(
        "for i in $(seq 60); do echo line $i >/root/line$i && sync /root/line$i && echo written $i; done",
    );
    for kill in 1..=3 {
        machine.expect(&format!("written {}", kill * 15), MINUTES);
        drop(server); // by SIGKILL
        server = serve(SAME);
        stage("killed and started again");
    }
    let (status, said) = machine.finish(MINUTES);
    assert!(status == 0 && said.contains("written 60"), "{said}");
    machine.run("echo 3 >/proc/sys/vm/drop_caches", SOON);
    machine.run("for i in $(seq 60); do grep -qx \"line $i\" /root/line$i || exit 1; done", SOON);

    stage("each written line is there");

    // The server's machine loses its power: the machine must not go on, and starts anew.
    machine.run("echo 7 >/proc/sys/kernel/printk", SOON);
    drop(server);
    let server = serve(ANOTHER);
    machine.expect("may have lost writes", MINUTES);
    machine.expect("the machine restarts", SOON);
    let mut machine = machine.log_in_again(MINUTES);
    stage("restarted with the server's machine");
    machine.run("for i in $(seq 60); do grep -qx \"line $i\" /root/line$i || exit 1; done", SOON);
    machine.power_off("poweroff");
    drop(server);

    run("qemu-img", &["check", "-r", "leaks", overlay.to_str().unwrap()]);
    run("qemu-img", &["check", overlay.to_str().unwrap()]);
}

/// The server's part: a process of its own, to be killed.
#[test]
#[ignore = "a part of the test of an untouched card"]
fn serve_until_killed() {
    let Some(part) = part() else { return };
    let (overlay, run) = part.split_once(' ').unwrap();
    // `ip netns exec` gives each process mounts of its own.
    let boot = tempfile::NamedTempFile::new().unwrap();
    fs::write(boot.path(), run).unwrap();
    let place = "/proc/sys/kernel/random/boot_id";
    mount(Some(boot.path()), place, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let image = image();
    let disk = Overlay::open(Path::new(overlay), image.parent().unwrap(), Access::ReadWrite).unwrap();
    let exports = OneWriter { disk: Arc::new(disk), holder: Mutex::default() };
    let listener = TcpListener::bind("10.77.0.1:10809").unwrap();
    let _server = Server::start(vec![listener], Arc::new(exports), Limits::default(), Arc::new(())).unwrap();
    println!("disk served");
    loop {
        thread::park();
    }
}

/// The disk for the client that knows the secret, one connection at a time.
struct OneWriter {
    disk: Arc<dyn Disk>,
    holder: Mutex<Weak<()>>,
}

impl Exports for OneWriter {
    fn open(&self, _client: IpAddr, name: &str) -> Result<Export, Refused> {
        let mut holder = self.holder.lock().unwrap();
        if name != SECRET || holder.upgrade().is_some() {
            return Err(Refused);
        }
        let lease = Arc::new(());
        *holder = Arc::downgrade(&lease);
        Ok(Export { lease, ..Export::new(self.disk.clone()) })
    }

    fn list(&self, _client: IpAddr) -> Vec<String> {
        Vec::new()
    }
}

/// The image, and what its machine starts with.
struct Card {
    image: PathBuf,
    initramfs: Vec<u8>,
    /// Of its cmdline.txt.
    words: String,
}

impl Card {
    fn open() -> Self {
        let path = image();
        let image = File::open(&path).unwrap();
        let layout = Layout::find(&image, &Partitions::read(&image).unwrap(), Choice::default()).unwrap();
        let (boot, root) = (layout.boot.unwrap().extent, layout.root.unwrap().extent);
        let root = Ext4::open(Part::new(&image, root.start, root.len), root.len).unwrap();
        let boot = Fat::open(Part::new(&image, boot.start, boot.len)).unwrap();
        let view = SystemView::new(Some(&root), Some(&boot), "boot/firmware");
        let init = fs::read(variable("PINETBOOT_UML_INIT")).unwrap();
        let initramfs = Initramfs::of(&view, &kernels(&view).unwrap(), &init).unwrap();
        println!("initramfs: {} bytes, modules {:?}", initramfs.archive.len(), initramfs.modules);
        let words =
            String::from_utf8(view.read("boot/firmware/cmdline.txt", 4096).unwrap().unwrap()).unwrap();
        Self { image: path, initramfs: initramfs.archive, words }
    }
}

/// Starts the machine with the card's own command line, and what a server adds to it.
fn boot(network: &Namespace, files: &Path, card: &Card, export: &str) -> Process {
    let mut command: Command = kernel(network, Path::new("linux.uml"), files);
    command.args(["con0=null", "con1=fd:0,fd:1", &ethernet(0)]);
    command.arg(format!("initrd={}", files.join("initramfs").display()));
    // The console of a Pi alone is none of this machine's.
    command.args(card.words.split_whitespace().filter(|word| *word != "console=serial0,115200"));
    command.args([&format!("pinetboot.disk=nbd://10.77.0.1/{export}"), "ip=dhcp"]);
    Process::start(command)
}

fn image() -> PathBuf {
    variable("PINETBOOT_UML_IMAGE").canonicalize().unwrap()
}

fn variable(name: &str) -> PathBuf {
    env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: see .ci/run")).into()
}

const SERVE: &str = "uml::card::serve_until_killed";
const SECRET: &str = "5e9f2a01-6749b0c2f3a09d51e744";
/// Two runs of the server's machine.
const SAME: &str = "11111111-1111-1111-1111-111111111111";
const ANOTHER: &str = "22222222-2222-2222-2222-222222222222";
