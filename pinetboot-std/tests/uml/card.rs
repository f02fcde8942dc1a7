//! `pinetboot serve IMAGE`: the image of a card, not changed in a byte, is the disk of a machine. The server is a user without any
//! capability; the machine has its command line, kernel and initramfs from it by TFTP, and its disk by NBD.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use super::disk::run;
use super::machine::{MINUTES, boot_by_firmware, fetch_boot_files, start_fetched};
use crate::cards::{ANOTHER, SAME, SERIALS, World, a_card_lives};
use crate::namespace::{Process, SOON};

/// A machine's card, its kernel, and nothing else of this machine.
fn world() -> World {
    World::new("card", ["PINETBOOT_UML_IMAGE", "PINETBOOT_UML_INIT"], |world, number| {
        boot_by_firmware(&world.network, number, SERIALS[usize::from(number)], &of(world, number))
    })
}

#[test]
#[ignore = "needs root, user-mode Linux, PINETBOOT_UML_IMAGE and PINETBOOT_UML_INIT; run by .ci/run"]
fn a_card_lives_on_user_mode_linux() {
    a_card_lives(&world());
}

#[test]
#[ignore = "needs root, user-mode Linux, nbdinfo, qemu-img, PINETBOOT_UML_IMAGE and PINETBOOT_UML_INIT; run by .ci/run"]
fn an_untouched_card_boots_and_outlives_the_server_but_not_the_servers_machine() {
    let world = world();
    let changed = || fs::metadata(&world.image).map(|file| (file.mtime(), file.mtime_nsec())).unwrap();
    let before = changed();
    let serve = |run| world.serve(run, &world.image, &[]);
    let mut server = serve(SAME);

    fetch(&world);
    let address = disk_address(&world);
    let last = if address.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &address[..address.len() - 1]);
    let file = of(&world, 0).join("cmdline.txt");
    let line = fs::read_to_string(&file).unwrap();
    fs::write(file, line.replace(&address, &wrong)).unwrap();
    let mut refused = start_fetched(&world.network, 0, &of(&world, 0));
    let said = refused.line("the server refuses the disk: no such disk for this client", MINUTES);
    assert!(said.ends_with("[rule 98]"), "{said}");
    server.expect("stuck: says so itself [98]", MINUTES);
    drop(refused);
    world.stage("a wrong secret is refused");

    // The machine knows two places of its disk.
    fetch(&world);
    let address = disk_address(&world);
    let elsewhere = address.replace(HERE, THERE);
    let file = of(&world, 0).join("cmdline.txt");
    let line = fs::read_to_string(&file).unwrap();
    fs::write(file, line.replace(&address, &format!("{address} pinetboot.disk={elsewhere}"))).unwrap();
    let mut machine = world.log_in(0, start_fetched(&world.network, 0, &of(&world, 0)));
    for (place, partition) in [("/", "/dev/nbd0p2"), ("/boot/firmware", "/dev/nbd0p1")] {
        assert_eq!(machine.run(&format!("findmnt -n -o SOURCE {place}"), SOON), partition);
    }
    // No other client has the disk, nor learns that it exists.
    for address in [disk_address(&world), format!("nbd://10.77.0.1/{}", SERIALS[0])] {
        let mut other = world.network.command("nbdinfo");
        other.arg(&address);
        let (status, said) = Process::start(other).finish(SOON);
        assert!(!status.success(), "{address}: {said}");
    }

    // Each line is on the disk before the next one is written.
    machine.start(
        "for i in $(seq 60); do echo line $i >/root/line$i && sync /root/line$i && echo written $i; done",
    );
    for kill in 1..=3 {
        machine.expect(&format!("written {}", kill * 10), MINUTES);
        drop(server); // by SIGKILL
        server = serve(SAME);
        world.stage("killed and started again");
    }
    for (kill, from, to) in [(4, HERE, THERE), (5, THERE, HERE)] {
        machine.expect(&format!("written {}", kill * 10), MINUTES);
        drop(server);
        world.network.ip(&format!("addr del {from}/24 dev lan"));
        world.network.address("lan", &format!("{to}/24"));
        server = serve(SAME);
        world.stage("killed, and started at another address");
    }
    let (status, said) = machine.finish(MINUTES);
    assert!(status == 0 && said.contains("written 60"), "{said}");
    machine.run("echo 3 >/proc/sys/vm/drop_caches", MINUTES);
    machine.run(ALL_LINES, MINUTES);
    world.stage("each written line is there");

    // The server's machine loses its power: the machine must not go on, and boots anew.
    machine.run("echo 7 >/proc/sys/kernel/printk", SOON);
    drop(server);
    let server = serve(ANOTHER);
    machine.expect("may have lost writes", MINUTES);
    machine.expect("the machine restarts", SOON);
    drop(machine);
    let mut machine = world.boot(0);
    machine.run(ALL_LINES, MINUTES);
    // As an upgrade of the kernel does it.
    machine.run("echo '# of the machine' >>/boot/firmware/config.txt", SOON);
    machine.power_off("poweroff");
    fetch(&world);
    let config = fs::read_to_string(of(&world, 0).join("config.txt")).unwrap();
    assert!(config.contains("# of the machine\n"), "{config}");
    world.stage("its next boot is that of what it wrote");
    server.stop();

    let disk = world.path("state/disks").join(SERIALS[0]).join("debian.qcow2");
    run("qemu-img", &["check", "-r", "leaks", disk.to_str().unwrap()]);
    run("qemu-img", &["check", disk.to_str().unwrap()]);
    assert_eq!(changed(), before, "the image is written to");
}

