//! The server loses its power: what it has acknowledged is there afterwards.
//!
//! The server and its client run in one machine, which also has the disk. The tests start themselves again in that machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::disk::{Recorded, run};
use super::listing::{Listing, differences, listing};
use super::machine::{LEASE, MINUTES, Uml, executable, succeed};
use super::work::Work;
use crate::namespace::{End, Namespace, PINETBOOT, Process, SOON, cable, end, part};
use crate::nfs_client::Client;

#[test]
#[ignore = "needs root, network namespaces and user-mode Linux; run by .ci/run"]
fn what_nfs_acknowledged_outlives_a_power_cut() {
    let Some(part) = part() else {
        return in_a_machine(
            "uml::power::what_nfs_acknowledged_outlives_a_power_cut",
            &["rw 50", "overlay 50"],
        );
    };
    let (nfs_mode, changes) = part.split_once(' ').unwrap();
    let mut disk = Recorded::mount(Path::new(DISK));
    plant(&Path::new(DISK).join("base"));
    nix::unistd::sync();
    let mut server =
        serve(&["--nfs-mode", nfs_mode, "--nfs", "/run/disk/base", "--state", "/run/disk/state"]);
    run(PINETBOOT, &["get", "-q", "-o", "/run/got", &format!("tftp://127.0.0.1/{SERIAL}/kernel8.img")]);
    server.line(" files: ", SOON); // from here on the client is that Pi
    let nfs = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2049);
    let mut work = Work::new(Client::connect_reserved(nfs), &format!("/{SERIAL}"), SEED);

    let mut acknowledged = Vec::new();
    for _ in 0..changes.parse().unwrap() {
        let change = work.change_one();
        disk.mark();
        acknowledged.push((change, now()));
    }
    drop((work, server));
    compare(disk, acknowledged);
}

/// Leases, the state of Pis, images: an acknowledged message of DHCP or MOUNT, or a command that says that it is done.
#[test]
#[ignore = "needs root, network namespaces and user-mode Linux; run by .ci/run"]
fn what_the_server_keeps_outlives_a_power_cut() {
    let test = "uml::power::what_the_server_keeps_outlives_a_power_cut";
    let Some(part) = part() else { return in_a_machine(test, &["boots", "commands", "roots"]) };
    if let Some(serial) = part.strip_prefix("mount ") {
        Client::connect_reserved(SocketAddrV4::new(SERVER, 2049)).mount(&format!("/{serial}")).unwrap();
        return;
    }
    let mut disk = Recorded::mount(Path::new(DISK));
    let mut acknowledged = Vec::new();
    if part == "boots" {
        plant(&Path::new(DISK).join("base"));
        nix::unistd::sync();
        let server = Namespace::new("server");
        let pi = Namespace::new("pi");
        cable(end(&server, "lan", "10.77.0.1/24"), End { of: &pi, interface: "eth", address: None }, 1500);
        let options = ["--dhcp", "lease", "--dhcp-clients", "all", "--interface", "lan", "--state"];
        let files = ["/run/disk/state", "--lease-file", "/run/disk/leases", "--nfs"];
        let mut running = server.serve(&Path::new(DISK).join("base"), &[&options[..], &files].concat());
        for number in 0..BOOTS {
            let serial = format!("0badcaf{number}");
            pi.ip("address flush dev eth");
            pi.ip(&format!("link set eth address 52:54:00:12:34:7{number}"));
            lease(&pi);
            disk.mark();
            acknowledged.push((format!("DHCPACK to {serial}"), now()));
            let mut get = pi.command(PINETBOOT);
            get.args(["get", "-q", "-o", "/run/got", &format!("tftp://{SERVER}/{serial}/kernel8.img")]);
            succeed(get);
            running.line(" files: ", SOON);
            pi.rerun(test, &format!("mount {serial}"));
            disk.mark();
            acknowledged.push((format!("MNT of {serial}"), now()));
        }
    } else {
        run("sh", &["-ec", MAKE_IMAGE]);
        let commands = if part == "roots" { change_a_root() } else { &COMMANDS };
        for command in commands {
            let arguments: Vec<_> = command.split(' ').collect();
            run(PINETBOOT, &arguments);
            disk.mark();
            acknowledged.push(((*command).to_owned(), now()));
        }
    }
    compare(disk, acknowledged);
}

/// Serves an image until a Pi has changed its root. Returns the commands that follow.
fn change_a_root() -> &'static [&'static str] {
    let [import, ..] = COMMANDS;
    run(PINETBOOT, &import.split(' ').collect::<Vec<_>>());
    let mut server = serve(&["/run/disk/images"]);
    run(PINETBOOT, &["get", "-q", "-o", "/run/got", &format!("tftp://127.0.0.1/{SERIAL}/kernel8.img")]);
    server.line(" files: ", SOON);
    let nfs = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2049);
    let mut work = Work::new(Client::connect_reserved(nfs), &format!("/{SERIAL}"), SEED);
    for _ in 0..CHANGES {
        work.change_one();
    }
    &ROOTS
}

