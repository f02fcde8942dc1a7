//! The simulated Pis against what real ones were seen to ask for, over trees in memory.

use std::collections::HashMap;
use std::time::Duration;

use pinetboot_core::BootPath;
use pinetboot_core::pi::{Lookup, Model};
use pinetboot_core::tftp::{ErrorCode, Options};

use super::DeviceTree;
use super::boot::{Over, SimulatedBoot};
use super::fetch::{Answer, Fetch, Reply, Taken};
use super::filter::Board;
use super::models;
use super::timeline::Timeline;
use super::verdict::Summary;
use crate::exit::Failed;
use crate::inspect;

/// A server's tree in memory, and what was asked of it: `name` taken, `name?` only asked for, `-name` not there.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) files: HashMap<String, Vec<u8>>,
    /// Whether what a Pi does not find in its own directory comes out of the one for all.
    pub(super) shared: bool,
    /// Whether options are not answered.
    pub(super) plain: bool,
    /// A different answer for this file.
    pub(super) odd: Option<Odd>,
    pub(super) asked: Vec<String>,
    pub(super) options: Vec<Options>,
}

/// The end of a file's name, and what is answered.
type Odd = (&'static str, fn() -> Answer);

impl Memory {
    /// Shared files with nothing much in them; a Pi 5's device tree passes its check.
    pub(super) fn new(names: &[&str]) -> Self {
        let mut memory = Self { shared: true, ..Self::default() };
        for name in names {
            memory = match *name {
                "bcm2712-rpi-5-b.dtb" => {
                    let tree =
                        DeviceTree::new().property("compatible", b"raspberrypi,5-model-b\0brcm,bcm2712\0");
                    memory.with(name, &tree.finish())
                }
                "cmdline.txt" => memory.with(name, b"root=/dev/nfs ip=dhcp"),
                name if name.contains("kernel") || name.contains("vmlinuz") => {
                    memory.with(name, &inspect::kernel::image("6.12.34"))
                }
                name if name.contains("initr") => memory.with(name, b"070701"),
                name => memory.with(name, b"filler"),
            };
        }
        memory
    }

    pub(super) fn with(mut self, name: &str, content: &[u8]) -> Self {
        self.files.insert(name.into(), content.into());
        self
    }

    /// Boots a Pi with the serial number of the captures.
    pub(super) fn boot(&mut self, model: Model) -> Summary {
        let mut out = Vec::new();
        let mut boot =
            SimulatedBoot::new(Board { model, serial: 0x7bf1_8f79 }, self, Timeline::new(&mut out));
        if let Err(Over::Failed(failed)) = models::boot(&mut boot) {
            panic!("{failed}");
        }
        boot.summary.check_command_line();
        boot.summary
    }

    /// The requested names, without the prefix and each once.
    fn names(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for asked in &self.asked {
            let name = asked.replacen("7bf18f79/", "", 1).replace('?', "");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(" ")
    }

    fn find(&self, name: &str) -> Option<&Vec<u8>> {
        let path = BootPath::parse(name.as_bytes()).unwrap();
        let shared = Lookup::new(path).file().to_string();
        let found = self.files.get(&path.to_string());
        found.or_else(|| self.files.get(&shared).filter(|_| self.shared))
    }

    fn reply(answer: Answer) -> Result<Reply, Failed> {
        Ok(Reply { at: Duration::ZERO, took: Duration::ZERO, answer })
    }

    fn missing(&mut self, name: &str) -> Result<Reply, Failed> {
        self.asked.push(format!("-{name}"));
        Self::reply(Answer::Refused(ErrorCode::FILE_NOT_FOUND))
    }
}

impl Fetch for Memory {
    fn probe(&mut self, name: &str, options: Options) -> Result<Reply, Failed> {
        self.options.push(options);
        let Some(len) = self.find(name).map(|file| file.len() as u64) else { return self.missing(name) };
        self.asked.push(format!("{name}?"));
        Self::reply(Answer::There(Some(len).filter(|_| !self.plain)))
    }

    fn get(&mut self, name: &str, options: Options, keep: usize) -> Result<Reply, Failed> {
        self.options.push(options);
        if let Some((_, answer)) = self.odd.filter(|(odd, _)| name.ends_with(odd)) {
            return Self::reply(answer());
        }
        let Some(file) = self.find(name).cloned() else { return self.missing(name) };
        self.asked.push(name.into());
        let taken = Taken {
            bytes: file.len() as u64,
            kept: file.into_iter().take(keep).collect(),
            block_size: options.block_size.filter(|_| !self.plain).unwrap_or(512),
            options_agreed: options.transfer_size.is_some() && !self.plain,
        };
        Self::reply(Answer::Taken(taken))
    }
}

#[test]
fn a_pi_5_on_bare_metal() {
    // Captured over TFTP, bootloader 2026-05-26; every line of it.
    let mut memory = Memory::new(&["kernel8.img"]).with("config.txt", b"os_check=0\nkernel=kernel8.img\n");
    let findings = memory.boot(Model::Pi5);
    assert_eq!(
        memory.asked,
        [
            "7bf18f79/config.txt",
            "-7bf18f79/pieeprom.sig",
            "7bf18f79//config.txt",
            "7bf18f79//config.txt",
            "7bf18f79/kernel8.img?",
            "-7bf18f79/bcm2712-rpi-5-b.dtb",
            "-7bf18f79//cmdline.txt",
            "-7bf18f79/armstub8-2712.bin",
            "7bf18f79/kernel8.img",
        ]
    );
    assert!(findings.would_boot());
    assert!(memory.options.iter().all(|options| *options == Options::RASPBERRY_PI));
}

#[test]
fn a_pi_5_with_raspberry_pi_os() {
    // From the UART logs of NumberOneGit/rpi5-uefi issue 8 and raspberrypi/linux issue 7319, but for bcm2712d0.dtbo,
    // which only newer boards ask for.
    let map = DeviceTree::new().node("vc4-kms-v3d", &[("bcm2712", b"vc4-kms-v3d-pi5\0")]).finish();
    let mut memory = Memory::new(&[
        "bcm2712-rpi-5-b.dtb",
        "kernel_2712.img",
        "kernel8.img",
        "initramfs_2712",
        "initramfs8",
        "overlays/vc4-kms-v3d.dtbo",
        "overlays/vc4-kms-v3d-pi5.dtbo",
        "overlays/README",
    ])
    .with(
        "config.txt",
        b"dtparam=audio=on\nauto_initramfs=1\ndtoverlay=vc4-kms-v3d\narm_64bit=1\n[cm5]\ndtoverlay=dwc2\n",
    )
    .with("overlays/overlay_map.dtb", &map)
    .with("cmdline.txt", b"root=/dev/nfs");
    let findings = memory.boot(Model::Pi5);
    assert_eq!(
        memory.asked.join("\n").replace("7bf18f79/", "").lines().collect::<Vec<_>>(),
        [
            "config.txt",
            "-pieeprom.sig",
            "bcm2712-rpi-5-b.dtb",
            "/config.txt",
            "/config.txt",
            "kernel_2712.img?",
            "initramfs_2712",
            "bcm2712-rpi-5-b.dtb",
            "/overlays/overlay_map.dtb",
            "/config.txt",
            "/overlays/vc4-kms-v3d-pi5.dtbo",
            "/cmdline.txt",
            "-armstub8-2712.bin",
            "kernel_2712.img",
        ]
    );
    assert_eq!(findings.said(), (vec![], vec![], vec![]));
}

const PI4: &[&str] = &[
    "start4.elf",
    "start.elf",
    "fixup4.dat",
    "bcm2711-rpi-4-b.dtb",
    "overlays/overlay_map.dtb",
    "overlays/vc4-fkms-v3d.dtbo",
    "cmdline.txt",
    "kernel8.img",
];

#[test]
fn a_pi_4() {
    // Captured, logs of dnsmasq (bootloaders of 2021): one with arm_64bit=1, one with a file that is included and an
    // initramfs. The second stage looks before it takes.
    let mut memory = Memory::new(PI4)
        .with("config.txt", b"arm_64bit=1\ndtoverlay=vc4-fkms-v3d\ninclude usercfg.txt\n")
        .with("usercfg.txt", b"initramfs initrd.img followkernel")
        .with("initrd.img", b"070701");
    let findings = memory.boot(Model::Pi4);
    let config = ["config.txt?", "config.txt", "usercfg.txt?", "usercfg.txt"];
    let expected = [
        &[
            "start4.elf?",
            "config.txt",
            "-pieeprom.sig",
            "-recover4.elf",
            "-recovery.elf",
            "start4.elf",
            "fixup4.dat",
        ][..],
        &["-recovery.elf"],
        &config,
        &["-dt-blob.bin", "-recovery.elf"],
        &config,
        &["-bootcfg.txt", "initrd.img?", "initrd.img", "bcm2711-rpi-4-b.dtb?", "bcm2711-rpi-4-b.dtb"],
        &["overlays/overlay_map.dtb?", "overlays/overlay_map.dtb"],
        &config,
        &["overlays/vc4-fkms-v3d.dtbo?", "overlays/vc4-fkms-v3d.dtbo", "cmdline.txt?", "cmdline.txt"],
        &["-recovery8.img", "kernel8.img?", "-armstub8-gic.bin", "kernel8.img"],
    ];
    assert_eq!(
        memory.asked.join("\n").replace("7bf18f79/", "").lines().collect::<Vec<_>>(),
        expected.concat()
    );
    assert_eq!(findings.said(), (vec![], vec![], vec![]));
    let sizes: Vec<_> = memory.options.iter().map(|options| options.block_size).collect();
    assert_eq!(sizes[..7], [Some(1468); 7]);
    assert_eq!(sizes[7..], vec![Some(1024); sizes.len() - 7]);
}

#[test]
fn a_cm4_that_is_provisioned() {
    // Captured, raspberrypi/cmprovision: nothing under the prefix, and an old kernel.img for want of any other.
    let mut memory = Memory::new(&[
        "start4.elf",
        "fixup4.dat",
        "bcm2711-rpi-cm4.dtb",
        "overlays/dwc2.dtbo",
        "cmdline.txt",
        "kernel.img",
    ])
    .with("config.txt", b"device_tree=bcm2711-rpi-cm4.dtb\ndtoverlay=dwc2\n");
    memory.shared = false;
    let findings = memory.boot(Model::Pi4);
    assert_eq!(memory.asked[..3], ["-7bf18f79/start4.elf", "-7bf18f79/start.elf", "config.txt"]);
    assert_eq!(
        memory.names(),
        "-start4.elf -start.elf config.txt -pieeprom.sig -recover4.elf -recovery.elf start4.elf fixup4.dat \
         -dt-blob.bin -bootcfg.txt bcm2711-rpi-cm4.dtb -overlays/overlay_map.dtb overlays/dwc2.dtbo cmdline.txt \
         -recovery8.img -recovery8-32.img -recovery7l.img -recovery7.img -recovery.img -kernel8.img \
         -kernel8-32.img -kernel7l.img -kernel7.img kernel.img -armstub8-32-gic.bin"
    );
    assert!(findings.would_boot());
}

#[test]
fn a_pi_3() {
    // Captured, raspberrypi/firmware issues 1041 (the options) and 1605.
    let mut memory = Memory::new(&[
        "bootcode.bin",
        "start.elf",
        "fixup.dat",
        "bcm2710-rpi-3-b.dtb",
        "overlays/overlay_map.dtb",
        "cmdline.txt",
        "kernel8.img",
        "kernel7.img",
    ])
    .with("config.txt", b"dtparam=audio=on\n");
    let findings = memory.boot(Model::Pi3);
    assert_eq!(memory.asked[..3], ["bootcode.bin", "-bootsig.bin", "7bf18f79/start.elf?"]);
    assert_eq!(
        memory.asked[3..].join(" ").replace("7bf18f79/", ""),
        "-autoboot.txt config.txt -recovery.elf start.elf fixup.dat -recovery.elf config.txt -dt-blob.bin \
         -recovery.elf config.txt -bootcfg.txt bcm2710-rpi-3-b.dtb overlays/overlay_map.dtb config.txt cmdline.txt \
         -recovery8.img -recovery8-32.img -recovery7.img -recovery.img -kernel8-32.img kernel8.img? \
         -armstub8-32.bin kernel7.img? kernel7.img"
    );
    assert_eq!(findings.said(), (vec![], vec![], vec![]));
    assert_eq!(memory.options[..2], [Options::default(); 2]);
    let tsize = Options::default().with_transfer_size(0);
    assert!(memory.options[2..].iter().all(|options| *options == tsize));
}

#[test]
fn a_pi_4_without_a_tree() {
    // Captured, raspberrypi/rpi-eeprom issue 74 (before there was a self-update).
    let mut memory = Memory { shared: false, ..Memory::default() };
    let findings = memory.boot(Model::Pi4);
    assert_eq!(
        memory.asked.join(" ").replace("-pieeprom.sig ", ""),
        "-7bf18f79/start4.elf -7bf18f79/start.elf -config.txt -recover4.elf -recovery.elf -start4.elf -start.elf"
    );
    assert_eq!(findings.said().0, ["start4.elf"]);
}