#[test]
#[ignore = "needs root, user-mode Linux, PINETBOOT_UML_IMAGE and PINETBOOT_UML_INIT; run by .ci/run"]
fn one_machine_writes_to_the_image_itself_and_loses_its_power() {
    let world = world();
    let own = world.path("own.img");
    run("cp", &["--sparse=always", world.image.to_str().unwrap(), own.to_str().unwrap()]);
    fs::set_permissions(&own, fs::Permissions::from_mode(0o666)).unwrap();
    let mut server = world.serve(SAME, &own, &["--disk-mode", "rw"]);
    let mut machine = world.boot(0);
    let mut other = boot_by_firmware(&world.network, 1, SERIALS[1], &of(&world, 1));
    other.expect("the server refuses the disk", MINUTES);
    drop(other);
    world.stage("a second writer is refused");

    machine.start(
        "for i in $(seq 9999); do echo line $i >/root/line$i && sync /root/line$i && echo written $i; done",
    );
    machine.expect("written 20\r", MINUTES);
    drop(machine); // without a word to the server
    let mut machine = world.boot(0);
    let lines = "seq -f 'line %g' 20 >/run/lines && cat $(seq -f '/root/line%g' 20) | cmp - /run/lines";
    machine.run(lines, MINUTES);
    world.stage("it lost its power, booted at once, and has each written line");
    machine.power_off("poweroff");
    server.expect("is disconnected from its disk", MINUTES);
    server.stop();
    let at_root = format!("{}?offset={}", own.display(), ROOT_AT);
    let shown = Command::new("debugfs").args(["-R", "cat /root/line20", &at_root]).output().unwrap();
    let line = String::from_utf8_lossy(&shown.stdout);
    assert!(line.contains("line 20\n"), "in the image itself: {line}");
}

/// The directory of a machine's own files.
fn of(world: &World, number: u8) -> PathBuf {
    let directory = world.path(&format!("machine{number}"));
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// The firmware's part of a boot.
fn fetch(world: &World) {
    fetch_boot_files(&world.network, 0, SERIALS[0], &of(world, 0));
}

/// The address of the disk with the secret, in the command line that the firmware has.
fn disk_address(world: &World) -> String {
    let line = fs::read_to_string(of(world, 0).join("cmdline.txt")).unwrap();
    let address = line.split(' ').find_map(|word| word.strip_prefix("pinetboot.disk="));
    address.unwrap_or_else(|| panic!("no disk: {line}")).to_owned()
}

/// Two addresses of the server's machine, of which it has one at a time.
const HERE: &str = "10.77.0.1";
const THERE: &str = "10.77.0.2";
/// Where the root begins in the image (.ci/guest-image).
const ROOT_AT: u64 = (16384 + 196_608) * 512;
const ALL_LINES: &str =
    "seq -f 'line %g' 60 >/run/lines && cat $(seq -f '/root/line%g' 60) | cmp - /run/lines";
