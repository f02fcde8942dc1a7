//! Rules over a directory of boot files: the boot of each model, directories of single Pis, what should not lie there.

use std::net::Ipv4Addr;

use pinetboot_core::pi::{Model, Prefix, rules};

use super::kernel::{Initramfs, KernelFile};
use super::tree::Tree;
use super::{ModelResult, device_trees, kernel};
use crate::exit::Failed;
use crate::finding::{Finding, Findings, Severity};
use crate::inspect::command_line::{self, Circumstances};
use crate::pis;
use crate::simulate::{OfflineBoot, boot_offline};

/// A directory of boot files, and what is known besides.
pub(super) struct BootTree<'a> {
    pub(super) files: Tree<'a>,
    /// The root that the system mounts, if that is known.
    pub(super) root: Option<Tree<'a>>,
    /// The models to boot; empty: those that the files are for.
    pub(super) models: &'a [Model],
    /// Whether the server writes the root into command lines.
    pub(super) server_adds_root: bool,
    /// The addresses of this machine, if it is the server.
    pub(super) servers: Option<&'a [Ipv4Addr]>,
    /// Whether large files may be read whole.
    pub(super) is_thorough: bool,
}

/// The Pis' own directories of a tree.
#[derive(Debug, Default)]
pub(super) struct Directories {
    /// Those that their Pis request.
    pub(super) requested: Vec<(String, Prefix)>,
    /// Names that no Pi requests, each with the name that the Pi requests.
    pub(super) misnamed: Vec<(String, Prefix)>,
}

impl BootTree<'_> {
    /// Checks the shared files, then each Pi's own.
    pub(super) fn check(&self, findings: &mut Findings) -> Result<Vec<ModelResult>, Failed> {
        let names = self.files.list("");
        let own = Directories::of(&self.files);
        let mut shared = Findings::default();
        let models = self.boot_all("", 0, &mut shared)?;
        let booted: Vec<_> = models.iter().filter(|model| model.boots).map(|model| model.model).collect();
        let mut any_boots = !booted.is_empty();
        for (name, prefix) in own.requested.iter().take(MOST_PIS) {
            let serial = if let Prefix::Serial(serial) = prefix { *serial } else { 0 };
            any_boots |= self.own_directory(name, serial, &booted, findings)?;
        }
        // A tree may hold directories of single Pis alone.
        let is_shared =
            !booted.is_empty() || !any_boots || Model::ALL.iter().any(|model| is_for(*model, &self.files));
        if is_shared {
            findings.extend(shared.iter().cloned());
        }
        misnamed(&own, &names, &self.files, findings);
        leftovers(&self.files, findings);
        Ok(models)
    }

    /// Boots every model from the files beneath a directory.
    fn boot_all(
        &self,
        directory: &str,
        serial: u32,
        findings: &mut Findings,
    ) -> Result<Vec<ModelResult>, Failed> {
        let files = self.files.beneath(directory);
        let mut results = Vec::new();
        for &model in Model::ALL.iter().filter(|model| self.models.is_empty() || self.models.contains(model))
        {
            let boot = boot_offline(&files, model, serial)?;
            let mut own = boot.findings.clone();
            if boot.boots() {
                self.booted(&files, model, &boot, &mut own);
            }
            results.push((ModelResult { model, boots: boot.boots() }, own));
        }
        let any = results.iter().any(|(result, _)| result.boots);
        let is_meant = |model| self.models.contains(&model) || is_for(model, &files);
        let nothing_is_meant =
            self.is_thorough && !any && !results.iter().any(|(result, _)| is_meant(result.model));
        for (result, own) in &results {
            if result.boots || is_meant(result.model) || (nothing_is_meant && directory.is_empty()) {
                let lesser = !result.boots && any && !self.models.contains(&result.model);
                findings.extend(own.iter().map(|finding| placed(finding, directory, result.model, lesser)));
            }
        }
        Ok(results.into_iter().map(|(result, _)| result).collect())
    }

    /// What the boot of one model does not find out by itself.
    fn booted(&self, files: &Tree<'_>, model: Model, boot: &OfflineBoot, findings: &mut Findings) {
        let kernel = boot.loaded.first().map(|path| KernelFile::read(files, path, self.is_thorough));
        let initramfs = boot.initramfs.as_ref().map(|path| Initramfs::read(files, path, self.is_thorough));
        if let Some((name, text)) = &boot.command_line {
            let circumstances = Circumstances {
                initramfs: initramfs.as_ref().map(Initramfs::nfs_client),
                server_adds_root: self.server_adds_root,
                servers: self.servers,
            };
            command_line::check(findings, name, text, circumstances);
        }
        if let Some(kernel) = &kernel {
            let root = self.root.as_ref();
            kernel::check(findings, files, model, kernel, initramfs.as_ref(), root);
        }
        if model == Model::Pi5 {
            device_trees::check(findings, files);
        }
    }

    /// With config.txt (a Pi 5) or start4.elf (a Pi 4) a directory is the Pi's own, and the shared files count no more. Whether the
    /// Pi boots from its own.
    fn own_directory(
        &self,
        name: &str,
        serial: u32,
        shared: &[Model],
        findings: &mut Findings,
    ) -> Result<bool, Failed> {
        let files = self.files.beneath(name);
        let mut own = Findings::default();
        let models = self.boot_all(name, serial, &mut own)?;
        if models.iter().any(|model| model.boots) || files.is_spent() {
            findings.extend(own.iter().cloned());
            return Ok(true);
        }
        let begins = |model: &&Model| model.profile().own_directory.iter().any(|first| files.has_file(first));
        let Some(model) = Model::ALL.iter().rev().find(begins) else {
            return Ok(false); // neither: the Pi takes the shared files
        };
        let boot = boot_offline(&files, *model, serial)?;
        let missing: Vec<_> =
            boot.findings.of(Severity::Problem).filter_map(|problem| problem.file.clone()).collect();
        let finding = Finding::problem(format!("the directory lacks {}.", missing.join(", "))).file(name);
        let evidence = format!(
            "A {} whose directory exists takes nothing from the shared files{}.",
            model.profile().name,
            if shared.contains(model) { ", which would boot it" } else { "" }
        );
        findings.add(finding.rule(&rules::OWN_DIRECTORY_INCOMPLETE).evidence(evidence));
        Ok(false)
    }
}

