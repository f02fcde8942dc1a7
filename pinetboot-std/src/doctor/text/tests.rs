//! Texts and their rules, and healthy texts without any. The bootloader's lines are those of public captures (raspberrypi/rpi-eeprom
//! issues 74, 559, 720 and others that the rules name); the others have the form that the programs' sources give them.

use super::*;

/// The rules of a text.
fn rules_of(text: &str) -> Vec<u8> {
    let mut judge = Judge::default();
    text.lines().for_each(|line| drop(judge.line(line)));
    judge.findings().iter().filter_map(|finding| finding.rule.map(|rule| rule.number)).collect()
}

#[test]
fn each_text_shows_its_rule_and_no_other() {
    let wrong: Vec<_> = TEXTS
        .iter()
        .filter_map(|(rule, text)| {
            let found = rules_of(text);
            (found != [*rule]).then(|| format!("{rule}: {found:?}\n{text}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let rules: std::collections::BTreeSet<_> = TEXTS.iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules.len(), 45, "{rules:?}");
}

#[test]
fn healthy_texts_show_nothing() {
    for (name, text) in HEALTHY {
        let mut judge = Judge::default();
        text.lines().for_each(|line| assert_eq!(judge.line(line), None, "{name}"));
        assert_eq!(judge.findings().iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0], "{name}");
    }
    let all = HEALTHY.map(|(_, text)| text).concat();
    assert_eq!(rules_of(&all), [0u8; 0], "all in one paste");
}

#[test]
fn a_finding_has_the_line_that_shows_it_once() {
    let text = "a\nnfsmount: bad option 'vers'\nb\nnfsmount: bad option 'vers'\nnfsmount: bad option 'vers'";
    let mut judge = Judge::default();
    let told: Vec<_> = text.lines().filter_map(|line| judge.line(line)).collect();
    assert_eq!(told.len(), 1);
    let findings = judge.findings();
    let finding = findings.iter().next().unwrap();
    assert_eq!(finding.what, "Line 2: nfsmount: bad option 'vers'");
    assert!(finding.evidence.as_ref().unwrap().ends_with(" (2 more lines show the same)"), "{finding}");
    assert_eq!(judge.lines(), 5);
}

#[test]
fn a_capture_without_an_answer_has_no_rule() {
    let discover =
        "IP 0.0.0.0.68 > 255.255.255.255.67: BOOTP/DHCP, Request from d8:3a:dd:e8:27:1e, length 322\n";
    let mut judge = Judge::default();
    discover.repeat(4).lines().for_each(|line| drop(judge.line(line)));
    let findings = judge.findings();
    let finding = findings.iter().next().unwrap();
    assert!(finding.rule.is_none() && finding.what.contains("no DHCP server answers"), "{finding}");
}

/// What a hostile text may hold: bytes in any order, long lines, and pieces of what is looked for.
#[test]
fn no_text_panics_or_grows_without_end() {
    let words: Vec<&str> =
        TEXTS.iter().flat_map(|(_, text)| text.split_inclusive([' ', '\n', '.', '>', '"', '='])).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let mut judge = Judge::default();
    for _ in 0..5_000 {
        let line: String = (0..next() % 12)
            .map(|_| match next() % 8 {
                0 => char::from_u32(next() as u32 % 0x11_0000).map_or(String::new(), String::from),
                1 => "é".repeat(next() % 1_500),
                _ => words[next() % words.len()].to_owned(),
            })
            .collect();
        line.lines().for_each(|line| drop(judge.line(line)));
    }
    let _findings = judge.findings();
    for damaged in crate::damaged::mutations(TEXTS[0].1.as_bytes(), 2_000) {
        let _rules = rules_of(&String::from_utf8_lossy(&damaged));
    }
    let long = format!("{}nfsmount: bad option", "ä".repeat(LONGEST));
    assert_eq!(rules_of(&long), [0u8; 0]);
    let mut many = Judge::default();
    for host in 0..5_000 {
        many.line(&format!(
            "IP 10.0.{}.{}.{host} > 10.0.0.1.69: TFTP, length 9, RRQ \"{host}\" octet",
            host / 250,
            host % 250
        ));
    }
    assert!(format!("{many:?}").len() < 200_000);
}

/// A rule, and a text that shows it.
const TEXTS: &[(u8, &str)] = &[
    (1, "[all]\nBOOT_UART=1\nBOOT_ORDER=0xf41\n"),
    (1, "[all]\nBOOT_UART=0\nWAKE_ON_GPIO=1\n"),
    (1, "BOOT_ORDER=0xf14\nNET_INSTALL_ENABLED=1\n"),
    (2, "[all]\nBOOT_ORDER=0xf241\n"),
    (
        3,
        "DHCP src: 52:54:00:aa:bb:cc 192.168.1.1\nDHCP src: 52:54:00:aa:bb:cc 192.168.1.1\nDHCP src: 52:54:00:aa:bb:cc 192.168.1.1\n\
         DHCP src: 52:54:00:aa:bb:cc 192.168.1.1\n",
    ),
    (
        3,
        "12:00:00.1 IP 0.0.0.0.68 > 255.255.255.255.67: BOOTP/DHCP, Request from d8:3a:dd:e8:27:1e, length 322\n\
         12:00:00.2 IP 192.168.1.1.67 > 192.168.1.20.68: BOOTP/DHCP, Reply, length 300\n\
         12:00:04.1 IP 0.0.0.0.68 > 255.255.255.255.67: BOOTP/DHCP, Request from d8:3a:dd:e8:27:1e, length 322\n\
         12:00:04.2 IP 192.168.1.1.67 > 192.168.1.20.68: BOOTP/DHCP, Reply, length 300\n\
         12:00:08.1 IP 0.0.0.0.bootpc > 255.255.255.255.bootps: BOOTP/DHCP, Request from d8:3a:dd:e8:27:1e (oui Raspberry), length 322\n\
         12:00:12.1 IP 0.0.0.0.68 > 255.255.255.255.67: BOOTP/DHCP, Request from d8:3a:dd:e8:27:1e, length 322\n",
    ),
    (
        4,
        "DHCP src: 52:54:00:aa:bb:cc 192.168.1.2\nDHCP src: 52:54:00:aa:bb:cc 192.168.1.2\nNETBOOT init failed\n",
    ),
    (11, "BOOT_ORDER=0xf2\nTFTP_IP=192.168.1.2\nCLIENT_IP=192.168.1.20\n"),
    (
        15,
        "IP 10.0.0.1.67 > 10.0.0.20.68: BOOTP/DHCP, Reply, length 300, xid 0x1, Flags [none]\n\t  Your-IP 10.0.0.20\n\
          ARP, Request who-has 192.168.2.214 tell 10.0.0.20, length 46\nARP, Request who-has 192.168.2.214 tell 10.0.0.20, length 46\n\
          ARP, Request who-has 192.168.2.214 tell 10.0.0.20, length 46\n",
    ),
    (
        16,
        "IP 10.0.0.9.6970 > 10.0.0.1.69: TFTP, length 47, RRQ \"bd989ae1/config.txt\" octet tsize 0 blksize 1468\n\
          IP 10.0.0.9.6970 > 10.0.0.1.69: TFTP, length 47, RRQ \"bd989ae1/config.txt\" octet tsize 0 blksize 1468\n\
          IP 10.0.0.9.6970 > 10.0.0.1.69: TFTP, length 47, RRQ \"bd989ae1/config.txt\" octet tsize 0 blksize 1468\n",
    ),
    (16, "IP 10.0.0.1 > 10.0.0.9: ICMP 10.0.0.1 udp port tftp unreachable, length 83\n"),
    (17, "TFTP 1: File not found\nFirmware not found\n"),
    (
        19,
        "Device-tree file \"bcm2712-rpi-5-b.dtb\" not found.\n\
          The installed operating system (OS) does not indicate support for Raspberry Pi 5\nUpdate the OS or set os_check=0\n",
    ),
    (20, "BOOT ERROR: code 7 - Kernel or device-tree not found or is not compatible\n"),
    (28, "Read boot.img failed\n"),
    (28, "BOOT_ORDER=0xf2\nSIGNED_BOOT=1\n"),
    (
        29,
        "IP 10.0.0.9.1 > 10.0.0.1.69: TFTP, length 40, RRQ \"bd989ae1/pieeprom.upd\" octet tsize 0\n\
          IP 10.0.0.1.5000 > 10.0.0.9.1: UDP, length 512\n\
          IP 10.0.0.9.2 > 10.0.0.1.69: TFTP, length 40, RRQ \"bd989ae1/pieeprom.upd\" octet tsize 0\n",
    ),
    (32, "BOOT_ORDER=0xf26\n"),
    (33, "Begin: Retrying nfs mount ... nfsmount: bad option 'vers'\n"),
    (
        33,
        "[    0.0] Linux version 6.12.34+rpt-rpi-2712\n[    0.0] Kernel command line: root=/dev/nfs \
          nfsroot=10.0.0.1:/srv,vers=4.1,proto=tcp ip=dhcp rw\n[    0.1] Trying to unpack rootfs image as initramfs...\n",
    ),
    (34, "mount.nfs: Protocol not supported\n"),
    (35, "[   95.1] VFS: Unable to mount root fs via NFS.\n"),
    (36, "[  125.1] IP-Config: Retrying forever (NFS root)...\n"),
    (37, "mount.nfs: access denied by server while mounting 10.0.0.1:/srv/root\n"),
    (39, "[    2.9] Waiting for root device PARTUUID=4a3c1b2d-02...\n"),
    (39, "ALERT!  PARTUUID=4a3c1b2d-02 does not exist.  Dropping to a shell!\n"),
    (40, "[  300.1] nfs: server 10.0.0.1 not responding, still trying\n"),
    (
        42,
        "mount: /boot/firmware: bad option; for several filesystems (e.g. nfs, cifs) you might need a /sbin/mount.<type> helper program.\n",
    ),
    (
        43,
        "[   12.0] NetworkManager[512]: <info> device (eth0): state change: unmanaged -> unavailable\n\
          [   40.1] nfs: server 10.0.0.1 not responding, still trying\n",
    ),
    (45, "You are in emergency mode. After logging in, type \"journalctl -xb\" to view\n"),
    (
        45,
        "[ TIME ] Timed out waiting for device dev-disk-by...2d-01.device - /dev/disk/by-partuuid/4a3c1b2d-01.\n",
    ),
    (46, "dphys-swapfile[401]: swapon: /var/swap: skipping - it appears to have holes.\n"),
    (48, "systemd[1]: resize2fs_once.service: Failed with result 'exit-code'.\n"),
    (
        50,
        "E: Release file for http://mirror.example/debian/dists/trixie/InRelease is not valid yet (invalid for another 3h).\n",
    ),
    (51, "ping: socket: Operation not permitted\n"),
    (52, "[   60.1] overlayfs: upper fs missing required features.\n"),
    (53, "[   20.1] PC is at vchiq_mmal_init+0x10/0x80 [bcm2835_codec]\n"),
    (56, "UDP_CSUM_ERR: 12\n"),
    (57, "IP 10.0.0.1.1024 > 10.0.0.20.68: BOOTP/DHCP, Reply, length 300\n"),
    (
        60,
        "IP 10.0.0.9.2048 > 10.0.0.5.69: TFTP, length 40, RRQ \"bd989ae1/config.txt\" octet tsize 0 blksize 1468\n\
          IP 10.0.0.1.5000 > 10.0.0.9.2048: UDP, length 24\n",
    ),
    (67, "BOOT_ORDER=0xf2\nUSE_IPV6=1\n"),
    (68, "IP 10.0.0.1.67 > 10.0.0.20.68: BOOTP/DHCP, Reply, length 300\n\t    MTU (26), length 2: 9000\n"),
    (74, "BOOT_ORDER=0xf2\nPOWER_OFF_ON_HALT=1\nWAIT_FOR_POWER_BUTTON=1\n"),
    (75, "[    0.5] pc : brcmuart_init+0x1c/0x64\n"),
    (77, "Device-tree file \"bcm2712-rpi-cm5-cm5io.dtb\" not found.\n"),
    (
        78,
        "Retrieving file: pxelinux.cfg/01-dc-a6-32-01-36-c2\nRetrieving file: pxelinux.cfg/0A000014\n\
          Retrieving file: pxelinux.cfg/0A00001\nRetrieving file: pxelinux.cfg/0A0000\n",
    ),
    (
        81,
        "IP 10.0.0.9.1 > 10.0.0.1.69: TFTP, length 40, RRQ \"bd989ae1/tryboot.txt\" octet tsize 0 blksize 1468\n",
    ),
    (84, "BOOT_ORDER=0xf2\nBOOT_UART=1\nIP 169.254.1.1.6665 > 255.255.255.255.6666: UDP, length 80\n"),
    (
        86,
        "macb 1f00100000.ethernet eth0: Link is Down\nmacb 1f00100000.ethernet eth0: Link is Up - 1Gbps/Full\n\
          macb 1f00100000.ethernet eth0: Link is Down\nmacb 1f00100000.ethernet eth0: Link is Down\n\
          macb 1f00100000.ethernet eth0: Link is Down\nnfs: server 10.0.0.1 not responding, still trying\n",
    ),
    (
        89,
        "[    0.0] Linux version 6.12.81-v8-16k+\n[    1.1] SError Interrupt on CPU2, code 0x00000000be000411 -- SError\n",
    ),
    (92, "[    1.0] Disabling rootwait; root= is invalid.\n"),
    (93, "[  ***] A start job is running for Wait for Network to be Configured (2min 14s / no limit)\n"),
    (96, "cat: /etc/passwd: Stale file handle\n"),
];

/// Texts of boots that work, with the lines that look like faults and are none.
const HEALTHY: [(&str, &str); 6] = [
    (
        "bootloader",
        "RPi: BOOTSYS release VERSION:9ca6a1a2 DATE: 2026/05/26 TIME: 10:11:12\n\
         NET_BOOT: d8:3a:dd:e8:27:1e wait for link TFTP: 0.0.0.0\nLINK STATUS: speed: 1000 full duplex\nLink ready\n\
         DHCP src: 52:54:00:aa:bb:cc 192.168.1.1\nYI_ADDR 192.168.1.20\nSI_ADDR 192.168.1.2\nOPTIONS:-\n\top: 53 len:   1 DHCP recv OFFER (2)\n\
         DHCP src: 52:54:00:aa:bb:cc 192.168.1.1\nNET 192.168.1.20 255.255.255.0 gw 192.168.1.1 tftp 192.168.1.2\n\
         ARP 192.168.1.2 52:54:00:aa:bb:dd\nTFTP_GET: 52:54:00:aa:bb:dd 192.168.1.2 bd989ae1/config.txt\nTFTP: complete 1247\n\
         Read bd989ae1/config.txt bytes     1247 hnd 0x0\nTFTP 1: File not found\nBMD \"armstub8-2712.bin\" not found\n\
         UDP_CSUM_ERR: 0\nStarting OS\n",
    ),
    (
        "kernel and system",
        "[    0.000000] Linux version 6.12.34+rpt-rpi-2712 (serge@raspberrypi.com)\n\
         [    0.000000] Kernel command line: reboot=w console=ttyAMA10,115200 root=/dev/nfs nfsroot=10.0.0.1:/bd989ae1-0123,vers=3,tcp \
         ip=dhcp rw rootwait\n[    0.5] Trying to unpack rootfs image as initramfs...\n[    1.0] bcm2835-codec: Device registered as /dev/video10\n\
         [    2.0] macb 1f00100000.ethernet eth0: Link is Down\n[    5.0] macb 1f00100000.ethernet eth0: Link is Up - 1Gbps/Full\n\
         [    7.0] VFS: Mounted root (nfs filesystem) on device 0:19.\n[   40.0] nfs: server 10.0.0.1 not responding, still trying\n\
         [   41.0] nfs: server 10.0.0.1 OK\nsystemd[1]: Starting Wait for Network to be Configured...\n\
         [  ***] A start job is running for Wait for Network to be Configured (4s / no limit)\n\
         Swap: 200M zram\nraspberrypi login:\n",
    ),
    (
        "configuration",
        "[all]\nBOOT_UART=1\nWAKE_ON_GPIO=1\nPOWER_OFF_ON_HALT=0\nBOOT_ORDER=0xf21\nNETCONSOLE=6665@169.254.1.1/,6666@/\nSIGNED_BOOT=0\n",
    ),
    ("a single setting", "PATH=/bin\nTFTP_PREFIX=0\nBOOT_ORDER=0xf12\n"),
    (
        "packets",
        "12:00:00.1 IP 0.0.0.0.68 > 255.255.255.255.67: BOOTP/DHCP, Request from d8:3a:dd:e8:27:1e, length 322\n\
         12:00:00.2 IP 10.0.0.1.67 > 10.0.0.20.68: BOOTP/DHCP, Reply, length 300\n\t    Your-IP 10.0.0.20\n\t    MTU (26), length 2: 1500\n\
         12:00:00.3 IP 0.0.0.0.68 > 255.255.255.255.67: BOOTP/DHCP, Request from d8:3a:dd:e8:27:1e, length 334\n\
         12:00:00.4 ARP, Request who-has 10.0.0.1 tell 10.0.0.20, length 46\n12:00:00.5 ARP, Reply 10.0.0.1 is-at 52:54:00:aa:bb:cc, length 28\n\
         12:00:01.1 IP 10.0.0.20.49152 > 10.0.0.1.69: TFTP, length 47, RRQ \"bd989ae1/config.txt\" octet tsize 0 blksize 1468\n\
         12:00:01.2 IP 10.0.0.1.50000 > 10.0.0.20.49152: UDP, length 24\n\
         12:00:01.3 IP 10.0.0.20.49153 > 10.0.0.1.69: TFTP, length 47, RRQ \"bd989ae1/pieeprom.sig\" octet tsize 0 blksize 1468\n\
         12:00:01.4 IP 10.0.0.1.50001 > 10.0.0.20.49153: UDP, length 19\n",
    ),
    (
        "prose",
        "The Pi shows a rainbow; which BOOT_ORDER is right? > I set it to 0xf21. See https://example.org/a.b > c.d: yes\n",
    ),
];
