//! The kernel's command line, read as both of its parsers read it: the kernel's own (Documentation/admin-guide/nfs/nfsroot.rst,
//! fs/nfs/nfsroot.c, init/do_mounts.c) and, where an initramfs runs first, nfsmount of klibc (usr/kinit/nfsmount/main.c).

use std::net::Ipv4Addr;

use pinetboot_core::pi::rules;

use super::initramfs::NfsClient;
use crate::finding::{Finding, Findings};
use crate::render::cmdline;

/// The circumstances of a command line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Circumstances<'a> {
    /// The program of the initramfs that mounts NFS; `None` if no initramfs is loaded.
    pub(crate) initramfs: Option<NfsClient>,
    /// Whether the server writes the root into lines that name none, or one on a card.
    pub(crate) server_adds_root: bool,
    /// The addresses of the server's machine, if they are known.
    pub(crate) servers: Option<&'a [Ipv4Addr]>,
}

/// Checks the text of a command line file.
pub(crate) fn check(findings: &mut Findings, name: &str, text: &str, circumstances: Circumstances<'_>) {
    let text = text.trim();
    if text.lines().filter(|line| !line.trim().is_empty()).count() > 1 {
        let finding =
            Finding::warning(format!("{name} has several lines, and only the first line has an effect."));
        findings
            .add(finding.rule(&rules::ROOT_ON_CARD).remedy("Join the lines to one, separated by spaces."));
    }
    let line = cmdline::first_line(text);
    Words { name, words: cmdline::arguments(&line), circumstances }.check(findings);
}

/// The arguments of a line.
struct Words<'a> {
    name: &'a str,
    words: Vec<&'a str>,
    circumstances: Circumstances<'a>,
}

