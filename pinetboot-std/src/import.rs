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
pub mod changes;
mod error;
mod request;
mod root;
mod root_writer;
mod staging;
mod stop;

use std::fs;
use std::io;
use std::path::Path;

use indicatif::{DecimalBytes, MultiProgress, ProgressBar, ProgressStyle};
use pinetboot_image::ext4::Ext4;
use pinetboot_image::{Extent, Fat, ImageError, ImageFile, Part, Partitions, ReadAt, SystemView};
use tracing::Level;

pub use arguments::Args;
pub use error::ImportError;
pub use request::Request;
pub use root::{CopyReport, RootCopy};
pub use root_writer::RootWriter;
pub use stop::Stop;

use crate::exit::{Exit, Failed};
use crate::images::{ImageFacts, Images};
use crate::output::{self, Output, tell};
use crate::signals;
use crate::space::{Reserve, Space};
use crate::text::{lines, shown};
use crate::time;
use boot::{BootCopy, BootSize};
use changes::{Context, Planned, Release, System, View};
use staging::Staging;

/// Imports an image, or lists the changes.
///
/// # Errors
///
/// The cause and the remedy. A failed import leaves no files.
pub fn run(options: &Args, quiet: bool) -> Result<Exit, Failed> {
    let request = Request::resolve(options)?;
    let stop = Stop::default();
    let stopping = stop.clone();
    signals::on_stop(move || stopping.stop()).map_err(|error| Failed::new(Exit::Failure, error))?;
    match import(&request, &stop, &Bars::new(quiet)) {
        Err(_) if stop.is_stopped() => {
            tell(Level::ERROR, "pinetboot: import interrupted; no image was written");
            Ok(Exit::Interrupted)
        }
        done => done.map(|()| Exit::Success),
    }
}

/// Carries out a request, until `stop` is set.
///
/// # Errors
///
/// The cause and the remedy. A failed import leaves no files.
pub fn import(request: &Request, stop: &Stop, bars: &Bars) -> Result<(), Failed> {
    let images = Images::at(&request.to);
    let staging = if request.dry_run { None } else { Some(Staging::begin(&images, request)?) };
    let unpack_in = staging.as_ref().map_or_else(|| existing(&request.to), Staging::images);
    let failed =
        |error: ImportError| Failed::new(Exit::Failure, format!("{}: {error}", request.image.display()));
    let read_failed = |error: ImageError| failed(error.into());

    let mut image = open(&request.image, unpack_in, stop.clone(), bars.unpack.clone())
        .map_err(|error| read_failed(error.into()))?;
    let partitions = Partitions::read(&image).map_err(read_failed)?;
    let ends = [partitions.boot, partitions.root.filter(|_| !request.boot_only)]
        .map(|part| part.map_or(0, Extent::end));
    let end = ends[0].max(ends[1]);
    let opened = OpenImage::open(&image, &partitions, request.boot_only).map_err(read_failed)?;
    let plan = opened.plan(request).map_err(read_failed)?;
    if request.dry_run {
        return plan.print(&mut output::stdout());
    }
    let Some(staging) = staging else { return Ok(()) };

    image.keep_until(end);
    let need = opened.size().map_err(failed)?.saturating_add(if image.is_packed() { end } else { 0 });
    enough_space(staging.images(), need, request.disk_reserve)?;
    bars.write.set_length(opened.root.as_ref().map_or(0, Ext4::used));
    let report = opened.copy(&staging, &plan, stop, bars).map_err(failed)?;
    drop(opened);
    let sha256 = image.finish().map_err(|error| read_failed(error.into()))?;
    bars.finish();

    let facts = plan.facts(request, &report, sha256);
    staging.commit(&facts)?;
    let current = choose_current(&images, request)?;
    let out = &mut output::stdout();
    plan.print_done(&facts, out)?;
    print_use(&current, request, out)
}

/// Opens the image file; `stop` ends the reading, and `bar` shows its progress.
fn open(path: &Path, unpack_in: &Path, stop: Stop, bar: ProgressBar) -> io::Result<ImageFile> {
    bar.set_length(fs::metadata(path)?.len());
    ImageFile::open(path, unpack_in, move |read| {
        bar.set_position(read);
        stop.check()
    })
}

