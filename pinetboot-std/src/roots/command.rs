//! `pinetboot roots`: lists, diffs, resets, commits, adopts, exports and imports the Pis' layers.

mod copies;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use indicatif::{DecimalBytes, HumanDuration, ProgressBar};
use serde::Serialize;

use super::actions::layer_of;
use super::diff::{Change, changes};
use super::layer::{Layer, State};
use super::{commit, own_namespace, state_places, which};
use crate::exit::{Exit, Failed};
use crate::images::{self, Images};
use crate::output;
use crate::pis;
use crate::space::used_by;
#[cfg(feature = "import")]
use crate::system_log;
use crate::text::shown;
use crate::time;

/// Options of `roots`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The served directory, or the --state directory of `serve`; . finds /var/lib/pinetboot too
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    pub dir: PathBuf,

    /// The action.
    #[command(subcommand)]
    pub command: Action,
}

/// The actions on layers.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the layers of all Pis
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List the image and the kernel that each Pi runs, since when, and the image of its next boot
    Which(which::Args),
    /// List the files that a Pi has changed: A added, C changed, D deleted, R renamed
    Diff {
        /// The layer.
        #[command(flatten)]
        of: LayerName,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the log that a Pi's system wrote on its root: failed units and errors of the last boot, then its last lines
    ///
    /// Reads the systemd journal in /var/log/journal, else /var/log/syslog or /var/log/messages. The Pi may be off or on.
    #[cfg(feature = "import")]
    Log {
        /// The layer.
        #[command(flatten)]
        of: LayerName,

        /// The boot and the lines.
        #[command(flatten)]
        options: system_log::Options,
    },
    /// Reset a Pi's root to the image: discards all its changes
    ///
    /// The Pi's name, machine-id and SSH host keys stay. The server discards the changes when the Pi boots next; until then the
    /// reset can be called off.
    Reset(copies::Reset),
    /// Copy a Pi's root, with its changes, to a new image
    ///
    /// The copy has no host name, machine-id and SSH host keys of the Pi. The Pi's layer and its base image do not change.
    Commit {
        /// The layer.
        #[command(flatten)]
        of: LayerName,

        /// Name of the new image: letters, digits and ._+-
        #[arg(long, value_name = "NAME")]
        name: String,

        /// Make the new image the current image, which Pis boot
        #[arg(long)]
        current: bool,

        /// Write the new image to this directory of images [default: the directory of this state]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Accept a copied layer, as from a backup, on the word that its base image has the same content
    ///
    /// The server adopts a copy by itself if the fingerprint of the base image fits.
    Adopt(LayerName),
    /// Write a Pi's layer, with its keys, to one file
    Export(copies::Export),
    /// Make a layer from a file of export
    Import(copies::Import),
}

/// Names a layer: the Pi and the base image.
#[derive(Debug, clap::Args)]
pub struct LayerName {
    /// The Pi: its serial number, MAC address or host name
    #[arg(value_name = "PI")]
    pub pi: String,

    /// Base image of the layer; required if the Pi has several layers
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
}

/// Runs the action.
///
/// # Errors
///
/// The obstacle and the remedy.
pub fn run(options: &Args, quiet: bool) -> Result<Exit, Failed> {
    let state = match (&options.command, find_state(&options.dir)) {
        (Action::Import(_), Err(error)) => copies::new_state(&options.dir).ok_or(error)?,
        (_, state) => state?,
    };
    let newer = |error| Failed::new(Exit::Tree, format!("cannot use {}: {error}", state.dir().display()));
    state.check().map_err(newer)?;
    match &options.command {
        Action::List { json } => list(&state, *json),
        Action::Which(options) => which::run(&state, options),
        Action::Diff { of, json } => diff(&state, &layer(&state, of)?, *json),
        #[cfg(feature = "import")]
        Action::Log { of, options } => log(&layer(&state, of)?, options),
        Action::Reset(options) => copies::reset(&layer(&state, &options.of)?, options),
        Action::Adopt(of) => copies::adopt(&state, &mut layer(&state, of)?),
        Action::Export(options) => copies::export(&state, &layer(&state, &options.of)?, &options.file),
        Action::Import(options) => copies::import(&state, options),
        Action::Commit { of, name, current, to } => {
            let images = to.as_deref().or_else(|| state.dir().parent()).unwrap_or(&options.dir);
            let (layer, images) = (layer(&state, of)?, Images::at(images));
            copies::base_of(&state, &layer)
                .and_then(|_| keep(&layer, &images, name, *current, quiet))
                .map_err(failure)?;
            print_kept(&layer, &images, name, *current)
        }
    }?;
    Ok(Exit::Success)
}

/// The state of a directory: the directory itself, or that of its images.
fn find_state(dir: &Path) -> Result<State, Failed> {
    let places = state_places(dir)?;
    let unreadable = |place: &&PathBuf| matches!(place.join("pis").read_dir(), Err(error) if error.kind() == io::ErrorKind::PermissionDenied);
    if let Some(place) = places.iter().find(unreadable) {
        let message = format!(
            "cannot read {}: only root may read the layers of Pis. Run pinetboot with sudo",
            place.display()
        );
        return Err(Failed::new(Exit::Failure, message));
    }
    let there = places.iter().find(|place| place.join("pis").is_dir()).map(|place| State::at(place));
    // Images that no Pi has booted yet have no state, and are no mistake.
    let without_layers =
        || matches!(Images::open(dir), Ok(Some(_))).then(|| State::at(&Images::at(dir).state()));
    there.or_else(without_layers).ok_or_else(|| {
        let dir = dir.display();
        Failed::new(
            Exit::Tree,
            format!("{dir} has no layers of Pis. Name the served directory, or the --state directory of serve, with --dir"),
        )
    })
}

/// The named layer, of a Pi by its serial number, MAC address or host name.
fn layer(state: &State, of: &LayerName) -> Result<Layer, Failed> {
    let failed = |message: String| Failed::new(Exit::Usage, message);
    let known = state.pis();
    let named = || known.iter().copied().find(|pi| state.pi(*pi).name == of.pi);
    let pi = pis::pi(&of.pi).filter(|pi| known.contains(pi)).or_else(named);
    let pi = pi.ok_or_else(|| {
        failed(format!("Pi {} has no layer; 'pinetboot roots list' shows the Pis with layers", of.pi))
    })?;
    layer_of(state, pi, of.image.as_deref()).map_err(failed)
}

fn list(state: &State, json: bool) -> Result<(), Failed> {
    let rows = state.layers().iter().map(|layer| Row::of(state, layer)).collect::<io::Result<Vec<_>>>();
    let layers = rows.map_err(failure)?;
    let mut out = output::stdout();
    if json {
        return out.json(&Listing { layers });
    }
    let mut table =
        vec![["PI", "NAME", "ADDRESS", "IMAGE", "SIZE", "LIMIT", "LAST USE", "NOW"].map(str::to_owned)];
    table.extend(layers.into_iter().map(Row::cells));
    out.table(&table)
}

/// The layers of all Pis, for `--json`.
#[derive(Serialize)]
struct Listing {
    layers: Vec<Row>,
}

/// A layer in the list.
#[derive(Serialize)]
struct Row {
    pi: String,
    name: String,
    address: Option<Ipv4Addr>,
    image: String,
    bytes: u64,
    limit_bytes: Option<u64>,
    /// RFC 3339, UTC.
    last_use: Option<String>,
    now: Use,
    #[serde(skip)]
    ago: Option<Duration>,
}

/// The use of a layer.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Use {
    Idle,
    Mounted,
    ResetPending,
}

