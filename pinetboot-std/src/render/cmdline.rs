//! The kernel's command line: writes an NFS root into it.
//!
//! Two parsers read the options: the kernel's (Documentation/admin-guide/nfs/nfsroot.rst) and klibc's nfsmount, which the
//! initramfs of Debian and Raspberry Pi OS calls. nfsmount ends at an unknown option, so `proto=`, `mountport=` and `nconnect=`
//! are never written (klibc, usr/kinit/nfsmount/main.c). `vers=3` is always written: a kernel with NFS 2 defaults to that.

use pinetboot_core::pi::Prefix;
use pinetboot_core::pi::boot::RootLine;

use super::Root;
use crate::text::without_secrets;

/// Writes the NFS root into a command line without a root, or with a root on a card; the second value names the change for the
/// log. `None`: the line already names a root on the network, other than that of an earlier boot.
pub fn rewrite(text: &str, root: &Root) -> Option<(String, String)> {
    let line = first_line(text);
    let arguments = arguments(&line);
    let named = arguments.iter().find_map(|word| word.strip_prefix("root="));
    if named.is_some_and(is_on_network) && !is_of_earlier_boot(&arguments, root) {
        return None;
    }
    let place = arguments.iter().position(|word| word.starts_with("root=")).unwrap_or(arguments.len());
    let (dropped, kept): (Vec<_>, Vec<_>) =
        arguments.iter().enumerate().partition(|(_, word)| is_of_card(word));
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
    Some((line.join(" ") + "\n", without_secrets(&said)))
}

/// The place of the root that a command line names; `server`: the address in this server's own lines, if it serves roots.
pub fn place(text: &str, server: Option<&str>) -> RootLine {
    let line = first_line(text);
    let arguments = arguments(&line);
    let value = |name: &str| arguments.iter().rev().find_map(|word| word.strip_prefix(name));
    let (root, nfsroot) = (value("root="), value("nfsroot="));
    match (root, nfsroot) {
        (None, _) => RootLine::Unknown,
        (Some("/dev/nfs"), Some(nfsroot)) => {
            let (source, options) = nfsroot.split_once(',').unwrap_or((nfsroot, ""));
            // Without an address it is that of the boot server.
            let is_here = source.split_once(':').is_none_or(|(named, _)| Some(named) == server);
            match (server.is_some() && is_here, options.split(',').any(is_refused_by_klibc)) {
                (true, false) => RootLine::Here,
                (true, true) => RootLine::HereNotForKlibc,
                (false, _) => RootLine::Elsewhere,
            }
        }
        (Some(root), _) if is_on_network(root) => RootLine::Elsewhere,
        (Some(_), _) => RootLine::Card,
    }
}

/// Whether nfsmount of klibc ends at an option (usr/kinit/nfsmount/main.c).
fn is_refused_by_klibc(option: &str) -> bool {
    ["proto=", "vers=4", "nfsvers=", "mountport=", "mountproto=", "mountvers=", "nconnect=", "minorversion="]
        .iter()
        .any(|refused| option.starts_with(refused))
}

/// The first line with these arguments appended.
pub fn with_arguments(text: &str, more: &str) -> String {
    let mut line = first_line(text);
    if !line.is_empty() {
        line.push(' ');
    }
    line.push_str(more.trim());
    line.push('\n');
    line
}

/// The value of `nfsroot=`, with options that both parsers accept. Without the sizes the kernel reads and writes 4 KiB at a
/// time (fs/nfs/nfsroot.c, `NFS_DEF_OPTIONS`); the server lowers them to its own limits.
pub fn nfsroot(source: &str) -> String {
    format!("{source},vers=3,tcp,nolock,rsize=1048576,wsize=1048576")
}

fn ours(root: &Root, has_ip: bool) -> Vec<String> {
    // overlayroot's documentation puts its argument first, but the script reads all arguments: the order is free.
    let mut ours = vec!["root=/dev/nfs".to_owned(), format!("nfsroot={}", nfsroot(&root.source))];
    ours.push(if root.in_memory { "ro" } else { "rw" }.to_owned());
    if !has_ip {
        ours.push("ip=dhcp".to_owned());
    }
    ours.push("rootwait".to_owned());
    if root.in_memory {
        ours.push("overlayroot=tmpfs".to_owned());
    }
    ours.extend(root.arguments.iter().cloned());
    ours
}

/// The part of the file that the bootloader reads: one line. Open quotes are closed: the kernel takes the rest of the line for
/// one argument (lib/cmdline.c, next_arg), and appended ones with it.
pub fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim_end();
    let open = line.matches('"').count() % 2;
    [line, &"\""[..open]].concat()
}

/// The arguments of a line; a blank within double quotes does not separate (kernel, lib/cmdline.c, next_arg).
pub fn arguments(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let parts = |c: char| {
        quoted ^= c == '"';
        !quoted && c.is_ascii_whitespace()
    };
    line.split(parts).filter(|word| !word.is_empty()).collect()
}

/// Whether a `root=` is on the network: NFS for the kernel, klibc and dracut, or a block device that an initramfs attaches.
fn is_on_network(root: &str) -> bool {
    ["/dev/nfs", "nfs:", "nfs4:", "/dev/nbd", "nbd:", "iscsi:", "http:", "https:"]
        .iter()
        .any(|kind| root.starts_with(kind))
}

