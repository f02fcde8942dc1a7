//! `pinetboot serve IMAGE` and `pinetboot disks`: what a Pi fetches, and who gets which disk.
//!
//! Run by `.ci/run disk`: the programs that make an image are needed. Ports are free ones of 127.0.0.0/8.
#![cfg(feature = "disk")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "disks/card.rs"]
mod card;
#[path = "disks/client.rs"]
mod client;
mod common;
#[path = "disks/states.rs"]
mod states;
#[path = "disks/systems.rs"]
mod systems;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use pinetboot_core::tftp::Options;
use tempfile::TempDir;

use card::{COMMAND_LINE, CONFIG, KERNELS, at_boot, run};
use client::Client;
use common::{Ended, Fetch, Serving, pinetboot};

/// A card, a state directory, and where the server of both was last.
struct World {
    files: TempDir,
    /// The port of NBD; 0 before the first start.
    port: u16,
}

impl World {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o777)).unwrap();
        card::make(&files.path().join("card.img"));
        fs::write(files.path().join("init"), card::program(card::ARM64, "first program")).unwrap();
        Self { files, port: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Serves the card as a user without any capability.
    fn serve(&mut self, options: &[&str]) -> Serving {
        let mut command = pinetboot();
        if geteuid().is_root() {
            command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
            command.args(["--inh-caps=-all", env!("CARGO_BIN_EXE_pinetboot")]);
        }
        let port = self.port.to_string();
        command.args(["serve", "--listen", "127.0.0.1", "--tftp-port", "0"]);
        // The default place is one for all servers of a machine.
        if !options.contains(&"--control") {
            command.args(["--control", "none"]);
        }
        command.args(["--disk-port", &port, "--init"]).arg(self.path("init"));
        command.arg("--state").arg(self.path("state")).args(options).arg(self.path("card.img"));
        let serving = Serving::start_as(&mut command);
        let port = serving.ready.split("nbd 127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap();
        self.port = port.parse().unwrap();
        serving
    }

    fn nbd(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)
    }

    fn disks(&self, arguments: &[&str]) -> Ended {
        let mut all = vec!["disks"];
        let state = self.path("state");
        all.extend(["--dir", state.to_str().unwrap()]);
        all.extend(arguments);
        common::run(all)
    }

    /// The same, which has to succeed.
    #[track_caller]
    fn do_disks(&self, arguments: &[&str]) -> String {
        let ended = self.disks(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.log);
        String::from_utf8(ended.stdout).unwrap()
    }
}

fn fetch(serving: &Serving, pi: &str, at: Ipv4Addr, file: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let name = format!("{pi}/{file}");
    let fetch =
        Fetch::new(serving.address(), &name, Options::RASPBERRY_PI, |more| bytes.extend_from_slice(more));
    let outcome = fetch.by(at).run();
    assert!(matches!(outcome, pinetboot_core::tftp::Outcome::Complete { .. }), "{name}: {outcome:?}");
    bytes
}

fn text(serving: &Serving, pi: &str, at: Ipv4Addr, file: &str) -> String {
    String::from_utf8(fetch(serving, pi, at, file)).unwrap()
}

/// Boots a Pi as far as its kernel: the name of its disk, with the secret of the boot.
fn boot(serving: &Serving, pi: &str, at: Ipv4Addr) -> String {
    assert!(text(serving, pi, at, "config.txt").contains("initramfs pinetboot-initramfs followkernel\n"));
    let line = text(serving, pi, at, "cmdline.txt");
    for file in ["pinetboot-initramfs", "kernel8.img"] {
        fetch(serving, pi, at, file);
    }
    name_in(&line)
}

