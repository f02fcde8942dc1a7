//! Warnings about facts that may stop a real Pi, although the simulation continues.

use pinetboot_core::pi::{Profile, rules};

use super::fetch::Taken;
use super::timeline::Grouped;
use super::verdict::BLOCK;
use crate::finding::{Finding, Findings};
use crate::inspect;

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

/// Checks the beginning of a kernel that is to mount a root: another program needs none.
pub(super) fn kernel(findings: &mut Findings, name: &str, taken: &Taken, command_line: Option<&str>) {
    let mounts_root = command_line.is_some_and(|line| line.contains("root="));
    if taken.bytes > 0 && mounts_root && !inspect::kernel::begins(&taken.kept) {
        let finding =
            Finding::warning(format!("{name} is no kernel of Linux: neither an arm64 Image nor a zImage."));
        findings.add(
            finding
                .rule(&rules::NO_KERNEL_OR_DEVICE_TREE)
                .remedy("Copy the kernel again; the file may be damaged, or a download's error page."),
        );
    }
}

/// Checks the beginning of an initramfs, and whether it goes with the kernel by name.
pub(super) fn initramfs(findings: &mut Findings, kernel: &str, name: &str, taken: &Taken) {
    if taken.bytes > 0 && !inspect::initramfs::begins(&taken.kept) {
        let finding =
            Finding::warning(format!("{name} is no initramfs: neither a cpio archive nor a compressed one."));
        findings.add(
            finding
                .evidence("The kernel says: Initramfs unpacking failed, and starts without.")
                .remedy("Make the initramfs again: update-initramfs -u."),
        );
    }
    let flavour = |path: &str, kind: &str| {
        let file = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".img");
        file.strip_prefix(kind).filter(|flavour| FLAVOURS.contains(flavour)).map(str::to_owned)
    };
    if let (Some(of_kernel), Some(own)) = (flavour(kernel, "kernel"), flavour(name, "initramfs"))
        && of_kernel != own
    {
        let finding = Finding::warning(format!("{name} is loaded with {kernel}, whose modules are others."));
        findings.add(
            finding
                .rule(&rules::WRONG_INITRAMFS)
                .remedy(format!("Write 'initramfs initramfs{of_kernel} followkernel' in config.txt.")),
        );
    }
}

/// The flavours of Raspberry Pi OS's kernels: kernel8.img goes with initramfs8.
const FLAVOURS: &[&str] = &["", "7", "7l", "8", "_2712"];

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
    fn kernels_and_initramfs_files() {
        let file = |kept: &[u8]| Taken { kept: kept.to_vec(), ..taken(kept.len() as u64, 1468) };
        let kernel = |content: &[u8], line| {
            warnings(|findings| super::kernel(findings, "kernel_2712.img", &file(content), line)).len()
        };
        let root = Some("root=/dev/nfs");
        assert_eq!(kernel(&inspect::kernel::image("6.12.34"), root), 0);
        assert_eq!(kernel(&[7; 3000], root), 1);
        assert_eq!(
            (kernel(&[7; 3000], Some("console=tty1")), kernel(&[7; 3000], None)),
            (0, 0),
            "bare metal"
        );
        let initramfs = |kernel: &str, name: &str, content: &[u8]| {
            warnings(|findings| super::initramfs(findings, kernel, name, &file(content)))
        };
        assert!(initramfs("kernel_2712.img", "initramfs_2712", b"070701").is_empty());
        assert!(initramfs("vmlinuz", "initrd.img", &[0x28, 0xb5, 0x2f, 0xfd]).is_empty());
        assert!(initramfs("kernel8.img", "initramfs8", &[7; 3000])[0].contains("no initramfs"));
        assert!(initramfs("kernel8.img", "initramfs_2712", b"070701")[0].contains("[rule 27]"));
    }
}
