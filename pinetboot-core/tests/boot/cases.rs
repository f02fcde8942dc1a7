//! The staged failures: for each rule that events can show, the events of that failure, and the rules that the verdict names.
//!
//! `pinetboot-std/tests/catalogue.rs` plays them too.

use pinetboot_core::pi::boot::Hearing;

use super::script::{Run, Who};

pub(crate) const ALL: Hearing = Hearing::ALL;
const PROXY_ALONE: Hearing = Hearing { other_dhcp: Some(false), ..ALL };
const PROXY: Hearing = Hearing { other_dhcp: Some(true), ..ALL };
const TFTP: Hearing = Hearing { dhcp: false, ..ALL };
const FRAMES: Hearing = Hearing { frames: true, ..ALL };
/// DHCP of another server alone, heard by frames.
const OVERHEARD: Hearing = Hearing { dhcp: false, ..FRAMES };
const STP: Hearing = Hearing { forward_delay: 15, ..FRAMES };

pub(crate) struct Case {
    /// The rule that was staged.
    pub(crate) rule: u8,
    pub(crate) who: Who,
    pub(crate) hearing: Hearing,
    pub(crate) script: &'static str,
    /// The rules of the verdict.
    pub(crate) says: &'static [u8],
}

pub(crate) const DHCP: &str = "discover lease-offer request address";
/// A Pi 5 as far as its kernel.
pub(crate) const KERNEL: &str = "discover lease-offer request address config.txt bcm2712-rpi-5-b.dtb initramfs_2712 /cmdline.txt here kernel_2712.img";
/// A Pi 5 with its root on a disk of the server, as far as its kernel's address.
pub(crate) const DISK: &str = "discover lease-offer request address config.txt bcm2712-rpi-5-b.dtb initramfs_2712 /cmdline.txt disk \
    kernel_2712.img +5 linux linux-request address";
pub(crate) const MOUNTED: &str = "discover lease-offer request address config.txt bcm2712-rpi-5-b.dtb initramfs_2712 /cmdline.txt here \
    kernel_2712.img +5 linux linux-request address connect mount active +2 write";

/// A boot without a device tree, and the next one 8 s later.
const LOOP: &str = "new-xid {dhcp} config.txt -pieeprom.sig -bcm2712-rpi-5-b.dtb +8";
/// A bootloader that requests its first files without a pause.
const STORM: &str = "-start4.elf -config.txt ";

const fn case(rule: u8, who: Who, hearing: Hearing, script: &'static str, says: &'static [u8]) -> Case {
    Case { rule, who, hearing, script, says }
}