impl Words<'_> {
    fn check(&self, findings: &mut Findings) {
        let Some(root) = self.value("root=").or_else(|| self.value("nfsroot=").map(|_| NFS)) else {
            return self.without_root(findings);
        };
        let roots: Vec<_> = self.words.iter().filter(|word| word.starts_with("root=")).collect();
        if let [first, .., last] = roots.as_slice()
            && first != last
        {
            let finding =
                Finding::warning(format!("{} has {first} and {last}; the last one counts.", self.name));
            findings.add(finding.rule(&rules::ROOT_ON_CARD).remedy(format!("Remove {first}.")));
        }
        match root {
            NFS | "nfs" => self.nfs_root(findings),
            // The card is a disk of the server, which the initramfs attaches.
            _ if self.value("pinetboot.disk=").is_some() => {}
            _ if is_on_disk(root) => self.root_on_disk(root, findings),
            _ => {} // nbd, iSCSI, dracut's own forms
        }
    }

    /// The value of the last argument with this name: each one replaces the one before.
    fn value(&self, name: &str) -> Option<&str> {
        self.words.iter().rev().find_map(|word| word.strip_prefix(name))
    }

    fn has(&self, argument: &str) -> bool {
        self.words.contains(&argument)
    }

    /// A system may be in the initramfs alone; one that waits for a root is not. `boot=` is a way of its initramfs to find the root:
    /// `boot=nfs` of initramfs-tools, `boot=NFS=..` and `boot=UUID=..` of LibreELEC, whose initramfs is in the kernel.
    fn without_root(&self, findings: &mut Findings) {
        let waits = self.circumstances.initramfs.is_none() || self.has("rootwait");
        if self.circumstances.server_adds_root || self.value("boot=").is_some() || !waits {
            return;
        }
        let finding = Finding::warning(format!("{} has no root=, and no server adds one to it.", self.name));
        findings.add(
            finding
                .rule(&rules::ROOT_ON_CARD)
                .evidence("The kernel starts, finds no root file system, and panics or waits without end.")
                .remedy(format!("Write {LINE}, or let 'pinetboot serve --nfs' write the root.")),
        );
    }

    fn root_on_disk(&self, root: &str, findings: &mut Findings) {
        let Self { name, circumstances, .. } = self;
        if circumstances.server_adds_root {
            return; // replaced for each Pi
        }
        let of_file_system = ["UUID=", "LABEL="].iter().any(|kind| root.starts_with(kind));
        if of_file_system && circumstances.initramfs.is_none() {
            let finding = Finding::warning(format!("{name} says root={root}, and no initramfs is loaded."));
            findings.add(finding.rule(&rules::ROOT_BY_UUID));
            return;
        }
        let finding =
            Finding::note(format!("{name} says root={root}, which is on a card or disk of the Pi."));
        findings.add(
            finding
                .rule(&rules::ROOT_ON_CARD)
                .evidence("Without that card or disk the kernel waits without end.")
                .remedy(format!("For a root over the network, write {LINE}")),
        );
    }

    fn nfs_root(&self, findings: &mut Findings) {
        self.leftovers(findings);
        if self.circumstances.initramfs.is_none() && self.value("ip=").is_none() {
            let finding = Finding::warning(format!(
                "{} has no ip=, and no initramfs is loaded: the kernel configures no interface (net/ipv4/ipconfig.c).",
                self.name
            ));
            findings.add(finding.rule(&rules::ROOT_ON_CARD).remedy("Add ip=dhcp."));
        }
        if self.circumstances.initramfs == Some(NfsClient::Nothing) {
            let finding = Finding::warning(
                "the initramfs has no program that mounts NFS: neither nfsmount nor mount.nfs.",
            );
            findings.add(finding.rule(&rules::INITRAMFS_FOR_CARD));
        }
        let Some(value) = self.value("nfsroot=") else { return };
        let (place, options) = value.split_once(',').unwrap_or((value, ""));
        let options: Vec<_> = options.split(',').filter(|option| !option.is_empty()).collect();
        self.other_server(place, findings);
        self.version(&options, findings);
        self.transport(&options, findings);
    }

    /// Words of a card's first boot, which nothing removes from a line that names an NFS root.
    fn leftovers(&self, findings: &mut Findings) {
        let first_boot = self.words.iter().filter(|word| {
            **word == "resize"
                || word.starts_with("systemd.run=")
                || (word.starts_with("init=") && FIRST_BOOTS.iter().any(|script| word.ends_with(script)))
        });
        let left: Vec<_> = first_boot.copied().collect();
        if !left.is_empty() {
            let finding = Finding::warning(format!(
                "{} has words of a card's first boot: {}.",
                self.name,
                left.join(" ")
            ));
            findings.add(
                finding
                    .rule(&rules::FIRST_BOOT_SERVICES)
                    .evidence("They work on the card's partitions, which an NFS root does not have.")
                    .remedy(format!("Remove {}.", left.join(" "))),
            );
        }
        let seed = |word: &&&str| word.starts_with("ds=nocloud") && !word.contains(";s=");
        if let Some(word) = self.words.iter().find(seed) {
            let finding = Finding::warning(format!(
                "{} has {word}: cloud-init looks for its seed on a card.",
                self.name
            ));
            findings.add(finding.rule(&rules::CLOUD_INIT).remedy(format!("Remove {word}.")));
        }
    }

    fn other_server(&self, place: &str, findings: &mut Findings) {
        let (Some(servers), Some((server, _))) = (self.circumstances.servers, place.split_once(':')) else {
            return;
        };
        let Ok(server) = server.parse::<Ipv4Addr>() else { return };
        if !servers.contains(&server) {
            let what =
                format!("{} names the NFS server {server}, which is no address of this machine.", self.name);
            // A server without roots of its own may well send Pis to another machine's.
            let is_meant = !self.circumstances.server_adds_root;
            let finding = if is_meant { Finding::note(what) } else { Finding::warning(what) };
            let finding = finding.rule(&rules::OLD_SERVER_IN_COMMAND_LINE);
            findings.add(finding.evidence("The line is sent unchanged, since it names an NFS root already."));
        }
    }

    fn version(&self, options: &[&str], findings: &mut Findings) {
        let version = options.iter().rev().find_map(|option| {
            let short =
                || option.strip_prefix('v').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            option.strip_prefix("vers=").or_else(|| option.strip_prefix("nfsvers=")).or_else(short)
        });
        let client = self.circumstances.initramfs;
        if matches!(client, Some(NfsClient::Klibc | NfsClient::Unknown)) {
            let refused: Vec<_> = options.iter().filter(|option| !klibc_takes(option)).copied().collect();
            if !refused.is_empty() {
                let refused = refused.join(",");
                let what = format!("nfsroot= has {refused}, which nfsmount of the initramfs refuses.");
                let finding = match client {
                    Some(NfsClient::Klibc) => Finding::problem(what).file(self.name),
                    _ => Finding::warning(what),
                };
                findings.add(
                    finding
                        .rule(&rules::INITRAMFS_NFS_VERSION)
                        .evidence("nfsmount ends at an unknown option (bad option), and the initramfs tries again without end."),
                );
            }
        }
        if version.is_some_and(|version| version.starts_with('4'))
            && client == Some(NfsClient::MountNfs { has_netconfig: false })
        {
            let finding = Finding::warning(
                "nfsroot= asks for NFSv4, and the initramfs has mount.nfs without /etc/netconfig.",
            );
            findings.add(finding.rule(&rules::INITRAMFS_NFS4));
        }
        if version.is_none() {
            let finding =
                Finding::warning("nfsroot= has no vers=3, and a kernel may ask for another version.");
            findings.add(finding.rule(&rules::NFS_VERSION_2));
        }
    }

    fn transport(&self, options: &[&str], findings: &mut Findings) {
        let has = |option: &str| options.contains(&option);
        if has("udp") || has("proto=udp") {
            findings.add(Finding::warning("nfsroot= asks for UDP.").rule(&rules::NFS_OVER_UDP));
        } else if !has("tcp") && !has("proto=tcp") {
            let finding =
                Finding::note("nfsroot= does not say tcp: portmapper and mount service may be asked by UDP.");
            findings.add(
                finding
                    .rule(&rules::PORTMAP_TIMEOUT)
                    .evidence("A server that does not answer there delays the mount by up to 50 s.")
                    .remedy("Add tcp: nfsroot=SERVER:/PATH,vers=3,tcp"),
            );
        }
    }
}

