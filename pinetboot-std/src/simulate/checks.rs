//! What a real Pi might stumble over, although a simulated one does not.

use pinetboot_core::pi::Model;

use super::fetch::Taken;
use super::timeline::Grouped;
use super::verdict::{BLOCK, Findings};

/// What is remarkable about a file that came.
pub(super) fn transfer(
    findings: &mut Findings,
    model: Model,
    name: &str,
    taken: &Taken,
    asked_options: bool,
) {
    let Taken { bytes, block_size, options_agreed, .. } = *taken;
    if asked_options && !options_agreed {
        findings.warn(match model {
            // Reported, raspberrypi/firmware issues 1012 and 1913.
            Model::Pi3 | Model::Pi4 => {
                "the server does not answer options (RFC 2347). A Pi 3 or 4 then ignores the contents of \
                 config.txt, or takes files for missing, and says nothing. Use a server that answers tsize and \
                 blksize."
            }
            // Captured, bootloader 2026-05-26.
            _ => {
                "the server does not answer options (RFC 2347). A Pi 5 boots nevertheless, in blocks of 512 bytes: \
                 about three times as slowly as with blksize."
            }
        });
    }
    if bytes > LAST_BLOCK * u64::from(block_size) {
        findings.warn(format!(
            "{name} has {} bytes, more than 65535 blocks of {block_size}. Bootloaders before 2025-09-23 do not \
             count further and give up (raspberrypi/rpi-eeprom issue 720): update the Pi's bootloader, or make the \
             file smaller.",
            Grouped(bytes)
        ));
    }
    let seconds = taken.blocks() as f64 * BLOCK.as_secs_f64();
    if seconds > 30.0 {
        findings.warn(format!(
            "{name} takes a real Pi about {seconds:.0} s, at 0.44 ms for a block, and a file is given 30 s. Make it \
             smaller, or set TFTP_FILE_TIMEOUT in the Pi's bootloader configuration."
        ));
    }
}

/// What is remarkable about the length of config.txt.
pub(super) fn config_len(findings: &mut Findings, model: Model, bytes: u64) {
    match model {
        // Reported, raspberrypi/firmware issue 1012.
        Model::Pi3 | Model::Pi4 if bytes > 4096 => findings.warn(format!(
            "config.txt has {} bytes. A Pi 3 or 4 that boots from the network ignores it if it has more than 4096 \
             (raspberrypi/firmware issue 1012): take out comments.",
            Grouped(bytes)
        )),
        // Reported, raspberrypi/firmware issue 1848 and agherzan/meta-raspberrypi pull request 1255.
        Model::Pi5 if bytes > 16384 => findings.warn(format!(
            "config.txt has {} bytes. A Pi 5 was reported not to boot with more than 16384 (raspberrypi/firmware \
             issue 1848): take out comments.",
            Grouped(bytes)
        )),
        _ => {}
    }
}

/// What is remarkable about the kernel's command line.
pub(super) fn command_line(findings: &mut Findings, name: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let text = text.trim();
    if text.lines().count() > 1 {
        findings.warn(format!("{name} has several lines, and only the first one counts."));
    }
    let words = || text.lines().next().unwrap_or_default().split_whitespace();
    let root = words().filter_map(|word| word.strip_prefix("root=")).next_back();
    let local = ["/dev/mmcblk", "/dev/sd", "/dev/nvme", "PARTUUID=", "UUID=", "LABEL=", "PARTLABEL="];
    if let Some(root) = root.filter(|root| local.iter().any(|disk| root.starts_with(disk))) {
        findings.note(format!(
            "{name} says root={root}, which is on a card or disk of the Pi's own. Without one there, the kernel \
             waits for it for ever. A root over the network looks like this: root=/dev/nfs \
             nfsroot=SERVER:/PATH,vers=3,tcp rw ip=dhcp rootwait",
        ));
    }
}

/// The last block that 16 bits can name.
const LAST_BLOCK: u64 = 65535;

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: u64, block_size: u16) -> Taken {
        Taken { bytes, block_size, options_agreed: true, kept: Vec::new() }
    }

    fn warnings(check: impl FnOnce(&mut Findings)) -> Vec<String> {
        let mut findings = Findings::default();
        check(&mut findings);
        let (_, warnings, notes) = findings.said();
        warnings.iter().chain(notes).cloned().collect()
    }

    #[test]
    fn large_files() {
        let large = |bytes, block| {
            warnings(|findings| transfer(findings, Model::Pi5, "x", &taken(bytes, block), true))
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
                transfer(findings, model, "x", &plain, true);
                transfer(findings, model, "y", &plain, true);
            });
            assert!(warnings.len() == 1 && warnings[0].contains(says), "{warnings:?}");
        }
        assert!(warnings(|findings| transfer(findings, Model::Pi3, "x", &plain, false)).is_empty());
    }

    #[test]
    fn long_config_files() {
        for (model, bytes, count) in [
            (Model::Pi3, 4096, 0),
            (Model::Pi3, 4097, 1),
            (Model::Pi4, 4097, 1),
            (Model::Pi5, 16384, 0),
            (Model::Pi5, 16385, 1),
        ] {
            assert_eq!(
                warnings(|findings| config_len(findings, model, bytes)).len(),
                count,
                "{model} {bytes}"
            );
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
