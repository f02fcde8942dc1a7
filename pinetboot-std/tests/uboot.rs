//! `pinetboot serve` boots an emulated machine: U-Boot loads a real kernel from it, and starts it.

mod namespace;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use namespace::{Namespace, Process, SOON};

/// For what an emulated machine computes or loads; it takes a few seconds where nothing else runs.
const A_WHILE: Duration = Duration::from_secs(90);

#[test]
#[ignore = "needs root, network namespaces, QEMU, U-Boot and PINETBOOT_ARM64_KERNEL; run by .ci/run"]
fn u_boot_loads_a_kernel_and_starts_it() {
    let kernel = kernel();
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("Image"), &kernel).unwrap();
    fs::write(tree.path().join("config.txt"), "").unwrap(); // else there is a warning
    let checksum = format!("==> {:08x}", crc32(&kernel));

    let network = Namespace::new("uboot");
    network.tap("tap0");
    network.address("tap0", "10.77.0.1/24");
    let mut server = network.serve(tree.path(), &[]);
    let mut uboot = UBoot::start(&network);
    for setting in ["ipaddr 10.77.0.2", "serverip 10.77.0.1", "netmask 255.255.255.0"] {
        uboot.run(&format!("setenv {setting}"), SOON);
    }

    // Once each to an address of its own, so that the second cannot pass for what the first has left.
    for (window, address) in [("1", "50000000"), ("16", KERNEL_ADDRESS)] {
        uboot.run(&format!("setenv tftpwindowsize {window}"), SOON);
        let began = Instant::now();
        let said = uboot.run(&format!("tftpboot 0x{address} Image"), A_WHILE);
        let took = began.elapsed();
        assert!(
            said.contains(&format!("Bytes transferred = {} ({:x} hex)", kernel.len(), kernel.len())),
            "{said}"
        );
        let rate = said.lines().find(|line| line.contains("iB/s")).unwrap_or_default().trim();
        println!("windowsize {window}: U-Boot says {rate}; {:.2} s on our clock", took.as_secs_f64());

        let said = uboot.run(&format!("crc32 0x{address} 0x{:x}", kernel.len()), A_WHILE);
        assert!(said.contains(&checksum), "not {checksum}: {said}");
        println!("the server says {}", server.line(" sent Image", SOON));
    }

    uboot.run("setenv bootargs console=ttyAMA0 earlycon=pl011,0x09000000", SOON);
    uboot.console.say(&format!("booti 0x{KERNEL_ADDRESS} - ${{fdtcontroladdr}}\n"));
    uboot.console.expect("Starting kernel ...", SOON);
    for line in
        ["Booting Linux on physical CPU", "Linux version ", "Machine model: ", "Kernel command line: "]
    {
        println!("{}", uboot.console.line(line, A_WHILE));
    }
    let log = server.stop();
    assert!(!log.contains("WARN"), "{log}");
}

/// The kernel to boot: uncompressed, as `booti` wants it.
fn kernel() -> Vec<u8> {
    let path = std::env::var_os(KERNEL).map(PathBuf::from);
    let path = path.unwrap_or_else(|| {
        panic!(
            "{KERNEL} is not set: it names an uncompressed arm64 kernel. '.ci/run arm64-kernel' fetches one"
        )
    });
    let kernel = fs::read(&path).unwrap_or_else(|error| panic!("{KERNEL} is {}: {error}", path.display()));
    // Linux, Documentation/arm64/booting.rst
    assert_eq!(kernel.get(0x38..0x3c), Some(&b"ARM\x64"[..]), "{} is no arm64 Image", path.display());
    kernel
}

/// An emulated machine at U-Boot's prompt.
struct UBoot {
    console: Process,
}

impl UBoot {
    fn start(network: &Namespace) -> Self {
        let mut qemu = network.command("qemu-system-aarch64");
        qemu.args(["-M", "virt", "-cpu", "cortex-a57", "-m", "768"]);
        qemu.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
        qemu.args(["-bios", "/usr/lib/u-boot/qemu_arm64/u-boot.bin"]);
        qemu.args(["-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no"]);
        qemu.args(["-device", "virtio-net-pci,netdev=n0,romfile="]);
        let mut console = Process::start(qemu);
        console.expect("Hit any key to stop autoboot", A_WHILE);
        console.say("\n");
        console.expect(PROMPT, SOON);
        Self { console }
    }

    /// Runs a command, and returns what it says.
    fn run(&mut self, command: &str, within: Duration) -> String {
        self.console.say(&format!("{command}\n"));
        self.console.expect(PROMPT, within)
    }
}

/// As `crc32` of U-Boot and gzip: ISO 3309.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    let table: Vec<u32> = (0..256).map(|byte| (0..8).fold(byte, step)).collect();
    !bytes.iter().fold(!0, |crc, byte| table[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

#[test]
fn the_checksum_is_the_usual_one() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

const KERNEL: &str = "PINETBOOT_ARM64_KERNEL";

/// U-Boot's `kernel_addr_r` on this machine.
const KERNEL_ADDRESS: &str = "40400000";

const PROMPT: &str = "\n=> ";
