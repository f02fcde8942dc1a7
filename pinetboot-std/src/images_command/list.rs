//! The list of images, as text and as JSON.

use indicatif::DecimalBytes;
use serde::Serialize;

use super::users::{Users, short};
use crate::exit::{Exit, Failed};
use crate::images::Images;
use crate::output::Output;
use crate::space::used_by;
use crate::text::shown;
use crate::time;

#[derive(Debug, Serialize)]
struct List<'a> {
    images: &'a [Row<'a>],
}

/// An image in the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row<'a> {
    name: &'a str,
    current: bool,
    previous: bool,
    release: &'a str,
    source: &'a str,
    sha256: &'a str,
    imported: &'a str,
    /// On the disk, without layers.
    bytes: u64,
    has_root: bool,
    /// Pis with a layer.
    layers: &'a [String],
    /// Tables of the configuration.
    tables: &'a [String],
}

/// Prints the list.
pub(super) fn print(images: &Images, users: &Users, json: bool, out: &mut Output) -> Result<(), Failed> {
    let tree = |error| Failed::new(Exit::Tree, error);
    let current = images.current().map_err(tree)?.map(|image| image.name);
    let previous = images.previous().map_err(tree)?.map(|image| image.name);
    let all = images.list().map_err(tree)?;
    let rows: Vec<_> = all
        .iter()
        .map(|image| Row {
            name: &image.name,
            current: current.as_ref() == Some(&image.name),
            previous: previous.as_ref() == Some(&image.name),
            release: &image.facts.release,
            source: &image.facts.source,
            sha256: &image.facts.sha256,
            imported: &image.facts.imported,
            bytes: used_by(&images.place(&image.name)),
            has_root: image.facts.has_root,
            layers: users.layers_on(&image.name),
            tables: users.tables_of(&image.name),
        })
        .collect();
    if json { out.json(&List { images: &rows }) } else { print_text(&rows, out) }
}

fn print_text(rows: &[Row<'_>], out: &mut Output) -> Result<(), Failed> {
    for row in rows {
        let mark = if row.current { '*' } else { ' ' };
        let (release, imported) = (shown(row.release), time::local(row.imported));
        let imported = shown(&imported);
        write!(out, "{mark} {}  {release}  imported {imported}  {}", row.name, DecimalBytes(row.bytes))?;
        if row.previous {
            write!(out, "  previous")?;
        }
        if !row.layers.is_empty() {
            write!(out, "  layers of {}", short(row.layers))?;
        }
        if !row.tables.is_empty() {
            write!(out, "  named by {}", short(row.tables))?;
        }
        writeln!(out)?;
    }
    Ok(())
}
