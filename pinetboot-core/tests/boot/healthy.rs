//! Healthy boots: captured orders of requests, three ways of DHCP, slow links, loss. No verdict may come of any.

use core::time::Duration;

use pinetboot_core::pi::boot::{Hearing, State};

use super::script::{Run, Who};

/// A source of numbers with a seed (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A time up to `most`, short ones more often.
    pub(crate) fn time(&mut self, most: Duration) -> Duration {
        let part = self.below(1000) * self.below(1000);
        most.mul_f64(part as f64 / 1e6)
    }
}

/// A kind of boot, as far as the kernel.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) who: Who,
    pub(crate) files: &'static str,
    /// What follows; `{dhcp}` is the kernel's, if that is heard.
    pub(crate) then: &'static str,
}

/// From UART logs and captures: see `pi/files.rs`.
const PI5: &str = "?config.txt config.txt -pieeprom.sig bcm2712-rpi-5-b.dtb /config.txt /config.txt ?kernel_2712.img ?initramfs_2712 \
    initramfs_2712 bcm2712-rpi-5-b.dtb /overlays/overlay_map.dtb /overlays/bcm2712d0.dtbo /config.txt \
    /overlays/vc4-kms-v3d-pi5.dtbo /cmdline.txt here -armstub8-2712.bin kernel_2712.img";
const PI5_NO_INITRAMFS: &str = "config.txt -pieeprom.sig bcm2712-rpi-5-b.dtb /config.txt ?kernel_2712.img -initramfs_2712 \
    bcm2712-rpi-5-b.dtb /overlays/overlay_map.dtb -/overlays/bcm2712d0.dtbo /config.txt /cmdline.txt here -armstub8-2712.bin \
    kernel_2712.img";
const CM5: &str = "config.txt -pieeprom.sig bcm2712-rpi-cm5-cm5io.dtb /config.txt ?kernel_2712.img ?initramfs_2712 initramfs_2712 \
    bcm2712-rpi-cm5-cm5io.dtb /overlays/overlay_map.dtb /overlays/bcm2712d0.dtbo /config.txt /cmdline.txt here \
    -armstub8-2712.bin kernel_2712.img";
const PI4: &str = "?start4.elf config.txt -pieeprom.sig -recover4.elf -recovery.elf start4.elf fixup4.dat -recovery.elf ?config.txt \
    config.txt -dt-blob.bin -recovery.elf config.txt -bootcfg.txt ?initramfs8 initramfs8 ?bcm2711-rpi-4-b.dtb bcm2711-rpi-4-b.dtb \
    ?overlays/overlay_map.dtb overlays/overlay_map.dtb config.txt overlays/vc4-kms-v3d-pi4.dtbo cmdline.txt here -recovery8.img \
    ?kernel8.img -armstub8-gic.bin kernel8.img";
/// Captured: a CM4 whose directory is not there, and which drops its prefix.
const CM4: &str = "-start4.elf -start.elf config.txt -pieeprom.sig -recover4.elf -recovery.elf start4.elf fixup4.dat \
    -dt-blob.bin -bootcfg.txt bcm2711-rpi-cm4.dtb -overlays/overlay_map.dtb overlays/dwc2.dtbo cmdline.txt here -recovery8.img \
    -recovery8-32.img -recovery7l.img -recovery7.img -recovery.img -kernel8.img -kernel8-32.img -kernel7l.img -kernel7.img \
    kernel.img -armstub8-32-gic.bin";
const PI3: &str = "bootcode.bin -bootsig.bin ?start.elf -autoboot.txt config.txt -recovery.elf start.elf fixup.dat -recovery.elf config.txt \
    -dt-blob.bin -recovery.elf config.txt -bootcfg.txt initramfs8 bcm2710-rpi-3-b-plus.dtb overlays/overlay_map.dtb config.txt \
    overlays/vc4-kms-v3d.dtbo cmdline.txt here -recovery8.img -recovery8-32.img -recovery7.img -recovery.img -kernel8-32.img \
    ?kernel8.img -armstub8-32.bin kernel8.img";

const DISK: &str = "config.txt bcm2712-rpi-5-b.dtb initramfs_2712 /cmdline.txt disk kernel_2712.img";

const PI3_OF_MANY: &str =
    "together bootcode.bin -bootsig.bin start.elf config.txt fixup.dat cmdline.txt here kernel8.img";

const LINUX: &str = "+6 {dhcp} +1 connect connect mount init active +5 write +5 active +60 duid linux-request address +600 active";
const NO_WRITES: &str = "+8 {dhcp} +4 connect mount +5 active +5 active +5 active +5 active +5 active +600";

