//! Rules over kernels and initramfs files together: versions, modules, and releases with known faults.

use pinetboot_core::pi::{Model, rules};

use super::tree::Tree;
use crate::finding::{Finding, Findings};
use crate::inspect::initramfs::{Listing, NfsClient};
use crate::inspect::kernel::Kernel;

/// The kernel that a model loads.
pub(super) struct KernelFile {
    path: String,
    facts: Kernel,
}

/// The initramfs that a model loads.
pub(super) struct Initramfs {
    path: String,
    /// `None`: not read, or in a compression that is not unpacked here.
    listing: Option<Listing>,
}

impl KernelFile {
    /// Reads the file; only its beginning unless `is_thorough`.
    pub(super) fn read(files: &Tree<'_>, path: &str, is_thorough: bool) -> Self {
        let limit = if is_thorough { MOST } else { HEAD };
        let content = files.read(path, limit).unwrap_or_default();
        Self { path: path.to_owned(), facts: Kernel::of(&content) }
    }
}

impl Initramfs {
    /// Reads the file, if `is_thorough`.
    pub(super) fn read(files: &Tree<'_>, path: &str, is_thorough: bool) -> Self {
        let content = is_thorough.then(|| files.read(path, MOST)).flatten();
        Self { path: path.to_owned(), listing: content.and_then(|content| list(&content)) }
    }

    /// The program that mounts NFS.
    pub(super) fn nfs_client(&self) -> NfsClient {
        self.listing.as_ref().map_or(NfsClient::Unknown, Listing::nfs_client)
    }
}

/// Checks a kernel with its initramfs and its modules.
pub(super) fn check(
    findings: &mut Findings,
    files: &Tree<'_>,
    model: Model,
    kernel: &KernelFile,
    initramfs: Option<&Initramfs>,
    root: Option<&Tree<'_>>,
) {
    known_faults(findings, files, model, kernel);
    missing_initramfs(findings, files, model, kernel, initramfs);
    let Some(version) = &kernel.facts.version else { return };
    if let Some(root) = root {
        let there = root.list("lib/modules");
        if !there.is_empty() && !there.contains(version) {
            let what = format!(
                "{} is Linux {version}, and the root has modules of {}.",
                kernel.path,
                there.join(", ")
            );
            findings.add(Finding::warning(what).rule(&rules::STALE_BOOT_FILES));
        }
    }
    let Some((file, listing)) = initramfs.and_then(|file| Some((file, file.listing.as_ref()?))) else {
        return;
    };
    if !listing.versions.is_empty() && !listing.versions.contains(version) {
        let versions: Vec<_> = listing.versions.iter().map(String::as_str).collect();
        let what = format!(
            "{} has modules of {}, and {} is Linux {version}.",
            file.path,
            versions.join(", "),
            kernel.path
        );
        findings.add(Finding::warning(what).rule(&rules::WRONG_INITRAMFS));
        return;
    }
    without_network(findings, version, file, listing, root);
}

/// An initramfs for a card: neither the kernel nor the initramfs has a driver and NFS. `modules.builtin` of the kernel says what the kernel
/// has.
fn without_network(
    findings: &mut Findings,
    version: &str,
    file: &Initramfs,
    listing: &Listing,
    root: Option<&Tree<'_>>,
) {
    let Some(builtin) = root.and_then(|root| root.text(&format!("lib/modules/{version}/modules.builtin")))
    else {
        return;
    };
    let built_in = |module: &str| builtin.lines().any(|line| line.ends_with(module));
    let has_nfs = listing.has_nfs || built_in("/nfs.ko") || built_in("/nfsv3.ko");
    let has_driver = listing.has_ethernet || ["/macb.ko", "/genet.ko"].into_iter().any(built_in);
    let lacks: Vec<_> = [(has_driver, "a driver of the Pi's Ethernet"), (has_nfs, "NFS")]
        .into_iter()
        .filter_map(|(has, what)| (!has).then_some(what))
        .collect();
    if !lacks.is_empty() && !listing.versions.is_empty() {
        let what = format!(
            "{} lacks {}, and the kernel does not have them built in.",
            file.path,
            lacks.join(" and ")
        );
        findings.add(Finding::warning(what).rule(&rules::INITRAMFS_FOR_CARD));
    }
}

