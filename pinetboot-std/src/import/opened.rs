//! An opened image: its file systems, and the plan of its import.

use std::io;

use pinetboot_image::ext4::Ext4;
use pinetboot_image::{Fat, ImageError, ImageFile, Layout, Part, Partition, Partitions, ReadAt, SystemView};
use serde::Serialize;

use super::boot::{BootCopy, BootSize};
use super::changes::{self, Context, Planned, Release, System, View};
use super::check::BootCheck;
use super::error::ImportError;
use super::root::{CopyReport, RootCopy};
use super::root_writer::RootWriter;
use super::staging::Staging;
use super::{Bars, Request, Stop};
use crate::exit::Failed;
use crate::images::ImageFacts;
use crate::output::Output;
use crate::text::{lines, shown};
use crate::time;

/// The file systems of an image.
pub(super) struct OpenImage<'a> {
    boot: Option<Fat<&'a ImageFile>>,
    root: Option<Ext4<Part<&'a ImageFile>>>,
    /// About the choice of the partitions.
    notes: Vec<String>,
}

impl<'a> OpenImage<'a> {
    pub(super) fn open(
        image: &'a ImageFile,
        layout: &Layout,
        partitions: &Partitions,
        boot_only: bool,
    ) -> Result<Self, ImageError> {
        let part = |partition: &Partition| Part::new(image, partition.extent.start, partition.extent.len);
        if boot_only && layout.boot.is_none() {
            let others = others(partitions);
            return Err(ImageError::Layout(format!("the image has no FAT partition to boot from{others}")));
        }
        if !boot_only && layout.root.is_none() {
            return Err(ImageError::Layout(format!(
                "the image has no ext4 root, and no other file system can be imported as one{}. To import the boot files alone: \
                 --boot-only",
                others(partitions)
            )));
        }
        let boot = layout.boot.as_ref().map(|boot| Fat::open(part(boot))).transpose()?;
        let root = layout.root.as_ref().filter(|_| !boot_only);
        let root = root.map(|root| Ext4::open(part(root), root.extent.len)).transpose()?;
        let mut notes = layout.notes.clone();
        if boot.is_none() {
            notes.push(format!(
                "no FAT partition: boot files are looked for in the root{}",
                others(partitions)
            ));
        }
        Ok(Self { boot, root, notes })
    }

    /// The root.
    pub(super) const fn root(&self) -> Option<&Ext4<Part<&'a ImageFile>>> {
        self.root.as_ref()
    }

    /// Recognises the system, and plans its changes.
    pub(super) fn plan(&self, request: &Request) -> Result<ImportPlan, ImageError> {
        let view = self.view()?;
        let mut system = System::recognise(&view)?;
        if request.boot_only {
            system = System { release: Release::Unknown, id: "boot-only".into(), pretty_name: String::new() };
        }
        let boot = view.boot_dir().to_owned();
        let context = Context { view: &view, release: system.release, boot: &boot, wishes: &request.wishes };
        let planned = changes::plan(&context)?;
        let mut notes = self.notes.clone();
        notes.extend(changes::notes(&context)?);
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
        let check = BootCheck::of(&view, &boot, self.root.is_some());
        let check = check.map_err(|failed| ImageError::Io(io::Error::other(failed)))?;
        Ok(ImportPlan { system, boot, planned, notes, kernel_mounts_root, cmdline, check })
    }

    /// The root with the boot partition at the place that the image's own fstab names.
    fn view(&self) -> Result<SystemView<'_, impl ReadAt, impl ReadAt>, ImageError> {
        let root = SystemView::new(self.root.as_ref(), self.boot.as_ref(), "");
        let fstab = root.text("etc/fstab")?.unwrap_or_default();
        let mut boot_dir = changes::boot_place(&fstab).unwrap_or_else(|| DEFAULT_BOOT_DIR.into());
        if self.boot.is_none()
            && !root.has(&format!("{boot_dir}/config.txt"))?
            && root.has("boot/config.txt")?
        {
            boot_dir = "boot".into(); // one partition with both, as of Armbian
        }
        Ok(SystemView::new(self.root.as_ref(), self.boot.as_ref(), boot_dir))
    }

    /// Bytes that the files need on disk.
    pub(super) fn size(&self) -> Result<u64, ImportError> {
        let mut size = BootSize::default();
        if let Some(boot) = &self.boot {
            boot.walk(&mut size)?;
        }
        Ok(size.bytes.saturating_add(self.root.as_ref().map_or(0, Ext4::used)))
    }

    pub(super) fn copy(
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

/// A plan, as JSON.
#[derive(Debug, Serialize)]
struct Plan<'a> {
    release: &'a str,
    pretty_name: &'a str,
    /// The mount point of the boot partition.
    boot: &'a str,
    boots: bool,
    boots_on: Vec<&'static str>,
    changes: Vec<Change>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Change {
    step: &'static str,
    change: String,
}

/// The recognised system and its planned changes.
pub(super) struct ImportPlan {
    system: System,
    /// The mount point of the boot partition.
    boot: String,
    planned: Vec<Planned>,
    notes: Vec<String>,
    kernel_mounts_root: bool,
    cmdline: String,
    /// Whether a Pi would boot the result.
    pub(super) check: BootCheck,
}

impl ImportPlan {
    fn changes(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.planned
            .iter()
            .flat_map(|planned| planned.edits.iter().map(|edit| (planned.step, edit.to_string())))
    }

    pub(super) fn facts(&self, request: &Request, report: &CopyReport, sha256: String) -> ImageFacts {
        ImageFacts {
            release: self.system.id.clone(),
            pretty_name: self.system.pretty_name.clone(),
            source: request.source.file_name(),
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

    /// The plan as one JSON object.
    pub(super) fn print_json(&self, out: &mut Output) -> Result<(), Failed> {
        let changes = self.changes().map(|(step, change)| Change { step, change }).collect();
        let notes = self.notes.iter().cloned().chain(self.check.lines()).collect();
        out.json(&Plan {
            release: &self.system.id,
            pretty_name: &self.system.pretty_name,
            boot: &self.boot,
            boots: self.check.boots(),
            boots_on: self.check.names(),
            changes,
            notes,
        })
    }

    pub(super) fn print(&self, out: &mut Output) -> Result<(), Failed> {
        writeln!(out, "{}", self.title())?;
        if self.planned.is_empty() {
            writeln!(out, "No changes.")?;
        }
        self.print_changes(out)
    }

    pub(super) fn print_done(&self, facts: &ImageFacts, out: &mut Output) -> Result<(), Failed> {
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
        match self.check.boots_on() {
            models if models.is_empty() => writeln!(out, "Boots on: no Pi")?,
            models => writeln!(out, "Boots on: {models}")?,
        }
        for line in self.check.lines() {
            writeln!(out, "Note: {line}")?;
        }
        Ok(())
    }
}

/// The partitions and their content, for an error: `: partition 1 exFAT, 2 ext4`.
fn others(partitions: &Partitions) -> String {
    format!(": {partitions}")
}

const DEFAULT_BOOT_DIR: &str = "boot/firmware";