impl Directories {
    /// Those at the top of a tree.
    pub(super) fn of(files: &Tree<'_>) -> Self {
        let mut found = Self::default();
        for name in files.list("") {
            let Some(pi) = pis::pi(&name) else { continue };
            if files.has_file(&name) {
                continue;
            }
            let canonical = pi.to_string();
            let is_requested = name == canonical || name == canonical.to_uppercase();
            if is_requested { &mut found.requested } else { &mut found.misnamed }.push((name, pi));
        }
        found
    }
}

/// A finding with the directory of its files, and as a note where other models boot.
fn placed(finding: &Finding, directory: &str, model: Model, lesser: bool) -> Finding {
    let mut finding = finding.clone();
    if directory.is_empty() {
        // The shared files are those of every Pi.
        finding.what = finding.what.replace("00000000", "SERIAL");
        finding.remedy = finding.remedy.map(|remedy| remedy.replace("00000000", "SERIAL"));
    } else {
        match &mut finding.file {
            Some(file) => *file = format!("{directory}/{file}"),
            None => finding.file = Some(directory.to_owned()),
        }
    }
    if lesser && finding.severity == Severity::Problem {
        finding.severity = Severity::Note;
        finding.what = format!("a {} does not boot: {}", model.profile().name, finding.what);
    }
    finding
}

/// Whether the files are for a model: the first file that its boot code needs is there, of a Pi 5 its own kernel or device tree. Device
/// trees of the others come with every kernel.
fn is_for(model: Model, files: &Tree<'_>) -> bool {
    let profile = model.profile();
    let of_firmware = profile.firmware.and_then(|_| profile.own_directory.first());
    match profile.root_files.first().or(of_firmware) {
        Some(first) => files.has_file(first),
        None => profile
            .kernels
            .unset
            .first()
            .into_iter()
            .chain([&profile.device_tree])
            .any(|name| files.has_file(name)),
    }
}

/// Directories that hold boot files, and that no Pi requests.
fn misnamed(own: &Directories, names: &[String], files: &Tree<'_>, findings: &mut Findings) {
    for (name, pi) in &own.misnamed {
        let what = format!("the directory {name} is not served to its Pi, which requests {pi}.");
        let finding = Finding::warning(what).rule(&rules::NO_BOOT_FILES);
        findings.add(finding.remedy(format!("Rename the directory to {pi}.")));
    }
    let known = |name: &str| own.requested.iter().chain(&own.misnamed).any(|(known, _)| known == name);
    for name in names.iter().filter(|name| !known(name) && !name.starts_with('.')).take(MOST_PIS) {
        if name.contains('.') || name == "overlays" || !files.has_file(&format!("{name}/config.txt")) {
            continue;
        }
        let digits = name.len().checked_sub(8).and_then(|at| name.get(at..));
        let serial = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let what = format!("the directory {name} holds boot files, and no Pi requests them.");
        findings.add(match serial {
            Some(serial) => {
                let serial = serial.to_ascii_lowercase();
                Finding::warning(what)
                    .rule(&rules::NO_BOOT_FILES)
                    .remedy(format!("Rename the directory to {serial}."))
            }
            None => Finding::note(what).rule(&rules::NO_BOOT_FILES),
        });
    }
}

/// Files that change a Pi which boots from here.
fn leftovers(files: &Tree<'_>, findings: &mut Findings) {
    let update: Vec<_> =
        ["pieeprom.upd", "pieeprom.sig"].into_iter().filter(|name| files.has_file(name)).collect();
    if update.contains(&"pieeprom.upd") {
        let what = format!(
            "{} would be written to the EEPROM of each Pi that boots from here.",
            update.join(" and ")
        );
        findings.add(Finding::warning(what).rule(&rules::SELF_UPDATE));
    }
}

/// Directories of single Pis that are checked.
const MOST_PIS: usize = 64;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::check::tree::{Budget, Directory};

    #[test]
    fn directories_that_no_pi_requests_are_found() {
        let directory = tempfile::tempdir().unwrap();
        for name in
            ["10000000aabbccde", "2c:cf:67:01:02:03", "aabbccdd", "AABBCCDF", "Aabbccde", "overlays", "beef"]
        {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        fs::write(directory.path().join("10000000aabbccdd"), "").unwrap();
        let (source, budget) = (Directory::open(directory.path()).unwrap(), Budget::new(crate::check::QUICK));
        let Directories { requested, misnamed } = Directories::of(&Tree::new(&source, &budget));
        assert_eq!(requested.len(), 2);
        let names: Vec<_> = misnamed.iter().map(|(name, pi)| format!("{name} {pi}")).collect();
        let mac = "2c:cf:67:01:02:03 2c-cf-67-01-02-03";
        assert_eq!(names, ["10000000aabbccde aabbccde", mac, "Aabbccde aabbccde"]);
    }
}
