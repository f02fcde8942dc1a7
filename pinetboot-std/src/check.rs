//! `pinetboot check`: static rules over boot files and roots, without a server.
//!
//! The boot of each model is the one of `simulate`, over files of a disk; the rules over single files are those of `inspect`. Every
//! finding has a rule of the catalogue where one fits.
//!
//! ```text
//! Source (a directory, an image) -> Tree (a budget) -> boot: boot_offline, inspect, kernel, device_trees  \
//!                                                   -> root: fstab, services, identity, network            -> Findings
//! ```
//!
//! A check is bounded in time and bytes (`Limits`): a part for which they did not suffice is left out whole, and the report says so.
//! Not done: what only a running server or Pi shows.

mod boot;
mod device_trees;
#[cfg(feature = "import")]
mod image;
mod kernel;
mod network;
mod place;
mod report;
mod root;
mod tree;
mod units;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pinetboot_core::pi::Model;
use serde::Serialize;

use crate::exit::{Exit, Failed};
use crate::finding::Findings;
use crate::net::{Interface, Link};
use crate::output;
use crate::simulate::model;
use boot::{BootTree, Directories};
use place::{Kind, Place};
pub use report::Report;
use root::Root;
use tree::{Budget, Directory, Limits, Tree};

/// Options of `check`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Directory of boot files, root file system, directory of imported images, or OS image (.img, .xz, ..)
    #[arg(value_name = "TREE|IMAGE")]
    pub place: PathBuf,

    /// Root file system that goes with the boot files [default: the one that TREE is, if it is one]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Models of the Pis that are to boot, separated by commas [default: those that the files are for]
    #[arg(long, value_delimiter = ',', value_parser = model(), ignore_case = true)]
    pub model: Vec<Model>,

    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Whether a model boots the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct ModelResult {
    #[serde(serialize_with = "report::word")]
    pub(crate) model: Model,
    pub(crate) boots: bool,
}

/// What a check is to assume.
#[derive(Debug, Clone, Default)]
pub(crate) struct Assumptions {
    /// The models that are to boot; empty: those that the files are for.
    pub(crate) models: Vec<Model>,
    /// Whether the server writes the root into command lines.
    pub(crate) server_adds_root: bool,
    /// Whether each Pi gets an identity of its own from the server.
    pub(crate) own_identity: bool,
    /// The addresses of this machine, if it is the server.
    pub(crate) servers: Option<Vec<Ipv4Addr>>,
    /// Whether large files may be read whole.
    pub(crate) is_thorough: bool,
}

/// Checks a place, and prints the findings.
///
/// # Errors
///
/// If the place cannot be read, or standard output fails.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let place = Place::recognise(&options.place, options.root.as_deref())?;
    let assumed = Assumptions {
        models: options.model.clone(),
        servers: own_addresses(),
        is_thorough: true,
        ..Assumptions::default()
    };
    let report = report(&place, &assumed, WHOLE)?;
    let out = &mut output::stdout();
    if options.json { out.json(&report) } else { report.print(out) }?;
    Ok(report.exit())
}

/// Checks a tree with the root that goes with it, or one of them, as [`run`] does.
///
/// # Errors
///
/// If the place cannot be read.
pub(crate) fn look(place: &Path, root: Option<&Path>, assumed: &Assumptions) -> Result<Report, Failed> {
    report(&Place::recognise(place, root)?, assumed, WHOLE)
}

/// Checks directories quickly, for a server that starts: at most half a second and 64 MiB. A directory that cannot be opened has no finding
/// here: the server says so itself.
pub(crate) fn quick(boot: &Path, root: Option<&Path>, assumed: &Assumptions) -> Findings {
    within(QUICK, boot, root, assumed)
}

fn within(limits: Limits, boot: &Path, root: Option<&Path>, assumed: &Assumptions) -> Findings {
    let (mut findings, budget) = (Findings::default(), Budget::new(limits));
    let boot_in_root = root.and_then(|root| boot.strip_prefix(root).ok()?.to_str().map(str::to_owned));
    let (Ok(boot), Ok(root)) = (Directory::of_boot_files(boot), place::directory(root, Directory::open))
    else {
        return findings;
    };
    let root = root.as_ref().map(|source| Tree::new(source, &budget));
    let _models = check(Some(Tree::new(&boot, &budget)), root, boot_in_root, assumed, &mut findings);
    findings
}