/// The name of the disk in a command line.
fn name_in(line: &str) -> String {
    let address = line.split("pinetboot.disk=nbd://127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap();
    address.split_once('/').unwrap().1.to_owned()
}

#[test]
#[ignore = "needs mkfs.vfat, mcopy, mkfs.ext4 and sfdisk; run by .ci/run"]
fn each_pi_boots_the_card_from_a_disk_of_its_own() {
    let mut world = World::new();
    let card = fs::read(world.path("card.img")).unwrap();
    let serving = world.serve(&["-v"]);
    let config = text(&serving, ONE, HERE, "config.txt");
    assert_eq!(
        config,
        format!(
            "{}[all]\nauto_initramfs=0\ninitramfs pinetboot-initramfs followkernel\n",
            CONFIG.replace("auto", "# auto")
        )
    );
    let line = text(&serving, ONE, HERE, "cmdline.txt");
    assert!(line.starts_with(COMMAND_LINE.trim_end()) && line.ends_with(" ip=dhcp\n"), "{line}");
    assert_eq!(fetch(&serving, ONE, HERE, "kernel_2712.img"), [27; 70_000]);
    assert_eq!(fetch(&serving, ONE, HERE, "overlays/vc4.dtbo"), [4; 70_000]);
    let initramfs = fetch(&serving, ONE, HERE, "pinetboot-initramfs");
    let initramfs = String::from_utf8_lossy(&initramfs);
    for release in KERNELS {
        assert!(initramfs.contains(&format!("modules/{release}/000-nbd.ko")), "{release}");
        assert!(initramfs.contains(&format!("nbd of {release}")), "{release}");
    }
    assert!(initramfs.contains("first program"));

    let (one, two) = (boot(&serving, ONE, HERE), boot(&serving, TWO, THERE));
    let mut disk = Client::connect(HERE, world.nbd(), &one).unwrap();
    assert_eq!(disk.len, 16_000_000_000);
    assert_eq!(disk.read(0, 4096), card[..4096]);
    assert_eq!((disk.write(PLACE, b"one's").unwrap(), disk.flush().unwrap()), (0, 0));
    let mut other = Client::connect(THERE, world.nbd(), &two).unwrap();
    assert_eq!(other.read(PLACE, 5), [0; 5], "its own disk");
    assert_eq!(disk.read(PLACE, 5), b"one's");

    // Without the secret, with a wrong one, from another address: no disk, and no word of it.
    let wrong = format!("{}{}", &one[..one.len() - 1], if one.ends_with('0') { '1' } else { '0' });
    for (from, name) in
        [(HERE, ONE), (HERE, ""), (HERE, wrong.as_str()), (THERE, one.as_str()), (HERE, two.as_str())]
    {
        assert_eq!(Client::connect(from, world.nbd(), name).unwrap_err(), UNKNOWN, "{name} from {from}");
    }
    assert_eq!(disk.read(PLACE, 5), b"one's", "still there");
    assert_eq!(fs::read(world.path("card.img")).unwrap(), card, "the image is never written");
    serving.signal(Signal::SIGTERM);
    let ended = serving.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(!ended.log.contains("ERROR"), "{}", ended.log);
    assert!(ended.log.contains("gets cmdline.txt rewritten: added pinetboot.disk=nbd://"), "{}", ended.log);
    for secret in [&one, &two, &name_in(&line)] {
        assert!(!ended.log.contains(secret), "the log has no secret of a boot: {}", ended.log);
    }
}

#[test]
#[ignore = "needs mkfs.vfat, mcopy, mkfs.ext4, debugfs, xz and sfdisk; run by .ci/run"]
fn the_log_of_a_pis_system_is_read_from_its_disk() {
    let mut world = World::new();
    let journal = world.path("system.journal");
    let unpack = "xz --decompress --stdout image/tests/journal/regular.journal.xz > \"$0\"";
    run("sh", &["-c", unpack, journal.to_str().unwrap()]);
    let ext4 = format!("{}?offset={}", world.path("card.img").display(), 34816 * 512);
    let script = world.path("commands");
    let change = |commands: &str| {
        fs::write(&script, commands).unwrap();
        run("debugfs", &["-w", "-f", script.to_str().unwrap(), &ext4]);
    };
    let directory = "/var/log/journal/3d1219c7c4c5404aaa1f6d2a48adfda4";
    let made =
        ["/var", "/var/log", "/var/log/journal", directory].map(|path| format!("mkdir {path}\n")).concat();
    change(&format!("{made}write {} {directory}/system.journal\n", journal.display()));
    let serving = world.serve(&[]);
    let name = boot(&serving, ONE, HERE);
    drop(Client::connect(HERE, world.nbd(), &name).unwrap());
    serving.wait_for_logs(1, GONE);
    let busy = Client::connect(HERE, world.nbd(), &name).unwrap();
    let ended = world.disks(&["log", ONE]);
    assert!(ended.log.contains(&format!("{ONE} uses its disk")), "{}", ended.log);
    drop(busy);
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.wait().code, Some(0));
    let said = world.do_disks(&["log", ONE, "--lines", "3"]);
    assert!(said.starts_with(&format!("{ONE} on card, /var/log/journal: boot 0 of 2, ")), "{said}");
    assert!(said.contains("\nFailed units:\n  ssh.service (exit-code)\n"), "{said}");
    assert!(said.contains("\nLast lines (3 of ") && said.ends_with(": Journal stopped\n"), "{said}");
    assert!(!said.contains("not shut down"), "{said}");
    let before: serde_json::Value =
        serde_json::from_str(&world.do_disks(&["log", ONE, "--json", "--boot", "-1"])).unwrap();
    assert_eq!((&before["boot"], before["boots"].as_array().unwrap().len()), (&(-1).into(), 2));

    // The Pi lost its power: its ext4 has to be replayed, and is read as it is. Its superblock, as debugfs makes one of that kind:
    let (image, superblock) = (world.path("card.img"), 34816 * 512 + 1024);
    let before = fs::read(&image).unwrap();
    let copy = world.path("copy.img");
    fs::copy(&image, &copy).unwrap();
    run(
        "debugfs",
        &["-w", "-R", "feature needs_recovery", &format!("{}?offset={}", copy.display(), 34816 * 512)],
    );
    let dirty = fs::read(&copy).unwrap()[superblock..superblock + 1024].to_vec();
    assert_ne!(dirty, before[superblock..superblock + 1024]);
    let serving = world.serve(&[]);
    let name = boot(&serving, ONE, HERE);
    let mut disk = Client::connect(HERE, world.nbd(), &name).unwrap();
    assert_eq!((disk.write(superblock as u64, &dirty).unwrap(), disk.flush().unwrap()), (0, 0));
    disk.disconnect();
    serving.wait_for_logs(1, GONE);
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.wait().code, Some(0));
    let said = world.do_disks(&["log", ONE, "--lines", "3"]);
    assert!(said.contains("Note: the system was not shut down, and its ext4 was read without"), "{said}");
    assert!(said.ends_with(": Journal stopped\n"), "{said}");
}