fn is_on_disk(root: &str) -> bool {
    ["/dev/mmcblk", "/dev/sd", "/dev/nvme", "PARTUUID=", "UUID=", "LABEL=", "PARTLABEL="]
        .iter()
        .any(|disk| root.starts_with(disk))
}

/// Whether nfsmount of klibc takes a mount option: the words of klibc-utils 2.0.12 and 2.0.14; of versions only 2 and 3.
fn klibc_takes(option: &str) -> bool {
    match option.split_once('=') {
        Some(("vers" | "nfsvers", version)) => ["2", "3"].contains(&version),
        Some((name, _)) => KLIBC_VALUES.contains(&name),
        None => KLIBC_FLAGS.contains(&option),
    }
}

const KLIBC_VALUES: &[&str] =
    &["port", "rsize", "wsize", "timeo", "retrans", "acregmin", "acregmax", "acdirmin", "acdirmax"];
const KLIBC_FLAGS: &[&str] = &[
    "ro",
    "rw",
    "soft",
    "hard",
    "intr",
    "nointr",
    "posix",
    "noposix",
    "cto",
    "nocto",
    "ac",
    "noac",
    "lock",
    "nolock",
    "acl",
    "noacl",
    "v2",
    "v3",
    "udp",
    "tcp",
    "broken_suid",
];