/// Whether a line names the root of an earlier boot, as `cp /proc/cmdline` on a Pi keeps it: by a name with a token, at an address that
/// the server may have had.
fn is_of_earlier_boot(arguments: &[&str], root: &Root) -> bool {
    let place = arguments.iter().rev().find_map(|word| word.strip_prefix("nfsroot="));
    let source = place.and_then(|place| place.split(',').next()).filter(|source| *source != root.source);
    let name = source.and_then(|source| source.rsplit_once('/')).map(|(_, name)| name);
    name.and_then(|name| name.rsplit_once('-')).is_some_and(|(pi, token)| {
        let is_token = token.len() == TOKEN_LEN && token.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_token && Prefix::parse(pi).is_some()
    })
}

/// Whether an argument belongs to a root on a card, or is written anew.
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
    // Imager's instance id, of a seed on the card. A seed with a source (`s=`) stays.
    let seed_of_card = word.starts_with("ds=nocloud") && !word.contains(";s=");
    WORDS.contains(&word) || STARTS.iter().any(|start| word.starts_with(start)) || seed_of_card
}

/// Digits of the token in the name of a root ([`roots`](crate::roots)).
const TOKEN_LEN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "root=/dev/nfs nfsroot=10.0.0.1:/bd989ae1,vers=3,tcp,nolock,rsize=1048576,wsize=1048576 rw ip=dhcp rootwait";

    #[test]
    fn the_place_of_a_root() {
        use RootLine::*;
        for (line, expected) in [
            (OURS, Here),
            ("root=/dev/nfs nfsroot=10.0.0.1:/x,vers=4.1,proto=tcp", HereNotForKlibc),
            ("root=/dev/nfs nfsroot=/x,vers=3", Here),
            ("root=/dev/nfs nfsroot=10.0.0.9:/nfs/client1,vers=3", Elsewhere),
            ("root=nbd:10.0.0.1", Elsewhere),
            ("root=PARTUUID=4e639091-02 rootwait", Card),
            ("console=tty1", Unknown),
        ] {
            assert_eq!(place(line, Some("10.0.0.1")), expected, "{line}");
        }
        assert_eq!(place(OURS, None), Elsewhere, "no roots are served");
    }

    fn root() -> Root {
        Root { source: "10.0.0.1:/bd989ae1".into(), in_memory: false, by_kernel: true, arguments: Vec::new() }
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
    fn the_root_of_an_earlier_boot_is_replaced() {
        let line = |source: &str| {
            format!("console=tty1 root=/dev/nfs nfsroot={source},vers=3,tcp,nolock rw ip=dhcp rootwait quiet")
        };
        // The server's former address, or a former boot; also of another Pi, whose root became an image.
        for source in [
            "10.0.0.9:/bd989ae1-6749b0c2f3a09d51e744",
            "10.0.0.1:/bd989ae1-6749b0c2f3a09d51e744",
            "10.0.0.9:/2c-cf-67-01-02-03-6749b0c2f3a09d51e744",
        ] {
            let expected = format!("console=tty1 {} ip=dhcp quiet\n", OURS.replace(" ip=dhcp", ""));
            assert_eq!(rewritten(&line(source)), expected, "{source}");
        }
        // Names of other servers; and the root of this boot, by the template's {nfsroot}.
        for source in
            ["10.0.0.9:/bd989ae1", "10.0.0.9:/srv/pi-6749b0c2f3a09d51e744", "10.0.0.9:/bd989ae1-6749b0c2"]
        {
            assert_eq!(rewrite(&line(source), &root()), None, "{source}");
        }
        let now = Root { source: "10.0.0.1:/bd989ae1-6749b0c2f3a09d51e744".into(), ..root() };
        assert_eq!(rewrite(&line(&now.source), &now), None);
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
        // The bootloader reads one line; the lines below have no effect.
        assert_eq!(rewritten("\na root=LABEL=x\nb\n"), format!("a {OURS}\n"));
        assert_eq!(with_arguments("a b \n c\n", " d=e "), "a b d=e\n");
        assert_eq!(with_arguments("", "d"), "d\n");
        // Within open quotes the kernel would not see the root.
        assert_eq!(rewritten("quiet dyndbg=\"file a.c +p"), format!("quiet dyndbg=\"file a.c +p\" {OURS}\n"));
        assert_eq!(with_arguments("a=\"b c\n", "d"), "a=\"b c\" d\n");
    }

    #[test]
    fn names_the_change() {
        let (_, said) = rewrite("quiet root=LABEL=x resize", &root()).unwrap();
        assert_eq!(said, format!("{OURS} instead of root=LABEL=x resize"));
        let (_, said) = rewrite("quiet", &root()).unwrap();
        assert_eq!(said, format!("added {OURS}"));
    }

    #[test]
    fn a_root_in_memory_is_read_only_and_overlaid() {
        let root = Root { in_memory: true, arguments: vec!["systemd.hostname=x".into()], ..root() };
        assert_eq!(
            rewrite("quiet", &root).unwrap().0,
            "quiet root=/dev/nfs nfsroot=10.0.0.1:/bd989ae1,vers=3,tcp,nolock,rsize=1048576,wsize=1048576 ro ip=dhcp rootwait overlayroot=tmpfs \
             systemd.hostname=x\n"
        );
    }

    #[test]
    fn options_that_klibc_does_not_know_are_not_written() {
        // As in the binary of klibc-utils 2.0.14; an unknown option is "bad option", and the mount never succeeds.
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
