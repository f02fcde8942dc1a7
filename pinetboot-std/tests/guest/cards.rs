//! The image of a card, not changed in a byte, as the disk of machines that live from `pinetboot serve IMAGE` alone. The server is a user
//! without any capability.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use crate::debian::{MINUTES, OPTIONS};
use crate::namespace::{Namespace, PINETBOOT, Process, SOON};
use crate::shell::Shell;

/// A network with two machines, and the files of their server.
pub(crate) struct World {
    pub(crate) network: Namespace,
    pub(crate) image: PathBuf,
    init: PathBuf,
    files: TempDir,
    began: Instant,
    /// Switches the machine of this number on; its console.
    start: fn(&Self, u8) -> Process,
}

impl World {
    /// The image and the first program are those that variables of the environment name.
    pub(crate) fn new(role: &str, [image, init]: [&str; 2], start: fn(&Self, u8) -> Process) -> Self {
        let network = Namespace::new(role);
        network.tap("tap0");
        network.tap("tap1");
        network.bridge("lan", &["tap0", "tap1"]);
        network.address("lan", "10.77.0.1/24");
        // Any user may have the ports of DHCP and TFTP.
        let mut ports = network.command("sh");
        ports.args(["-c", "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start"]);
        succeed(ports);
        let files = tempfile::tempdir().unwrap();
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let [image, init] = [image, init].map(variable);
        Self { network, image, init, files, began: Instant::now(), start }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    pub(crate) fn stage(&self, what: &str) {
        println!("{:5.1} s: {what}", self.began.elapsed().as_secs_f64());
    }

    /// Starts the server as a user without any capability, in this run of its machine.
    pub(crate) fn serve(&self, run: &str, image: &Path, options: &[&str]) -> Process {
        fs::write(self.path("run"), run).unwrap();
        let mut command = self.network.command("sh");
        command.args(["-c", UNPRIVILEGED, "sh"]).arg(self.path("run")).args([PINETBOOT, "serve", "-v"]);
        command.args(OPTIONS).args(["--disk-size", "2G", "--state"]).arg(self.path("state"));
        command.args(options).arg("--init").arg(&self.init).arg(image);
        let mut server = Process::start(command);
        server.line("ready tftp ", MINUTES);
        server
    }

    /// Boots a machine until its system has started, without any fault.
    pub(crate) fn boot(&self, number: u8) -> Shell {
        self.log_in(number, (self.start)(self, number))
    }

    /// Logs in to a machine whose power is on, once its system has started, without any fault.
    pub(crate) fn log_in(&self, number: u8, console: Process) -> Shell {
        let mut machine = Shell::log_in(console, MINUTES);
        self.stage(&format!("machine {number} is logged in to"));
        let (_, state) = machine.try_run("systemctl is-system-running --wait", MINUTES);
        let failed = machine.run("systemctl list-units --failed --plain --no-legend", SOON);
        assert_eq!((state.trim(), failed.trim()), ("running", ""));
        self.stage(&format!("machine {number}: running"));
        machine
    }

    fn disks(&self, arguments: &[&str]) {
        let mut command = Command::new(PINETBOOT);
        command.arg("disks").args(arguments).arg("--dir").arg(self.path("state"));
        succeed(command);
    }
}

/// The whole life of a card: its first boot, work that needs a file system of the machine's own, an upgrade of the kernel, a snapshot and
/// the way back, and the result as the image for machines that write to their memory.
pub(crate) fn a_card_lives(world: &World) {
    let changed = || fs::metadata(&world.image).map(|file| (file.mtime(), file.mtime_nsec())).unwrap();
    let before = changed();
    let serve = |options: &[&str]| world.serve(SAME, &world.image, options);
    let mut server = serve(&[]);
    let off = |machine: Shell, server: &mut Process| {
        machine.power_off("poweroff");
        server.line("is disconnected from its disk", MINUTES);
    };
    let mut machine = world.boot(0);
    let kib: u64 = machine.run("df --output=size / | tail -n 1", SOON).trim().parse().unwrap();
    assert!(kib > 1_600_000, "{kib} KiB: the root has grown to the end of the disk at the first boot");
    machine.run(OVERLAY, MINUTES);
    machine.run(CAPABILITY, MINUTES);
    world.stage("grown; an overlay mount and a file capability work");

    let old = machine.run("uname -r", SOON);
    machine.run(INSTALL, MINUTES);
    world.stage("the kernel's upgrade is installed");
    off(machine, &mut server);
    world.disks(&["snapshot", SERIALS[0], "upgraded"]);
    world.disks(&["resize", SERIALS[0], "3G"]);
    let mut machine = world.boot(0);
    let new = machine.run("uname -r", SOON);
    assert_ne!(new, old, "the next boot is that of the installed kernel");
    machine.run(OWN_MODULES, SOON);
    machine.run("touch /root/after && sync", MINUTES);
    world.stage("its next boot is that of the new kernel, with the modules of that");
    // Beyond the partitions, so that no file system loses a write.
    drop(server); // by SIGKILL
    let mut server = serve(&["--disk-reserve", "1000TiB"]);
    let (status, said) = machine.try_run(WRITE_BEYOND, MINUTES);
    let told = ["Input/output error", "No space left on device"].iter().any(|error| said.contains(error));
    assert!(status != 0 && told, "{said}");
    server.line("to its disk failed: no space left", MINUTES);
    machine.run("echo 3 >/proc/sys/vm/drop_caches && md5sum /usr/bin/dpkg", MINUTES);
    drop(server);
    let mut server = serve(&[]);
    machine.run(WRITE_BEYOND, MINUTES);
    machine.run("touch /root/after && sync && test -w /root", MINUTES);
    world.stage("a full disk of the server is one failed write, and no more once there is space");
    off(machine, &mut server);
    world.disks(&["rollback", SERIALS[0], "upgraded"]);
    let shared = world.path("shared.img");
    world.disks(&["commit", SERIALS[0], shared.to_str().unwrap()]);
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o644)).unwrap();
    server.stop();
    assert_eq!(changed(), before, "the image is written to");

    let server = world.serve(SAME, &shared, &["--disk-mode", "ram"]);
    // A machine ends with the thread that switched it on.
    let [one, two] = [0, 1].map(|number| (world.start)(world, number));
    let [mut one, mut two] = thread::scope(|scope| {
        let two = scope.spawn(|| world.log_in(1, two));
        [world.log_in(0, one), two.join().unwrap()]
    });
    for machine in [&mut one, &mut two] {
        assert_eq!(machine.run("uname -r", SOON), new);
        assert_eq!(machine.run("findmnt -n -o FSTYPE /", SOON), "overlay");
        machine.run("test ! -e /root/after && findmnt /boot/firmware", SOON);
        machine.run("hostname >/root/name && dd if=/dev/zero of=/root/big bs=1M count=8 status=none", SOON);
    }
    let [first, second] =
        [&mut one, &mut two].map(|machine| machine.run("cat /root/name /etc/machine-id", SOON));
    assert_ne!(first, second, "each has a name and an identity");
    drop(server); // by SIGKILL
    let server = world.serve(ANOTHER, &shared, &["--disk-mode", "ram"]);
    for machine in [&mut one, &mut two] {
        // No write can be lost, so the machines go on beside another run of the server's machine.
        machine.run("echo 3 >/proc/sys/vm/drop_caches; md5sum /usr/bin/* >/dev/null", MINUTES);
    }
    one.power_off("poweroff");
    let mut one = world.boot(0);
    one.run("test ! -e /root/name", SOON);
    thread::scope(|scope| {
        scope.spawn(|| one.power_off("poweroff"));
        two.power_off("poweroff");
    });
    world.stage("two machines share its result, and keep nothing");
    server.stop();
}

