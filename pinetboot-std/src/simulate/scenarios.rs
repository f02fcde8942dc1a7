//! Simulated boots from faulty trees.

use pinetboot_core::pi::{Model, rules};
use pinetboot_core::tftp::ErrorCode;

use super::DeviceTree;
use super::captured::Memory;
use super::fetch::Answer;
use super::verdict::Summary;

/// A tree for a Pi 5 with this config.txt.
fn pi5(config: &str, more: &[&str]) -> Memory {
    Memory::new(&["bcm2712-rpi-5-b.dtb", "kernel_2712.img", "kernel8.img", "overlays/overlay_map.dtb"])
        .with("cmdline.txt", b"root=/dev/nfs ip=dhcp")
        .with("config.txt", config.as_bytes())
        .and(Memory::new(more))
}

impl Memory {
    fn and(mut self, other: Self) -> Self {
        self.files.extend(other.files);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.files.remove(name).unwrap();
        self
    }

    fn was_asked(&self, name: &str) -> bool {
        self.asked.iter().any(|asked| asked == &format!("7bf18f79/{name}"))
    }
}

fn printed(summary: &Summary) -> String {
    let mut out = Vec::new();
    summary.print(Model::Pi5.profile(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    text
}

#[test]
fn a_device_tree_is_missing() {
    let mut memory = pi5("", &[]).without("bcm2712-rpi-5-b.dtb");
    let findings = memory.boot(Model::Pi5);
    assert_eq!(memory.asked.last().unwrap(), "-7bf18f79/bcm2712-rpi-5-b.dtb", "a Pi 5 stops there");
    let text = printed(&findings);
    let flat = text.replace("\n  ", " ");
    for says in [
        "Would not boot, because of bcm2712-rpi-5-b.dtb.",
        "Device-tree file \"bcm2712-rpi-5-b.dtb\" not found. The installed operating system (OS) does not indicate \
         support for Raspberry Pi 5.",
        "bcm2712-rpi-5-b.dtb: not found. [rule 19]",
        "bcm2712-rpi-cm5-cm5io.dtb (CM5)",
        "To do: Copy the file from",
        "os_check=0",
    ] {
        assert!(flat.contains(says), "{says}\n{text}");
    }
    // Another board's device tree is refused too.
    for wrong in
        [&b"no device tree"[..], &DeviceTree::new().property("compatible", b"brcm,bcm2711\0").finish()]
    {
        let findings = pi5("", &[]).with("bcm2712-rpi-5-b.dtb", wrong).boot(Model::Pi5);
        assert_eq!(findings.said().0, ["bcm2712-rpi-5-b.dtb"]);
    }
    // And a Pi 4 goes on to the end, but Linux does not start.
    let mut memory = Memory::new(&["start4.elf", "fixup4.dat", "config.txt", "cmdline.txt", "kernel8.img"]);
    assert_eq!(memory.boot(Model::Pi4).said().0, ["bcm2711-rpi-4-b.dtb"]);
    assert!(memory.was_asked("kernel8.img") && !memory.was_asked("overlays/overlay_map.dtb"));
}

#[test]
fn a_kernel_is_missing() {
    let mut memory = pi5("", &[]).without("kernel_2712.img");
    assert!(memory.boot(Model::Pi5).would_boot());
    assert!(memory.was_asked("kernel8.img?") && memory.was_asked("kernel8.img"));
    let mut memory = pi5("", &[]).without("kernel_2712.img").without("kernel8.img");
    let findings = memory.boot(Model::Pi5);
    assert_eq!(findings.said().0, ["kernel_2712.img, kernel8.img"]);
    let text = printed(&findings);
    assert!(text.contains("not found. [rule 20]") && text.contains("BOOT ERROR: code 7"), "{text}");
    let findings = pi5("[all]\nkernel=mine.img", &[]).boot(Model::Pi5);
    assert!(printed(&findings).contains("kernel=mine.img"));
    // A UEFI as ARM stub needs none.
    let mut memory =
        pi5("armstub=RPI_EFI.fd", &["RPI_EFI.fd"]).without("kernel_2712.img").without("kernel8.img");
    assert!(memory.boot(Model::Pi5).would_boot());
    let findings =
        Memory::new(&["bootcode.bin", "start.elf", "fixup.dat", "kernel8.img", "bcm2710-rpi-3-b.dtb"])
            .with("config.txt", b"")
            .with("cmdline.txt", b"root=/dev/nfs")
            .boot(Model::Pi3);
    assert!(findings.would_boot() && findings.said().1[0].contains("arm_64bit=1"));
}

#[test]
fn nothing_is_there() {
    for (model, file) in
        [(Model::Pi5, "config.txt"), (Model::Pi4, "start4.elf"), (Model::Pi3, "bootcode.bin")]
    {
        let summary = Memory::default().boot(model);
        assert_eq!(summary.said().0, [file]);
        assert!(printed(&summary).contains("[rule 17]"));
    }
    let mut memory = pi5("", &[]);
    memory.shared = false;
    assert!(memory.boot(Model::Pi5).would_boot());
    assert_eq!(memory.asked[..3], ["-7bf18f79/config.txt", "config.txt", "-pieeprom.sig"]);
    assert!(memory.asked.contains(&"/config.txt".into()), "{:?}", memory.asked);
}

#[test]
fn systems_side_by_side() {
    let files = ["current/vmlinuz", "current/bcm2712-rpi-5-b.dtb", "current/initrd.img", "overlays/x.dtbo"];
    let config = "os_prefix=current/\nkernel=vmlinuz\ninitramfs initrd.img followkernel\ndtoverlay=x";
    let own = DeviceTree::new().property("compatible", b"brcm,bcm2712\0").finish();
    let tree = || pi5(config, &files).with("current/bcm2712-rpi-5-b.dtb", &own);
    let mut memory = tree();
    let findings = memory.boot(Model::Pi5);
    assert_eq!(findings.said(), (vec![], vec![], vec![]));
    for asked in [
        "current/bcm2712-rpi-5-b.dtb",
        "current/initrd.img",
        "/overlays/overlay_map.dtb",
        "/overlays/x.dtbo",
        "/cmdline.txt",
    ] {
        assert!(memory.was_asked(asked), "{asked} {:?}", memory.asked);
    }
    // With a README among them, the overlays beneath os_prefix are loaded; so is the command line.
    let mut memory = tree().and(Memory::new(&[
        "current/overlays/README",
        "current/overlays/x.dtbo",
        "current/cmdline.txt",
    ]));
    memory.boot(Model::Pi5);
    for asked in ["/current/overlays/README?", "/current/overlays/x.dtbo", "current//cmdline.txt"] {
        assert!(memory.was_asked(asked), "{asked} {:?}", memory.asked);
    }
    // Without a kernel there, it does not count. What is absolute is not touched by it.
    let mut memory = pi5("os_check=0\nos_prefix=old/\ncmdline=/cmdline.txt", &[]);
    let findings = memory.boot(Model::Pi5);
    assert!(findings.would_boot() && findings.said().1[0].contains("os_prefix=old/ is ignored"));
    let mut memory = tree()
        .and(Memory::new(&["common.img"]))
        .with("config.txt", format!("{config}\nkernel=/common.img").as_bytes());
    memory.boot(Model::Pi5);
    assert!(memory.was_asked("/common.img"), "{:?}", memory.asked);
}

#[test]
fn everything_in_one_image() {
    for &model in Model::ALL {
        let mut memory = Memory::new(&["bootcode.bin", "start4.elf", "start.elf", "boot.img"])
            .with("config.txt", b"boot_ramdisk=1");
        assert!(memory.boot(model).would_boot());
        assert_eq!(memory.asked.last().unwrap(), "7bf18f79/boot.img");
        let summary = memory.without("boot.img").boot(model);
        assert_eq!(summary.said().0, ["boot.img"]);
        assert_eq!(printed(&summary).contains("[rule 80]"), rules::NO_BOOT_IMAGE.models.contains(model));
    }
}

#[test]
fn what_config_txt_names_must_be_there() {
    for (config, missing) in [
        ("initramfs initrd.img followkernel", "initrd.img"),
        ("armstub=my-stub.bin", "my-stub.bin"),
        ("device_tree=mine.dtb", "mine.dtb"),
        ("kernel=mine.img", "mine.img"),
    ] {
        assert_eq!(pi5(config, &[]).boot(Model::Pi5).said().0, [missing]);
    }
    // A missing file without which the system starts is a warning.
    for config in ["dtoverlay=x", "include more.txt", "cmdline=mine.txt"] {
        let findings = pi5(config, &[]).boot(Model::Pi5);
        assert!(findings.would_boot() && findings.said().1.len() == 1, "{config}\n{}", printed(&findings));
    }
    assert!(pi5("auto_initramfs=1", &[]).boot(Model::Pi5).said().1.is_empty());
}

#[test]
fn what_a_real_pi_would_stumble_over() {
    let empty = pi5("", &[]).with("kernel_2712.img", b"").boot(Model::Pi5);
    assert_eq!(empty.said().0, ["kernel_2712.img"]);
    let card = pi5("", &["pieeprom.sig"]).with("cmdline.txt", b"root=PARTUUID=57c84f67-02").boot(Model::Pi5);
    let (_, _, notes) = card.said();
    assert!(notes.len() == 2 && notes[0].contains("[rule 29]"), "{notes:?}");
    assert!(notes[1].contains("[rule 39]") && notes[1].contains("nfsroot="), "{notes:?}");
    let mut memory = pi5("", &[]);
    memory.plain = true;
    assert!(memory.boot(Model::Pi5).said().1[0].contains("does not answer options"));
    let text = printed(&card);
    assert!(text.contains("Would start the kernel: kernel_2712.img and bcm2712-rpi-5-b.dtb."), "{text}");
}

#[test]
fn a_server_behaves_oddly() {
    let with = |name, answer| {
        let mut memory = pi5("", &[]);
        memory.odd = Some((name, answer));
        memory.boot(Model::Pi5)
    };
    let silent = with("pieeprom.sig", || Answer::Silent);
    let warning = &silent.said().1[0];
    assert!(silent.would_boot() && warning.contains("has to answer with an ERROR"), "{warning}");
    assert!(warning.contains("[rule 25]"), "{warning}");
    let refused = with("cmdline.txt", || Answer::Refused(ErrorCode::ACCESS_VIOLATION));
    assert!(
        refused.would_boot()
            && refused.said().1[0].contains("refused 7bf18f79//cmdline.txt with error 2, access violation")
    );
    let broken = with("kernel_2712.img", || Answer::Broken {
        bytes: 1468,
        why: "the server stopped answering".into(),
        late: false,
    });
    let text = printed(&broken);
    assert!(
        text.contains(
            "kernel_2712.img: the transfer ended after 1,468 bytes: the server stopped answering.\n"
        ),
        "{text}"
    );
    let late = with("kernel_2712.img", || Answer::Broken { bytes: 1468, why: "late".into(), late: true });
    assert!(printed(&late).contains("the transfer ended after 1,468 bytes: late. [rule 23]"));
}