impl Row {
    fn of(state: &State, layer: &Layer) -> io::Result<Self> {
        let facts = state.pi(layer.pi);
        let last_use = state.last_use(layer.pi);
        let in_use = layer.lock()?.is_none();
        Ok(Self {
            pi: layer.pi.to_string(),
            name: facts.name,
            address: facts.address,
            image: layer.image.clone(),
            bytes: used_by(&layer.upper()),
            limit_bytes: facts.max_root_size.map(|limit| limit.bytes()),
            last_use: last_use.and_then(time::of),
            now: match (in_use, layer.is_marked()) {
                (_, true) => Use::ResetPending,
                (true, false) => Use::Mounted,
                (false, false) => Use::Idle,
            },
            ago: last_use.and_then(|then| SystemTime::now().duration_since(then).ok()),
        })
    }

    fn cells(self) -> [String; 8] {
        let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".into());
        let now = match self.now {
            Use::Idle => "-",
            Use::Mounted => "mounted",
            Use::ResetPending => "reset at the next boot",
        };
        [
            self.pi,
            self.name,
            or_dash(self.address.map(|address| address.to_string())),
            self.image,
            DecimalBytes(self.bytes).to_string(),
            or_dash(self.limit_bytes.map(|limit| DecimalBytes(limit).to_string())),
            or_dash(self.ago.map(|ago| format!("{} ago", HumanDuration(ago)))),
            now.into(),
        ]
    }
}

