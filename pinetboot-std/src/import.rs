//! `pinetboot import`: copies an OS image to a directory that Pis boot from.
//!
//! ```text
//! pinetboot_image: container -> partitions -> {fat, ext4} -> {boot, root} -> root_writer
//!                                                  |                             ^
//!                                                  v                             |
//!                                             SystemView ---> changes -----------+
//! ```
//!
//! The image is only read, by the crate `pinetboot_image`: nothing is mounted and no loop device is needed. The changes for
//! the network are planned from the image before anything is written, and applied after all files are copied.

mod arguments;
pub mod boot;
mod capabilities;
pub mod catalogue;
pub mod changes;
pub mod check;
mod download;
mod error;
mod opened;
mod request;
mod root;
mod root_writer;
pub mod source;
mod staging;
mod stop;

use std::path::Path;

use indicatif::{DecimalBytes, MultiProgress, ProgressBar, ProgressStyle};
use pinetboot_image::ext4::Ext4;
use pinetboot_image::{ImageError, Layout, Partitions};
use tracing::Level;

pub use arguments::Args;
pub(crate) use changes::is_user_name;
pub use error::ImportError;
pub use request::Request;
pub(crate) use request::ssh_keys;
pub use root::{CopyReport, RootCopy};
pub use root_writer::RootWriter;
pub use stop::Stop;

use crate::exit::{Exit, Failed};
use crate::images::Images;
use crate::output::{self, Output, tell};
use crate::signals;
use crate::space::{Reserve, Space};
use check::BootCheck;
use opened::OpenImage;
use staging::Staging;

/// Imports an image, or lists the changes.
///
/// # Errors
///
/// The cause and the remedy. A failed import leaves no files.
pub fn run(options: &Args, quiet: bool) -> Result<Exit, Failed> {
    let request = Request::resolve(options)?;
    let images = Images::at(&request.to);
    if request.if_missing
        && let Some(there) = images.find(&request.name).map_err(|error| Failed::new(Exit::Tree, error))?
    {
        if request.current {
            images.make_current(&there.name).map_err(|error| Failed::new(Exit::Failure, error))?;
        }
        writeln!(output::stdout(), "{} exists already, and is unchanged.", there.name)?;
        return Ok(Exit::Success);
    }
    let stop = Stop::default();
    let stopping = stop.clone();
    signals::on_stop(move || stopping.stop()).map_err(|error| Failed::new(Exit::Failure, error))?;
    match import(&request, &stop, &Bars::new(quiet)) {
        Err(_) if stop.is_stopped() => {
            tell(Level::ERROR, "pinetboot: import interrupted; no image was written");
            Ok(Exit::Interrupted)
        }
        done => done,
    }
}

/// Carries out a request, until `stop` is set.
///
/// Returns [`Exit::WouldNotBoot`] if no Pi boots the result: it is kept, and does not become the current image.
///
/// # Errors
///
/// The cause and the remedy. A failed import leaves no files.
pub fn import(request: &Request, stop: &Stop, bars: &Bars) -> Result<Exit, Failed> {
    let images = Images::at(&request.to);
    let staging = if request.dry_run { None } else { Some(Staging::begin(&images, request)?) };
    let unpack_in = staging.as_ref().map_or_else(|| existing(&request.to), Staging::images);
    let failed = |error: ImportError| Failed::new(Exit::Failure, format!("{}: {error}", request.source));
    let read_failed = |error: ImageError| failed(error.into());

    let published = request.published_sha256()?;
    // One of the two is enough.
    let image_sum = request.sums.image.as_ref().filter(|_| published.is_none());
    let mut image = request
        .source
        .open(unpack_in, image_sum.is_some(), stop.clone(), bars.unpack.clone())
        .map_err(|error| read_failed(error.into()))?;
    let partitions = Partitions::read(&image).map_err(read_failed)?;
    let layout = Layout::find(&image, &partitions, request.choice).map_err(read_failed)?;
    let root = layout.root.as_ref().filter(|_| !request.boot_only);
    let end = layout.boot.iter().chain(root).map(|partition| partition.extent.end()).max().unwrap_or(0);
    let opened = OpenImage::open(&image, &layout, &partitions, request.boot_only).map_err(read_failed)?;
    let plan = opened.plan(request).map_err(read_failed)?;
    if request.dry_run {
        let out = &mut output::stdout();
        return if request.json { plan.print_json(out) } else { plan.print(out) }.map(|()| Exit::Success);
    }
    let Some(staging) = staging else { return Ok(Exit::Success) };

    image.keep_until(end);
    let need = opened.size().map_err(failed)?.saturating_add(if image.is_packed() { end } else { 0 });
    enough_space(staging.images(), need, request.disk_reserve)?;
    bars.write.set_length(opened.root().map_or(0, Ext4::used));
    let report = opened.copy(&staging, &plan, stop, bars).map_err(failed)?;
    let written = opened.root().map_or(0, Ext4::used);
    drop(opened);
    let sha256 = image.finish().map_err(|error| read_failed(error.into()))?;
    bars.finish();
    for (found, published, of) in [
        (Some(&sha256), published.as_ref(), "the SHA-256"),
        (image.content_sha256().as_ref(), image_sum, "the SHA-256 of the unpacked image"),
    ] {
        if let (Some(found), Some(published)) = (found, published)
            && found != published
        {
            let message = format!(
                "{}: {of} is {found}, not {published} as published. Download the image again",
                request.source
            );
            return Err(Failed::new(Exit::Failure, message));
        }
    }

    bars.check.set_length(written);
    staging.list_files(stop, &bars.check)?;
    bars.check.finish_and_clear();
    let facts = plan.facts(request, &report, sha256);
    staging.commit(&facts)?;
    let current = choose_current(&images, request, &plan.check)?;
    let out = &mut output::stdout();
    plan.print_done(&facts, out)?;
    print_use(current.as_deref(), request, out)
}