/// The file systems of an image.
struct OpenImage<'a> {
    boot: Option<Fat<&'a ImageFile>>,
    root: Option<Ext4<Part<&'a ImageFile>>>,
}

impl<'a> OpenImage<'a> {
    fn open(image: &'a ImageFile, partitions: &Partitions, boot_only: bool) -> Result<Self, ImageError> {
        let part = |extent: Extent| Part::new(image, extent.start, extent.len);
        let boot = partitions.boot.map(|extent| Fat::open(part(extent))).transpose()?;
        let root = partitions.root.map(|extent| Ext4::open(part(extent), extent.len)).transpose();
        let (boot, root) = match (boot, root) {
            (None, _) if boot_only => {
                return Err(ImageError::Unsupported("the image has no FAT partition to boot from"));
            }
            (boot, _) if boot_only => (boot, None),
            (_, Ok(None)) => {
                return Err(ImageError::Unsupported(
                    "the image has no Linux partition. To import the boot files alone: --boot-only",
                ));
            }
            (boot, root) => (boot, root?),
        };
        Ok(Self { boot, root })
    }

    /// Recognises the system, and plans its changes.
    fn plan(&self, request: &Request) -> Result<ImportPlan, ImageError> {
        let view = self.view()?;
        let mut system = System::recognise(&view)?;
        if request.boot_only {
            system = System { release: Release::Unknown, id: "boot-only".into(), pretty_name: String::new() };
        }
        let boot = view.boot_dir().to_owned();
        let context = Context { view: &view, release: system.release, boot: &boot, wishes: &request.wishes };
        let planned = changes::plan(&context)?;
        let mut notes = changes::notes(&context)?;
        if system.release == Release::Unknown && !request.boot_only {
            notes.push(format!(
                "unknown system {}: imported unchanged, and may not boot from the network",
                shown(&system.id)
            ));
        }
        if system.release == Release::Unknown && !request.wishes.is_empty() {
            return Err(ImageError::Unsupported(
                "unknown system in the image: --hostname and --user need a known one",
            ));
        }
        let kernel_mounts_root = self.root.is_some() && changes::kernel_mounts_root(&view, system.release)?;
        let cmdline = changes::command_line_as_found(&context)?;
        Ok(ImportPlan { system, boot, planned, notes, kernel_mounts_root, cmdline })
    }

    /// The root with the boot partition at the place that the image's own fstab names.
    fn view(&self) -> Result<SystemView<'_, impl ReadAt, impl ReadAt>, ImageError> {
        let root = SystemView::new(self.root.as_ref(), self.boot.as_ref(), "");
        let fstab = root.text("etc/fstab")?.unwrap_or_default();
        let boot_dir = changes::boot_place(&fstab).unwrap_or_else(|| DEFAULT_BOOT_DIR.into());
        Ok(SystemView::new(self.root.as_ref(), self.boot.as_ref(), boot_dir))
    }

    /// Bytes that the files need on disk.
    fn size(&self) -> Result<u64, ImportError> {
        let mut size = BootSize::default();
        if let Some(boot) = &self.boot {
            boot.walk(&mut size)?;
        }
        Ok(size.bytes.saturating_add(self.root.as_ref().map_or(0, Ext4::used)))
    }

    fn copy(
        &self,
        staging: &Staging,
        plan: &ImportPlan,
        stop: &Stop,
        bars: &Bars,
    ) -> Result<CopyReport, ImportError> {
        let to = RootWriter::open(&staging.root()).map_err(|error| ImportError::write(b"", error))?;
        let without = if self.boot.is_some() { plan.boot.as_str() } else { "" };
        let report = match &self.root {
            Some(root) => RootCopy::new(root, &to, without, stop, &bars.write).run()?,
            None => CopyReport::default(),
        };
        let boot_error = |error: io::Error| ImportError::write(plan.boot.as_bytes(), error);
        changes::directories(&to, &plan.boot).map_err(boot_error)?;
        if let Some(boot) = &self.boot {
            let owner = self.root.as_ref().map(|_| (0, 0));
            boot.walk(&mut BootCopy { to: &to, place: &plan.boot, owner, stop })?;
        }
        for edit in plan.planned.iter().flat_map(|planned| &planned.edits) {
            changes::apply(edit, &to).map_err(|error| ImportError::write(edit.path().as_bytes(), error))?;
        }
        to.sync().map_err(|error| ImportError::write(b"", error))?;
        Ok(report)
    }
}