#[test]
fn a_file_that_is_no_image_is_refused_as_such() {
    for (content, why) in [
        (&b"root:x:0:0:root:/root:/bin/bash\n"[..], "partition table"),
        (b"", "the file is empty"),
        (&[0; 5000], "partition table"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        let ended = common::run(["serve", file.path().to_str().unwrap()]);
        assert_ne!(ended.code, Some(0));
        assert!(ended.log.contains(why) && !ended.log.contains("beyond"), "{}", ended.log);
    }
}

#[test]
#[ignore = "needs mkfs.vfat, mcopy, mkfs.ext4 and sfdisk; run by .ci/run"]
fn an_answered_write_outlives_the_server_and_a_pi_takes_its_own_disk_over() {
    let mut world = World::new();
    let serving = world.serve(&[]);
    let name = boot(&serving, ONE, HERE);
    let mut disk = Client::connect(HERE, world.nbd(), &name).unwrap();
    for number in 0..50_u8 {
        assert_eq!(disk.write(PLACE + u64::from(number) * 5000, &[number; 700]).unwrap(), 0);
    }
    serving.signal(Signal::SIGKILL);
    serving.wait();
    // The Pi goes on, by the same name: nothing else knows of its boot.
    let serving = world.serve(&[]);
    let mut disk = Client::connect(HERE, world.nbd(), &name).unwrap();
    for number in 0..50_u8 {
        assert_eq!(disk.read(PLACE + u64::from(number) * 5000, 700), [number; 700], "{number}");
    }
    // The Pi loses its power in the middle of a write, which the connection does not show, and boots again: it waits for nothing.
    disk.write_in_part(PLACE, b"l").unwrap();
    let again = boot(&serving, ONE, HERE);
    let mut next = Client::connect(HERE, world.nbd(), &again).unwrap();
    assert_eq!(next.write(PLACE, b"next").unwrap(), 0);
    assert_ne!(disk.write_the_rest(b"ate").unwrap(), 0, "one writer ever");
    assert_eq!(next.read(PLACE, 4), b"next");
    next.disconnect();
    serving.wait_for_logs(1, GONE);
    drop(disk);
    serving.wait_for_logs(2, GONE);
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.wait().code, Some(0));
}

