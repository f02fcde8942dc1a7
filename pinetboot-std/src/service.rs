//! `pinetboot service`: makes `pinetboot serve` a service of systemd, for those who have the bare program.
//!
//! | file | holds |
//! |---|---|
//! | `files` | the units and the other files, as they are written |
//! | `plan` | the steps of `install` and `uninstall` |
//! | `step` | one step: its words, and its work |
//! | `reach` | the directories that the units do not reach |
//! | `status` | what systemd says of the units |
//!
//! A plan is made from what the system has, and is then printed (`--dry-run`) or carried out. Both print the same lines.

mod files;
mod plan;
mod reach;
mod status;
mod step;

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use crate::exit::{Exit, Failed};
pub(crate) use files::CONFIGURATION;
use plan::System;

/// Options of `service`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The action.
    #[command(subcommand)]
    pub command: Action,
}

/// The actions on the service.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Write the unit, the user and, if missing, /etc/pinetboot.toml; then start the service now and at each boot
    ///
    /// A program outside of /usr is copied to /usr/local/bin. The units of a package stay as they are. Directories of the configuration that
    /// the unit does not reach, as in /home or /data, are added to it.
    Install {
        /// Install this unit [default: pinetboot-roots if the configuration serves roots or is not valid yet, else pinetboot]
        #[arg(long, value_name = "UNIT")]
        unit: Option<Unit>,

        /// Let systemd hold the ports of TFTP and, for roots, NFS: requests wait while the server restarts [default: false]
        #[arg(long)]
        sockets: bool,

        /// The system.
        #[command(flatten)]
        at: Place,
    },
    /// Stop the service and remove what 'install' wrote
    ///
    /// The configuration, the images, the state of Pis and the user pinetboot remain.
    Uninstall {
        /// The system.
        #[command(flatten)]
        at: Place,
    },
    /// Print the state of the units and what the server reports; exit with 0 if one is active, else 1
    Status,
}

/// The units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Unit {
    /// Boot files by TFTP, and DHCP.
    #[value(name = "pinetboot")]
    BootFiles,
    /// The same, and a root for each Pi by NFS.
    #[value(name = "pinetboot-roots")]
    Roots,
}

/// The system to change, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// Change the system in this directory, and start nothing [default: this system]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Print what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Carries out the action.
///
/// # Errors
///
/// The step that failed, with the system's reason; the steps before it remain.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    match &options.command {
        Action::Install { unit, sockets, at } => {
            let system = System::at(at.root.clone())?;
            let unit = unit.unwrap_or_else(|| system.unit_of_configuration());
            step::all(system.install(unit, *sockets)?, at.dry_run)
        }
        Action::Uninstall { at } => step::all(System::at(at.root.clone())?.uninstall(), at.dry_run),
        Action::Status => status::print(),
    }
}

/// Installs the service of the configuration on this system.
///
/// # Errors
///
/// As [`run`].
#[cfg(feature = "import")]
pub(crate) fn install() -> Result<Exit, Failed> {
    let at = Place { root: None, dry_run: false };
    run(&Args { command: Action::Install { unit: None, sockets: false, at } })
}

/// The unit that is active.
#[cfg(feature = "import")]
pub(crate) fn active() -> Option<&'static str> {
    let mut names = Unit::ALL.iter().map(|unit| unit.name());
    names.find(|name| status::State::of(name).is_ok_and(|state| state.value("ActiveState") == "active"))
}

/// Why this system has no services of systemd; `None` if it has.
pub(crate) fn without_systemd() -> Option<&'static str> {
    let has = std::path::Path::new("/run/systemd/system").is_dir();
    if has { None } else { Some("this system does not run systemd") }
}

const EXAMPLES: &str = "\
Examples:
  sudo pinetboot service install                 a service of this system; /etc/pinetboot.toml configures it
  pinetboot service install --dry-run            the same, printed
  pinetboot service install --root /mnt/image    a service of the system in an image
  pinetboot service status
  sudo pinetboot service uninstall               images, roots and the configuration remain";
