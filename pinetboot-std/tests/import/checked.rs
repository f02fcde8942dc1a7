//! `check` on the images of these tests, before and after their import: nothing above the level that is true.

use std::fs;

use crate::checked_tree::{Checked, System, check};
use crate::images::{Disk, Ext4Options, Fat, Packing, Sources};
use crate::{import, layout};

/// File capabilities, which take root to set.
#[test]
#[ignore = "needs root; run by .ci/run"]
fn rule_51_file_capabilities() {
    let system = System::healthy();
    system.write("root/usr/bin/ping", "a program");
    assert!(!system.check().rules.contains(&51));
    // cap_net_raw=ep, revision 2 (linux/capability.h, vfs_cap_data).
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(system.path("root/usr/bin/ping"), "security.capability", &capability).unwrap();
    let found = system.check();
    assert_eq!(found.rules, [51], "{}", found.text);
    // Raspberry Pi OS lets every group ping.
    system.write("root/usr/lib/sysctl.d/98-rpi.conf", "net.ipv4.ping_group_range = 0 2147483647\n");
    assert!(!system.check().rules.contains(&51));
}

/// A line for each finding above a note.
fn above_notes(checked: &Checked) -> Vec<&String> {
    checked.lines.iter().filter(|line| !line.starts_with("Note: ")).collect()
}

/// What an import changes is no fault of the image, and after the import there is nothing to change.
#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn an_image_and_its_import_have_no_fault() {
    let sources = Sources::of_trixie();
    // A kernel that is one: the other tests' are words.
    let healthy = System::healthy();
    for name in [
        "kernel_2712.img",
        "initramfs_2712",
        "bcm2712-rpi-5-b.dtb",
        "overlays/bcm2712d0.dtbo",
        "overlays/overlay_map.dtb",
    ] {
        let to = sources.boot().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(healthy.boot().join(name), to).unwrap();
    }
    for name in ["bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5l-cm5io.dtb"] {
        fs::copy(healthy.boot().join(name), sources.boot().join(name)).unwrap();
    }
    let modules = "usr/lib/modules/6.12.34+rpt-rpi-2712";
    fs::create_dir_all(sources.root().join(modules)).unwrap();
    let builtin = format!("{modules}/modules.builtin");
    fs::copy(healthy.path(&format!("root/{builtin}")), sources.root().join(&builtin)).unwrap();
    for (file, content) in [("usr/sbin/init", "init"), ("usr/lib/systemd/systemd-timesyncd", "")] {
        let file = sources.root().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    std::os::unix::fs::symlink("usr/sbin", sources.root().join("sbin")).unwrap();
    for (features, block_size, gpt, packing) in
        [("^64bit", 4096, false, Packing::Raw), ("^64bit", 1024, true, Packing::Xz)]
    {
        let disk = Disk::new(&sources, &Ext4Options::new(features, block_size), gpt, Fat::SMALL, packing);
        let image = check(&[disk.path().to_str().unwrap()]);
        assert!(image.code == Some(0) && above_notes(&image).is_empty(), "{:#?}", image.lines);
        let to = tempfile::tempdir().unwrap();
        import(disk.path(), to.path(), &["--name", "trixie", "--current"]);
        let imported = check(&[to.path().to_str().unwrap()]);
        assert!(imported.code == Some(0) && imported.lines.is_empty(), "{:#?}", imported.lines);
    }
}

/// An image whose kernel and device tree are words, and whose root is no system: what is said is so.
#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn a_strange_image_has_true_findings_alone() {
    let everything = Sources::of_everything();
    let disk = Disk::new(&everything, &Ext4Options::new("^64bit", 1024), false, Fat::SMALL, Packing::Raw);
    let found = check(&[disk.path().to_str().unwrap()]);
    assert_eq!(
        found.lines,
        [
            "start4.elf: the file is empty. The Pi accepts it, and the boot step that needs the file fails. [rule null]",
            "bcm2711-rpi-4-b.dtb: not found. [rule null]",
            "kernel8.img: not found. [rule null]",
            "bcm2712-rpi-5-b.dtb: the file is not a device tree. [rule 19]",
            "Warning: fixup4.dat is missing. [rule null]",
            "Warning: the root has no /sbin/init, /etc/init or /bin/init: a kernel without init= has no first program. [rule 97]",
        ]
    );
    let to = tempfile::tempdir().unwrap();
    let small = layout::small_image();
    import(&small.path(), to.path(), &["--name", "small"]);
    assert!(!check(&[to.path().to_str().unwrap()]).rules.contains(&97));
}
