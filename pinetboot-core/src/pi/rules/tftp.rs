//! Rules of the second phase: the bootloader's files.

use super::{Evidence, Models, PI3, PI3_AND_4, PI4, PI4_AND_5, PI5, Phase, Rule, Standing, rules};

rules! { Tftp:
    BOOT_SERVER_OUT_OF_REACH = 15 {
        symptom: "DHCP succeeds, and no TFTP request follows.",
        cause: "The boot server answers no ARP, or is in another network and no router (option 3) leads there.",
        remedy: "Put the boot server in the Pi's network, or offer a router; a Pi 3's boot ROM uses none.",
        models: Models::All, standing: Reported, evidence: [Dhcp, Link, Probe],
        source: "raspberrypi/firmware#983; raspberrypi/documentation boot-net",
    }
    TFTP_SERVER_SILENT = 16 {
        symptom: "The same TFTP request repeats every 2 s from one port.",
        cause: "No TFTP server listens there, or a firewall drops the request or the answer, which comes from a new port.",
        remedy: "Start the TFTP server, and allow UDP port 69 and answers from any port (or load nf_conntrack_tftp).",
        models: Models::All, standing: Captured, evidence: [Tftp, Probe],
        source: "raspberrypi/rpi-eeprom#74; waveform80/nobodd docs, howto-firewall",
    }
    NO_BOOT_FILES = 17 {
        symptom: "Every TFTP request gets error 1, and the Pi goes on to its next boot mode (Firmware not found).",
        cause: "The files are neither in the Pi's directory nor in the root, the directory is misnamed, or it cannot be read.",
        remedy: "Name the directory by the last 8 digits of the serial number in small letters, and run 'chmod -R go+rX' on it.",
        models: Models::All, standing: Reported, evidence: [Tftp, Tree],
        source: "raspberrypi/firmware#1850, raspberrypi/rpi-eeprom#563",
    }
    EARLY_TERMINATE = 18 {
        symptom: "The server logs error 0, Early terminate, for many files.",
        cause: "A Pi asks for a file's size, ends that transfer, and asks again.",
        remedy: "No change is needed.",
        models: Models::All, standing: Captured, evidence: [Tftp],
        source: "raspberrypi/rpi-eeprom#74, raspberrypi/rpi-eeprom#87, raspberrypi/firmware#1700",
    }
    OS_NOT_FOR_MODEL = 19 {
        symptom: "The Pi shows that the operating system does not indicate support for Raspberry Pi 5.",
        cause: "The tree has no device tree for this board, or os_prefix or device_tree in config.txt lead elsewhere.",
        remedy: "Copy all bcm2712*.dtb of the system's release into the tree; os_check=0 is for bare metal alone.",
        models: PI5, standing: Captured, evidence: [Tftp, Tree, Console],
        source: "siderolabs/talos#7978, raspberrypi/rpi-eeprom#682, NixOS/nixos-hardware#1928",
    }
    NO_KERNEL_OR_DEVICE_TREE = 20 {
        symptom: "The Pi shows BOOT ERROR: code 7 - Kernel or device-tree not found or is not compatible.",
        cause: "Kernel or device tree are missing, or a filter such as [pi4] in config.txt hides the lines that name them.",
        remedy: "Serve kernel_2712.img or kernel8.img and the device tree; end filters with [all].",
        models: PI5, standing: Reported, evidence: [Tftp, Tree, Console],
        source: "jayofelony/pwnagotchi#410",
    }
    CONFIG_WITHOUT_EFFECT = 21 {
        symptom: "Settings in config.txt have no effect, although the file is sent.",
        cause: "The server answers no blksize option (RFC 2348), or config.txt is longer than 4096 bytes.",
        remedy: "Use a TFTP server that answers options, and take comments out of config.txt until it has 4096 bytes.",
        models: PI3_AND_4, standing: Reported, evidence: [Tftp, Tree],
        source: "raspberrypi/firmware#1012",
    }
    BLOCK_COUNTER = 22 {
        symptom: "A transfer stops at 32, 64 or 91.7 MiB, after 65535 blocks.",
        cause: "Block numbers have 16 bits, and bootloaders before 2025-09-23 do not go on at 0.",
        remedy: "Update the bootloader (sudo rpi-eeprom-update -a), or make the file smaller.",
        models: Models::All, standing: Documented, evidence: [Tftp, Tree],
        source: "raspberrypi/rpi-eeprom#720, raspberrypi/rpi-eeprom#375",
    }
    FILE_TIMEOUT = 23 {
        symptom: "The screen goes black in the middle of a long file.",
        cause: "A file takes longer than TFTP_FILE_TIMEOUT, 30 s by default; 22.5 MB take 0.75 MB/s.",
        remedy: "Use a faster server or network, make the file smaller, or raise TFTP_FILE_TIMEOUT.",
        models: PI4_AND_5, standing: Reported, evidence: [Tftp],
        source: "raspberrypi/rpi-eeprom#687; raspberrypi/documentation eeprom-bootloader, TFTP_FILE_TIMEOUT",
    }
    DUPLICATE_DATA = 24 {
        symptom: "A Pi 4 hangs in one of 20 to 30 boots, in the middle of a file.",
        cause: "The server sends a DATA packet twice, and start4.elf of 2021 loses count.",
        remedy: "Use a server that sends again only after a second without an answer, and update start4.elf.",
        models: PI4, standing: Reported, evidence: [Tftp],
        source: "raspberrypi/firmware#1631",
    }
    UNANSWERED_PROBE = 25 {
        symptom: "The Pi takes another file than the best that is served: kernel.img instead of kernel7.img.",
        cause: "A request without an answer counts as a missing file.",
        remedy: "Find the loss between Pi and server, and let the server answer a missing file with error 1.",
        models: Models::All, standing: Reported, evidence: [Tftp],
        source: "raspberrypi/firmware#1292",
    }
    STALE_BOOT_FILES = 26 {
        symptom: "A Pi boots an older kernel than its root file system has modules for.",
        cause: "A kernel upgrade on the Pi wrote to its own /boot/firmware, and the served tree is another one.",
        remedy: "Mount the served tree at /boot/firmware on the Pi, or copy the files after each upgrade.",
        models: Models::All, standing: Documented, evidence: [Tree],
        source: "raspberrypi/documentation remote-access, network-boot-raspberry-pi",
    }
    WRONG_INITRAMFS = 27 {
        symptom: "A Pi 5 with kernel=kernel8.img takes initramfs_2712.",
        cause: "auto_initramfs chose by the model in bootloaders before 2025-05; now it chooses by the kernel's name.",
        remedy: "Update the bootloader, or write 'initramfs initramfs8 followkernel' in config.txt.",
        models: PI5, standing: Documented, evidence: [Tftp],
        source: "raspberrypi/documentation#4085, raspberrypi/firmware#1965, raspberrypi/linux#6802",
    }
    SIGNED_BOOT_IMAGE = 28 {
        symptom: "A CM5 with SIGNED_BOOT=1 shows Read boot.img failed, and downloads nothing.",
        cause: "A fault of the bootloader, open in 2026-07.",
        remedy: "Use boot_ramdisk=1 without signature, or another boot medium.",
        models: PI5, standing: Reported, evidence: [Tftp, Console],
        source: "raspberrypi/rpi-eeprom#857",
    }
    SELF_UPDATE = 29 {
        symptom: "A Pi rewrites its EEPROM at a network boot, perhaps at each.",
        cause: "pieeprom.sig and pieeprom.upd are in the tree, and ENABLE_SELF_UPDATE is 1, the default.",
        remedy: "Remove both files once all Pis are up to date, or set FREEZE_VERSION=1.",
        models: PI4_AND_5, standing: Documented, evidence: [Tftp, Tree],
        source: "raspberrypi/documentation eeprom-bootloader, ENABLE_SELF_UPDATE",
    }
    START_X_COMMAND_LINE = 30 {
        symptom: "A Pi 3B+ waits for /dev/mmcblk0p2, although cmdline.txt names another root.",
        cause: "start_x.elf after release 1.20200601 does not read cmdline.txt over the network.",
        remedy: "Use start.elf, or a newer firmware.",
        models: PI3, standing: Reported, evidence: [Tftp, Console],
        source: "raspberrypi/firmware#1540",
    }
    USB_DISK_FIRST = 31 {
        symptom: "A Pi 3 with a USB disk sends no DISCOVER.",
        cause: "The boot ROM prefers USB storage to the network.",
        remedy: "Remove the disk, or its boot partition.",
        models: PI3, standing: Reported, evidence: [Dhcp],
        source: "raspberrypi/firmware#1706",
    }
    NVME_FIRST = 32 {
        symptom: "A Pi with a PCIe board looks for an NVMe disk before the network.",
        cause: "BOOT_ORDER has 6 (NVMe) before 2 (network); the order is read from the right.",
        remedy: "On the Pi: sudo rpi-eeprom-config --edit, set BOOT_ORDER=0xf62.",
        models: PI4_AND_5, standing: Documented, evidence: [Eeprom],
        source: "raspberrypi/documentation eeprom-bootloader, BOOT_ORDER",
    }

    D0_OVERLAY = 75 {
        symptom: "All files are sent, and the Pi falls silent after the kernel (UART: SError, brcmuart_init).",
        cause: "Silicon of stepping D0 (Pi 5 rev 1.1, CM5, 500) needs overlays/bcm2712d0.dtbo, and a device tree that it fits.",
        remedy: "Copy device trees and overlays of one and the same release into the tree.",
        models: PI5, standing: Captured, evidence: [Dhcp, Tftp, Tree, Console],
        source: "siderolabs/talos#12748, nerves-project/nerves_system_rpi5#44, agherzan/meta-raspberrypi#1394",
    }
    INITRAMFS_PREFIX = 76 {
        symptom: "The initramfs is asked for with os_prefix twice (current/current/initramfs8), or without.",
        cause: "auto_initramfs mishandles os_prefix in bootloaders before 2026-06-29.",
        remedy: "Update the bootloader, or name the file with an initramfs line in config.txt.",
        models: PI5, standing: Documented, evidence: [Tftp],
        source: "rpi-eeprom firmware-2712/release-notes.md, 2026-06-29",
    }
    CM5_DEVICE_TREE = 77 {
        symptom: "A CM5 does not boot from a tree that boots a Pi 5, and asks for bcm2712-rpi-cm5-cm5io.dtb.",
        cause: "Since 2025-03-27 the bootloader of a CM5 wants its own device tree, and trees made for a Pi 5 lack it.",
        remedy: "Copy all bcm2712*.dtb of the system's release into the tree.",
        models: PI5, standing: Documented, evidence: [Tftp, Tree],
        source: "rpi-eeprom firmware-2712/release-notes.md, 2025-03-27; raspberrypi/rpi-eeprom#682, agherzan/meta-raspberrypi#1411",
    }
    U_BOOT_PXE = 78 {
        symptom: "Requests for pxelinux.cfg/01-.. or boot.scr.uimg take minutes, and the system does not start.",
        cause: "U-Boot runs as the kernel, and tries PXE before its disk.",
        remedy: "Serve the file that U-Boot asks for, or set its variable boot_targets.",
        models: Models::All, standing: Reported, evidence: [Tftp],
        source: "nvmd/nixos-raspberrypi#239, siderolabs/sbc-raspberrypi#23",
    }
    REBOOT_LOOP = 79 {
        symptom: "A Pi starts again every 10 to 30 s, with the same last file each time.",
        cause: "REBOOT_ON_FATAL_ERROR=1 is the default of bootloaders of 2026: an error reboots instead of stopping.",
        remedy: "Read the error on screen or UART; REBOOT_ON_FATAL_ERROR=0 keeps it there.",
        models: PI4_AND_5, standing: Documented, evidence: [Dhcp, Tftp, Console],
        source: "rpi-eeprom firmware-2712/release-notes.md, 2026-04-14",
    }
    NO_BOOT_IMAGE = 80 {
        symptom: "boot.img is asked for and missing, and the Pi leaves network boot at once.",
        cause: "With boot_ramdisk=1 or secure boot, bootloaders before 2026-02-23 look for nothing else.",
        remedy: "Copy boot.img into the tree, or delete boot_ramdisk=1 from config.txt; update the bootloader.",
        models: PI4_AND_5, standing: Documented, evidence: [Tftp, Tree],
        source: "rpi-eeprom firmware-2712/release-notes.md, 2026-02-23",
    }
    TRYBOOT = 81 {
        symptom: "The Pi asks for tryboot.txt instead of config.txt.",
        cause: "The system rebooted with 'reboot \"0 tryboot\"'; a CM5 with a GPT disk does not leave that mode.",
        remedy: "Serve tryboot.txt, or switch the Pi off and on.",
        models: PI4_AND_5, standing: Inferred, evidence: [Tftp],
        source: "raspberrypi/rpi-eeprom#818 (on local disks)",
    }
    OWN_DIRECTORY_INCOMPLETE = 82 {
        symptom: "The Pi's own config.txt is sent, and the shared device tree and kernel are not found.",
        cause: "A directory with config.txt in it is the Pi's own, and then the files for all Pis do not count.",
        remedy: "Complete that directory, or remove it.",
        models: PI5, standing: Staged, evidence: [Tftp, Tree],
        source: "a simulated Pi 5; raspberrypi/documentation eeprom-bootloader, TFTP_PREFIX",
    }
    CONFIG_OVER_16_KIB = 83 {
        symptom: "A Pi 5 does not boot with a config.txt of more than 16384 bytes.",
        cause: "The bootloader reads no more.",
        remedy: "Take comments out of config.txt.",
        models: PI5, standing: Reported, evidence: [Tree],
        source: "raspberrypi/firmware#1848, agherzan/meta-raspberrypi#1255",
    }
    STRAY_NETCONSOLE = 84 {
        symptom: "A Pi without NETCONSOLE sends UDP broadcasts to port 6666.",
        cause: "Bootloaders before 2022-11-25 use a stale NETCONSOLE buffer.",
        remedy: "Update the bootloader: sudo rpi-eeprom-update -a.",
        models: PI4, standing: Reported, evidence: [Link],
        source: "raspberrypi/rpi-eeprom#452",
    }
    SLOW_HTTP_BOOT = 85 {
        symptom: "HTTP boot or network install crawls or stalls over the internet.",
        cause: "Bootloaders before 2025-05-08 have no TCP receive window; before 2022-02-17 they lose the gateway.",
        remedy: "Update the bootloader: sudo rpi-eeprom-update -a.",
        models: PI4_AND_5, standing: Documented, evidence: [Link],
        source: "rpi-eeprom firmware-2712/release-notes.md, 2025-05-08; raspberrypi/rpi-eeprom#411",
    }
}