pub(crate) fn variable(name: &str) -> PathBuf {
    let value = env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: see .ci/run"));
    Path::new(&value).canonicalize().unwrap()
}

/// Runs a program, which has to succeed.
fn succeed(command: Command) {
    let what = format!("{command:?}");
    let (status, said) = Process::start(command).finish(MINUTES);
    assert!(status.success(), "{what}: {said}");
}

/// Runs a program as a user without any capability. `ip netns exec` gives each process mounts of its own.
const UNPRIVILEGED: &str = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && shift && \
     exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --pdeathsig=KILL -- \"$@\"";
/// As Docker's overlay2 lays out a container: a file of a lower layer is changed, one is removed, and a directory is made anew.
const OVERLAY: &str = "mkdir -p /var/lib/o/l1/dir /var/lib/o/l2 /var/lib/o/up /var/lib/o/work /var/lib/o/merged && cd /var/lib/o && \
     echo one >l1/one && echo two >l2/two && echo deep >l1/dir/deep && \
     mount -t overlay overlay -o lowerdir=l2:l1,upperdir=up,workdir=work merged && \
     echo more >>merged/one && rm merged/two && rm -r merged/dir && mkdir merged/dir && mv merged/one merged/dir/ && \
     test \"$(cat merged/dir/one)\" = \"$(printf 'one\\nmore')\" && test -c up/two && test ! -e merged/dir/deep && umount merged";
const CAPABILITY: &str = "cp /bin/sleep /root/capable && setcap cap_net_raw+ep /root/capable && sync && \
     echo 3 >/proc/sys/vm/drop_caches && getcap /root/capable | grep -q cap_net_raw=ep";
const INSTALL: &str = "apt-get -qq update && \
     apt-get -qq --yes install $(ls /opt/archive | sed -n 's/^\\(linux-image-[^_]*\\)_.*/\\1/p') >/dev/null";
const WRITE_BEYOND: &str = "dd if=/dev/urandom of=/dev/nbd0 bs=1M seek=2500 count=1 oflag=direct";
/// The modules that run the disk are those of the running kernel.
const OWN_MODULES: &str =
    "grep -q '^nbd ' /proc/modules && modinfo -F vermagic nbd | grep -q \"^$(uname -r) \"";
/// The machines'.
pub(crate) const SERIALS: [&str; 2] = ["5e9f2a01", "5e9f2a02"];
/// Two runs of the server's machine.
pub(crate) const SAME: &str = "11111111-1111-1111-1111-111111111111";
pub(crate) const ANOTHER: &str = "22222222-2222-2222-2222-222222222222";
