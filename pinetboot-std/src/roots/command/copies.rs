//! Actions on whole layers: adopt, export, import and reset.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::LayerName;
use crate::durable;
use crate::images::Images;
use crate::pis;
use crate::roots::adopt;
use crate::roots::archive::{self, Target};
use crate::roots::base_image::{BaseImage, BaseImages};
use crate::roots::facts::LayerFacts;
use crate::roots::layer::{Layer, State, remove_tree};

/// Options of `roots reset`.
#[derive(Debug, clap::Args)]
pub struct Reset {
    /// The layer.
    #[command(flatten)]
    pub of: LayerName,

    /// Reset the root now, if it is not in use
    #[arg(long, conflicts_with = "cancel")]
    pub now: bool,

    /// Call a reset off that waits for the Pi's next boot
    #[arg(long)]
    pub cancel: bool,
}

/// Options of `roots export`.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// The layer.
    #[command(flatten)]
    pub of: LayerName,

    /// The file to write, a tar archive; - is standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Options of `roots import`.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// The file that export wrote; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Give the root to this Pi, by serial number or MAC address [default: the Pi that had it]
    #[arg(long, value_name = "PI")]
    pub pi: Option<String>,

    /// Put the layer on this image [default: the image that it was on]
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
}

pub(super) fn reset(layer: &Layer, options: &Reset, out: &mut impl Write) -> io::Result<()> {
    let Layer { pi, image, .. } = layer;
    if options.cancel {
        return match layer.unmark()? {
            true => writeln!(out, "{pi}'s layer on {image} is kept"),
            false => writeln!(out, "{pi}'s layer on {image} was not to be reset"),
        };
    }
    if !options.now {
        layer.mark()?;
        return writeln!(
            out,
            "{pi}'s layer on {image} is reset when {pi} boots next; 'pinetboot roots reset {pi} --image {image} --cancel' calls \
             that off"
        );
    }
    let _lock = lock(layer, "reset")?;
    let aside = layer.put_aside()?;
    remove_tree(&aside)?;
    writeln!(out, "{pi}'s layer on {image} is reset: {pi} boots the unchanged image next")
}

pub(super) fn adopt(state: &State, layer: &mut Layer, out: &mut impl Write) -> io::Result<()> {
    let _lock = lock(layer, "adoption")?;
    let root = base_of(state, layer)?;
    adopt::check_attributes(&layer.upper())?;
    adopt::untie(&layer.upper(), &layer.work())?;
    let shown = root.root.display().to_string();
    layer.set_facts(LayerFacts::new(layer.facts.export, &root), false)?;
    writeln!(out, "{}'s layer on {} is adopted: the next boot mounts it over {shown}", layer.pi, layer.image)
}

pub(super) fn export(state: &State, layer: &Layer, file: &Path, out: &mut impl Write) -> io::Result<()> {
    let _lock = lock(layer, "export")?;
    adopt::check_attributes(&layer.upper())?;
    if file == Path::new("-") {
        return archive::export(state, layer, out);
    }
    // Keys and password hashes: only the owner may read the file. Its name appears once it is whole.
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    let new = tempfile::Builder::new().prefix(".pinetboot-").tempfile_in(dir).map_err(named)?;
    archive::export(state, layer, BufWriter::new(new.as_file()))?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| named(error.error))?;
    durable::sync(dir)?;
    writeln!(out, "{} holds {}'s layer on {}, with its keys", file.display(), layer.pi, layer.image)
}

pub(super) fn import(state: &State, options: &Import, out: &mut impl Write) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", options.file.display()));
    let pi = options.pi.as_deref().map(|name| {
        pis::pi(name)
            .ok_or_else(|| io::Error::other(format!("{name} is no serial number or MAC address of a Pi")))
    });
    let target = Target { pi: pi.transpose()?, image: options.image.clone() };
    state.make()?;
    let layer = if options.file == Path::new("-") {
        archive::import(state, io::stdin().lock(), &target)
    } else {
        let file = File::open(&options.file).map_err(named)?;
        archive::import(state, BufReader::new(file), &target)
    };
    let layer = layer.map_err(named)?;
    writeln!(out, "{} has a layer on {}: its next boot mounts it", layer.pi, layer.image)?;
    match base_of(state, &layer) {
        Ok(root) if !layer.facts.content.fits(&root.content()) => writeln!(
            out,
            "Image {} is not the one on which the layer was made. If its content is the same, run 'pinetboot roots adopt {}'",
            layer.image, layer.pi
        ),
        Ok(_) => Ok(()),
        Err(error) => writeln!(out, "{error}"),
    }
}

/// The state of a directory with images that has had no Pi yet.
pub(super) fn new_state(dir: &Path) -> Option<State> {
    let images = Images::open(dir).ok()??;
    Some(State::at(&images.state()))
}

/// The base image of a layer.
pub(super) fn base_of(state: &State, layer: &Layer) -> io::Result<BaseImage> {
    let images = state.dir().parent().map(Images::at);
    let named = images.and_then(|images| BaseImages::Images(images).named(&layer.image));
    let at = || BaseImage::at(&layer.facts.root).ok();
    named.or_else(at).ok_or_else(|| {
        let (root, image) = (layer.facts.root.display(), &layer.image);
        io::Error::other(format!("the base image {image} is not there: no root file system at {root}"))
    })
}

fn lock(layer: &Layer, what: &str) -> io::Result<File> {
    layer.lock()?.ok_or_else(|| {
        let pi = layer.pi;
        io::Error::other(format!(
            "{pi} has its root mounted, which allows no {what}. Shut {pi} down and wait five minutes, or stop the server"
        ))
    })
}