fn diff(state: &State, layer: &Layer, json: bool) -> Result<(), Failed> {
    copies::base_of(state, layer).map_err(failure)?;
    let mut out = output::stdout();
    let changes = changes(layer).map_err(failure)?;
    if json {
        let changes = changes.iter().map(|(path, change)| ChangeShown::of(path, change)).collect();
        return out.json(&Diff { pi: layer.pi.to_string(), image: &layer.image, changes });
    }
    for (path, change) in changes {
        match &change {
            Change::Renamed(from) => writeln!(out, "{change} {} -> {}", shown(from), shown(&path))?,
            _ => writeln!(out, "{change} {}", shown(&path))?,
        }
    }
    Ok(())
}

/// The changes of a layer, for `--json`.
#[derive(Serialize)]
struct Diff<'a> {
    pi: String,
    image: &'a str,
    changes: Vec<ChangeShown>,
}

#[derive(Serialize)]
struct ChangeShown {
    /// The path, with control characters and bytes that are not UTF-8 escaped.
    path: String,
    /// `added`, `changed`, `deleted` or `renamed`.
    change: &'static str,
    /// The former path of a renamed directory.
    from: Option<String>,
}

impl ChangeShown {
    fn of(path: &Path, change: &Change) -> Self {
        let (change, from) = match change {
            Change::Added => ("added", None),
            Change::Changed => ("changed", None),
            Change::Deleted => ("deleted", None),
            Change::Renamed(from) => ("renamed", Some(shown(from).to_string())),
        };
        Self { path: shown(path).to_string(), change, from }
    }
}

#[cfg(feature = "import")]
fn log(layer: &Layer, options: &system_log::Options) -> Result<(), Failed> {
    let log = layer.system_log(options.boot)?;
    system_log::print(&log, &layer.pi.to_string(), &layer.image, options, &mut output::stdout())
}

fn keep(layer: &Layer, images: &Images, name: &str, current: bool, quiet: bool) -> io::Result<()> {
    let pi = layer.pi;
    if !images::is_name(name) {
        return Err(io::Error::other(format!(
            "{name} is not an image name: use letters, digits and ._+- only"
        )));
    }
    if images.find(name).map_err(io::Error::other)?.is_some() {
        return Err(io::Error::other(format!("image {name} exists already")));
    }
    let lock = layer.lock()?;
    let _lock = lock.ok_or_else(|| {
        io::Error::other(format!(
            "{pi} has its root mounted, and may write during the copy. Shut {pi} down and wait five minutes, or stop the server"
        ))
    })?;
    own_namespace()
        .map_err(|error| io::Error::new(error.kind(), format!("{error}: run pinetboot as root")))?;
    let progress = ProgressBar::with_draw_target(None, output::progress(quiet));
    progress.set_message(format!("copying the root of {pi} to {}", images.place(name).display()));
    progress.enable_steady_tick(Duration::from_millis(200));
    let kept = commit::commit(layer, images, name);
    progress.finish_and_clear();
    kept?;
    if current {
        images.make_current(name).map_err(io::Error::other)?;
    }
    Ok(())
}

fn print_kept(layer: &Layer, images: &Images, name: &str, current: bool) -> Result<(), Failed> {
    let Layer { pi, image, .. } = layer;
    let out = &mut output::stdout();
    let place = images.place(name);
    writeln!(out, "{} is a copy of {pi}'s root on {image}, without its identity", place.display())?;
    if current {
        return writeln!(out, "{name} is the current image");
    }
    writeln!(
        out,
        "{name} is not the current image: a Pi boots {name} if its inventory has image = \"{name}\""
    )
}

fn failure(error: io::Error) -> Failed {
    Failed::new(Exit::Failure, error)
}

const EXAMPLES: &str = "\
Examples:
  sudo pinetboot roots list --dir /srv/pi
  sudo pinetboot roots diff bd989ae1 --dir /srv/pi
  sudo pinetboot roots log kitchen --boot -1 --dir /srv/pi
  sudo pinetboot roots reset kitchen --dir /srv/pi
  sudo pinetboot roots export kitchen kitchen.tar --dir /srv/pi
  sudo pinetboot roots import kitchen.tar --pi 5e9f2a01 --dir /srv/pi
  sudo pinetboot roots commit bd989ae1 --name with-docker --current --dir /srv/pi";
