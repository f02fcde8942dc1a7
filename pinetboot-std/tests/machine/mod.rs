//! Emulated machines: QEMU's `virt` for arm64, on a TAP device of a network namespace.
#![allow(dead_code, reason = "every test uses its own part")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::namespace::{A_WHILE, Namespace, Process, SOON};

/// A machine that is switched off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine<'a> {
    network: &'a Namespace,
    /// The machine's number: it is plugged into `tap0`, `tap1` ..
    number: u8,
    /// MiB.
    memory: u32,
}

impl<'a> Machine<'a> {
    /// The only one, on `tap0`.
    pub(crate) const fn new(network: &'a Namespace) -> Self {
        Self { network, number: 0, memory: 768 }
    }

    /// Another machine, on the TAP device of its number, with its own address.
    pub(crate) const fn number(self, number: u8) -> Self {
        Self { number, ..self }
    }

    /// Switches the machine on, with this firmware; its serial console is the process's output.
    pub(crate) fn start(self, firmware: &str) -> Process {
        let Self { network, number, memory } = self;
        let mut qemu = network.command("qemu-system-aarch64");
        qemu.args(["-M", "virt", "-cpu", "cortex-a57", "-m", &memory.to_string(), "-bios", firmware]);
        qemu.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
        qemu.args(["-netdev", &format!("tap,id=n0,ifname=tap{number},script=no,downscript=no")]);
        qemu.args(["-device", &format!("virtio-net-pci,netdev=n0,romfile=,mac={}", self.mac())]);
        Process::start(qemu)
    }

    fn mac(&self) -> String {
        format!("52:54:00:12:34:{:02x}", 0x56 + self.number) // QEMU's own, counted up
    }
}

/// A machine with U-Boot.
#[derive(Debug)]
pub(crate) struct UBoot {
    pub(crate) console: Process,
    mac: String,
}

impl UBoot {
    /// At its prompt.
    pub(crate) fn start(machine: &Machine<'_>) -> Self {
        Self::switch_on(machine).stop()
    }

    /// Just switched on: what else it does, it may do in another thread. The machine goes with the one that started it.
    pub(crate) fn switch_on(machine: &Machine<'_>) -> Self {
        Self { console: machine.start(U_BOOT), mac: machine.mac() }
    }

    /// Stops it at its prompt.
    pub(crate) fn stop(mut self) -> Self {
        self.console.expect("Hit any key to stop autoboot", A_WHILE);
        self.console.say("\n");
        self.console.expect(PROMPT, SOON);
        self.run(&format!("setenv -f ethaddr {}", self.mac), SOON); // its own default is one for all
        self
    }

    /// Runs a command, and returns its output.
    pub(crate) fn run(&mut self, command: &str, within: Duration) -> String {
        self.console.say(&format!("{command}\n"));
        self.console.expect(PROMPT, within)
    }

    /// Fetches a file into memory; the file has to exist.
    pub(crate) fn fetch(&mut self, address: &str, file: &str) {
        let said = self.run(&format!("tftpboot 0x{address} {file}"), A_WHILE);
        assert!(said.contains("Bytes transferred = "), "{file}: {said}");
    }

    /// Boots as a Pi's firmware does: takes an address, fetches the command line, the kernel and the root in memory of
    /// a Pi by this serial number, and starts Linux. Returns its console.
    pub(crate) fn boot(self, serial: &str) -> Process {
        self.boot_with(serial, "initramfs8")
    }

    /// The same with another root in memory, which the Pi's firmware finds in config.txt.
    pub(crate) fn boot_with(mut self, serial: &str, initramfs: &str) -> Process {
        self.run("setenv autoload no", SOON);
        let said = self.run("dhcp", A_WHILE);
        assert!(said.contains("DHCP client bound to address"), "{said}");
        self.run("setenv tftpwindowsize 16", SOON);
        self.fetch(COMMAND_LINE_ADDRESS, &format!("{serial}/cmdline.txt"));
        // The file's text as a variable: its line's end becomes the NUL that ends a string.
        self.run(&format!("setexpr end 0x{COMMAND_LINE_ADDRESS} + 0x${{filesize}}"), SOON);
        self.run("setexpr end 0x${end} - 1", SOON);
        self.run("mw.b 0x${end} 0", SOON);
        self.run(&format!("setexpr.s bootargs *0x{COMMAND_LINE_ADDRESS}"), SOON);
        self.run("setexpr bootargs sub serial0,115200 ttyAMA0", SOON); // as the firmware does with its own name
        self.fetch(KERNEL_ADDRESS, &format!("{serial}/kernel8.img"));
        self.fetch(INITRAMFS_ADDRESS, &format!("{serial}/{initramfs}"));
        self.console.say(&format!(
            "booti 0x{KERNEL_ADDRESS} 0x{INITRAMFS_ADDRESS}:${{filesize}} ${{fdtcontroladdr}}\n"
        ));
        self.console
    }
}

/// Lays out the boot files of a machine, as on a Pi's boot partition.
pub(crate) fn lay_boot_files(directory: &Path, command_line: &str) {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("config.txt"), "auto_initramfs=1\n").unwrap();
    fs::write(directory.join("cmdline.txt"), format!("{command_line}\n")).unwrap();
    fs::copy(kernel_path(), directory.join("kernel8.img")).unwrap();
    fs::copy(beside_kernel("initramfs"), directory.join("initramfs8")).unwrap();
}

/// The kernel to boot: uncompressed, as `booti` wants it.
pub(crate) fn kernel() -> Vec<u8> {
    let path = kernel_path();
    let kernel = fs::read(&path).unwrap_or_else(|error| panic!("{KERNEL} is {}: {error}", path.display()));
    // Linux, Documentation/arm64/booting.rst
    assert_eq!(kernel.get(0x38..0x3c), Some(&b"ARM\x64"[..]), "{} is not an arm64 Image", path.display());
    kernel
}

/// Another file that was made with the kernel: `initramfs`, `busybox`.
pub(crate) fn beside_kernel(name: &str) -> PathBuf {
    let path = kernel_path().with_file_name(name);
    assert!(path.exists(), "{} is not there: '.ci/run arm64-kernel' makes it", path.display());
    path
}

fn kernel_path() -> PathBuf {
    from_environment(KERNEL, "an uncompressed arm64 kernel. '.ci/run arm64-kernel' fetches one")
}

/// The file that a variable of the environment names.
pub(crate) fn from_environment(variable: &str, what: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.unwrap_or_else(|| panic!("{variable} is not set: it names {what}"))
}

pub(crate) const UEFI: &str = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd";
const U_BOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";
const KERNEL: &str = "PINETBOOT_ARM64_KERNEL";

/// U-Boot's `kernel_addr_r` on this machine.
pub(crate) const KERNEL_ADDRESS: &str = "40400000";
const INITRAMFS_ADDRESS: &str = "50000000";
const COMMAND_LINE_ADDRESS: &str = "60000000";

const PROMPT: &str = "\n=> ";
