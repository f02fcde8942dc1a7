//! Rows of the catalogue that `check` names: the defect, made in a healthy system.

use std::fs::{self, File};

use crate::device_tree::device_tree;
use crate::tree::System;

/// The number of a rule, the defect in words, and what makes it.
pub(crate) type Row = (u8, &'static str, fn(&System));

pub(crate) const ROWS: &[Row] = &[
    (14, "networkd gives its lease back", |system| {
        system.enable("systemd-networkd.service");
        system.write(
            "root/etc/systemd/network/wired.network",
            "[Match]\nName=eth0\n[Network]\nDHCP=yes\nKeepConfiguration=no\n",
        );
    }),
    (17, "a directory with all sixteen digits", |system| {
        system.write("boot/0c8f7e5cbd989ae1/config.txt", "");
    }),
    (17, "a directory whose name ends with a serial number", |system| {
        system.write("boot/pi-bd989ae1/config.txt", "");
    }),
    (19, "a tree for a Pi 4", |system| {
        system.remove("boot/bcm2712-rpi-5-b.dtb");
    }),
    (20, "a kernel below [pi4]", |system| {
        system.remove("boot/kernel_2712.img");
        system.write("boot/config.txt", "[pi4]\nkernel=mine.img\n");
        system.write("boot/mine.img", "");
    }),
    (21, "config.txt of 5 KB for a Pi 4", |system| {
        system.write("boot/config.txt", format!("{}auto_initramfs=1\n", "# a comment\n".repeat(450)));
        for (name, content) in [("start4.elf", "x"), ("fixup4.dat", "x"), ("bcm2711-rpi-4-b.dtb", "x")] {
            system.write(&format!("boot/{name}"), content);
        }
        fs::copy(system.boot().join("kernel_2712.img"), system.boot().join("kernel8.img")).unwrap();
        fs::copy(system.boot().join("initramfs_2712"), system.boot().join("initramfs8")).unwrap();
    }),
    (22, "an initramfs of 97 MB", |system| {
        File::options()
            .write(true)
            .open(system.boot().join("initramfs_2712"))
            .unwrap()
            .set_len(97_000_000)
            .unwrap();
    }),
    (26, "modules of another kernel", |system| {
        fs::rename(
            system.path("root/usr/lib/modules/6.12.34+rpt-rpi-2712"),
            system.path("root/usr/lib/modules/5.15.92-v8+"),
        )
        .unwrap();
    }),
    (27, "an initramfs of another kernel", |system| {
        system.initramfs(&["bin/nfsmount", "lib/modules/6.12.34+rpt-rpi-v8/modules.dep"]);
    }),
    (27, "kernel8.img with initramfs_2712 alone", |system| {
        fs::rename(system.boot().join("kernel_2712.img"), system.boot().join("kernel8.img")).unwrap();
    }),
    (29, "an update of the bootloader", |system| {
        system.write("boot/pieeprom.upd", "x");
        system.write("boot/pieeprom.sig", "x");
    }),
    (33, "NFSv4 and proto= with klibc", |system| system.command_line("vers=3,tcp", "vers=4.1,proto=tcp")),
    (34, "mount.nfs without /etc/netconfig", |system| {
        system.command_line("vers=3,tcp", "vers=4.2,proto=tcp");
        system.initramfs(&["usr/sbin/mount.nfs", "usr/lib/modules/6.12.34+rpt-rpi-2712/modules.dep"]);
    }),
    (35, "no version", |system| system.command_line("vers=3,tcp", "tcp")),
    (38, "no tcp", |system| system.command_line("vers=3,tcp", "vers=3")),
    (39, "a root on the card", |system| {
        system.command_line(
            "root=/dev/nfs nfsroot=/srv/pi,vers=3,tcp,nolock rw ip=dhcp",
            "root=PARTUUID=4a3c1b2d-02",
        );
    }),
    (39, "no root", |system| {
        system.command_line("root=/dev/nfs nfsroot=/srv/pi,vers=3,tcp,nolock rw ip=dhcp", "");
    }),
    (39, "two lines", |system| system.command_line("rootwait", "rootwait\nquiet")),
    (40, "Linux 6.17", |system| system.release("6.17.3+rpt-rpi-2712")),
    (41, "an initramfs without a program for NFS", |system| {
        system.initramfs(&["usr/lib/modules/6.12.34+rpt-rpi-2712/modules.dep"]);
    }),
    (41, "an initramfs and a kernel without a driver", |system| {
        system.write("root/usr/lib/modules/6.12.34+rpt-rpi-2712/modules.builtin", "kernel/fs/nfs/nfs.ko\n");
    }),
    (42, "no mount.nfs", |system| {
        system.add("root/etc/fstab", "10.0.0.1:/boot /boot/firmware nfs defaults,vers=3 0 0");
    }),
    (43, "a connection of NetworkManager", |system| {
        system.write(
            "root/etc/NetworkManager/system-connections/eth0.nmconnection",
            "[connection]\nid=x\ntype=ethernet\n",
        );
    }),
    (43, "dhcpcd", |system| system.enable("dhcpcd.service")),
    (44, "ifupdown", |system| {
        system.enable("networking.service");
        system.write("root/etc/network/interfaces", "auto eth0\niface eth0 inet dhcp\n");
    }),
    (45, "a line of a card", |system| {
        system.add("root/etc/fstab", "PARTUUID=4a3c1b2d-01 /boot/firmware vfat defaults 0 2")
    }),
    (46, "dphys-swapfile", |system| system.enable("dphys-swapfile.service")),
    (46, "rpi-swap", |system| system.write("root/etc/rpi/swap.conf", "[Main]\n#Mechanism=auto\n")),
    (47, "keys and machine ID", |system| {
        system.write("root/etc/ssh/ssh_host_ed25519_key", "secret");
        system.write("root/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    }),
    (48, "firstboot", |system| {
        system.command_line("rootwait", "rootwait init=/usr/lib/raspberrypi-sys-mods/firstboot")
    }),
    (48, "rpi-resize", |system| system.enable("rpi-resize.service")),
    (49, "a seed on the card", |system| {
        system.command_line("rootwait", "rootwait ds=nocloud;i=rpi-imager-1752000000000")
    }),
    (49, "cloud-init without a seed", |system| system.enable("cloud-init-main.service")),
    (50, "no clock", |system| system.remove("root/usr/lib/systemd/systemd-timesyncd")),
    (52, "Docker", |system| system.write("root/usr/bin/dockerd", "")),
    (52, "k3s", |system| system.write("root/usr/local/bin/k3s", "")),
    (75, "no overlay for stepping D0", |system| system.remove("boot/overlays/bcm2712d0.dtbo")),
    (75, "a device tree without a symbol", |system| {
        system.write("boot/overlays/bcm2712d0.dtbo", device_tree(&[], &[("__fixups__", "uart10")]));
    }),
    (76, "auto_initramfs with os_prefix", |system| {
        system.add("boot/config.txt", "os_prefix=current/");
        for name in ["kernel_2712.img", "initramfs_2712", "bcm2712-rpi-5-b.dtb", "cmdline.txt"] {
            fs::create_dir_all(system.boot().join("current")).unwrap();
            fs::copy(system.boot().join(name), system.boot().join("current").join(name)).unwrap();
        }
    }),
    (77, "no device tree of a CM5", |system| system.remove("boot/bcm2712-rpi-cm5-cm5io.dtb")),
    (80, "no boot.img", |system| system.write("boot/config.txt", "boot_ramdisk=1\n")),
    (82, "a directory with config.txt alone", |system| system.write("boot/bd989ae1/config.txt", "")),
    (83, "config.txt of 17 KB", |system| {
        system.write("boot/config.txt", format!("{}auto_initramfs=1\n", "# a comment\n".repeat(1500)));
    }),
    (86, "Linux 6.18 without eee=off", |system| system.release("6.18.24+rpt-rpi-2712")),
    (87, "Linux 6.12.25", |system| system.release("6.12.25+rpt-rpi-2712")),
    (88, "Linux 6.12.36", |system| system.release("6.12.36+rpt-rpi-2712")),
    (89, "Linux 6.12.81", |system| system.release("6.12.81+rpt-rpi-2712")),
    (91, "NFS over UDP", |system| system.command_line("vers=3,tcp", "vers=3,udp")),
    (92, "a label without an initramfs", |system| {
        system.remove("boot/initramfs_2712");
        system.command_line(
            "root=/dev/nfs nfsroot=/srv/pi,vers=3,tcp,nolock rw ip=dhcp",
            "root=LABEL=writable",
        );
    }),
    (93, "the wait for the network", |system| {
        system.enable("systemd-network-generator.service");
        system.enable("systemd-networkd-wait-online.service");
    }),
    (94, "Ethernet without a renderer", |system| {
        system.enable("cloud-init-main.service");
        system.write("root/boot/firmware/meta-data", "");
        system.write(
            "root/boot/firmware/network-config",
            "network:\n  ethernets:\n    eth0:\n      dhcp4: false\n",
        );
    }),
    (95, "the root of another server", |system| {
        system.command_line("nfsroot=/srv/pi", "nfsroot=192.0.2.9:/srv/pi")
    }),
    (97, "no first program", |system| system.remove("root/sbin/init")),
];
