//! The kernel's command line, which is to name a root by NFS.
//!
//! Written for two parsers at once: the kernel's own (Documentation/admin-guide/nfs/nfsroot.rst) and klibc's nfsmount,
//! which the initramfs of Debian and Raspberry Pi OS calls. That one ends at a word that it does not know, so no `proto=`,
//! no `mountport=`, no `nconnect=` (klibc, usr/kinit/nfsmount/main.c); and the kernel's default is NFS 2, where it has
//! that, so always `vers=3`.

use super::Root;

/// Gives the root that is served to a line which names none, or one on a card; says what was done. `None`: the line names
/// a root on the network already.
pub fn rewrite(text: &str, root: &Root) -> Option<(String, String)> {
    let line = first_line(text);
    let words = words(line);
    let named = words.iter().find_map(|word| word.strip_prefix("root="));
    if named.is_some_and(is_on_network) {
        return None;
    }
    let place = words.iter().position(|word| word.starts_with("root=")).unwrap_or(words.len());
    let (dropped, kept): (Vec<_>, Vec<_>) = words.iter().enumerate().partition(|(_, word)| is_of_card(word));
    let has_ip = kept.iter().any(|(_, word)| word.starts_with("ip="));

    let ours = ours(root, has_ip);
    let before = kept.iter().filter(|(at, _)| *at < place).map(|(_, word)| *word);
    let after = kept.iter().filter(|(at, _)| *at >= place).map(|(_, word)| *word);
    let line: Vec<&str> =
        before.copied().chain(ours.iter().map(String::as_str)).chain(after.copied()).collect();
    let instead: Vec<&str> = dropped.iter().map(|(_, word)| **word).collect();
    let said = match instead.is_empty() {
        true => format!("added {}", ours.join(" ")),
        false => format!("{} instead of {}", ours.join(" "), instead.join(" ")),
    };
    Some((line.join(" ") + "\n", said))
}

/// A line with these words at its end.
pub fn with_words(text: &str, more: &str) -> String {
    let mut line = first_line(text).trim_end().to_owned();
    if !line.is_empty() {
        line.push(' ');
    }
    line.push_str(more.trim());
    line.push('\n');
    line
}

/// `nfsroot=` and its options, as both parsers take them. Without the sizes the kernel reads and writes 4 KiB at a time
/// (fs/nfs/nfsroot.c, `NFS_DEF_OPTIONS`); the server lowers them to what it takes.
pub fn nfsroot(source: &str) -> String {
    format!("{source},vers=3,tcp,nolock,rsize=1048576,wsize=1048576")
}

fn ours(root: &Root, has_ip: bool) -> Vec<String> {
    // In this order: overlayroot's own instructions put its word first of all, but it looks at all of them.
    let mut ours = vec!["root=/dev/nfs".to_owned(), format!("nfsroot={}", nfsroot(&root.source))];
    ours.push(if root.in_memory { "ro" } else { "rw" }.to_owned());
    if !has_ip {
        ours.push("ip=dhcp".to_owned());
    }
    ours.push("rootwait".to_owned());
    if root.in_memory {
        ours.push("overlayroot=tmpfs".to_owned());
    }
    ours.extend(root.words.iter().cloned());
    ours
}

/// What the boot loader reads of the file: everything has to be on one line.
fn first_line(text: &str) -> &str {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default()
}

/// The words of a line; blanks within double quotes part none (kernel, lib/cmdline.c, next_arg).
fn words(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let parts = |c: char| {
        quoted ^= c == '"';
        !quoted && c.is_ascii_whitespace()
    };
    line.split(parts).filter(|word| !word.is_empty()).collect()
}

/// Whether a `root=` is found over the network: NFS for the kernel, klibc and dracut; a block device that some initramfs
/// attaches.
fn is_on_network(root: &str) -> bool {
    ["/dev/nfs", "nfs:", "nfs4:", "/dev/nbd", "nbd:", "iscsi:", "http:", "https:"]
        .iter()
        .any(|kind| root.starts_with(kind))
}

