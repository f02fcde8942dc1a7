//! `pinetboot disks`: lists, diffs, snapshots, resets, releases, copies and resizes the Pis' disks.
//!
//! A command that reads or changes a disk holds its lock, which a server holds while the Pi is connected.

mod acting;
mod diff;
mod log;
mod snapshots;
mod whole;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::DecimalBytes;
use pinetboot_disk::{Access, Overlay};
use serde::Serialize;

use super::place::{DiskPlace, InUse, PiLock, Place, last_base};
use crate::exit::{Exit, Failed};
use crate::images::is_name;
use crate::output;
use crate::pis;
use crate::roots::actions::on_image;
use crate::roots::state_places;
use crate::space::Size;
use crate::system_log;
use crate::time;
use acting::Acting;
#[cfg(feature = "web")]
pub(crate) use log::last_log;

/// Options of `disks`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The --state directory of `serve`; . finds /var/lib/pinetboot too
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    pub dir: PathBuf,

    /// The action.
    #[command(subcommand)]
    pub command: Action,
}

/// The actions on disks.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the disks of all Pis
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List the files that a Pi has changed on its disk: A added, C changed, D deleted
    ///
    /// By length, owner, mode and time in the root; by content in the boot partition.
    Diff {
        /// The disk.
        #[command(flatten)]
        of: DiskName,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the log that a Pi's system wrote on its disk: failed units and errors of the last boot, then its last lines
    ///
    /// Reads the systemd journal in /var/log/journal, else /var/log/syslog or /var/log/messages.
    Log {
        /// The disk.
        #[command(flatten)]
        of: DiskName,

        /// The boot and the lines.
        #[command(flatten)]
        options: system_log::Options,
    },
    /// Keep the present state of a Pi's disk under a name: at once, for a disk of any size
    Snapshot {
        /// The disk.
        #[command(flatten)]
        of: DiskName,

        /// Name of the snapshot: letters, digits and ._+-
        #[arg(value_name = "SNAPSHOT")]
        name: String,
    },
    /// Return a Pi's disk to a snapshot: discards what the Pi wrote since
    Rollback {
        /// The disk.
        #[command(flatten)]
        of: DiskName,

        /// Name of the snapshot
        #[arg(value_name = "SNAPSHOT")]
        name: String,
    },
    /// Let another Pi have an image that this Pi writes to (disk-mode rw); the Pi has to be off for good
    Release {
        /// The Pi: its serial number or MAC address
        #[arg(value_name = "PI")]
        pi: String,
    },
    /// Return a Pi's disk to the image: discards all that the Pi wrote
    Reset {
        /// The disk.
        #[command(flatten)]
        of: DiskName,

        /// Discard the snapshots too; without this option they stay
        #[arg(long)]
        snapshots: bool,
    },
    /// Write a Pi's disk, with its changes, as a new image that other Pis can have disks on
    ///
    /// The copy is exact, with the Pi's host name, machine-id and SSH host keys: remove those on the Pi first, as for the image of
    /// any card.
    Commit {
        /// The disk.
        #[command(flatten)]
        of: DiskName,

        /// The new image; must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Write a Pi's disk to a file, to be written to an SD card
    Export {
        /// The disk.
        #[command(flatten)]
        of: DiskName,

        /// The file; must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Make a Pi's disk longer, as in 32G; the system on the disk has to grow its partition itself
    Resize {
        /// The disk.
        #[command(flatten)]
        of: DiskName,

        /// The new length
        #[arg(value_name = "SIZE")]
        size: Size,
    },
}

/// Names a disk: the Pi and the image.
#[derive(Debug, clap::Args)]
pub struct DiskName {
    /// The Pi: its serial number or MAC address
    #[arg(value_name = "PI")]
    pub pi: String,

    /// Name of the image; required if the Pi has disks on several
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
}

/// Runs the action.
///
/// # Errors
///
/// The obstacle and the remedy.
pub fn run(options: &Args, quiet: bool) -> Result<Exit, Failed> {
    let place = find_place(&options.dir)?;
    match &options.command {
        Action::List { json } => list(&place, *json),
        Action::Diff { of, json } => diff::run(&Locked::take(&place, of)?, *json),
        Action::Log { of, options } => log::run(&Locked::take(&place, of)?, options),
        Action::Snapshot { of, name } => snapshots::make(&Locked::take(&place, of)?, checked(name)?),
        Action::Rollback { of, name } => snapshots::return_to(&Locked::take(&place, of)?, checked(name)?),
        Action::Reset { of, snapshots } => snapshots::reset(&Locked::take(&place, of)?, *snapshots),
        Action::Release { pi } => release(&place, pi),
        Action::Commit { of, file } => whole::copy(&place, of, file, whole::For::Pis, quiet),
        Action::Export { of, file } => whole::copy(&place, of, file, whole::For::Card, quiet),
        Action::Resize { of, size } => whole::resize(&Locked::take(&place, of)?, *size),
    }?;
    Ok(Exit::Success)
}

/// A disk that this process alone uses, as the user that owns the disks.
struct Locked {
    disk: DiskPlace,
    _lock: PiLock,
    _acting: Acting,
}

impl Locked {
    fn take(place: &Place, of: &DiskName) -> Result<Self, Failed> {
        let acting = Acting::as_owner_of(place)?;
        let disk = find(place, of)?;
        let lock = lock(&disk)?;
        Ok(Self { disk, _lock: lock, _acting: acting })
    }

    /// Opens the disk. Its image is a file, never a device of this machine.
    fn open(&self, access: Access) -> Result<Overlay, Failed> {
        let failed = |why: String| Failed::new(Exit::Failure, format!("the disk {}: {why}", self.disk.image));
        if !self.disk.file().exists() {
            let why = format!(
                "{0} has only snapshots on {1}: its next boot makes a disk, or 'pinetboot disks rollback {0} SNAPSHOT'",
                self.disk.pi, self.disk.image
            );
            return Err(Failed::new(Exit::Usage, why));
        }
        let base = last_base(&self.disk.file()).map_err(failed)?;
        let metadata = fs::metadata(&base).map_err(|error| failed(format!("{}: {error}", base.display())))?;
        if !metadata.is_file() {
            return Err(failed(format!("its image {} is no file", base.display())));
        }
        let bases = base.parent().unwrap_or(Path::new("/"));
        Overlay::open(&self.disk.file(), bases, access).map_err(|error| failed(error.to_string()))
    }
}

/// The disks of a state directory.
fn find_place(dir: &Path) -> Result<Place, Failed> {
    for state in &state_places(dir)? {
        match Place::open(state) {
            Ok(place) => return Ok(place),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let why = format!("cannot read {}: {error}. Run pinetboot with sudo", state.display());
                return Err(Failed::new(Exit::Failure, why));
            }
            Err(error) => return Err(Failed::new(Exit::Tree, format!("{}: {error}", state.display()))),
        }
    }
    let why = format!(
        "{} has no disks of Pis. Name the --state directory of serve with --dir; a Pi gets its disk when it boots",
        dir.display()
    );
    Err(Failed::new(Exit::Tree, why))
}

/// The named disk.
fn find(place: &Place, of: &DiskName) -> Result<DiskPlace, Failed> {
    let failed = |message: String| Failed::new(Exit::Usage, message);
    let named = pis::pi(&of.pi);
    let all = place.disks().map_err(failure)?;
    let disks: Vec<_> = all.into_iter().filter(|disk| Some(disk.pi) == named).collect();
    let Some(pi) = named.filter(|_| !disks.is_empty()) else {
        return Err(failed(format!(
            "Pi {} has no disk; 'pinetboot disks list' shows the Pis with disks",
            of.pi
        )));
    };
    on_image(pi, "disk", disks, of.image.as_deref(), |disk| &disk.image).map_err(failed)
}

/// `disks release`.
fn release(place: &Place, name: &str) -> Result<(), Failed> {
    let _acting = Acting::as_owner_of(place)?;
    let pi = pis::pi(name)
        .ok_or_else(|| Failed::new(Exit::Usage, format!("{name} is no serial number and no MAC address")))?;
    let disk = place.disk(pi, "");
    let none = || Failed::new(Exit::Usage, format!("Pi {name} has no image read-write"));
    if !disk.directory.exists() {
        return Err(none());
    }
    let _locked = lock(&disk)?;
    let images = disk.release().map_err(failure)?;
    if images.is_empty() {
        return Err(none());
    }
    writeln!(
        output::stdout(),
        "{pi} writes to {} no more: the next Pi that connects does",
        images.join(" and ")
    )
}

/// Locks the disks of a Pi.
fn lock(disk: &DiskPlace) -> Result<PiLock, Failed> {
    let pi = disk.pi;
    disk.lock().map_err(|why| match why {
        InUse::Elsewhere => {
            let why = format!("{pi} uses its disk. Shut {pi} down, or stop the server");
            Failed::new(Exit::Failure, why)
        }
        InUse::System(error) => failure(error),
    })
}

fn checked(name: &str) -> Result<&str, Failed> {
    if is_name(name) {
        return Ok(name);
    }
    Err(Failed::new(Exit::Usage, format!("{name:?} is no name of a snapshot: letters, digits and ._+-")))
}

/// The disks of all Pis, for `--json`.
#[derive(Serialize)]
struct Listing {
    disks: Vec<Row>,
}

/// A disk in the list.
#[derive(Serialize)]
struct Row {
    pi: String,
    image: String,
    /// On the server, with the snapshots.
    bytes: u64,
    /// `None`: only snapshots are left.
    length_bytes: Option<u64>,
    snapshots: Vec<String>,
    /// RFC 3339, UTC.
    last_write: Option<String>,
    in_use: bool,
}

fn list(place: &Place, json: bool) -> Result<(), Failed> {
    let _acting = Acting::as_owner_of(place)?;
    let rows = place.disks().map_err(failure)?.iter().map(Row::of).collect::<Result<Vec<_>, _>>()?;
    let mut out = output::stdout();
    if json {
        return out.json(&Listing { disks: rows });
    }
    let mut table =
        vec![["PI", "IMAGE", "SIZE", "LENGTH", "SNAPSHOTS", "LAST WRITE", "NOW"].map(str::to_owned)];
    table.extend(rows.into_iter().map(Row::cells));
    out.table(&table)
}

impl Row {
    fn of(disk: &DiskPlace) -> Result<Self, Failed> {
        let file = disk.file();
        let in_use = match disk.lock() {
            Ok(_free) => false,
            Err(InUse::Elsewhere) => true,
            Err(InUse::System(error)) => return Err(failure(error)),
        };
        let snapshots = disk.snapshots().map_err(failure)?;
        let bytes = disk.space().map_err(failure)?;
        let look = || Overlay::look(&file).map(|(_, len)| len);
        let length_bytes = file.exists().then(look).transpose();
        let length_bytes = length_bytes
            .map_err(|error| Failed::new(Exit::Failure, format!("{}: {error}", file.display())))?;
        let modified = fs::metadata(&file).and_then(|metadata| metadata.modified());
        Ok(Self {
            pi: disk.pi.to_string(),
            image: disk.image.clone(),
            bytes,
            length_bytes,
            snapshots,
            last_write: modified.ok().and_then(time::of),
            in_use,
        })
    }

    fn cells(self) -> [String; 7] {
        let or_dash = |cell: String| if cell.is_empty() { "-".into() } else { cell };
        [
            self.pi,
            self.image,
            DecimalBytes(self.bytes).to_string(),
            or_dash(self.length_bytes.map(|bytes| DecimalBytes(bytes).to_string()).unwrap_or_default()),
            or_dash(self.snapshots.join(" ")),
            or_dash(self.last_write.as_deref().map(time::local).unwrap_or_default()),
            or_dash(if self.in_use { "in use".into() } else { String::new() }),
        ]
    }
}

fn failure(error: io::Error) -> Failed {
    Failed::new(Exit::Failure, error)
}

const EXAMPLES: &str = "\
Examples:
  sudo pinetboot disks list
  sudo pinetboot disks diff bd989ae1
  sudo pinetboot disks log bd989ae1
  sudo pinetboot disks snapshot bd989ae1 before-upgrade
  sudo pinetboot disks rollback bd989ae1 before-upgrade
  sudo pinetboot disks reset bd989ae1
  sudo pinetboot disks release bd989ae1
  sudo pinetboot disks commit bd989ae1 /srv/with-docker.img
  sudo pinetboot disks export bd989ae1 card.img --dir /srv/state
  sudo pinetboot disks resize bd989ae1 32G

A disk in use is refused: shut its Pi down first.";
