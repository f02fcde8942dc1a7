//! `pinetboot roots`: what Pis have changed of their root file systems, and what becomes of it.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use indicatif::{DecimalBytes, HumanDuration, ProgressBar, ProgressDrawTarget};
use walkdir::WalkDir;

use super::diff::{Change, changes};
use super::layer::{Layer, State, remove_tree};
use super::{commit, own_namespace};
use crate::exit::{Exit, Failed};
use crate::images::{self, Images};
use crate::pis;

/// Options of `roots`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The directory that is served, or the one that `serve` was given as --state
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    pub dir: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub command: Action,
}

/// What to do about layers.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the layers of all Pis
    List,
    /// Show what a Pi has changed: A added, C changed, D deleted, R renamed
    Diff(LayerName),
    /// Remove what a Pi has changed: it begins anew from the image when it boots next
    ///
    /// Its name, machine-id and SSH host keys stay. While a running server has the layer mounted, it is removed when the
    /// Pi boots next.
    Reset(LayerName),
    /// Make what a Pi sees of its root a new image
    ///
    /// Its name, machine-id and SSH host keys are left out. The image that the Pi's layer is on stays as it is.
    Commit {
        /// Whose.
        #[command(flatten)]
        of: LayerName,

        /// What to call the image
        #[arg(long, value_name = "NAME")]
        name: String,

        /// Put it in use: Pis boot it from here on
        #[arg(long)]
        current: bool,

        /// The directory of images to put it into [default: the one whose state this is]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

/// Names a layer: the Pi, and the image that the layer is on.
#[derive(Debug, clap::Args)]
pub struct LayerName {
    /// The Pi: its serial number, its MAC address, or its host name
    #[arg(value_name = "SERIAL")]
    pub pi: String,

    /// On which image, if it has layers on several
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
}

/// Does what is asked.
///
/// # Errors
///
/// What keeps it from being done.
pub fn run(options: &Args, quiet: bool) -> Result<Exit, Failed> {
    let state = find_state(&options.dir)?;
    match &options.command {
        Action::List => list(&state),
        Action::Diff(of) => diff(&layer(&state, of)?),
        Action::Reset(of) => reset(&layer(&state, of)?),
        Action::Commit { of, name, current, to } => {
            let images = to.as_deref().or_else(|| state.dir().parent()).unwrap_or(&options.dir);
            keep(&layer(&state, of)?, &Images::at(images), name, *current, quiet)
        }
    }
    .map_err(|error| Failed::new(Exit::Failure, error))?;
    Ok(Exit::Success)
}

/// The state in a directory: that itself, or of the images in it.
fn find_state(dir: &Path) -> Result<State, Failed> {
    let places = [dir.to_owned(), Images::at(dir).state(), super::DEFAULT_STATE.into()];
    // The system's own only if nothing else was said.
    let places = if dir == Path::new(".") { &places[..] } else { &places[..2] };
    let unreadable = |place: &&PathBuf| matches!(place.join("pis").read_dir(), Err(error) if error.kind() == io::ErrorKind::PermissionDenied);
    if let Some(place) = places.iter().find(unreadable) {
        let message =
            format!("cannot read {}: the layers of Pis are root's alone, run it with sudo", place.display());
        return Err(Failed::new(Exit::Failure, message));
    }
    places.iter().find(|place| place.join("pis").is_dir()).map(|place| State::at(place)).ok_or_else(|| {
        let dir = dir.display();
        Failed::new(
            Exit::Tree,
            format!("no Pi has had a root from {dir}: name with --dir the directory that is served, or its --state"),
        )
    })
}

/// The layer that is meant: of a Pi that goes by its serial number or host name, on the image that it used last.
fn layer(state: &State, of: &LayerName) -> Result<Layer, Failed> {
    let failed = |message: String| Failed::new(Exit::Usage, message);
    let known = state.pis();
    let named = || known.iter().copied().find(|pi| state.pi(*pi).name == of.pi);
    let pi = pis::pi(&of.pi).filter(|pi| known.contains(pi)).or_else(named);
    let pi = pi.ok_or_else(|| {
        failed(format!("no Pi {} has a layer; 'pinetboot roots list' shows which do", of.pi))
    })?;
    let layers = state.layers_of(pi);
    match (&of.image, layers.as_slice()) {
        (Some(image), layers) => layers
            .iter()
            .find(|layer| &layer.image == image)
            .cloned()
            .ok_or_else(|| failed(format!("{pi} has no layer on {image}"))),
        (None, [layer]) => Ok(layer.clone()),
        (None, []) => Err(failed(format!("{pi} has no layer"))),
        (None, layers) => {
            let images: Vec<_> = layers.iter().map(|layer| layer.image.as_str()).collect();
            Err(failed(format!("{pi} has layers on {}: say which with --image", images.join(" and "))))
        }
    }
}

fn list(state: &State) -> io::Result<()> {
    let mut table = vec![["PI", "NAME", "ADDRESS", "IMAGE", "SIZE", "LAST USE", "NOW"].map(str::to_owned)];
    for layer in state.layers() {
        let facts = state.pi(layer.pi);
        let ago = state.last_use(layer.pi).and_then(|then| SystemTime::now().duration_since(then).ok());
        let in_use = layer.lock()?.is_none();
        let now = match (in_use, layer.is_marked()) {
            (_, true) => "to be reset when it boots next",
            (true, false) => "mounted",
            (false, false) => "-",
        };
        table.push([
            layer.pi.to_string(),
            facts.name,
            facts.address.map_or_else(|| "-".into(), |address| address.to_string()),
            layer.image.clone(),
            DecimalBytes(size(&layer.upper())).to_string(),
            ago.map_or_else(|| "-".into(), |ago| format!("{} ago", HumanDuration(ago))),
            now.into(),
        ]);
    }
    let mut out = io::stdout().lock();
    let widths: Vec<usize> = (0..7)
        .map(|column| table.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0))
        .collect();
    for row in table {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn diff(layer: &Layer) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (path, change) in changes(layer)? {
        match &change {
            Change::Renamed(from) => writeln!(out, "{change} {} -> {}", from.display(), path.display())?,
            _ => writeln!(out, "{change} {}", path.display())?,
        }
    }
    Ok(())
}

fn reset(layer: &Layer) -> io::Result<()> {
    let Layer { pi, image, .. } = layer;
    let Some(_lock) = layer.lock()? else {
        layer.mark()?;
        println!("{pi}'s layer on {image} is in use: the server removes it when {pi} boots next");
        return Ok(());
    };
    let aside = layer.put_aside()?;
    remove_tree(&aside)?;
    println!("{pi}'s layer on {image} is gone: it begins a new one when it boots next");
    Ok(())
}

fn keep(layer: &Layer, images: &Images, name: &str, current: bool, quiet: bool) -> io::Result<()> {
    let Layer { pi, image, .. } = layer;
    if !images::is_name(name) {
        return Err(io::Error::other(format!(
            "{name} is no name for an image: letters, digits and ._+- may be in it"
        )));
    }
    if images.find(name).map_err(io::Error::other)?.is_some() {
        return Err(io::Error::other(format!("there is an image {name} already")));
    }
    let lock = layer.lock()?;
    let _lock = lock.ok_or_else(|| {
        io::Error::other(format!(
            "{pi} has its root mounted, and might write to it meanwhile: shut it down and wait five minutes, or stop the server"
        ))
    })?;
    own_namespace().map_err(|error| io::Error::new(error.kind(), format!("{error}: run it as root")))?;
    let progress = ProgressBar::with_draw_target(
        None,
        if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() },
    );
    progress.set_message(format!("copying what {pi} sees to {}", images.place(name).display()));
    progress.enable_steady_tick(Duration::from_millis(200));
    let kept = commit::commit(layer, images, name);
    progress.finish_and_clear();
    kept?;
    println!("{} is what {pi} has on {image}, without what makes it {pi}", images.place(name).display());
    if current {
        images.make_current(name).map_err(io::Error::other)?;
        println!("{name} is in use from here on");
    } else {
        println!("it is not in use yet: a Pi boots it if its inventory says image = \"{name}\"");
    }
    Ok(())
}

/// What it takes on the disk.
fn size(directory: &Path) -> u64 {
    let entries = WalkDir::new(directory).follow_links(false).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.blocks() * 512)).sum()
}

const EXAMPLES: &str = "\
Examples:
  sudo pinetboot roots list --dir /srv/pi
  sudo pinetboot roots diff bd989ae1 --dir /srv/pi
  sudo pinetboot roots reset kitchen --dir /srv/pi
  sudo pinetboot roots commit bd989ae1 --name with-docker --current --dir /srv/pi";