/// Cuts the power at each mark, and compares with what was there.
fn compare(disk: Recorded, acknowledged: Vec<(String, Listing)>) {
    let mut replay = disk.finish();
    let (mut right, all) = (0, acknowledged.len());
    for (number, (change, before)) in acknowledged.into_iter().enumerate() {
        let lost = differences(&before, &replay.after_next_cut(now));
        if lost.is_empty() {
            right += 1;
        } else {
            println!("cut after {}, {change}:\n    {}", number + 1, lost[..lost.len().min(4)].join("\n    "));
        }
    }
    println!("power cuts: {right} of {all} lost nothing that was acknowledged");
    assert_eq!(right, all);
}

/// What the disk holds, but for the directories in which overlayfs works.
fn now() -> Listing {
    listing(Path::new(DISK), &|path| !path.ends_with("work") && !path.ends_with("lost+found"))
}

/// Takes an address by DHCP.
fn lease(pi: &Namespace) {
    let script = Path::new("/run/lease");
    executable(script, LEASE);
    let mut udhcpc = pi.command("busybox");
    udhcpc.args(["udhcpc", "-C", "-i", "eth", "-n", "-q", "-f", "-s"]).arg(script);
    succeed(udhcpc);
}

/// Runs the test once more in a machine for each of its parts.
fn in_a_machine(test: &str, parts: &[&str]) {
    for part in parts {
        let network = Namespace::new("power");
        let began = Instant::now();
        let mut machine = Uml::boot(&network, None, "dm-log-writes overlay veth");
        machine.start(test, part);
        let said = machine.finish(MINUTES);
        let (_, figure) = said.split_once("power cuts: ").unwrap();
        let figure = figure.lines().next().unwrap_or_default();
        println!("{part}: power cuts: {figure}; {:.1} s", began.elapsed().as_secs_f64());
    }
}

/// Starts the server, and returns when it is ready.
pub(crate) fn serve(options: &[&str]) -> Process {
    let mut command = Command::new(PINETBOOT);
    command.args(["serve", "-v", "--listen", "127.0.0.1"]).args(options);
    let mut server = Process::start(command);
    server.line("ready tftp ", SOON);
    server
}

/// A root, and the boot files of a Pi.
pub(crate) fn plant(base: &Path) {
    for (name, content) in [
        ("boot/firmware/config.txt", "arm_64bit=1\n"),
        ("boot/firmware/cmdline.txt", "console=tty1 root=PARTUUID=1-02 rootfstype=ext4 rootwait\n"),
        ("boot/firmware/kernel8.img", "kernel"),
        ("etc/hostname", "raspberrypi\n"),
        ("home/there", "there before\n"),
    ] {
        let path = base.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// An image with a boot partition and a root.
const MAKE_IMAGE: &str = "
mkdir -p /run/root/etc /run/root/home /run/root/boot/firmware /run/boot
echo ID=other >/run/root/etc/os-release
head -c 300000 /dev/urandom >/run/root/etc/some
echo arm_64bit=1 >/run/boot/config.txt
echo root=LABEL=x >/run/boot/cmdline.txt
head -c 200000 /dev/urandom >/run/boot/kernel8.img
head -c 2000 /dev/urandom >/run/boot/bcm2712-rpi-5-b.dtb
truncate -s 24M /run/image
printf 'label: dos\nstart=2048, size=16384, type=c\nstart=18432, size=24576, type=83\n' | sfdisk -q /run/image
mkfs.vfat -n boot --offset=2048 /run/image 8192
mcopy -i /run/image@@1048576 /run/boot/* ::
mke2fs -q -t ext4 -d /run/root -E offset=9437184 /run/image 12288k
";
/// Each of them says on its way out that it is done.
const COMMANDS: [&str; 5] = [
    "import -q /run/image --to /run/disk/images --name one",
    "import -q /run/image --to /run/disk/images --name two --boot-only",
    "images -q --use two /run/disk/images",
    "import -q /run/image --to /run/disk/images --name three",
    "images -q --use one /run/disk/images",
];
const ROOTS: [&str; 5] = [
    "roots commit -q 0badcaf1 --name copy --dir /run/disk/images",
    "roots commit -q 0badcaf1 --name current --current --dir /run/disk/images",
    "roots reset -q 0badcaf1 --dir /run/disk/images",
    "roots reset -q 0badcaf1 --cancel --dir /run/disk/images",
    "roots reset -q 0badcaf1 --now --dir /run/disk/images",
];
const CHANGES: u32 = 20;
const BOOTS: u32 = 5;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const DISK: &str = "/run/disk";
pub(crate) const SERIAL: &str = "0badcaf1";
const SEED: u64 = 0x5e9f_2a17_0bad_caf1;