/// auto_initramfs=1 goes by the kernel's name, in bootloaders before 2025-05 by the model.
fn missing_initramfs(
    findings: &mut Findings,
    files: &Tree<'_>,
    model: Model,
    kernel: &KernelFile,
    initramfs: Option<&Initramfs>,
) {
    let config = files.text("config.txt").unwrap_or_default();
    let is_auto = setting(&config, "auto_initramfs").is_some_and(|value| value == "1");
    let is_other =
        model == Model::Pi5 && kernel.path.ends_with("kernel8.img") && files.has_file("initramfs_2712");
    if is_auto && is_other && initramfs.is_none() {
        let what =
            format!("{} has no initramfs8 beside it, and initramfs_2712 is for another kernel.", kernel.path);
        findings.add(Finding::warning(what).rule(&rules::WRONG_INITRAMFS));
    }
    if is_auto && setting(&config, "os_prefix").is_some_and(|prefix| !prefix.is_empty()) {
        let finding = Finding::note("config.txt has both auto_initramfs=1 and os_prefix.");
        findings.add(finding.rule(rules::INITRAMFS_PREFIX.on(model)));
    }
}

/// Releases with faults of the network on these boards.
fn known_faults(findings: &mut Findings, files: &Tree<'_>, model: Model, kernel: &KernelFile) {
    let Some(version) = &kernel.facts.version else { return };
    if model != Model::Pi5 {
        return;
    }
    let mut note = |rule| {
        findings.add(Finding::note(format!("{} is Linux {version}.", kernel.path)).rule(rule));
    };
    if matches!(kernel.facts.series(), Some((6, 17 | 18))) {
        note(&rules::TRANSMIT_STALL);
    }
    let config = files.text("config.txt").unwrap_or_default();
    let eee_is_off =
        config.lines().any(|line| line.trim().starts_with("dtparam=") && line.contains("eee=off"));
    if kernel.facts.series() == Some((6, 18)) && !eee_is_off {
        note(&rules::ENERGY_EFFICIENT_ETHERNET);
    }
    match kernel.facts.release() {
        Some("6.12.36") => note(&rules::CM5_PHY_INTERRUPT),
        // The fix is in the branch since 2025-06-17, before 6.12.34 (raspberrypi/linux issue 6855).
        Some(release) if sublevel(release, "6.12").is_some_and(|sublevel| sublevel < 33) => {
            note(&rules::EEE_WITHOUT_SUPPORT);
        }
        Some("6.12.81") => note(&rules::CM5_KERNEL_SERROR),
        _ => {}
    }
}

/// The last number of a release of this series: 36 of 6.12.36.
fn sublevel(release: &str, series: &str) -> Option<u32> {
    release.strip_prefix(series)?.strip_prefix('.')?.parse().ok()
}

/// The last value of a setting, whatever its section.
fn setting<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    config.lines().rev().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('=')).map(str::trim)
}

/// Lists an initramfs, unpacked if it is compressed and this program can.
#[cfg(feature = "import")]
fn list(content: &[u8]) -> Option<Listing> {
    use std::io;

    use pinetboot_image::Container;

    let mut archive = Vec::new();
    let mut sink = |piece: &[u8]| {
        archive.extend_from_slice(piece);
        if archive.len() as u64 > MOST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
    };
    match Container::of(content) {
        Container::Raw if content.starts_with(b"0707") => return Some(Listing::of(content)),
        container @ (Container::Xz | Container::Gzip | Container::Zstd | Container::Bzip2) => {
            container.unpack_stream(content, &mut sink).ok()?;
        }
        _ => return None,
    }
    Some(Listing::of(&archive))
}

#[cfg(not(feature = "import"))]
fn list(content: &[u8]) -> Option<Listing> {
    content.starts_with(b"0707").then(|| Listing::of(content))
}

/// Bytes of the largest kernel or unpacked initramfs that is read.
const MOST: u64 = 256 << 20;
/// Bytes of a quick look.
const HEAD: u64 = 4096;
