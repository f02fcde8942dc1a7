//! Warnings about facts that may stop a real Pi, although the simulation continues.

use pinetboot_core::pi::{Profile, rules};

use super::fetch::Taken;
use super::timeline::Grouped;
use super::verdict::BLOCK;
use crate::finding::{Finding, Findings};

/// Checks a fetched file.
pub(super) fn transfer(
    findings: &mut Findings,
    profile: &Profile,
    name: &str,
    taken: &Taken,
    asked_options: bool,
) {
    let Taken { bytes, block_size, options_agreed, .. } = *taken;
    if asked_options && !options_agreed {
        let comes = profile.without_options;
        let finding = Finding::warning("the server does not answer options (RFC 2347).").rule(comes.rule);
        findings.add(
            finding
                .evidence(format!("A {} {}.", profile.name, comes.text))
                .remedy("Use a server that answers tsize and blksize."),
        );
    }
    if bytes > LAST_BLOCK * u64::from(block_size) {
        let finding = Finding::warning(format!(
            "{name} has {} bytes, more than 65535 blocks of {block_size}.",
            Grouped(bytes)
        ));
        findings.add(finding.rule(&rules::BLOCK_COUNTER).evidence(
            "Bootloaders before 2025-09-23 do not count beyond that block, and give up (raspberrypi/rpi-eeprom#720).",
        ));
    }
    let seconds = taken.blocks() as f64 * BLOCK.as_secs_f64();
    if seconds > 30.0 {
        let finding = Finding::warning(format!(
            "a real Pi fetches {name} in about {seconds:.0} s, at 0.44 ms per block, and gives up after 30 s."
        ));
        findings.add(
            finding.rule(rules::FILE_TIMEOUT.on(profile.model)).remedy(
                "Make the file smaller, or set TFTP_FILE_TIMEOUT in the Pi's bootloader configuration.",
            ),
        );
    }
}

/// Checks the length of config.txt.
pub(super) fn config_len(findings: &mut Findings, profile: &Profile, bytes: u64) {
    let (limit, comes) = (profile.config_limit, profile.config_too_long);
    if bytes > limit {
        let (bytes, limit) = (Grouped(bytes), Grouped(limit));
        let finding = Finding::warning(format!("config.txt has {bytes} bytes, more than {limit}."));
        findings.add(
            finding
                .rule(comes.rule)
                .evidence(format!("A {} {}.", profile.name, comes.text))
                .remedy("Remove comments from config.txt."),
        );
    }
}

/// Checks the kernel's command line.
pub(super) fn command_line(findings: &mut Findings, name: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let text = text.trim();
    if text.lines().count() > 1 {
        let finding =
            Finding::warning(format!("{name} has several lines, and only the first line has an effect."));
        findings
            .add(finding.rule(&rules::ROOT_ON_CARD).remedy("Join the lines to one, separated by spaces."));
    }
    let words = || text.lines().next().unwrap_or_default().split_whitespace();
    let root = words().filter_map(|word| word.strip_prefix("root=")).next_back();
    let local = ["/dev/mmcblk", "/dev/sd", "/dev/nvme", "PARTUUID=", "UUID=", "LABEL=", "PARTLABEL="];
    if let Some(root) = root.filter(|root| local.iter().any(|disk| root.starts_with(disk))) {
        let finding =
            Finding::note(format!("{name} says root={root}, which is on a card or disk of the Pi."));
        findings.add(
            finding
                .rule(&rules::ROOT_ON_CARD)
                .evidence("Without that card or disk the kernel waits without end.")
                .remedy(
                    "For a root over the network, write root=/dev/nfs nfsroot=SERVER:/PATH,vers=3,tcp rw ip=dhcp rootwait",
                ),
        );
    }
}

/// The highest block number of 16 bits.
const LAST_BLOCK: u64 = 65535;

#[cfg(test)]
mod tests {
    use pinetboot_core::pi::Model;

    use super::*;

    fn taken(bytes: u64, block_size: u16) -> Taken {
        Taken { bytes, block_size, options_agreed: true, kept: Vec::new() }
    }

    fn warnings(check: impl FnOnce(&mut Findings)) -> Vec<String> {
        let mut findings = Findings::default();
        check(&mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn large_files() {
        let large = |bytes, block| {
            warnings(|findings| transfer(findings, Model::Pi5.profile(), "x", &taken(bytes, block), true))
        };
        assert!(large(96_205_380, 1468).is_empty());
        assert!(large(96_205_381, 1468)[0].contains("65535 blocks of 1468"));
        assert!(large(33_553_921, 512)[0].contains("65535 blocks of 512"));
        let [_, slow] = &large(114_000_000, 1468)[..] else { panic!() };
        assert!(slow.contains("about 34 s"), "{slow}");
    }

    #[test]
    fn servers_without_options() {
        let plain = Taken { options_agreed: false, ..taken(100, 512) };
        for (model, says) in
            [(Model::Pi3, "ignores the contents"), (Model::Pi4, "ignores"), (Model::Pi5, "slowly")]
        {
            let warnings = warnings(|findings| {
                transfer(findings, model.profile(), "x", &plain, true);
                transfer(findings, model.profile(), "y", &plain, true);
            });
            assert!(warnings.len() == 1 && warnings[0].contains(says), "{warnings:?}");
        }
        assert!(warnings(|findings| transfer(findings, Model::Pi3.profile(), "x", &plain, false)).is_empty());
    }

    #[test]
    fn long_config_files() {
        for (model, bytes, says) in [
            (Model::Pi3, 4096, None),
            (Model::Pi3, 4097, Some("more than 4,096. [rule 21]\nA Raspberry Pi 3 ignores it")),
            (Model::Pi4, 4097, Some("more than 4,096. [rule 21]\nA Raspberry Pi 4 ignores it")),
            (Model::Pi5, 16384, None),
            (
                Model::Pi5,
                16385,
                Some("more than 16,384. [rule 83]\nA Raspberry Pi 5 was reported not to boot"),
            ),
        ] {
            let warnings = warnings(|findings| config_len(findings, model.profile(), bytes));
            assert_eq!(warnings.len(), usize::from(says.is_some()), "{model} {bytes}");
            assert!(warnings.iter().zip(says).all(|(warning, says)| warning.contains(says)), "{warnings:?}");
        }
    }

    #[test]
    fn roots_on_a_card() {
        let check = |text: &str| warnings(|findings| command_line(findings, "cmdline.txt", text.as_bytes()));
        let stock =
            "console=serial0,115200 console=tty1 root=PARTUUID=57c84f67-02 rootfstype=ext4 rootwait\n";
        assert!(check(stock)[0].contains("root=PARTUUID=57c84f67-02"));
        assert!(check("root=/dev/mmcblk0p2")[0].contains("root=/dev/nfs"));
        assert!(check("console=tty1 root=/dev/nfs nfsroot=10.0.0.1:/srv,vers=3 ip=dhcp").is_empty());
        assert!(check("ip=dhcp nbdroot=server/share root=/dev/nbd0p2").is_empty());
        assert!(check("root=/dev/mmcblk0p2 root=/dev/nfs").is_empty());
        assert!(check("root=/dev/nfs\nip=dhcp")[0].contains("several lines"));
    }
}