pub(crate) const KINDS: &[Kind] = &[
    Kind { name: "Pi 5", who: Who::Pi5, files: PI5, then: LINUX },
    Kind { name: "Pi 5, D0", who: Who::Pi5D0, files: PI5, then: LINUX },
    Kind { name: "Pi 5 without initramfs", who: Who::Pi5, files: PI5_NO_INITRAMFS, then: NO_WRITES },
    Kind { name: "CM5", who: Who::Cm5, files: CM5, then: LINUX },
    Kind { name: "Pi 4", who: Who::Pi4, files: PI4, then: LINUX },
    Kind { name: "CM4", who: Who::Pi4, files: CM4, then: LINUX },
    Kind {
        name: "Pi 3",
        who: Who::Pi3,
        files: PI3,
        then: "+18 {dhcp} +4 connect mount active +5 write +600",
    },
    // One of many that a switch powers.
    Kind { name: "Pi 3 of many", who: Who::Pi3, files: PI3_OF_MANY, then: NO_WRITES },
    Kind {
        name: "kernel twice",
        who: Who::Pi5,
        files: "config.txt bcm2712-rpi-5-b.dtb /cmdline.txt here kernel_2712.img kernel_2712.img",
        then: LINUX,
    },
    // A kernel with init= and a system in which the names of directories are looked up here and there, and `find` over its programs.
    Kind {
        name: "init= and names that are not there",
        who: Who::Pi5,
        files: PI5_NO_INITRAMFS,
        then: "+8 {dhcp} +1 connect mount active no-init no-init +9 write +5 active +30 emergency +6 active +600",
    },
    Kind {
        name: "root on a disk of this server",
        who: Who::Pi5,
        files: DISK,
        then: "+8 {dhcp} +3 disk-connect +1 disk-open +5 active +5 active +5 active +5 active +60 duid linux-request address +600 active",
    },
    // A busy server opens the disk late, the Pi's network fails for a while, and its system is switched off.
    Kind {
        name: "disk of a busy server",
        who: Who::Pi5,
        files: DISK,
        then: "+8 {dhcp} +3 disk-connect +8 disk-open +5 active +30 active lost +20 disk-connect disk-open active +600 unmount +600",
    },
    // The INFO before the GO is a disk that is opened and closed.
    Kind {
        name: "disk that is asked for first",
        who: Who::Pi4,
        files: "start4.elf config.txt bcm2711-rpi-4-b.dtb initramfs8 cmdline.txt disk kernel8.img",
        then: "+8 {dhcp} +1 disk-connect disk-open lost disk-open +5 active +30 active +600",
    },
    // dracut and mount.nfs try 4.2 first.
    Kind {
        name: "NFS 4 first",
        who: Who::Pi5,
        files: PI5,
        then: "+8 {dhcp} +3 connect nfs4 +1 connect mount active write +600",
    },
    Kind {
        name: "root on another server",
        who: Who::Pi5,
        files: "config.txt bcm2712-rpi-5-b.dtb initramfs_2712 /cmdline.txt elsewhere kernel_2712.img",
        then: "+8 {dhcp} +600",
    },
    Kind {
        name: "root on a card",
        who: Who::Pi4,
        files: "config.txt start4.elf fixup4.dat bcm2711-rpi-4-b.dtb cmdline.txt card kernel8.img",
        then: "+600",
    },
    // The bootloader has tried a card first, and says so by NETCONSOLE.
    Kind {
        name: "card first",
        who: Who::Pi5,
        files: "says17 config.txt says17 -pieeprom.sig bcm2712-rpi-5-b.dtb /cmdline.txt here kernel_2712.img",
        then: "says39 +5 {dhcp} +1 connect mount active +5 write +600 says36 +600",
    },
    // Captured: UEFI as the stub, no kernel in the tree; it boots from its own disk.
    Kind {
        name: "UEFI",
        who: Who::Pi5,
        files: "config.txt -pieeprom.sig bcm2712-rpi-5-b.dtb /config.txt -kernel_2712.img -kernel8.img bcm2712-rpi-5-b.dtb \
                -/cmdline.txt RPI_EFI.fd",
        then: "+20 boot-code +600",
    },
    Kind {
        name: "UEFI that boots on",
        who: Who::Pi4,
        files: "start4.elf fixup4.dat config.txt bcm2711-rpi-4-b.dtb -cmdline.txt -kernel8.img RPI_EFI.fd",
        then: "+15 boot-code +2 bootaa64.efi grub.cfg +600",
    },
    // Captured: bare metal with os_check=0.
    Kind {
        name: "bare metal",
        who: Who::Pi5,
        files: "config.txt -pieeprom.sig /config.txt kernel8.img",
        then: "+600",
    },
    Kind {
        name: "bare metal with a device tree asked for",
        who: Who::Pi5,
        files: "config.txt -pieeprom.sig /config.txt ?kernel8.img -bcm2712-rpi-5-b.dtb -/cmdline.txt -armstub8-2712.bin kernel8.img",
        then: "+600",
    },
    Kind {
        name: "U-Boot",
        who: Who::Pi4,
        files: "start4.elf fixup4.dat config.txt bcm2711-rpi-4-b.dtb cmdline.txt here u-boot.bin",
        then: "+5 boot-code +1 -boot.scr.uimg -pxelinux.cfg/01-dc-a6 pxelinux.cfg/default Image +30 {dhcp} +2 connect mount write +600",
    },
    Kind {
        name: "iPXE",
        who: Who::Pi4,
        files: "start4.elf fixup4.dat config.txt bcm2711-rpi-4-b.dtb cmdline.txt here kernel8.img",
        then: "+5 boot-code boot-code address +600",
    },
    Kind {
        name: "boot.img",
        who: Who::Cm5,
        files: "config.txt ?boot.img boot.sig boot.img",
        then: "+40 {dhcp} +2 connect mount +600",
    },
];