/// Words that only make sense with a root on a card, or that are about to be said anew.
fn is_of_card(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "rw",
        "ro",
        "rootwait",
        // First boot of Raspberry Pi OS: grows the card's partition (trixie), or has systemd run a script of Imager's.
        "resize",
        "systemd.unit=kernel-command-line.target",
        "sdhci.debug_quirks2=4",
        // Ubuntu: sets the clock from the root's superblock.
        "fixrtc",
    ];
    const STARTS: &[&str] =
        &["root=", "rootfstype=", "rootflags=", "rootdelay=", "nfsroot=", "fsck.", "init=", "systemd.run"];
    // Imager's instance id, of a seed that is on the card. One that says where else the seed is (`s=`) stays.
    let seed_of_card = word.starts_with("ds=nocloud") && !word.contains(";s=");
    WORDS.contains(&word) || STARTS.iter().any(|start| word.starts_with(start)) || seed_of_card
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "root=/dev/nfs nfsroot=10.0.0.1:/bd989ae1,vers=3,tcp,nolock,rsize=1048576,wsize=1048576 rw ip=dhcp rootwait";

    fn root() -> Root {
        Root { source: "10.0.0.1:/bd989ae1".into(), in_memory: false, by_kernel: true, words: Vec::new() }
    }

    fn rewritten(line: &str) -> String {
        rewrite(line, &root()).unwrap().0
    }

    #[test]
    fn stock_lines() {
        for (stock, kept_before, kept_after) in [
            // Raspberry Pi OS bookworm (pi-gen, stage2/01-sys-tweaks/00-patches/07-resize-init.diff).
            (
                "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait quiet \
                 init=/usr/lib/raspberrypi-sys-mods/firstboot",
                "console=serial0,115200 console=tty1 ",
                " quiet",
            ),
            // trixie (pi-gen, stage1/00-boot-files/files/cmdline.txt).
            (
                "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait resize\n",
                "console=serial0,115200 console=tty1 ",
                "",
            ),
            // The same after Imager 2, with a regulatory domain.
            (
                "console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait resize quiet splash \
                 plymouth.ignore-serial-consoles cfg80211.ieee80211_regdom=GB ds=nocloud;i=rpi-imager-1752000000000",
                "console=tty1 ",
                " quiet splash plymouth.ignore-serial-consoles cfg80211.ieee80211_regdom=GB",
            ),
            // After Imager 1.
            (
                "console=tty1 root=PARTUUID=4e639091-02 rootwait systemd.run=/boot/firstrun.sh \
                 systemd.run_success_action=reboot systemd.unit=kernel-command-line.target",
                "console=tty1 ",
                "",
            ),
            // Ubuntu 24.04.
            (
                "console=serial0,115200 multipath=off dwc_otg.lpm_enable=0 console=tty1 root=LABEL=writable rootfstype=ext4 \
                 panic=10 rootwait fixrtc",
                "console=serial0,115200 multipath=off dwc_otg.lpm_enable=0 console=tty1 ",
                " panic=10",
            ),
            // As pinetboot imports it.
            ("console=tty1 quiet\n", "console=tty1 quiet ", ""),
            ("", "", ""),
        ] {
            assert_eq!(rewritten(stock), format!("{kept_before}{OURS}{kept_after}\n"), "{stock}");
        }
    }

    #[test]
    fn a_root_on_the_network_is_left_alone() {
        for line in [
            "root=/dev/nfs nfsroot=10.0.0.9:/srv/pi,vers=3 rw ip=dhcp",
            "root=nfs:10.0.0.9:/srv/pi",
            "ip=dhcp nbdroot=host/name root=/dev/nbd0p2",
        ] {
            assert_eq!(rewrite(line, &root()), None, "{line}");
        }
    }

    #[test]
    fn what_people_wrote_stays() {
        let line = "ip=10.0.0.5::10.0.0.1:255.255.255.0::eth0:off dyndbg=\"file a.c +p\" root=/dev/mmcblk0p2 \
                    ds=nocloud;s=http://10.0.0.1/ video=HDMI-A-1:1920x1080@60";
        assert_eq!(
            rewritten(line),
            "ip=10.0.0.5::10.0.0.1:255.255.255.0::eth0:off dyndbg=\"file a.c +p\" root=/dev/nfs \
             nfsroot=10.0.0.1:/bd989ae1,vers=3,tcp,nolock,rsize=1048576,wsize=1048576 rw rootwait ds=nocloud;s=http://10.0.0.1/ \
             video=HDMI-A-1:1920x1080@60\n"
        );
        // The boot loader reads one line; what stands below was never meant.
        assert_eq!(rewritten("\na root=LABEL=x\nb\n"), format!("a {OURS}\n"));
        assert_eq!(with_words("a b \n c\n", " d=e "), "a b d=e\n");
        assert_eq!(with_words("", "d"), "d\n");
    }

    #[test]
    fn says_what_it_did() {
        let (_, said) = rewrite("quiet root=LABEL=x resize", &root()).unwrap();
        assert_eq!(said, format!("{OURS} instead of root=LABEL=x resize"));
        let (_, said) = rewrite("quiet", &root()).unwrap();
        assert_eq!(said, format!("added {OURS}"));
    }

    #[test]
    fn a_root_in_memory_is_read_only_and_overlaid() {
        let root = Root { in_memory: true, words: vec!["systemd.hostname=x".into()], ..root() };
        assert_eq!(
            rewrite("quiet", &root).unwrap().0,
            "quiet root=/dev/nfs nfsroot=10.0.0.1:/bd989ae1,vers=3,tcp,nolock,rsize=1048576,wsize=1048576 ro ip=dhcp rootwait overlayroot=tmpfs \
             systemd.hostname=x\n"
        );
    }

    #[test]
    fn words_that_klibc_does_not_know_are_not_written() {
        // As in the binary of klibc-utils 2.0.14; an unknown one is "bad option", for ever.
        let options = nfsroot("10.0.0.1:/x");
        for option in options.split(',').skip(1) {
            let name = option.split('=').next().unwrap();
            assert!(
                ["soft", "hard", "nolock", "tcp", "udp", "v3", "vers", "rsize", "wsize"].contains(&name),
                "{option}"
            );
        }
    }
}