#[test]
#[ignore = "needs mkfs.vfat, mcopy, mkfs.ext4 and sfdisk; run by .ci/run"]
fn a_full_disk_is_told_to_the_pi_and_in_the_log() {
    let mut world = World::new();
    let serving = world.serve(&["--disk-reserve", "1000TiB"]);
    let name = boot(&serving, ONE, HERE);
    let mut disk = Client::connect(HERE, world.nbd(), &name).unwrap();
    assert_eq!(disk.write(PLACE, &[1; 512]).unwrap(), NO_SPACE);
    assert_eq!(disk.read(PLACE, 512), [0; 512], "it goes on reading");
    serving.wait_for_log("a write of bd989ae1 (127.0.0.1) to its disk failed: no space left");
    drop(disk);
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.wait().code, Some(0));
}

#[test]
#[ignore = "needs mkfs.vfat, mcopy, mkfs.ext4 and sfdisk; run by .ci/run"]
fn disks_are_listed_compared_kept_and_copied_and_a_pi_boots_what_it_wrote() {
    let mut world = World::new();
    let serving = world.serve(&[]);
    let mut disk = Client::connect(HERE, world.nbd(), &boot(&serving, ONE, HERE)).unwrap();
    // The Pi writes to its boot partition, as a kernel's upgrade does.
    let (before, after) = (world.path("card.img"), world.path("after.img"));
    fs::copy(&before, &after).unwrap();
    for (name, text) in [("config.txt", "arm_64bit=1\n# of the Pi\n"), ("kernel9.img", "a new kernel")] {
        let file = world.path("new");
        fs::write(&file, text).unwrap();
        run("mcopy", &["-o", "-i", &at_boot(&after), file.to_str().unwrap(), &format!("::{name}")]);
    }
    run("mdel", &["-i", &at_boot(&after), "::kernel8.img"]);
    let (old, new) = (fs::read(before).unwrap(), fs::read(after).unwrap());
    for (number, (old, new)) in old.chunks(4096).zip(new.chunks(4096)).enumerate() {
        if old != new {
            assert_eq!(disk.write(number as u64 * 4096, new).unwrap(), 0);
        }
    }
    let refused = world.disks(&["diff", ONE]);
    assert!(refused.code == Some(1) && refused.log.contains("bd989ae1 uses its disk"), "{}", refused.log);
    assert!(world.do_disks(&["list"]).contains("in use"));
    disk.disconnect();
    serving.wait_for_logs(1, GONE);
    assert!(!world.do_disks(&["list"]).contains("in use"));

    assert_eq!(
        world.do_disks(&["diff", ONE]),
        "C /boot/firmware/config.txt\nD /boot/firmware/kernel8.img\nA /boot/firmware/kernel9.img\n"
    );
    // The next boot is that of what the Pi wrote; another Pi boots the card.
    assert!(text(&serving, ONE, HERE, "config.txt").starts_with("arm_64bit=1\n# of the Pi\n[all]\n"));
    assert_eq!(fetch(&serving, ONE, HERE, "kernel9.img"), b"a new kernel");
    assert!(text(&serving, TWO, THERE, "config.txt").starts_with(&CONFIG.replace("auto", "# auto")));

    world.do_disks(&["snapshot", ONE, "upgraded"]);
    let twice = world.disks(&["snapshot", ONE, "upgraded"]);
    assert!(twice.code == Some(2) && twice.log.contains("already"), "{}", twice.log);
    let name = boot_again(&serving);
    let mut disk = Client::connect(HERE, world.nbd(), &name).unwrap();
    assert_eq!(disk.write(PLACE, b"after the snapshot").unwrap(), 0);
    disk.disconnect();
    serving.wait_for_logs(2, GONE);
    let image = world.path("whole.img");
    let said = world.do_disks(&["commit", ONE, image.to_str().unwrap()]);
    assert!(said.contains("It has the identity of bd989ae1"), "{said}");
    assert_eq!(fs::read(&image).unwrap()[PLACE as usize..][..18], *b"after the snapshot");
    let again = world.disks(&["export", ONE, image.to_str().unwrap()]);
    assert!(again.code == Some(1) && again.log.contains("exists"), "{}", again.log);

    let none = world.disks(&["rollback", ONE, "x"]);
    assert!(none.code == Some(2) && none.log.contains("it has: upgraded"), "{}", none.log);
    world.do_disks(&["rollback", ONE, "upgraded"]);
    world.do_disks(&["resize", ONE, "20G"]);
    let mut disk = Client::connect(HERE, world.nbd(), &boot_again(&serving)).unwrap();
    assert_eq!((disk.len, disk.read(PLACE, 5)), (20_000_000_000, vec![0; 5]));
    disk.disconnect();
    serving.wait_for_logs(3, GONE);
    let smaller = world.disks(&["resize", ONE, "1G"]);
    assert!(smaller.code == Some(2) && smaller.log.contains("longer only"), "{}", smaller.log);

    let list: serde_json::Value = serde_json::from_str(&world.do_disks(&["list", "--json"])).unwrap();
    let row = &list["disks"][0];
    assert_eq!((row["pi"].as_str(), row["image"].as_str()), (Some(ONE), Some("card")));
    assert_eq!(
        (&row["snapshots"][0], &row["length_bytes"]),
        (&"upgraded".into(), &20_000_000_000_u64.into())
    );
    let said = world.do_disks(&["reset", ONE]);
    assert!(said.contains("snapshots stay: upgraded"), "{said}");
    // They stay in reach: of the list, of the return to one, and of a reset.
    let list: serde_json::Value = serde_json::from_str(&world.do_disks(&["list", "--json"])).unwrap();
    let row = &list["disks"][0];
    assert_eq!((&row["snapshots"][0], &row["length_bytes"]), (&"upgraded".into(), &serde_json::Value::Null));
    let none = world.disks(&["diff", ONE]);
    assert!(none.code == Some(2) && none.log.contains("only snapshots on card"), "{}", none.log);
    world.do_disks(&["rollback", ONE, "upgraded"]);
    world.do_disks(&["reset", ONE]);
    world.do_disks(&["reset", ONE, "--snapshots"]);
    assert_eq!(world.do_disks(&["list"]).lines().count(), 1, "the head alone");
    let mut disk = Client::connect(HERE, world.nbd(), &boot_again(&serving)).unwrap();
    assert_eq!(disk.read(0, 1 << 20), old[..1 << 20]);
    disk.disconnect();
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.wait().code, Some(0));
}