#[cfg(feature = "import")]
/// Checks an image that was just imported: what the import does not change.
pub(crate) fn imported(boot: &Path, root: Option<&Path>) -> Findings {
    let assumed = Assumptions {
        server_adds_root: root.is_some(),
        own_identity: true,
        is_thorough: true,
        ..Assumptions::default()
    };
    within(IMPORT, boot, root, &assumed)
}

/// The addresses of this machine's interfaces that are up.
pub(crate) fn own_addresses() -> Option<Vec<Ipv4Addr>> {
    let links = Link::all().ok()?;
    Some(Interface::all(&links).into_iter().map(|interface| interface.address).collect())
}

/// The number of directories in a tree that Pis request by their names.
pub(crate) fn directories_of_pis(tree: &Path) -> usize {
    let budget = Budget::new(QUICK);
    Directory::of_boot_files(tree)
        .map_or(0, |source| Directories::of(&Tree::new(&source, &budget)).requested.len())
}

/// Checks all systems of a place.
fn report(place: &Place, assumed: &Assumptions, limits: Limits) -> Result<Report, Failed> {
    let mut report = Report::new(&place.path);
    for system in &place.systems {
        let budget = Budget::new(limits);
        let assumed = Assumptions {
            server_adds_root: assumed.server_adds_root || system.server_adds_root,
            own_identity: assumed.own_identity || system.server_adds_root,
            ..assumed.clone()
        };
        let mut findings = Findings::default();
        let models = match &system.kind {
            Kind::Directories { boot, root } => {
                let boot = place::directory(boot.as_deref(), Directory::of_boot_files)?;
                let root = place::directory(root.as_deref(), Directory::open)?;
                check(
                    boot.as_ref().map(|source| Tree::new(source, &budget)),
                    root.as_ref().map(|source| Tree::new(source, &budget)),
                    system.boot_in_root.clone(),
                    &assumed,
                    &mut findings,
                )?
            }
            #[cfg(feature = "import")]
            Kind::Image(path) => image::with(path, |source, boot| {
                let all = Tree::new(source, &budget);
                let has_root = source.has_root();
                let root = has_root.then(|| all.clone());
                check(Some(all.beneath(boot)), root, Some(boot.to_owned()), &assumed, &mut findings)
            })?,
        };
        report.add(system, models, findings, &budget);
    }
    Ok(report)
}

/// Checks boot files, a root, or both.
fn check(
    boot: Option<Tree<'_>>,
    root: Option<Tree<'_>>,
    boot_in_root: Option<String>,
    assumed: &Assumptions,
    findings: &mut Findings,
) -> Result<Vec<ModelResult>, Failed> {
    let mut models = Vec::new();
    if let Some(files) = boot {
        let tree = BootTree {
            files: files.clone(),
            root: root.clone(),
            models: &assumed.models,
            server_adds_root: assumed.server_adds_root,
            servers: assumed.servers.as_deref(),
            is_thorough: assumed.is_thorough,
        };
        let mut found = Findings::default();
        models = tree.check(&mut found)?;
        keep(found, &files, assumed, findings);
    }
    if let Some(files) = root {
        let mut found = Findings::default();
        let Assumptions { own_identity, is_thorough, .. } = *assumed;
        let root = Root { files: files.clone(), own_identity, is_thorough, boot: boot_in_root };
        root.check(&mut found);
        keep(found, &files, assumed, findings);
    }
    Ok(models)
}

/// Keeps the findings of a part, unless the budget did not suffice for it: a file that was not read is not absent. A server may lack the
/// right to read a root that another process of it serves; a user is told.
fn keep(found: Findings, files: &Tree<'_>, assumed: &Assumptions, findings: &mut Findings) {
    if !files.is_spent() && (assumed.is_thorough || !files.has_faults()) {
        findings.extend(found.iter().cloned());
    }
}

const WHOLE: Limits = Limits { bytes: 2 << 30, time: Duration::from_secs(120) };
#[cfg(feature = "import")]
const IMPORT: Limits = Limits { bytes: 1 << 30, time: Duration::from_secs(20) };
const QUICK: Limits = Limits { bytes: 64 << 20, time: Duration::from_millis(500) };

const EXAMPLES: &str = "\
Examples:
  pinetboot check /srv/tftp                                boot files
  pinetboot check /srv/tftp --root /srv/root --model pi5   boot files with the root that they mount
  sudo pinetboot check /srv/pi                             imported images
  pinetboot check raspios-trixie-arm64-lite.img.xz         an image, before its import
  pinetboot explain 45                                     what a rule's number stands for";
