//! Actions on whole layers: adopt, export, import and reset.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use super::{LayerName, failure};
use crate::durable;
use crate::exit::{Exit, Failed};
use crate::images::Images;
use crate::output;
use crate::pis;
use crate::roots::actions;
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

pub(super) fn reset(layer: &Layer, options: &Reset) -> Result<(), Failed> {
    let Layer { pi, image, .. } = layer;
    let out = &mut output::stdout();
    if options.cancel {
        return writeln!(out, "{}", actions::unmark(layer).map_err(failure)?);
    }
    if !options.now {
        return writeln!(out, "{}", actions::mark(layer).map_err(failure)?);
    }
    let _lock = lock(layer, "reset").map_err(failure)?;
    let removed = layer.put_aside().and_then(|aside| {
        remove_tree(&aside)?;
        // What the Pi wrote does not come back after a power cut.
        durable::sync(aside.parent().unwrap_or(&aside))
    });
    removed.map_err(failure)?;
    writeln!(out, "{pi}'s layer on {image} is reset: {pi} boots the unchanged image next")
}

pub(super) fn adopt(state: &State, layer: &mut Layer) -> Result<(), Failed> {
    let _lock = lock(layer, "adoption").map_err(failure)?;
    let base_image = base_of(state, layer).map_err(failure)?;
    adopt::check_attributes(&layer.upper())
        .and_then(|()| adopt::untie(&layer.upper(), &layer.work()))
        .and_then(|()| layer.set_facts(LayerFacts::new(layer.facts.export, &base_image), false))
        .map_err(failure)?;
    let (root, Layer { pi, image, .. }) = (base_image.root.display(), layer);
    writeln!(output::stdout(), "{pi}'s layer on {image} is adopted: the next boot mounts it over {root}")
}

pub(super) fn export(state: &State, layer: &Layer, file: &Path) -> Result<(), Failed> {
    let _lock = lock(layer, "export").map_err(failure)?;
    adopt::check_attributes(&layer.upper()).map_err(failure)?;
    let mut out = output::stdout();
    if file == Path::new("-") {
        return archive::export(state, layer, BufWriter::new(out)).map_err(failure);
    }
    write_file(state, layer, file)
        .map_err(|error| failure(io::Error::new(error.kind(), format!("{}: {error}", file.display()))))?;
    writeln!(out, "{} holds {}'s layer on {}, with its keys", file.display(), layer.pi, layer.image)
}

/// Writes a file that only its owner may read, for its keys and password hashes. The name appears once the file is whole.
fn write_file(state: &State, layer: &Layer, file: &Path) -> io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = tempfile::Builder::new().prefix(".pinetboot-").tempfile_in(dir)?;
    archive::export(state, layer, BufWriter::new(new.as_file()))?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    durable::sync(dir)
}

pub(super) fn import(state: &State, options: &Import) -> Result<(), Failed> {
    let file = &options.file;
    let named =
        |error: io::Error| failure(io::Error::new(error.kind(), format!("{}: {error}", file.display())));
    let pi = options.pi.as_deref().map(|name| {
        let message = || format!("{name} is no serial number or MAC address of a Pi");
        pis::pi(name).ok_or_else(|| Failed::new(Exit::Usage, message()))
    });
    let target = Target { pi: pi.transpose()?, image: options.image.clone() };
    state.make().map_err(failure)?;
    let layer = if file == Path::new("-") {
        archive::import(state, io::stdin().lock(), &target)
    } else {
        File::open(file).and_then(|file| archive::import(state, BufReader::new(file), &target))
    };
    let layer = layer.map_err(named)?;
    let Layer { pi, image, .. } = &layer;
    let out = &mut output::stdout();
    writeln!(out, "{pi} has a layer on {image}: its next boot mounts it")?;
    match base_of(state, &layer) {
        Ok(base_image) if !layer.facts.content.fits(&base_image.content()) => writeln!(
            out,
            "Image {image} is not the one on which the layer was made. If its content is the same, run 'pinetboot roots adopt {pi}'"
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