#[test]
#[ignore = "needs mkfs.vfat, mcopy, mkfs.ext4 and sfdisk; run by .ci/run"]
fn pis_that_write_to_their_memory_share_the_image() {
    let mut world = World::new();
    let card = fs::read(world.path("card.img")).unwrap();
    let serving = world.serve(&["--disk-mode", "ram"]);
    let line = text(&serving, ONE, HERE, "cmdline.txt");
    assert!(line.contains(" pinetboot.overlay=tmpfs fsck.mode=skip systemd.hostname=pi-bd989ae1 "), "{line}");
    let names = [(ONE, HERE), (TWO, THERE)].map(|(pi, at)| (at, boot(&serving, pi, at)));
    let mut disks = names.each_ref().map(|(at, name)| Client::connect(*at, world.nbd(), name).unwrap());
    for disk in &mut disks {
        assert_eq!(disk.len, card.len() as u64);
        assert_eq!(disk.read(0, 4096), card[..4096]);
        assert_eq!(disk.write(PLACE, b"mine").unwrap(), READ_ONLY);
        assert_eq!(disk.read(PLACE, 4), card[PLACE as usize..][..4]);
    }
    serving.signal(Signal::SIGTERM);
    let ended = serving.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(!ended.log.contains("ERROR") && !ended.log.contains("new disk"), "{}", ended.log);
    assert_eq!(world.do_disks(&["list"]).lines().count(), 1, "the head alone");
    assert_eq!(fs::read(world.path("card.img")).unwrap(), card);
}