/// Makes the image current if requested, or if none is and a Pi boots the image. Returns the current image; `None` if the import is not
/// put into use, for no Pi boots it.
fn choose_current(images: &Images, request: &Request, check: &BootCheck) -> Result<Option<String>, Failed> {
    if !check.boots() && !request.current {
        return Ok(None);
    }
    if let Some(current) = images.current().ok().flatten().filter(|_| !request.current) {
        return Ok(Some(current.name));
    }
    images.make_current(&request.name).map_err(|error| Failed::new(Exit::Failure, error))?;
    Ok(Some(request.name.clone()))
}

fn print_use(current: Option<&str>, request: &Request, out: &mut Output) -> Result<Exit, Failed> {
    let (name, to) = (&request.name, request.to.display());
    match current {
        None => {
            let why = format!(
                "pinetboot: imported as {name}, and not put into use: no Pi boots it, as the notes above say. To put it into use \
                 all the same: pinetboot images {to} --use {name}"
            );
            tell(Level::ERROR, why);
            return Ok(Exit::WouldNotBoot);
        }
        Some(current) if current == name => {
            writeln!(out, "Imported as {name}, the current image. To serve it: pinetboot serve {to}")?;
        }
        Some(current) => writeln!(
            out,
            "Imported as {name}. Current image: {current}. To switch: pinetboot images {to} --use {name}"
        )?,
    }
    Ok(Exit::Success)
}

fn enough_space(directory: &Path, need: u64, reserve: Reserve) -> Result<(), Failed> {
    let free = Space::of(directory, reserve).and_then(|space| space.measure());
    let free = free.map_err(|error| Failed::new(Exit::Failure, error))?;
    if free.for_clients >= need {
        return Ok(());
    }
    let message = format!(
        "{}: not enough space: {} free, and the import needs up to {}. A reserve of {} stays free for the server \
         (--disk-reserve)",
        directory.display(),
        DecimalBytes(free.available),
        DecimalBytes(need),
        DecimalBytes(reserve.of(free.total))
    );
    Err(Failed::new(Exit::Failure, message))
}

/// `path`, or its nearest ancestor that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."))
}

/// Progress bars.
#[derive(Debug, Clone)]
pub struct Bars {
    unpack: ProgressBar,
    write: ProgressBar,
    check: ProgressBar,
}

impl Bars {
    /// Draws on standard error if that is a terminal; hidden if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let bars = MultiProgress::with_draw_target(output::progress(quiet));
        let bar = |message| bars.add(ProgressBar::new(0).with_style(style()).with_message(message));
        Self { unpack: bar("reading"), write: bar("writing"), check: bar("hashing") }
    }

    fn finish(&self) {
        self.unpack.finish_and_clear();
        self.write.finish_and_clear();
    }
}

/// The style of a bar that counts bytes.
pub(crate) fn style() -> ProgressStyle {
    let style =
        ProgressStyle::with_template("{msg:7} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}
