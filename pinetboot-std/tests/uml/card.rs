//! `pinetboot serve IMAGE`: the image of a card, not changed in a byte, is the disk of a machine. The server is a user without any
//! capability; the machine has its command line, kernel and initramfs from it by TFTP, and its disk by NBD.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::TempDir;

use super::disk::run;
use super::machine::{MINUTES, fetch_boot_files, start_fetched, succeed};
use crate::debian::OPTIONS;
use crate::namespace::{Namespace, PINETBOOT, Process, SOON};
use crate::shell::Shell;

#[test]
#[ignore = "needs root, user-mode Linux, nbdinfo, qemu-img, PINETBOOT_UML_IMAGE and PINETBOOT_UML_INIT; run by .ci/run"]
fn an_untouched_card_boots_and_outlives_the_server_but_not_the_servers_machine() {
    let world = World::new();
    let image = variable("PINETBOOT_UML_IMAGE");
    let changed = || fs::metadata(&image).map(|file| (file.mtime(), file.mtime_nsec())).unwrap();
    let before = changed();
    let mut server = world.serve(SAME);

    world.fetch();
    let address = world.disk_address();
    let last = if address.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &address[..address.len() - 1]);
    let line = fs::read_to_string(world.path("cmdline.txt")).unwrap();
    fs::write(world.path("cmdline.txt"), line.replace(&address, &wrong)).unwrap();
    let mut refused = start_fetched(&world.network, 0, world.files.path());
    refused.expect("the server refuses the disk: no such disk for this client", MINUTES);
    drop(refused);
    world.stage("a wrong secret is refused");

    let mut machine = world.boot();
    for (place, partition) in [("/", "/dev/nbd0p2"), ("/boot/firmware", "/dev/nbd0p1")] {
        assert_eq!(machine.run(&format!("findmnt -n -o SOURCE {place}"), SOON), partition);
    }
    // No other client has the disk, nor learns that it exists.
    for address in [world.disk_address(), format!("nbd://10.77.0.1/{SERIAL}")] {
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
        machine.expect(&format!("written {}", kill * 15), MINUTES);
        drop(server); // by SIGKILL
        server = world.serve(SAME);
        world.stage("killed and started again");
    }
    let (status, said) = machine.finish(MINUTES);
    assert!(status == 0 && said.contains("written 60"), "{said}");
    machine.run("echo 3 >/proc/sys/vm/drop_caches", MINUTES);
    machine.run(ALL_LINES, MINUTES);
    world.stage("each written line is there");

    // The server's machine loses its power: the machine must not go on, and boots anew.
    machine.run("echo 7 >/proc/sys/kernel/printk", SOON);
    drop(server);
    let server = world.serve(ANOTHER);
    machine.expect("may have lost writes", MINUTES);
    machine.expect("the machine restarts", SOON);
    drop(machine);
    let mut machine = world.boot();
    machine.run(ALL_LINES, MINUTES);
    // As an upgrade of the kernel does it.
    machine.run("echo '# of the machine' >>/boot/firmware/config.txt", SOON);
    machine.power_off("poweroff");
    world.fetch();
    let config = fs::read_to_string(world.path("config.txt")).unwrap();
    assert!(config.contains("# of the machine\n"), "{config}");
    world.stage("its next boot is that of what it wrote");
    server.stop();

    let disk = world.path("state/disks").join(SERIAL).join("debian.qcow2");
    run("qemu-img", &["check", "-r", "leaks", disk.to_str().unwrap()]);
    run("qemu-img", &["check", disk.to_str().unwrap()]);
    assert_eq!(changed(), before, "the image is written to");
}

/// A network, and the files of its server and its machine.
struct World {
    network: Namespace,
    files: TempDir,
    began: Instant,
}

impl World {
    fn new() -> Self {
        let network = Namespace::new("card");
        network.tap("tap0");
        network.bridge("lan", &["tap0"]);
        network.address("lan", "10.77.0.1/24");
        // Any user may have the ports of DHCP and TFTP.
        let mut ports = network.command("sh");
        ports.args(["-c", "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start"]);
        succeed(ports);
        let files = tempfile::tempdir().unwrap();
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self { network, files, began: Instant::now() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn stage(&self, what: &str) {
        println!("{:5.1} s: {what}", self.began.elapsed().as_secs_f64());
    }

    /// Starts the server as a user without any capability, in this run of its machine.
    fn serve(&self, run: &str) -> Process {
        fs::write(self.path("run"), run).unwrap();
        let mut command = self.network.command("sh");
        command.args(["-c", UNPRIVILEGED, "sh"]).arg(self.path("run")).args([PINETBOOT, "serve", "-v"]);
        command.args(OPTIONS).args(["--disk-size", "2G", "--state"]).arg(self.path("state"));
        command.arg("--init").arg(variable("PINETBOOT_UML_INIT")).arg(variable("PINETBOOT_UML_IMAGE"));
        let mut server = Process::start(command);
        server.line("ready tftp ", MINUTES);
        server
    }

    /// The firmware's part of a boot.
    fn fetch(&self) {
        fetch_boot_files(&self.network, 0, SERIAL, self.files.path());
    }

    /// The address of the disk with the secret, in the command line that the firmware has.
    fn disk_address(&self) -> String {
        let line = fs::read_to_string(self.path("cmdline.txt")).unwrap();
        let address = line.split(' ').find_map(|word| word.strip_prefix("pinetboot.disk="));
        address.unwrap_or_else(|| panic!("no disk: {line}")).to_owned()
    }

    /// Boots the machine until its system has started, without any fault.
    fn boot(&self) -> Shell {
        self.fetch();
        let console = start_fetched(&self.network, 0, self.files.path());
        let mut machine = Shell::log_in(console, MINUTES);
        self.stage("logged in");
        let (_, state) = machine.try_run("systemctl is-system-running --wait", MINUTES);
        let failed = machine.run("systemctl list-units --failed --plain --no-legend", SOON);
        assert_eq!((state.trim(), failed.trim()), ("running", ""));
        self.stage("running");
        machine
    }
}

fn variable(name: &str) -> PathBuf {
    let value = env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: see .ci/run"));
    Path::new(&value).canonicalize().unwrap()
}

/// Runs a program as a user without any capability. `ip netns exec` gives each process mounts of its own.
const UNPRIVILEGED: &str = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && shift && \
     exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --pdeathsig=KILL -- \"$@\"";
const ALL_LINES: &str =
    "seq -f 'line %g' 60 >/run/lines && cat $(seq -f '/root/line%g' 60) | cmp - /run/lines";
const SERIAL: &str = "5e9f2a01";
/// Two runs of the server's machine.
const SAME: &str = "11111111-1111-1111-1111-111111111111";
const ANOTHER: &str = "22222222-2222-2222-2222-222222222222";