#[test]
#[ignore = "needs mkfs.vfat, mcopy, mkfs.ext4 and sfdisk; run by .ci/run"]
fn one_pi_writes_to_the_image_itself_and_no_other_may() {
    let mut world = World::new();
    let card = world.path("card.img");
    // A disk on the image keeps it from being written to.
    let serving = world.serve(&[]);
    Client::connect(HERE, world.nbd(), &boot(&serving, ONE, HERE)).unwrap().disconnect();
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.wait().code, Some(0));
    fs::set_permissions(&card, fs::Permissions::from_mode(0o666)).unwrap();
    let serving = world.serve(&["--disk-mode", "rw"]);
    let name = boot(&serving, TWO, THERE);
    assert_eq!(Client::connect(THERE, world.nbd(), &name).unwrap_err(), UNKNOWN);
    serving
        .wait_for_log("bd989ae1 has a disk on the image card, which a change of the image makes unreadable");
    world.do_disks(&["reset", ONE]);

    let mut disk = Client::connect(THERE, world.nbd(), &name).unwrap();
    assert_eq!((disk.write(PLACE, b"in the image").unwrap(), disk.flush().unwrap()), (0, 0));
    assert_eq!(fs::read(&card).unwrap()[PLACE as usize..][..12], *b"in the image");
    let other = boot(&serving, ONE, HERE);
    assert_eq!(Client::connect(HERE, world.nbd(), &other).unwrap_err(), UNKNOWN);
    serving.wait_for_log("the image card is in use: a disk has one writer");
    let refused = world.disks(&["release", TWO]);
    assert!(refused.code == Some(1) && refused.log.contains("5e9f2a01 uses its disk"), "{}", refused.log);
    // Its next boot reads what it wrote, also while it is connected.
    let before = fs::read(&card).unwrap();
    let after = world.path("after.img");
    fs::copy(&card, &after).unwrap();
    let file = world.path("new");
    fs::write(&file, "arm_64bit=1\n# of the Pi\n").unwrap();
    run("mcopy", &["-o", "-i", &at_boot(&after), file.to_str().unwrap(), "::config.txt"]);
    for (number, (old, new)) in before.chunks(4096).zip(fs::read(after).unwrap().chunks(4096)).enumerate() {
        if old != new {
            assert_eq!(disk.write(number as u64 * 4096, new).unwrap(), 0);
        }
    }
    let again = name_in(&text(&serving, TWO, THERE, "cmdline.txt"));
    assert!(text(&serving, TWO, THERE, "config.txt").starts_with("arm_64bit=1\n# of the Pi\n[all]\n"));
    let mut next = Client::connect(THERE, world.nbd(), &again).unwrap();
    assert_ne!(disk.write(PLACE, b"late").unwrap(), 0, "one writer ever");
    assert_eq!(next.read(PLACE, 12), b"in the image");
    serving.signal(Signal::SIGKILL);
    serving.wait();

    // The Pi may be about to connect again: no other takes the image after a restart of the server.
    let serving = world.serve(&["--disk-mode", "rw"]);
    assert_eq!(Client::connect(HERE, world.nbd(), &boot(&serving, ONE, HERE)).unwrap_err(), UNKNOWN);
    serving.wait_for_log("5e9f2a01 has the image card read-write");
    let mut disk = Client::connect(THERE, world.nbd(), &again).unwrap();
    assert_eq!(disk.read(PLACE, 12), b"in the image");
    disk.disconnect();
    serving.wait_for_logs(1, GONE);
    world.do_disks(&["release", TWO]);
    let mut disk = Client::connect(HERE, world.nbd(), &boot_again(&serving)).unwrap();
    assert_eq!(disk.read(PLACE, 12), b"in the image");
    disk.disconnect();
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.wait().code, Some(0));
}

/// The same Pi boots once more.
fn boot_again(serving: &Serving) -> String {
    name_in(&text(serving, ONE, HERE, "cmdline.txt"))
}

const ONE: &str = "bd989ae1";
const TWO: &str = "5e9f2a01";
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const GONE: &str = "is disconnected from its disk";
/// In the root partition, where no file is.
const PLACE: u64 = 60 << 20;
/// NBD_REP_ERR_UNKNOWN
const UNKNOWN: u32 = 0x8000_0006;
/// NBD_EPERM
const READ_ONLY: u32 = 1;
/// NBD_ENOSPC
const NO_SPACE: u32 = 28;
