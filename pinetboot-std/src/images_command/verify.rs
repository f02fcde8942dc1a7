//! `pinetboot images verify`: whether a Pi boots an image, and whether its files are as they were imported.

use std::fmt;

use indicatif::{DecimalBytes, ProgressBar};
use serde::Serialize;

use super::directory_view::DirectoryView;
use crate::exit::{Exit, Failed};
use crate::images::manifest::{Difference, DifferenceKind, Manifest};
use crate::images::{FILES, Image, Images};
use crate::import;
use crate::import::check::BootCheck;
use crate::output::{self, Output};

/// The result, as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    image: &'a str,
    boots: bool,
    boots_on: Vec<&'static str>,
    notes: Vec<String>,
    #[serde(flatten)]
    content: Option<Content>,
}

/// The files compared with the manifest.
#[derive(Debug, Serialize)]
struct Content {
    files: usize,
    bytes: u64,
    differences: Vec<Different>,
}

/// A file that is not as it was imported.
#[derive(Debug, Serialize)]
struct Different {
    path: String,
    difference: &'static str,
    /// Keywords of mtree(5).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    what: Vec<String>,
}

/// Verifies an image.
pub(super) fn verify(
    images: &Images,
    image: &Image,
    (json, quiet): (bool, bool),
    out: &mut Output,
) -> Result<Exit, Failed> {
    let tree = |error| Failed::new(Exit::Tree, format!("{}: {error}", image.root.display()));
    let view = DirectoryView::open(&image.root).map_err(tree)?;
    let check = BootCheck::of(&view, &image.facts.boot.to_string_lossy(), image.facts.has_root)?;
    let content = compare(images, image, quiet)?;
    let is_as_imported = content.as_ref().is_none_or(|content| content.differences.is_empty());
    let report = Report {
        image: &image.name,
        boots: check.boots(),
        boots_on: check.names(),
        notes: check.lines(),
        content,
    };
    if json { out.json(&report) } else { write!(out, "{report}") }?;
    Ok(match (check.boots(), is_as_imported) {
        (false, _) => Exit::WouldNotBoot,
        (true, false) => Exit::Tree,
        (true, true) => Exit::Success,
    })
}

/// Compares the files with the manifest; `None` without one.
fn compare(images: &Images, image: &Image, quiet: bool) -> Result<Option<Content>, Failed> {
    let file = images.place(&image.name).join(FILES);
    let failed = |error| Failed::new(Exit::Tree, format!("{}: {error}", file.display()));
    let Some(manifest) = Manifest::read(&file).map_err(failed)? else { return Ok(None) };
    let (files, bytes) = (manifest.len(), manifest.bytes());
    let bar = ProgressBar::with_draw_target(Some(bytes), output::progress(quiet))
        .with_style(import::style())
        .with_message("hashing");
    let differences = manifest.compare(&image.root, |read| {
        bar.inc(read);
        Ok(())
    });
    bar.finish_and_clear();
    let root = image.root.display();
    let differences = differences.map_err(|error| Failed::new(Exit::Tree, format!("{root}: {error}")))?;
    Ok(Some(Content { files, bytes, differences: differences.into_iter().map(Different::from).collect() }))
}

impl From<Difference> for Different {
    fn from(Difference { path, kind }: Difference) -> Self {
        let path = path.strip_prefix('.').filter(|path| !path.is_empty()).unwrap_or("/").to_owned();
        let (difference, what) = match kind {
            DifferenceKind::Changed(what) => ("changed", what),
            DifferenceKind::Missing => ("missing", Vec::new()),
            DifferenceKind::Added => ("added", Vec::new()),
        };
        Self { path, difference, what }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let models = self.boots_on.join(", ");
        writeln!(f, "{}: boots on {}", self.image, if models.is_empty() { "no Pi" } else { &models })?;
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        let Some(Content { files, bytes, differences }) = &self.content else {
            return writeln!(
                f,
                "  The files were not compared: an earlier version imported the image, and kept no checksums. Import the image again"
            );
        };
        let bytes = DecimalBytes(*bytes);
        if differences.is_empty() {
            return writeln!(f, "  {files} files with {bytes} are as they were imported");
        }
        writeln!(f, "  {} files are not as they were imported, of {files} with {bytes}:", differences.len())?;
        for Different { path, difference, what } in differences.iter().take(MOST_SHOWN) {
            write!(f, "    {difference:<8} {path}")?;
            match what.as_slice() {
                [] => writeln!(f)?,
                what => writeln!(f, " ({})", what.join(", "))?,
            }
        }
        match differences.len().checked_sub(MOST_SHOWN) {
            Some(more @ 1..) => writeln!(f, "    and {more} more (--json has all)"),
            _ => Ok(()),
        }
    }
}

const MOST_SHOWN: usize = 20;