/// Scripts that Raspberry Pi OS starts instead of init, once (raspberrypi-sys-mods, raspi-config).
const FIRST_BOOTS: &[&str] = &["/firstboot", "/init_resize.sh"];
const NFS: &str = "/dev/nfs";
const LINE: &str = "root=/dev/nfs nfsroot=SERVER:/PATH,vers=3,tcp rw ip=dhcp rootwait";

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "console=tty1 root=/dev/nfs nfsroot=10.0.0.1:/srv,vers=3,tcp,nolock,rsize=1048576,wsize=1048576 rw ip=dhcp rootwait";

    /// The rules of a line, those of notes with a minus.
    fn rules_of(line: &str, circumstances: Circumstances<'_>) -> Vec<i16> {
        let mut findings = Findings::default();
        check(&mut findings, "cmdline.txt", line, circumstances);
        let number = |finding: &Finding| {
            let number = finding.rule.map_or(0, |rule| i16::from(rule.number));
            if finding.severity == crate::finding::Severity::Note { -number } else { number }
        };
        findings.iter().map(number).collect()
    }

    fn by_kernel(line: &str) -> Vec<i16> {
        rules_of(line, Circumstances::default())
    }

    fn by_klibc(line: &str) -> Vec<i16> {
        rules_of(line, Circumstances { initramfs: Some(NfsClient::Klibc), ..Circumstances::default() })
    }

    #[test]
    fn healthy_lines() {
        for line in [
            GOOD,
            "ip=dhcp nbdroot=server/share root=/dev/nbd0p2",
            "root=nfs:10.0.0.9:/srv/pi ip=dhcp",
            "nfsroot=10.0.0.1:/srv,v3,tcp ip=dhcp",
            "root=/dev/mmcblk0p2 root=/dev/nfs nfsroot=10.0.0.1:/x,vers=3,tcp ip=dhcp",
        ] {
            let expected = if line.contains("mmcblk") { vec![39] } else { Vec::new() };
            assert_eq!((by_kernel(line), by_klibc(line)), (expected.clone(), expected), "{line}");
        }
        let added = Circumstances { server_adds_root: true, ..Circumstances::default() };
        for line in
            ["console=tty1", "", "root=PARTUUID=57c84f67-02 rootwait resize init=/usr/lib/x/firstboot"]
        {
            assert_eq!(rules_of(line, added), [0i16; 0], "{line}");
        }
        assert_eq!(by_klibc("console=tty1 quiet"), [0i16; 0], "a system in the initramfs alone");
    }

    #[test]
    fn words_that_one_of_the_parsers_refuses() {
        let nfs = |options: &str| format!("root=/dev/nfs nfsroot=10.0.0.1:/x{options} ip=dhcp");
        for (options, kernel, klibc) in [
            (",vers=4.1,proto=tcp", &[][..], &[33][..]),
            (",proto=tcp,vers=3", &[], &[33]),
            (",vers=3,tcp,nconnect=4", &[], &[33]),
            (",vers=3,tcp,mountport=20048", &[], &[33]),
            ("", &[35, -38], &[35, -38]),
            (",vers=3,udp", &[91], &[91]),
            (",vers=3", &[-38], &[-38]),
        ] {
            assert_eq!(by_kernel(&nfs(options)), kernel, "{options}");
            assert_eq!(by_klibc(&nfs(options)), klibc, "{options}");
        }
        assert_eq!(by_kernel("root=/dev/nfs nfsroot=/x,vers=3,tcp"), [39], "no ip=");
        assert_eq!(by_klibc("root=/dev/nfs nfsroot=/x,vers=3,tcp"), [0i16; 0]);
        let mount_nfs = |has_netconfig| {
            let initramfs = Some(NfsClient::MountNfs { has_netconfig });
            rules_of(&nfs(",vers=4.2,proto=tcp"), Circumstances { initramfs, ..Circumstances::default() })
        };
        assert_eq!((mount_nfs(false), mount_nfs(true)), (vec![34], vec![]));
    }

    #[test]
    fn leftovers_of_a_card() {
        let stock =
            "console=serial0,115200 console=tty1 root=PARTUUID=57c84f67-02 rootfstype=ext4 rootwait\n";
        assert_eq!(by_kernel(stock), [-39]);
        assert_eq!(by_kernel(&format!("{} pinetboot.disk=nbd://10.0.0.1/x", stock.trim())), [0i16; 0]);
        assert_eq!(by_kernel("root=LABEL=writable rootwait"), [92]);
        assert_eq!(by_klibc("root=LABEL=writable rootwait"), [-39]);
        assert_eq!(by_kernel("rootwait"), [39]);
        assert_eq!(by_klibc("console=tty1 rootwait"), [39]);
        assert_eq!(
            by_kernel(&GOOD.replace(" rw", "\nrw")),
            [39, 39],
            "several lines, and no ip= in the first"
        );
        let with = |word: &str| by_kernel(&format!("{GOOD} {word}"));
        assert_eq!(with("init=/usr/lib/raspberrypi-sys-mods/firstboot resize"), [48]);
        assert_eq!(with("systemd.run=/boot/firstrun.sh"), [48]);
        assert_eq!(with("init=/lib/systemd/systemd systemd.hostname=x"), [0i16; 0]);
        assert_eq!(with("ds=nocloud;i=rpi-imager-1752000000000"), [49]);
        assert_eq!(with("ds=nocloud;s=http://10.0.0.1/"), [0i16; 0]);
    }

    #[test]
    fn another_server() {
        let of = |servers: &[Ipv4Addr]| {
            rules_of(GOOD, Circumstances { servers: Some(servers), ..Circumstances::default() })
        };
        assert_eq!(of(&[Ipv4Addr::new(10, 0, 0, 1)]), [0i16; 0]);
        assert_eq!(of(&[Ipv4Addr::new(10, 0, 0, 2)]), [-95]);
    }
}