pub(crate) const CASES: &[Case] = &[
    case(1, Who::Pi5, ALL, "linux linux-request address +40", &[1, 73]),
    case(3, Who::Pi5, ALL, "discover +4 discover no-boot-server +4 discover +20", &[3, 62]),
    case(
        3,
        Who::Pi5,
        OVERHEARD,
        "discover +4 discover +4 discover +3 no-boot-server +1 discover +4 discover",
        &[3, 62],
    ),
    case(
        3,
        Who::Pi5,
        OVERHEARD,
        "discover +4 discover +4 discover +4 discover +4 discover +4 discover",
        &[3, 4, 62],
    ),
    case(
        8,
        Who::Pi3,
        OVERHEARD,
        "discover +5 discover +5 discover +3 no-boot-server +2 discover +5 discover +20",
        &[3, 8],
    ),
    case(4, Who::Pi5, FRAMES, "discover offer +4 discover offer +4 discover offer +4 no-address +20", &[4]),
    case(
        55,
        Who::Pi5,
        FRAMES,
        "discover offer +4 discover offer +4 discover offer +4 pc-menu +20",
        &[55, 56],
    ),
    case(4, Who::Pi5, PROXY_ALONE, "discover offer +4 discover offer +4 discover offer +20", &[4]),
    case(5, Who::Pi5, ALL, "discover +4 discover pc-menu +4 discover +20", &[5]),
    case(6, Who::Pi4, ALL, "relayed lease-offer +4 relayed lease-offer +4 relayed lease-offer +20", &[6]),
    case(7, Who::Pi5, STP, "{kernel} +60", &[7, 41]),
    case(41, Who::Pi5, OVERHEARD, "{kernel} +60", &[41]),
    case(8, Who::Pi3, ALL, "discover +5 discover +5 discover +5 discover +5 discover +20", &[8]),
    case(
        9,
        Who::Pi3,
        ALL,
        "discover lease-offer +5 discover lease-offer +5 discover lease-offer +5 discover lease-offer +5 discover lease-offer +20",
        &[9, 8],
    ),
    case(10, Who::Pi4, ALL, "{dhcp} arp-elsewhere +1 arp-elsewhere +20", &[10]),
    case(12, Who::Pi5, ALL, "{mounted} +60 duid linux-request other-address +20", &[12, 43]),
    case(13, Who::Pi4R11, ALL, "{mounted} +600 lost arp-dead +60", &[13, 40]),
    case(40, Who::Pi5, ALL, "{mounted} +600 lost arp-dead +60", &[40, 86, 13]),
    case(44, Who::Pi5, ALL, "{mounted} +600 lost arp-alive +60", &[44, 43]),
    case(21, Who::Pi4, ALL, "{dhcp} start4.elf config.txt=5000 +20", &[21]),
    case(27, Who::Pi5, ALL, "{dhcp} config.txt initramfs_2712 /cmdline.txt here kernel8.img +60", &[27]),
    case(14, Who::Pi5, ALL, "{mounted} +60 release +60", &[14]),
    case(15, Who::Pi5, ALL, "{dhcp} +20", &[15, 10, 64]),
    case(15, Who::Pi5, ALL, "{dhcp} arp-named +2 arp-named +20", &[15]),
    case(16, Who::Pi5, TFTP, "..config.txt blocked +1", &[16]),
    case(16, Who::Pi5, ALL, "{dhcp} arp-here +20", &[16]),
    case(64, Who::Pi5, ALL, "{dhcp} arp-here +1 arp-here +1 arp-here +1 arp-here +20", &[64, 15]),
    case(59, Who::Pi5, TFTP, "..config.txt shared config.txt@0@0 +1", &[59, 16]),
    case(17, Who::Pi4, TFTP, "-start4.elf -start.elf -config.txt -pieeprom.sig +20", &[17]),
    case(19, Who::Pi5, ALL, "{dhcp} config.txt -pieeprom.sig -bcm2712-rpi-5-b.dtb +20", &[19]),
    case(20, Who::Pi5, ALL, "{dhcp} config.txt bcm2712-rpi-5-b.dtb -kernel_2712.img -kernel8.img +20", &[20]),
    case(22, Who::Pi5, TFTP, "config.txt initramfs_2712@96205380@12 +1", &[22]),
    case(23, Who::Pi5, TFTP, "config.txt initramfs_2712@2130000@30 +1", &[23]),
    case(24, Who::Pi4, TFTP, "config.txt start4.elf@86612@1 +1", &[24]),
    case(25, Who::Pi3, TFTP, "config.txt ..kernel7.img +6 kernel.img", &[25]),
    case(28, Who::Cm5, TFTP, "config.txt ?boot.img ?boot.img ?boot.img +20", &[28]),
    case(
        29,
        Who::Pi5,
        ALL,
        "{dhcp} config.txt pieeprom.sig pieeprom.upd +10 new-xid {dhcp} config.txt pieeprom.sig pieeprom.upd",
        &[29],
    ),
    case(
        30,
        Who::Pi3,
        ALL,
        "{dhcp} bootcode.bin start_x.elf config.txt bcm2710-rpi-3-b-plus.dtb kernel8.img +60",
        &[30],
    ),
    case(
        33,
        Who::Pi5,
        ALL,
        "{dhcp} config.txt initramfs_2712 /cmdline.txt not-for-klibc kernel_2712.img +5 linux linux-request address +30",
        &[33],
    ),
    case(34, Who::Pi5, ALL, "{kernel} +5 linux linux-request address connect nfs4 +20", &[34]),
    case(35, Who::Pi5, ALL, "{kernel} +5 linux linux-request address connect mount1 +20", &[35]),
    case(36, Who::Pi5, PROXY, "{kernel} +5 linux +4 linux +8 linux +8 linux +20", &[36]),
    case(37, Who::Pi5, ALL, "{kernel} +5 linux linux-request address connect mount-denied +20", &[37]),
    case(38, Who::Pi5, ALL, "{kernel} +5 linux linux-request address connect +30", &[38, 37]),
    case(
        39,
        Who::Pi5,
        ALL,
        "{dhcp} config.txt bcm2712-rpi-5-b.dtb initramfs_2712 -/cmdline.txt kernel_2712.img +60",
        &[39],
    ),
    case(40, Who::Pi5, ALL, "{mounted} +60 lost +60", &[40, 86, 43, 44]),
    case(41, Who::Pi5, ALL, "{kernel} +60", &[41]),
    case(43, Who::Pi5, ALL, "{mounted} duid linux-request address +60 lost +60", &[43]),
    case(
        55,
        Who::Pi5,
        ALL,
        "discover lease-offer +4 discover lease-offer +4 discover lease-offer +20",
        &[55, 56],
    ),
    case(45, Who::Pi5, ALL, "{mounted} +95 emergency active +60", &[45]),
    // The root was not written to yet.
    case(
        45,
        Who::Pi5,
        ALL,
        "{kernel} +5 linux linux-request address connect mount init +12 active emergency +30",
        &[45],
    ),
    // Asked while the server stood still, and given up.
    case(
        65,
        Who::Pi3,
        ALL,
        "freeze25 discover lease-offer discover lease-offer discover lease-offer discover lease-offer late heard +120",
        &[65],
    ),
    case(63, Who::Pi5, PROXY, "relayed offer +4 relayed offer +4 relayed offer +20", &[63, 55]),
    case(56, Who::Pi4, FRAMES, "discover lease-offer says56 +4 discover lease-offer says56 +11", &[56]),
    case(92, Who::Pi5, FRAMES, "{kernel} +5 says92 +15", &[92]),
    case(68, Who::Pi5, ALL, "{kernel} +5 linux linux-request address +30", &[41, 33, 68]),
    // The same with a root on a disk.
    case(
        68,
        Who::Pi5,
        ALL,
        "{dhcp} config.txt initramfs_2712 /cmdline.txt disk kernel_2712.img +5 linux linux-request address +30",
        &[41, 68],
    ),
    case(98, Who::Pi5, ALL, "{disk} disk-denied +20", &[98]),
    case(40, Who::Pi5, ALL, "{disk} disk-connect +20", &[40, 68]),
    case(40, Who::Pi5, ALL, "{disk} disk-connect disk-open +600 active lost arp-dead +60", &[40, 86, 13]),
    case(44, Who::Pi5, ALL, "{disk} disk-connect disk-open +600 active lost arp-alive +60", &[44, 43]),
    case(14, Who::Pi5, ALL, "{disk} disk-connect disk-open +5 active +60 release +60", &[14]),
    case(12, Who::Pi5, ALL, "{disk} disk-open +60 duid linux-request other-address +20", &[12, 43]),
    case(70, Who::Pi4, TFTP, "{storm}", &[70]),
    case(
        71,
        Who::Pi3,
        ALL,
        "discover together lease-offer +5 discover lease-offer +5 discover lease-offer +5 discover lease-offer +5 discover lease-offer +20",
        &[71, 9, 8],
    ),
    case(72, Who::Pi5, ALL, "{dhcp} config.txt RPI_EFI.fd +9 no-boot-file +1", &[72]),
    case(
        75,
        Who::Pi5D0,
        ALL,
        "{dhcp} config.txt bcm2712-rpi-5-b.dtb -/overlays/bcm2712d0.dtbo /cmdline.txt here kernel_2712.img +60",
        &[75],
    ),
    case(
        76,
        Who::Pi5,
        ALL,
        "{dhcp} config.txt bcm2712-rpi-5-b.dtb -current/current/initramfs_2712 current/cmdline.txt here current/vmlinuz +60",
        &[76],
    ),
    case(
        77,
        Who::Cm5,
        ALL,
        "{dhcp} config.txt -pieeprom.sig -bcm2712-rpi-cm5-cm5io.dtb -bcm2712-rpi-cm5l-cm5io.dtb +20",
        &[77, 19],
    ),
    case(
        78,
        Who::Pi4,
        TFTP,
        "start4.elf config.txt -cmdline.txt u-boot.bin +5 -pxelinux.cfg/01-dc-a6 -pxelinux.cfg/default +90",
        &[78],
    ),
    // The third boot that ends there; the second was told as rule 19.
    case(79, Who::Pi5, ALL, "{loop} {loop} {loop}", &[19, 79]),
    case(80, Who::Pi5, ALL, "{dhcp} config.txt -boot.img +20", &[80]),
    case(81, Who::Cm5, ALL, "{dhcp} -tryboot.txt +20", &[81]),
    case(82, Who::Pi5, ALL, "{dhcp} config.txt !-bcm2712-rpi-5-b.dtb +20", &[82, 19]),
    case(83, Who::Pi5, ALL, "{dhcp} config.txt=17000 +20", &[83]),
    case(88, Who::Cm5, ALL, "{kernel} +60", &[41, 88, 89, 75]),
    case(95, Who::Pi5, ALL, "{kernel} +5 linux linux-request address connect mount-unknown +20", &[95, 37]),
    case(96, Who::Pi5, ALL, "{mounted} +60 bad-handle +1", &[96, 54]),
    case(
        97,
        Who::Pi5,
        ALL,
        "{kernel} +5 linux linux-request address connect mount active no-init no-init no-init +30",
        &[97],
    ),
];

/// The run of a case.
pub(crate) fn play(case: &Case) -> Run {
    let mut run = Run::new(case.who, case.hearing);
    let script = case
        .script
        .replace("{dhcp}", DHCP)
        .replace("{kernel}", KERNEL)
        .replace("{mounted}", MOUNTED)
        .replace("{disk}", DISK);
    run.at_once(
        &script.replace("{loop}", &LOOP.replace("{dhcp}", DHCP)).replace("{storm}", &STORM.repeat(500)),
    );
    run
}
