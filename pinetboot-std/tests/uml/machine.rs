//! A machine that is user-mode Linux, with the root of this machine to read from.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::namespace::{A_WHILE, End, Namespace, PINETBOOT, Process, SOON, cable};
use crate::shell::Shell;

/// The time limit of work that takes some seconds.
pub(crate) const MINUTES: Duration = Duration::from_secs(300);

/// A machine at a root shell. Dropping it switches it off.
#[derive(Debug)]
pub(crate) struct Uml {
    pub(crate) shell: Shell,
    _files: TempDir,
}

impl Uml {
    /// Boots a machine with these kernel modules. With a number, its `eth0` is the namespace's device `tap0`, `tap1` ..
    pub(crate) fn boot(network: &Namespace, number: Option<u8>, modules: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let init = files.path().join("init");
        executable(&init, INIT);
        let mut command = kernel(network, Path::new("linux.uml"), files.path());
        command.args(["con=null", "con0=fd:0,fd:1", "root=/dev/root", "rootfstype=hostfs", "hostfs=/", "ro"]);
        command.arg(format!("init={}", init.display()));
        command.args(number.map(ethernet));
        let mut shell = Shell::on(Process::start(command));
        shell.run(&format!("modprobe --dirname /mnt --all {modules}"), A_WHILE);
        Self { shell, _files: files }
    }

    /// Boots a machine at 10.77.0.50, .51 .., which fetches the boot files of a Pi by this serial number, and mounts the root
    /// that the command line names, at [`ROOT`].
    pub(crate) fn boot_as(network: &Namespace, number: u8, serial: &str) -> Self {
        let mut machine = Self::boot(network, Some(number), "nfsv3");
        let shell = &mut machine.shell;
        shell.run(&format!("ip addr add 10.77.0.{}/24 dev eth0; ip link set eth0 up", 50 + number), SOON);
        for file in ["config.txt", "cmdline.txt", "kernel8.img"] {
            let url = format!("tftp://10.77.0.1/{serial}/{file}");
            shell.run(&format!("cd /run && {PINETBOOT} get -q {url}"), A_WHILE);
        }
        machine.mount();
        machine
    }

    /// Mounts the root.
    pub(crate) fn mount(&mut self) {
        self.shell.run(MOUNT, A_WHILE);
    }

    /// Runs this test binary in the machine: the one test, playing this part.
    pub(crate) fn start(&mut self, test: &str, part: &str) {
        let binary = env::current_exe().unwrap();
        let arguments = "--include-ignored --nocapture --exact";
        self.shell.start(&format!("PINETBOOT_TEST_PART='{part}' {} {arguments} {test}", binary.display()));
    }

    /// Waits for the part to succeed, and returns what it said.
    pub(crate) fn finish(&mut self, within: Duration) -> String {
        let (status, said) = self.shell.finish(within);
        assert!(status == 0 && said.contains(" 1 passed"), "{said}");
        said
    }
}

/// Boots a machine as a Pi does: fetches the boot files, and starts the kernel. Returns its console.
pub(crate) fn boot_by_firmware(network: &Namespace, number: u8, serial: &str, files: &Path) -> Process {
    fetch_boot_files(network, number, serial, files);
    start_fetched(network, number, files)
}

/// Takes an address by the MAC address of the machine, and fetches the boot files in the directory of this serial number: the kernel, and
/// the initramfs that config.txt names.
pub(crate) fn fetch_boot_files(network: &Namespace, number: u8, serial: &str, files: &Path) {
    let firmware = Namespace::new("firmware");
    let uplink = format!("uplink{number}");
    let end = |of, interface| End { of, interface, address: None };
    cable(end(network, &uplink), end(&firmware, "eth"), 1500);
    network.ip(&format!("link set {uplink} master lan"));
    firmware.ip(&format!("link set eth address {}", mac(number)));
    let script = files.join("lease");
    executable(&script, LEASE);
    let mut udhcpc = firmware.command("busybox");
    udhcpc.args(["udhcpc", "-C", "-i", "eth", "-n", "-q", "-f", "-s"]).arg(script);
    succeed(udhcpc);
    let fetch = |file: &str, name: &str| {
        let mut get = firmware.command(PINETBOOT);
        get.args(["get", "-q", "-o"]).arg(files.join(name)).arg(format!("tftp://10.77.0.1/{serial}/{file}"));
        succeed(get);
    };
    fetch("config.txt", "config.txt");
    let config = fs::read_to_string(files.join("config.txt")).unwrap();
    let named = config.lines().rev().find_map(|line| line.strip_prefix("initramfs ")?.split(' ').next());
    fetch("cmdline.txt", "cmdline.txt");
    fetch("kernel8.img", "kernel8.img");
    fetch(named.unwrap_or("initramfs8"), "initramfs");
}

/// Starts the kernel, with the command line and the initramfs beside it.
pub(crate) fn start_fetched(network: &Namespace, number: u8, files: &Path) -> Process {
    let image = files.join("kernel8.img");
    fs::set_permissions(&image, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = kernel(network, &image, files);
    command.args(["con0=null", "con1=fd:0,fd:1", &ethernet(number)]);
    command.arg(format!("initrd={}", files.join("initramfs").display()));
    let words = fs::read_to_string(files.join("cmdline.txt")).unwrap();
    command.args(words.split_whitespace().filter(|word| *word != "console=serial0,115200"));
    Process::start(command)
}

/// The command that runs user-mode Linux. Its files may go into the directory.
pub(crate) fn kernel(network: &Namespace, image: &Path, files: &Path) -> Command {
    // A kernel that is killed leaves processes of its own behind, unless they are in a namespace that goes with it. There it is not
    // process 1, which the abort(3) of a kernel panic does not end.
    let mut command = network.command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "sh", "-c", "\"$@\"; exit $?", "sh"]);
    command.arg(image).arg("mem=512M");
    command.arg(format!("uml_dir={}", files.display()));
    command
}

/// The transport `vec0:transport=tap` loses large packets to the machine.
pub(crate) fn ethernet(number: u8) -> String {
    format!("eth0=tuntap,tap{number},{}", mac(number))
}

fn mac(number: u8) -> String {
    format!("52:54:00:12:34:{:02x}", 0x60 + number)
}

pub(crate) fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a program, which has to succeed.
pub(crate) fn succeed(command: Command) {
    let what = format!("{command:?}");
    let (status, said) = Process::start(command).finish(SOON);
    assert!(status.success(), "{what}: {said}");
}

/// Where a machine has its root from the server.
pub(crate) const ROOT: &str = "/mnt/root";

/// A machine's first program: the same shell as in other emulated machines. Only what is mounted here can be written to.
const INIT: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
mkdir /mnt/lib /mnt/root
ln -s /usr/lib/uml/modules /mnt/lib/modules
ip link set lo up
stty -echo
PS1='guest> ' exec setsid --ctty sh -i
";

/// The script that udhcpc calls with a lease.
pub(crate) const LEASE: &str = "#!/bin/sh
[ \"$1\" != bound ] || ip addr add \"$ip/${mask:-24}\" dev \"$interface\"
";

/// As .ci/guest-init does it.
const MOUNT: &str = "nfsroot=$(tr ' ' '\\n' </run/cmdline.txt | sed -n 's/^nfsroot=//p'); path=${nfsroot%%,*}; \
                     mount -i -t nfs -o \"rw,addr=${path%%:*}${nfsroot#\"$path\"}\" \"$path\" /mnt/root";