/// The recognised system and its planned changes.
struct ImportPlan {
    system: System,
    /// The mount point of the boot partition.
    boot: String,
    planned: Vec<Planned>,
    notes: Vec<String>,
    kernel_mounts_root: bool,
    cmdline: String,
}

impl ImportPlan {
    fn changes(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.planned
            .iter()
            .flat_map(|planned| planned.edits.iter().map(|edit| (planned.step, edit.to_string())))
    }

    fn facts(&self, request: &Request, report: &CopyReport, sha256: String) -> ImageFacts {
        ImageFacts {
            release: self.system.id.clone(),
            pretty_name: self.system.pretty_name.clone(),
            source: request.image.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            sha256,
            imported: time::now(),
            boot: self.boot.clone().into(),
            has_root: !request.boot_only,
            kernel_mounts_root: self.kernel_mounts_root,
            cmdline: self.cmdline.clone(),
            changes: self.changes().map(|(step, change)| format!("{step}: {change}")).collect(),
            lost_capabilities: report.capabilities.clone(),
        }
    }

    fn print(&self, out: &mut Output) -> Result<(), Failed> {
        writeln!(out, "{}", self.title())?;
        if self.planned.is_empty() {
            writeln!(out, "No changes.")?;
        }
        self.print_changes(out)
    }

    fn print_done(&self, facts: &ImageFacts, out: &mut Output) -> Result<(), Failed> {
        writeln!(out, "{}", self.title())?;
        self.print_changes(out)?;
        if !facts.lost_capabilities.is_empty() {
            writeln!(out, "NFS does not carry the capabilities of:")?;
            for file in &facts.lost_capabilities {
                writeln!(out, "  {}", shown(file))?;
            }
        }
        Ok(())
    }

    fn title(&self) -> String {
        match &self.system {
            System { id, pretty_name, .. } if pretty_name.is_empty() => shown(id).to_string(),
            System { id, pretty_name, .. } => format!("{}: {}", shown(id), shown(pretty_name)),
        }
    }

    fn print_changes(&self, out: &mut Output) -> Result<(), Failed> {
        for (step, change) in self.changes() {
            writeln!(out, "  {step:<17} {}", shown(&change))?;
        }
        for note in &self.notes {
            writeln!(out, "Note: {}", lines(note))?;
        }
        Ok(())
    }
}

/// Makes the image current if requested or if none is, and returns the name of the current image.
fn choose_current(images: &Images, request: &Request) -> Result<String, Failed> {
    if let Some(current) = images.current().ok().flatten().filter(|_| !request.current) {
        return Ok(current.name);
    }
    images.make_current(&request.name).map_err(|error| Failed::new(Exit::Failure, error))?;
    Ok(request.name.clone())
}

fn print_use(current: &str, request: &Request, out: &mut Output) -> Result<(), Failed> {
    let (name, to) = (&request.name, request.to.display());
    if current == name {
        return writeln!(out, "Imported as {name}, the current image. To serve it: pinetboot serve {to}");
    }
    writeln!(
        out,
        "Imported as {name}. Current image: {current}. To switch: pinetboot images {to} --use {name}"
    )
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

const DEFAULT_BOOT_DIR: &str = "boot/firmware";

/// Progress bars.
#[derive(Debug, Clone)]
pub struct Bars {
    unpack: ProgressBar,
    write: ProgressBar,
}

impl Bars {
    /// Draws on standard error if that is a terminal; hidden if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let bars = MultiProgress::with_draw_target(output::progress(quiet));
        let style =
            ProgressStyle::with_template("{msg:7} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = |message| bars.add(ProgressBar::new(0).with_style(style.clone()).with_message(message));
        Self { unpack: bar("reading"), write: bar("writing") }
    }

    fn finish(&self) {
        self.unpack.finish_and_clear();
        self.write.finish_and_clear();
    }
}
