//! Rules of the last phase: the system on its root file system.

use super::{Evidence, Models, PI3, Phase, Rule, Standing, rules};

rules! { Root:
    INTERFACE_RECONFIGURED = 43 {
        symptom: "The system freezes with nfs: server not responding when its network service starts.",
        cause: "NetworkManager, systemd-networkd, ifupdown or dhcpcd configure the interface that the root needs anew.",
        remedy: "Leave eth0 unmanaged (NetworkManager), set KeepConfiguration=yes (networkd), or nolink (dhcpcd).",
        models: Models::All, standing: Documented, evidence: [Nfs, Tree, Console],
        source: "systemd/systemd#21967, systemd/systemd#300; raspberrypi/piserver convert_chrooted_cmds",
    }
    SHUTDOWN_HANGS = 44 {
        symptom: "A shutdown or reboot hangs.",
        cause: "The network is stopped before the root file system on it.",
        remedy: "Empty ExecStop= of networking.service, or set KeepConfiguration=yes (networkd).",
        models: Models::All, standing: Reported, evidence: [Nfs, Console],
        source: "MichaIng/DietPi#4855, MichaIng/DietPi#7380",
    }
    FSTAB_OF_CARD = 45 {
        symptom: "The system starts in emergency mode.",
        cause: "/etc/fstab still has lines for the partitions of an SD card.",
        remedy: "Delete the lines with PARTUUID= and /dev/mmcblk0 from /etc/fstab.",
        models: Models::All, standing: Documented, evidence: [Tree, Console],
        source: "raspberrypi/documentation remote-access, network-boot-raspberry-pi",
    }
    SWAP_ON_NFS = 46 {
        symptom: "The boot is delayed, and swapon fails: swap file has holes.",
        cause: "dphys-swapfile or rpi-swap make a swap file on the NFS root.",
        remedy: "Remove it (apt purge dphys-swapfile), or swap to zram alone.",
        models: Models::All, standing: Reported, evidence: [Tree, Console],
        source: "raspberrypi/piserver convert_chrooted_cmds; OpenELEC/OpenELEC.tv#1916, MichaIng/DietPi#8188",
    }
    IDENTITY_CLONED = 47 {
        symptom: "All Pis have the same SSH host keys, machine ID and host name.",
        cause: "Their root file systems are copies of one that was booted before.",
        remedy: "Delete /etc/ssh/ssh_host_*, empty /etc/machine-id, and run 'dpkg-reconfigure openssh-server' on each Pi.",
        models: Models::All, standing: Documented, evidence: [Tree],
        source: "raspberrypi/documentation remote-access, network-boot-raspberry-pi",
    }
    FIRST_BOOT_SERVICES = 48 {
        symptom: "Services of the first boot fail, such as resize2fs_once.",
        cause: "The image was made for an SD card, which is resized when it first boots.",
        remedy: "Delete init=, resize and ds=nocloud from cmdline.txt, and disable resize2fs_once.",
        models: Models::All, standing: Documented, evidence: [Tree, Console],
        source: "raspberrypi/piserver convert_chrooted_cmds",
    }
    CLOUD_INIT = 49 {
        symptom: "cloud-init rewrites the network configuration, or waits for its seed partition.",
        cause: "Raspberry Pi OS (trixie) uses cloud-init, and over NFS its seed partition is not there.",
        remedy: "Run 'touch /etc/cloud/cloud-init.disabled' in the root, or serve user-data and network-config.",
        models: Models::All, standing: Captured, evidence: [Tree, Console],
        source: "UART log of Raspberry Pi OS trixie; cloud-init documentation, disable cloud-init",
    }
    WRONG_CLOCK = 50 {
        symptom: "TLS and apt fail after the boot, because certificates are not yet valid.",
        cause: "The Pi has no battery for its clock, and NTP comes late.",
        remedy: "Install fake-hwclock, or name an NTP server that is reached early.",
        models: Models::All, standing: Reported, evidence: [Tree, Console],
        source: "ptesarik/SIGILLatum.github.io, Raspberry Pi 4 network installation",
    }
    NO_EXTENDED_ATTRIBUTES = 51 {
        symptom: "ping and dumpcap lose their capabilities, and setcap fails.",
        cause: "NFSv3 has no extended attributes.",
        remedy: "Set the setuid bit (chmod u+s), or the sysctl net.ipv4.ping_group_range.",
        models: Models::All, standing: Documented, evidence: [Tree, Console],
        source: "RFC 1813: no procedure for extended attributes",
    }
    OVERLAYFS_ON_NFS = 52 {
        symptom: "Docker, containerd or podman fail on the NFS root: upper fs missing required features.",
        cause: "overlayfs takes no NFS as its upper layer.",
        remedy: "Use a tmpfs, a disk, iSCSI, fuse-overlayfs or --snapshotter=native; set Storage=volatile for journald.",
        models: Models::All, standing: Reported, evidence: [Tree, Console],
        source: "k3s-io/k3s#10512, k0sproject/k0s#5537, containerd/containerd#5464, moby/moby#32964",
    }
    CODEC_PANIC = 53 {
        symptom: "Kernels of 2019 panic in bcm2835_codec on a Pi 3 with an NFS root.",
        cause: "A fault of that driver.",
        remedy: "Update the kernel, or blacklist bcm2835_codec in /etc/modprobe.d.",
        models: PI3, standing: Reported, evidence: [Console],
        source: "raspberrypi/linux#3067",
    }
    HANDLES_LOST = 54 {
        symptom: "Pis freeze when the NFS server restarts, and do not recover.",
        cause: "The server's file handles do not survive a restart, and every call fails with ESTALE.",
        remedy: "Use a server whose handles stay valid, and switch the Pis off and on.",
        models: Models::All, standing: Reported, evidence: [Nfs],
        source: "unfs3/unfs3#34",
    }
    NETWORK_WAIT = 93 {
        symptom: "The boot waits without end for the network to be configured, and the interface is unmanaged.",
        cause: "systemd-networkd-wait-online waits for an interface that kernel or initramfs configured.",
        remedy: "Mask systemd-network-generator.service and systemd-networkd-wait-online.service.",
        models: Models::All, standing: Reported, evidence: [Tree, Console],
        source: "dracutdevs/dracut#2674, dracut-ng/dracut-ng#717",
    }
    CLOUD_INIT_RENDERER = 94 {
        symptom: "A static address from cloud-init is not taken; eth0 uses DHCP, and the root freezes.",
        cause: "network-config names no renderer.",
        remedy: "Write 'renderer: networkd' in network-config, or remove that file: an NFS root needs none.",
        models: Models::All, standing: Reported, evidence: [Tree],
        source: "raspberrypi/rpi-imager#1013",
    }
    STATE_LOST = 96 {
        symptom: "A Pi freezes and does not recover, and each of its calls fails with BADHANDLE or STALE.",
        cause: "The server's state, layers or key, was removed or moved while Pis ran.",
        remedy: "Switch the Pi off and on, and keep the directory of --state.",
        models: Models::All, standing: Staged, evidence: [Nfs],
        source: "a simulated Pi whose server lost its state",
    }
    NO_FIRST_PROGRAM = 97 {
        symptom: "The root is mounted, and the kernel panics: No working init found.",
        cause: "The root has no /sbin/init, /etc/init or /bin/init: the directory is empty, or holds the root one level deeper.",
        remedy: "Serve a whole root file system: 'pinetboot import' makes one from an image.",
        models: Models::All, standing: Documented, evidence: [Nfs, Tree, Console],
        source: "Linux init/main.c, kernel_init; a simulated Pi with an empty root",
    }
}
