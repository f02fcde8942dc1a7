//! The images on the disk, the Pis that use each, and the room that is left.
//!
//! The files are read in a thread of their own: a disk that hangs keeps no other answer back. The sizes of layers, whose directory the
//! process of the page may not enter, come with the status of each Pi.

use std::path::PathBuf;

use indicatif::DecimalBytes;
use serde::{Deserialize, Serialize};

use super::actions::Actions;
use super::aside::Aside;
use super::html::Html;
use crate::images::Images;
use crate::live::Status;
use crate::pis::{Pis, pi};
use crate::space::{Reserve, Space};

/// What is read from the disk.
#[derive(Debug)]
pub(super) struct Disk {
    images: Option<Images>,
    place: PathBuf,
    aside: Aside,
}

/// The document of `/api/v1/images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Shelf {
    schema: u32,
    disk: DiskStatus,
    images: Vec<ImageStatus>,
}

/// The disk of the served directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DiskStatus {
    place: String,
    /// Bytes.
    total: Option<u64>,
    /// Bytes.
    free: Option<u64>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ImageStatus {
    name: String,
    system: String,
    imported: String,
    current: bool,
    has_root: bool,
    /// Names of the Pis whose next boot gets it, by the inventory, or as the current one.
    next_boot_of: Vec<String>,
    /// Names of the Pis with a layer on it that was made since the server's start.
    layers_of: Vec<String>,
}

impl Disk {
    pub(super) fn new(images: Option<Images>, place: PathBuf) -> Self {
        Self { images, place, aside: Aside::default() }
    }

    /// Reads the disk; fails while an earlier reading has not ended.
    pub(super) async fn read(&self, status: Status, pis: &Pis) -> Result<Shelf, String> {
        let inventory = pis.inventory();
        let chosen = |id: &str| pi(id).and_then(|pi| inventory.settings(pi).image);
        let users: Vec<_> = status
            .pis
            .into_iter()
            .map(|pi| User { chosen: chosen(&pi.id), name: pi.name, layer: pi.image })
            .collect();
        let (images, place) = (self.images.clone(), self.place.clone());
        self.aside.run("images", BUSY, move || shelf(images.as_ref(), place, &users)).await
    }
}

/// A Pi, as a user of images.
#[derive(Debug)]
struct User {
    name: String,
    /// By the inventory.
    chosen: Option<String>,
    /// The image of its layer.
    layer: Option<String>,
}

fn shelf(images: Option<&Images>, place: PathBuf, users: &[User]) -> Result<Shelf, String> {
    let free = Space::of(&place, Reserve::default()).and_then(|space| space.measure()).ok();
    let (total, free) = (free.as_ref().map(|free| free.total), free.as_ref().map(|free| free.available));
    let disk = DiskStatus { place: place.display().to_string(), total, free };
    let failed = |error: crate::images::ImagesError| error.to_string();
    let list = images.map_or(Ok(Vec::new()), Images::list).map_err(failed)?;
    let current = images.map_or(Ok(None), Images::current).map_err(failed)?.map(|image| image.name);
    let names = |is: &dyn Fn(&User) -> bool| -> Vec<String> {
        users.iter().filter(|user| is(user)).map(|user| user.name.clone()).collect()
    };
    let images = list.into_iter().map(|image| {
        let name = Some(image.name.as_str());
        ImageStatus {
            current: current.as_deref() == name,
            next_boot_of: names(&|user| user.chosen.as_deref().or(current.as_deref()) == name),
            layers_of: names(&|user| user.layer.as_deref() == name),
            system: image.facts.pretty_name,
            imported: image.facts.imported,
            has_root: image.facts.has_root,
            name: image.name,
        }
    });
    Ok(Shelf { schema: 1, disk, images: images.collect() })
}

/// The page, with a form for each image that may become the current one.
pub(super) fn page(shelf: &Shelf, actions: Option<&Actions>) -> Html {
    let mut html = Html::default();
    html.markup("<h2>Disk</h2><p>").text(&shelf.disk.place).markup(": ");
    match (shelf.disk.free, shelf.disk.total) {
        (Some(free), Some(total)) => {
            html.text(DecimalBytes(free)).markup(" free of ").text(DecimalBytes(total)).markup("</p>");
            html.markup("<p><progress aria-label=\"used part of the disk\" max=\"").text(total);
            html.markup("\" value=\"").text(total.saturating_sub(free)).markup("\"></progress></p>");
        }
        _ => {
            html.markup("the room on it cannot be read</p>");
        }
    }
    html.markup("<h2>Images</h2>");
    if shelf.images.is_empty() {
        html.markup("<p>This server serves one tree, and no imported images.</p>");
        return html;
    }
    html.markup(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Images\"><table><thead><tr>",
    );
    for title in ["image", "system", "next boot of", "layers of"] {
        html.markup("<th scope=\"col\">").markup(title).markup("</th>");
    }
    html.markup("</tr></thead><tbody>");
    for image in &shelf.images {
        html.markup("<tr><th scope=\"row\">").text(&image.name);
        if image.current {
            html.markup(" <small>current</small>");
        } else if let Some(actions) = actions {
            html.markup("<br>").html(actions.of_image(&image.name));
        }
        html.markup("</th><td>").text(&image.system).markup("<br><small>imported ").text(&image.imported);
        html.markup("</small></td>");
        for pis in [&image.next_boot_of, &image.layers_of] {
            html.markup("<td>").text(few(pis)).markup("</td>");
        }
        html.markup("</tr>");
    }
    html.markup("</tbody></table></div>");
    html.markup("<p><small>Layers are those that were made since the server's start; <code>pinetboot roots list</code> shows all, with their sizes.</small></p>");
    html
}

/// The first names, and how many more.
fn few(names: &[String]) -> String {
    let shown = names.iter().take(MOST_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMES) {
        _ if names.is_empty() => "-".into(),
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

const MOST_NAMES: usize = 20;
const BUSY: &str = "the disk is being read: ask again. If that goes on, the disk does not answer";
