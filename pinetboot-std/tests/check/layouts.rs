//! Healthy boot files in the layouts of other systems than Raspberry Pi OS: no problem, no warning, and no note but those that are true.

use std::fs;
use std::os::unix::fs::symlink;

use super::tree::System;

/// A layout: its name, what makes it of the healthy system's files, and the rules of its notes; 0 for a note without a rule: a
/// missing command line or device tree, which Linux alone needs, an os_prefix without effect.
type Layout = (&'static str, fn(&System), &'static [u8]);

const LAYOUTS: &[Layout] = &[
    ("Raspberry Pi OS trixie, Pi 5 alone", |_| (), &[]),
    // stage1/00-boot-files and the import's command line.
    (
        "Raspberry Pi OS bookworm for all models",
        |system| {
            let stock = "dtparam=audio=on\ncamera_auto_detect=1\nauto_initramfs=1\ndtoverlay=vc4-kms-v3d\narm_64bit=1\n\
                     [cm4]\notg_mode=1\n[cm5]\ndtoverlay=dwc2,dr_mode=host\n[all]\n";
            system.write("boot/config.txt", stock);
            others(system);
            system.copy("kernel_2712.img", "kernel8.img");
            system.copy("initramfs_2712", "initramfs8");
            for overlay in ["vc4-kms-v3d", "vc4-kms-v3d-pi4", "vc4-kms-v3d-pi5", "dwc2"] {
                system.write(&format!("boot/overlays/{overlay}.dtbo"), "x");
            }
            system.write(
            "boot/cmdline.txt",
            "console=serial0,115200 console=tty1 root=/dev/nfs nfsroot=/pi,vers=3,tcp rw ip=dhcp rootwait quiet splash \
             plymouth.ignore-serial-consoles cfg80211.ieee80211_regdom=GB\n",
        );
            system.write("root/etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");
            system.remove("root/usr/lib/systemd/systemd-timesyncd");
            system.write("root/usr/sbin/fake-hwclock", "");
        },
        &[],
    ),
    // The server follows such links as long as they lead into the tree.
    (
        "a Pi's directory of links by paths of this machine",
        |system| {
            fs::create_dir(system.path("boot/bd989ae1")).unwrap();
            for entry in fs::read_dir(system.boot()).unwrap() {
                let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
                match name.to_str() {
                    Some("bd989ae1") => {}
                    Some("config.txt") => {
                        let _bytes = fs::copy(path, system.path("boot/bd989ae1/config.txt")).unwrap();
                    }
                    _ => symlink(path, system.path("boot/bd989ae1").join(name)).unwrap(),
                }
            }
            symlink(system.path("boot/bd989ae1"), system.path("boot/5e9f2a01")).unwrap();
        },
        &[],
    ),
    // A/B boot of 25.10 and 26.04 (nobodd, docs/howto-resolute.rst).
    (
        "Ubuntu with os_prefix",
        |system| {
            system.write(
                "boot/config.txt",
                "[all]\nkernel=vmlinuz\ncmdline=cmdline.txt\ninitramfs initrd.img followkernel\narm_64bit=1\n\
             os_prefix=current/\n[tryboot]\nos_prefix=new/\n[all]\nos_check=0\n",
            );
            system.rename("kernel_2712.img", "current/vmlinuz");
            system.rename("initramfs_2712", "current/initrd.img");
            system.rename("cmdline.txt", "current/cmdline.txt");
            system.rename("bcm2712-rpi-5-b.dtb", "current/bcm2712-rpi-5-b.dtb");
            system.rename("bcm2712-rpi-cm5-cm5io.dtb", "current/bcm2712-rpi-cm5-cm5io.dtb");
            system.rename("bcm2712-rpi-cm5l-cm5io.dtb", "current/bcm2712-rpi-cm5l-cm5io.dtb");
            system.rename("overlays", "current/overlays");
            system.write("boot/current/overlays/README", "overlays\n");
        },
        &[],
    ),
    // raspi-firmware of Debian, z50-raspi-firmware; the initramfs is of MODULES=most.
    (
        "Debian for the Pi 4",
        |system| {
            system.write(
            "boot/config.txt",
            "arm_64bit=1\nenable_uart=1\nupstream_kernel=1\nkernel=vmlinuz-6.12.34-arm64\ninitramfs initrd.img-6.12.34-arm64\n",
        );
            others(system);
            system.release("6.12.34-arm64");
            system.rename("kernel_2712.img", "vmlinuz-6.12.34-arm64");
            system.rename("initramfs_2712", "initrd.img-6.12.34-arm64");
            for name in ["bcm2712-rpi-5-b.dtb", "bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5l-cm5io.dtb"] {
                system.remove(&format!("boot/{name}"));
            }
            fs::remove_dir_all(system.path("root/usr/lib/modules/6.12.34+rpt-rpi-2712")).unwrap();
            system.write("root/etc/os-release", "ID=debian\nVERSION_CODENAME=trixie\n");
        },
        &[0],
    ),
    // LibreELEC's own initramfs is in its kernel and reads boot= and disk= (projects/RPi, bootloader/).
    (
        "LibreELEC",
        |system| {
            system.write("boot/config.txt", "arm_64bit=1\nkernel=kernel.img\n");
            system.write(
            "boot/cmdline.txt",
            "boot=NFS=10.0.0.1:/srv/libreelec disk=NFS=10.0.0.1:/srv/storage ip=dhcp quiet console=tty0\n",
        );
            system.rename("kernel_2712.img", "kernel.img");
            system.remove("boot/initramfs_2712");
            system.write("boot/SYSTEM", "squashfs");
            no_root(system);
        },
        &[],
    ),
    // The system is in memory: mkinitfs reads alpine_repo= and modloop=.
    (
        "Alpine",
        |system| {
            system.write(
            "boot/config.txt",
            "[all]\narm_64bit=1\nkernel=boot/vmlinuz-rpi\ninitramfs boot/initramfs-rpi\ninclude usercfg.txt\n",
        );
            system.write("boot/usercfg.txt", "");
            system.write(
            "boot/cmdline.txt",
            "modules=loop,squashfs quiet console=tty1 ip=dhcp alpine_repo=http://10.0.0.1/main modloop=http://10.0.0.1/modloop-rpi\n",
        );
            system.rename("kernel_2712.img", "boot/vmlinuz-rpi");
            system.rename("initramfs_2712", "boot/initramfs-rpi");
            no_root(system);
        },
        &[],
    ),
    (
        "U-Boot",
        |system| {
            system.write("boot/config.txt", "arm_64bit=1\nkernel=u-boot.bin\nenable_uart=1\n");
            system.write("boot/u-boot.bin", [0x1f, 0x20, 0x03, 0xd5, 0, 0, 0, 0].repeat(512));
            for name in ["kernel_2712.img", "initramfs_2712", "cmdline.txt"] {
                system.remove(&format!("boot/{name}"));
            }
            no_root(system);
        },
        &[0],
    ),
    // pftf/RPi4: config.txt of the release.
    (
        "UEFI for the Pi 4",
        |system| {
            system.write(
            "boot/config.txt",
            "arm_64bit=1\narm_boost=1\nenable_uart=1\nuart_2ndstage=1\nenable_gic=1\narmstub=RPI_EFI.fd\n\
             disable_commandline_tags=1\ndisable_overscan=1\ndevice_tree_address=0x1f0000\ndevice_tree_end=0x200000\n\
             dtoverlay=miniuart-bt\ndtoverlay=upstream-pi4\n",
        );
            others(system);
            system.write("boot/RPI_EFI.fd", "firmware");
            for overlay in ["miniuart-bt", "upstream-pi4"] {
                system.write(&format!("boot/overlays/{overlay}.dtbo"), "x");
            }
            for name in [
                "kernel_2712.img",
                "initramfs_2712",
                "cmdline.txt",
                "bcm2712-rpi-5-b.dtb",
                "bcm2712-rpi-cm5-cm5io.dtb",
                "bcm2712-rpi-cm5l-cm5io.dtb",
            ] {
                system.remove(&format!("boot/{name}"));
            }
            no_root(system);
        },
        &[0, 0],
    ),
    (
        "bare metal",
        |system| {
            system.write("boot/config.txt", "os_check=0\n");
            system.write("boot/kernel8.img", [0x5f, 0x20, 0x03, 0xd5, 0xff, 0xff, 0xff, 0x17]);
            for name in [
                "kernel_2712.img",
                "initramfs_2712",
                "cmdline.txt",
                "bcm2712-rpi-5-b.dtb",
                "bcm2712-rpi-cm5-cm5io.dtb",
                "bcm2712-rpi-cm5l-cm5io.dtb",
            ] {
                system.remove(&format!("boot/{name}"));
            }
            fs::remove_dir_all(system.boot().join("overlays")).unwrap();
            no_root(system);
        },
        &[20, 0],
    ),
    (
        "a directory for one Pi beside the common files",
        |system| {
            for name in
                ["config.txt", "cmdline.txt", "kernel_2712.img", "initramfs_2712", "bcm2712-rpi-5-b.dtb"]
            {
                system.copy(name, &format!("bd989ae1/{name}"));
            }
            system.copy("overlays/bcm2712d0.dtbo", "bd989ae1/overlays/bcm2712d0.dtbo");
            system.copy("overlays/overlay_map.dtb", "bd989ae1/overlays/overlay_map.dtb");
            for name in ["bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5l-cm5io.dtb"] {
                system.copy(name, &format!("bd989ae1/{name}"));
            }
        },
        &[],
    ),
];

/// Firmware and device trees of the Pi 4 and 3.
fn others(system: &System) {
    for name in [
        "start4.elf",
        "fixup4.dat",
        "bootcode.bin",
        "start.elf",
        "fixup.dat",
        "bcm2711-rpi-4-b.dtb",
        "bcm2710-rpi-3-b-plus.dtb",
        "bcm2710-rpi-3-b.dtb",
    ] {
        system.copy("bcm2712-rpi-5-b.dtb", name);
    }
}

fn no_root(system: &System) {
    fs::remove_dir_all(system.path("root")).unwrap();
}

#[test]
fn healthy_layouts_have_no_finding_above_a_note() {
    let mut wrong = Vec::new();
    for (name, make, notes) in LAYOUTS {
        let system = System::healthy();
        make(&system);
        let found = if system.path("root").exists() { system.check() } else { system.check_boot_files() };
        let is_note = |line: &String| line.starts_with("Note: ");
        if found.code != Some(0) || found.rules != *notes || !found.lines.iter().all(is_note) {
            wrong.push(format!("{name}: {:?}, {:?}\n{}", found.code, found.rules, found.lines.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
