//! `pinetboot serve` boots an emulated machine: U-Boot loads a real kernel from the server, and starts it.

mod machine;
mod namespace;

use std::fs;
use std::time::Instant;

use machine::{KERNEL_ADDRESS, Machine, UBoot, kernel};
use namespace::{A_WHILE, End, Namespace, SOON, cable, dnsmasq, end};

#[test]
#[ignore = "needs root, network namespaces, QEMU, U-Boot and PINETBOOT_ARM64_KERNEL; run by .ci/run"]
fn u_boot_loads_a_kernel_and_starts_it() {
    let kernel = kernel();
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("Image"), &kernel).unwrap();
    fs::write(tree.path().join("config.txt"), "").unwrap(); // else the server warns
    let checksum = format!("==> {:08x}", crc32(&kernel));

    let network = Namespace::new("uboot");
    network.tap("tap0");
    network.address("tap0", "10.77.0.1/24");
    let mut server = network.serve(tree.path(), &[]);
    let mut uboot = UBoot::start(&Machine::new(&network));
    for setting in ["ipaddr 10.77.0.2", "serverip 10.77.0.1", "netmask 255.255.255.0"] {
        uboot.run(&format!("setenv {setting}"), SOON);
    }

    // Each to a separate address, so that the second cannot pass for the remains of the first.
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
        println!("the server says {}", server.line(" fetched Image", SOON));
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

/// On a network without another DHCP server: the address, the boot server and the file all come from pinetboot.
#[test]
#[ignore = "needs root, network namespaces, QEMU and U-Boot; run by .ci/run"]
fn u_boot_gets_its_address_from_us_too() {
    let content = namespace::content(1_000_000);
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("config.txt"), "").unwrap();
    fs::write(tree.path().join("file"), &content).unwrap();

    let network = Namespace::new("uboot");
    network.tap("tap0");
    network.address("tap0", "10.77.0.1/24");
    let server =
        network.serve(tree.path(), &["--dhcp", "lease", "--dhcp-clients", "all", "--interface", "tap0"]);
    let mut uboot = UBoot::start(&Machine::new(&network));
    uboot.run("setenv autoload no", SOON);
    let said = uboot.run("dhcp", A_WHILE);
    assert!(said.contains("DHCP client bound to address 10.77.0."), "{said}");
    let said = uboot.run(&format!("tftpboot 0x{KERNEL_ADDRESS} file"), A_WHILE);
    assert!(said.contains("TFTP from server 10.77.0.1; our IP address is 10.77.0."), "{said}");
    let said = uboot.run(&format!("crc32 0x{KERNEL_ADDRESS} 0x{:x}", content.len()), A_WHILE);
    assert!(said.contains(&format!("==> {:08x}", crc32(&content))), "{said}");
    let log = server.stop();
    assert!(!log.contains("WARN"), "{log}");
}

/// UEFI's PXE client takes the address, the boot server and the name of its file from us, and the kernel is a program
/// that UEFI can start.
#[test]
#[ignore = "needs root, network namespaces, QEMU, EDK2 and PINETBOOT_ARM64_KERNEL; run by .ci/run"]
fn uefi_boots_by_pxe() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("Image"), kernel()).unwrap();
    fs::write(tree.path().join("config.txt"), "").unwrap();
    let network = Namespace::new("uefi");
    network.tap("tap0");
    network.address("tap0", "10.77.0.1/24");
    let pxe = ["--dhcp", "lease", "--dhcp-clients", "pxe", "--boot-file", "Image", "--interface", "tap0"];
    let mut server = network.serve(tree.path(), &pxe);
    let mut console = Machine::new(&network).start(machine::UEFI);
    console.expect("EFI stub: Booting Linux Kernel", A_WHILE);
    println!("the server says {}", server.line(" fetched Image", SOON));
    let log = server.stop();
    assert!(!log.contains("WARN"), "{log}");
}

/// The same where the address is another server's to give: dnsmasq's, which knows nothing of booting.
#[test]
#[ignore = "needs root, network namespaces, dnsmasq, QEMU, EDK2 and PINETBOOT_ARM64_KERNEL; run by .ci/run"]
fn uefi_boots_by_pxe_beside_a_router() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("Image"), kernel()).unwrap();
    fs::write(tree.path().join("config.txt"), "").unwrap();
    let (network, router) = beside_a_router("uefi");
    let _dnsmasq = dnsmasq(&router, &[]);

    let pxe = ["--dhcp", "proxy", "--dhcp-clients", "pxe", "--boot-file", "Image", "--interface", "lan"];
    let mut server = network.serve(tree.path(), &pxe);
    let mut console = Machine::new(&network).start(machine::UEFI);
    console.expect("EFI stub: Booting Linux Kernel", A_WHILE);
    let line = server.line(" fetched Image", SOON);
    assert!(line.contains(" 10.77.0.5") || line.contains(" 10.77.0.60"), "an address of dnsmasq's: {line}");
    let log = server.stop();
    assert!(!log.contains("WARN"), "{log}");
}

/// U-Boot knows no proxies: asking as a Pi's firmware does, it is answered by ours too, takes the router's address all
/// the same, and has to be told the boot server by its variable.
#[test]
#[ignore = "needs root, network namespaces, dnsmasq, QEMU and U-Boot; run by .ci/run"]
fn u_boot_is_not_misled_by_a_proxy() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("config.txt"), "").unwrap();
    fs::write(tree.path().join("file"), namespace::content(100_000)).unwrap();
    let (network, router) = beside_a_router("uboot");
    let _dnsmasq = dnsmasq(&router, &[]);
    let pxe = ["--dhcp", "proxy", "--dhcp-clients", "pxe", "--boot-file", "file", "--interface", "lan"];
    let mut server = network.serve(tree.path(), &pxe);
    let mut uboot = UBoot::start(&Machine::new(&network));
    for setting in ["autoload no", "bootp_vci PXEClient:Arch:00000:UNDI:002001"] {
        uboot.run(&format!("setenv {setting}"), SOON);
    }
    let said = uboot.run("dhcp", A_WHILE);
    assert!(said.contains("DHCP client bound to address 10.77.0."), "{said}");
    server.line("OFFER 0.0.0.0 to", SOON);
    uboot.run("setenv serverip 10.77.0.1", SOON);
    let said = uboot.run(&format!("tftpboot 0x{KERNEL_ADDRESS} file"), A_WHILE);
    assert!(said.contains("Bytes transferred = 100000 "), "{said}");
    server.stop();
}

/// A network with a TAP device and our server's interface `lan` on it, and a router on its interface `eth`.
fn beside_a_router(role: &str) -> (Namespace, Namespace) {
    let (network, router) = (Namespace::new(role), Namespace::new("router"));
    network.tap("tap0");
    let uplink = End { of: &network, interface: "uplink", address: None };
    cable(uplink, end(&router, "eth", "10.77.0.2/24"), 1500);
    network.bridge("lan", &["tap0", "uplink"]);
    network.address("lan", "10.77.0.1/24");
    (network, router)
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