/// A way in which the network gives addresses.
#[derive(Clone, Copy)]
pub(crate) struct Network {
    pub(crate) hearing: Hearing,
    pub(crate) dhcp: &'static str,
    pub(crate) kernel: &'static str,
}

const ALL: Hearing = Hearing { other_dhcp: None, ..Hearing::ALL };
pub(crate) const NETWORKS: [Network; 7] = [
    // By a relay agent.
    Network {
        hearing: ALL,
        dhcp: "relayed lease-offer request address",
        kernel: "linux linux-request address",
    },
    Network {
        hearing: ALL,
        dhcp: "discover lease-offer request address",
        kernel: "linux linux-request address",
    },
    Network {
        hearing: Hearing { other_dhcp: Some(true), ..ALL },
        dhcp: "discover offer request address",
        kernel: "linux linux-request address",
    },
    Network { hearing: Hearing { dhcp: false, ..ALL }, dhcp: "", kernel: "" },
    // The same with frames: ARP for the server, and for the router.
    Network {
        hearing: Hearing { frames: true, ..ALL },
        dhcp: "discover lease-offer request address arp-here",
        kernel: "linux linux-request address arp-here",
    },
    // DHCP of another server, heard by frames alone.
    Network {
        hearing: Hearing { frames: true, dhcp: false, forward_delay: 15, ..ALL },
        dhcp: "discover request address arp-named arp-here",
        kernel: "linux linux-request address arp-named",
    },
    // The Pis are in another network, whose DHCP is not heard.
    Network { hearing: Hearing { frames: true, dhcp: false, ..ALL }, dhcp: "", kernel: "" },
];

/// A script of a healthy boot in a bad network: requests that are lost come again after two seconds.
fn with_loss(script: &str, percent: u64, random: &mut Random) -> String {
    let mut words = Vec::new();
    for word in script.split_whitespace() {
        let is_request = !word.starts_with('+');
        let is_lost = is_request && random.below(100) < percent;
        match word {
            "discover" if is_lost => words.extend(["discover", "+4"]),
            "linux" if is_lost => words.extend(["linux", "+4"]),
            "connect" | "mount" if is_lost => words.push("+3"),
            // The answer was lost: the server hears the request again.
            name if is_lost && name.contains('.') && !name.starts_with(['-', '?', '.', '!']) => {
                words.extend(["..", "again", "+2"]);
                let place = words.len() - 3;
                if let Some(lost) = words.get_mut(place) {
                    *lost = Box::leak(format!("..{name}").into_boxed_str());
                }
            }
            // The request itself was lost, or a miss's ERROR.
            _ if is_lost => words.push("+2"),
            _ => {}
        }
        words.push(Box::leak(word.to_owned().into_boxed_str()));
    }
    words.join(" ")
}

