//! Rules of the third phase: kernel and initramfs, until the root file system is mounted.

use super::{Evidence, Models, PI5, Phase, Rule, Standing, rules};

rules! { Kernel:
    INITRAMFS_NFS_VERSION = 33 {
        symptom: "The initramfs shows nfsmount: bad option, or Retrying nfs mount, without end.",
        cause: "nfsmount of the initramfs (klibc) knows vers=2 and vers=3, tcp and udp, but neither vers=4.1 nor proto=.",
        remedy: "Write nfsroot=SERVER:/PATH,vers=3,tcp in cmdline.txt, or auto_initramfs=0 in config.txt.",
        models: Models::All, standing: Reported, evidence: [Tree, Nfs, Console],
        source: "raspberrypi/documentation#3205, raspberrypi/bookworm-feedback#93, Tech-Byte-Tips/RPi-PXE#12",
    }
    INITRAMFS_NFS4 = 34 {
        symptom: "A root over NFSv4 is not mounted: Protocol not supported.",
        cause: "The initramfs has no mount.nfs, or has it without /etc/netconfig and /etc/protocols (Debian bug 409271).",
        remedy: "Use vers=3; or do without initramfs, as the kernel mounts NFSv4; or add the two files.",
        models: Models::All, standing: Reported, evidence: [Tree, Console],
        source: "raspberrypi/bookworm-feedback#267, kernelci/kernelci-core#3165",
    }
    NFS_VERSION_2 = 35 {
        symptom: "The kernel shows VFS: Unable to mount root fs via NFS, error -6, -22 or -93.",
        cause: "nfsroot= has no vers=: a kernel with CONFIG_NFS_V2 asks for NFSv2, which servers no longer have.",
        remedy: "Write vers=3 in nfsroot=: nfsroot=SERVER:/PATH,vers=3,tcp.",
        models: Models::All, standing: Documented, evidence: [Tree, Nfs, Console],
        source: "raspberrypi/linux arch/arm64/configs/bcm2712_defconfig, CONFIG_NFS_V2; fs/nfs/nfsroot.c",
    }
    KERNEL_DHCP_UNANSWERED = 36 {
        symptom: "The kernel shows IP-Config: Retrying forever (NFS root).",
        cause: "The DHCP server answers PXE clients alone; the kernel's DISCOVER has no vendor class.",
        remedy: "Let the DHCP server answer every DISCOVER of the Pi's MAC address.",
        models: Models::All, standing: Captured, evidence: [Dhcp, Console],
        source: "raspberrypi/linux#589",
    }
    MOUNT_REFUSED = 37 {
        symptom: "Mounting the root fails with access denied or ESTALE.",
        cause: "The path is not exported to the Pi, root is squashed, or requests from ports above 1023 are refused.",
        remedy: "Export the path with rw,no_root_squash,insecure to the Pi's address, and run 'exportfs -ra'.",
        models: Models::All, standing: Documented, evidence: [Nfs, Console],
        source: "raspberrypi/documentation remote-access, network-boot-raspberry-pi; exports(5)",
    }
    PORTMAP_TIMEOUT = 38 {
        symptom: "The kernel waits 50 s before it mounts its root.",
        cause: "Requests to portmapper and mount service go by UDP and are not answered.",
        remedy: "Write tcp in nfsroot=, and port= and mountport= too; or run rpcbind on the server.",
        models: Models::All, standing: Reported, evidence: [Nfs, Console],
        source: "raspberrypi/firmware#249",
    }
    ROOT_ON_CARD = 39 {
        symptom: "The kernel waits for a root device, PARTUUID=.. or /dev/mmcblk0p2.",
        cause: "cmdline.txt is still that of an SD card, has two root= or several lines, or hooks of the first boot.",
        remedy: "Write a single line: root=/dev/nfs nfsroot=SERVER:/PATH,vers=3,tcp rw ip=dhcp rootwait, without init= and resize.",
        models: Models::All, standing: Documented, evidence: [Tree, Console],
        source: "raspberrypi/documentation remote-access, network-boot-raspberry-pi; raspberrypi/piserver convert_chrooted_cmds",
    }
    TRANSMIT_STALL = 40 {
        symptom: "The link is up and packets arrive, but the Pi sends none: nfs: server not responding.",
        cause: "The transmitter of the Pi 5's network controller stalls under kernels 6.17 and 6.18 (macb, RP1).",
        remedy: "Update the kernel in the tree; a link cannot be set down and up beneath an NFS root.",
        models: PI5, standing: Reported, evidence: [Nfs, Tree, Console],
        source: "raspberrypi/linux#7339, raspberrypi/linux#7471, siderolabs/sbc-raspberrypi#91",
    }
    INITRAMFS_FOR_CARD = 41 {
        symptom: "The initramfs finds no network interface, or cannot mount NFS.",
        cause: "The initramfs was built on an SD card with MODULES=dep, and has neither network driver nor NFS.",
        remedy: "Set MODULES=most in /etc/initramfs-tools/initramfs.conf, or list macb, rp1 and nfs; run update-initramfs -u.",
        models: Models::All, standing: Reported, evidence: [Tree, Console],
        source: "RPi-Distro/repo#382, NixOS/nixos-hardware#1768",
    }
    NO_MOUNT_NFS = 42 {
        symptom: "The system cannot mount /boot/firmware over NFS.",
        cause: "mount.nfs is missing: Raspberry Pi OS Lite (trixie) comes without nfs-common.",
        remedy: "Install nfs-common in the root file system: apt install nfs-common.",
        models: Models::All, standing: Reported, evidence: [Tree, Console],
        source: "RPi-Distro/pi-gen#894",
    }

    ENERGY_EFFICIENT_ETHERNET = 86 {
        symptom: "The link drops every few seconds, or 5 to 20 % of packets are lost, and the NFS root freezes.",
        cause: "Energy-efficient Ethernet is on by default since rpi-6.18.y, and does not work with some switches.",
        remedy: "Write dtparam=eee=off in config.txt, or switch EEE off at the switch.",
        models: PI5, standing: Reported, evidence: [Nfs, Tree],
        source: "raspberrypi/linux#7511, raspberrypi/linux#7270, home-assistant/operating-system#4861",
    }
    EEE_WITHOUT_SUPPORT = 87 {
        symptom: "A Pi 5 with an early kernel 6.12 loses packets.",
        cause: "The kernel advertises energy-efficient Ethernet, which its driver does not support.",
        remedy: "Update the kernel in the tree to one with commit 4994911f.",
        models: PI5, standing: Reported, evidence: [Nfs, Tree],
        source: "raspberrypi/linux#6855, raspberrypi/linux#6900",
    }
    CM5_PHY_INTERRUPT = 88 {
        symptom: "A CM5 fetches its kernel, 6.12.36, and then has no link.",
        cause: "That kernel waits for an interrupt of the PHY instead of polling it.",
        remedy: "Update the kernel in the tree.",
        models: PI5, standing: Reported, evidence: [Tree, Console],
        source: "raspberrypi/linux#6953",
    }
    CM5_KERNEL_SERROR = 89 {
        symptom: "A CM5 stops with an SError in kernel 6.12.81.",
        cause: "A fault of that kernel.",
        remedy: "Use kernel 6.12.73, or a newer one.",
        models: PI5, standing: Reported, evidence: [Tree, Console],
        source: "raspberrypi/linux#7319",
    }
    NFS_OVER_UDP = 91 {
        symptom: "Mounting a root with nfsroot=..,udp fails with error -22 or -93.",
        cause: "Kernels since 5.10 come without NFS over UDP.",
        remedy: "Write tcp instead of udp in nfsroot=.",
        models: Models::All, standing: Reported, evidence: [Tree, Console],
        source: "raspberrypi/firmware#1642",
    }
    ROOT_BY_UUID = 92 {
        symptom: "The kernel shows Disabling rootwait; root= is invalid.",
        cause: "root=UUID= names a file system, which a kernel without initramfs cannot look for.",
        remedy: "Write root=PARTUUID=, or root=/dev/nfs with nfsroot=.",
        models: Models::All, standing: Captured, evidence: [Tree, Console],
        source: "raspberrypi/rpi-image-gen#101",
    }
    OLD_SERVER_IN_COMMAND_LINE = 95 {
        symptom: "The server refuses to mount a path that another server had, and the kernel panics after 90 s.",
        cause: "cmdline.txt still says nfsroot=OLD:/PATH, and is left as it is because it names an NFS root already.",
        remedy: "Delete root= and nfsroot= from cmdline.txt, so that the server adds its own.",
        models: Models::All, standing: Staged, evidence: [Nfs, Tree],
        source: "a simulated Pi with the command line of another server",
    }
    DISK_REFUSED = 98 {
        symptom: "pinetboot-init says that the server refuses the disk.",
        cause: "The secret in cmdline.txt is of an earlier boot or of another address, or another Pi has the disk.",
        remedy: "Switch the Pi off and on, as each boot gets a new secret; the server's log names the reason.",
        models: Models::All, standing: Staged, evidence: [Console],
        source: "a Debian in user-mode Linux with a wrong secret",
    }
    DISK_SERVER_SILENT = 99 {
        symptom: "pinetboot-init says that the server of the disk is not reached.",
        cause: "A firewall drops TCP port 10809, or the address in pinetboot.disk= is that of no NBD server.",
        remedy: "Open the port on the server (pinetboot doctor shows its firewall), and delete pinetboot.disk= from the card's own cmdline.txt.",
        models: Models::All, standing: Inferred, evidence: [Console],
        source: "pinetboot-init, keeper",
    }
    DISK_MAY_HAVE_LOST_WRITES = 100 {
        symptom: "A running Pi restarts and says that the server's machine may have lost writes.",
        cause: "The server's machine lost its power or was restarted: answered writes that were not flushed may be gone.",
        remedy: "Let the Pi restart, as after a power cut of its own; a UPS keeps the server's machine up.",
        models: Models::All, standing: Staged, evidence: [Console],
        source: "a Debian in user-mode Linux beside another run of the server's machine",
    }
    DISK_DRIVER_MISSING = 101 {
        symptom: "pinetboot-init says that the kernel lacks a driver or a file system.",
        cause: "The initramfs has no modules of the kernel that runs, or a kernel without NBD, the network driver or overlayfs was built.",
        remedy: "Shut the system down cleanly once, so that the server reads the new kernel's modules, or boot Linux 5.4 or newer with them.",
        models: Models::All, standing: Inferred, evidence: [Console],
        source: "pinetboot-init, modules; Linux drivers/block/Kconfig, BLK_DEV_NBD",
    }
    DISK_WITHOUT_ROOT = 102 {
        symptom: "pinetboot-init says that the disk has no such root, or does not mount it.",
        cause: "root= or rootfstype= in cmdline.txt does not fit the disk's partitions, or the root's file system is damaged.",
        remedy: "Compare root= with the image's partition table, and check the file system of a copy (pinetboot disks export) with fsck.",
        models: Models::All, standing: Inferred, evidence: [Console],
        source: "pinetboot-init, root",
    }
    INIT_WITHOUT_ADDRESS = 103 {
        symptom: "pinetboot-init says that the network is not configured.",
        cause: "The cable has no link, no DHCP server answers, or the initramfs lacks the driver of the interface.",
        remedy: "Check the cable and the DHCP server, and that ip= in cmdline.txt names the interface with the cable.",
        models: Models::All, standing: Inferred, evidence: [Console],
        source: "pinetboot-init, network",
    }
    INIT_COMMAND_LINE = 104 {
        symptom: "pinetboot-init says that the kernel command line names no disk, no root or no network.",
        cause: "cmdline.txt on the Pi's disk was edited, or its words come after a -- or in several lines.",
        remedy: "Write root=PARTUUID= and one line in cmdline.txt; the server adds pinetboot.disk= and ip=dhcp itself.",
        models: Models::All, standing: Inferred, evidence: [Console],
        source: "pinetboot-init, settings",
    }
}