#[test]
fn no_healthy_boot_gets_a_verdict() {
    let mut boots = 0;
    for kind in KINDS {
        for (number, network) in NETWORKS.iter().enumerate() {
            for seed in 0..8_u64 {
                let mut random = Random(seed.wrapping_mul(7919) + number as u64);
                // Seed 0 is the plain boot; the others have slow links, and up to 5 % loss.
                let (percent, slow) = (seed.min(5), [0.05, 0.3, 1.0, 2.0][seed as usize % 4]);
                let mut run = Run::new(kind.who, network.hearing);
                let then = kind.then.replace("{dhcp}", network.kernel);
                // Two boots in a row: a reboot is healthy, too.
                for round in 0..2 {
                    let script = format!("new-xid {} {} {then}", network.dhcp, kind.files);
                    let script = if seed == 0 { script } else { with_loss(&script, percent, &mut random) };
                    run.play(&script, || random.time(Duration::from_secs_f64(slow)));
                    boots += 1;
                    assert_eq!(
                        run.numbers(),
                        <[Vec<u8>; 0]>::default(),
                        "{}, network {number}, seed {seed}, boot {round}: {:?}\n{script}",
                        kind.name,
                        run.said
                    );
                    // Without DHCP and without a kernel a second boot is not told from the first.
                    if !network.dhcp.is_empty() || run.boot.state() >= State::KernelSent {
                        assert_eq!(run.boots, round + 1, "{}, network {number}, seed {seed}", kind.name);
                    }
                }
                if kind.then == LINUX {
                    assert!(run.is_at(State::Up), "{}: {:?}", kind.name, run.boot);
                }
            }
        }
    }
    assert!(boots >= 200, "{boots}");
    println!("healthy boots without a verdict: {boots}");
}

/// Power that goes at any time of a boot, and comes back some seconds later.
#[test]
fn a_boot_after_a_broken_one_gets_no_verdict() {
    for kind in KINDS {
        for (number, network) in NETWORKS.iter().enumerate() {
            for seed in 0..8 {
                let mut random = Random(seed * 31 + number as u64);
                let mut run = Run::new(kind.who, network.hearing);
                let then = kind.then.replace("{dhcp}", network.kernel);
                let whole = format!("{} {} {then}", network.dhcp, kind.files);
                let words: Vec<_> = whole.split_whitespace().collect();
                // Where a boot looks on for one of several files, its end may be the lack of them.
                let of_several = ["-kernel", "-bcm", "-start"];
                let is_miss = |word: &&str| of_several.iter().any(|begin| word.starts_with(begin));
                let most = words.iter().position(is_miss).unwrap_or(words.len()).max(1);
                let mut cut = &words[..1 + random.below(most as u64) as usize];
                while let Some((_, before)) = cut.split_last().filter(|(last, _)| last.starts_with('+')) {
                    cut = before;
                }
                let cut = cut.join(" ");
                let off = match () {
                    // A system that is switched off uses its root no more.
                    () if cut.contains(" mount") => "lost arp-dead +9",
                    // A call for another version, and 5 s of silence, is a verdict.
                    () if cut.contains(" nfs4") => "+3",
                    () => "+6",
                };
                let script = format!("new-xid {cut} {off} new-xid {whole}");
                run.play(&script, || random.time(Duration::from_millis(300)));
                let name = kind.name;
                assert_eq!(run.numbers(), <[Vec<u8>; 0]>::default(), "{name}, {number}, {seed}: {script}");
            }
        }
    }
}

/// pinetboot's own tools ask as a Pi does, and take their mount back.
#[test]
fn a_simulation_gets_no_verdict() {
    let mut run = Run::new(Who::Pi5, ALL);
    run.at_once(&format!("discover lease-offer request address {PI5} +1 connect mount active unmount +600"));
    assert_eq!(run.numbers(), <[Vec<u8>; 0]>::default());
    assert!(run.is_at(State::Unseen));
}

/// A probe of the network, or a Pi that was switched off at once.
#[test]
fn a_single_discover_gets_no_verdict() {
    let mut run = Run::new(Who::Pi5, ALL);
    run.at_once("discover lease-offer +600");
    assert_eq!(run.numbers(), <[Vec<u8>; 0]>::default());
}

/// A running system that restarts by itself, its lease given back.
#[test]
fn a_reboot_gets_no_verdict() {
    let mut run = Run::new(Who::Pi5, ALL);
    for _ in 0..3 {
        run.at_once("new-xid discover lease-offer request address");
        run.at_once(PI5);
        run.at_once(
            "+6 linux linux-request address +1 connect mount active +5 write +300 active release lost arp-dead +18",
        );
    }
    assert_eq!(run.numbers(), <[Vec<u8>; 0]>::default());
}
