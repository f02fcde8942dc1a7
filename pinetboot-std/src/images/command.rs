//! `pinetboot images`: lists imported images, or puts one in use.

use std::path::PathBuf;

use super::Images;
use crate::exit::{Exit, Failed};

/// Options of `images`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of images
    pub dir: PathBuf,

    /// Put this image in use: Pis get it when they boot next
    #[arg(long = "use", value_name = "NAME")]
    pub use_: Option<String>,
}

/// Puts an image in use if one is named, and lists all.
///
/// # Errors
///
/// If there are none, or not that one.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let failed = |error| Failed::new(Exit::Tree, error);
    let images = Images::open(&options.dir).map_err(failed)?.ok_or_else(|| {
        let dir = options.dir.display();
        Failed::new(
            Exit::Tree,
            format!("{dir}: no image is there. To import one: pinetboot import IMAGE --to {dir}"),
        )
    })?;
    if let Some(name) = &options.use_ {
        images.make_current(name).map_err(failed)?;
    }
    let current = images.current().map_err(failed)?.map(|image| image.name);
    for image in images.list().map_err(failed)? {
        let mark = if current.as_ref() == Some(&image.name) { '*' } else { ' ' };
        let facts = &image.facts;
        println!("{mark} {}  {}  imported {}", image.name, facts.release, facts.imported);
    }
    Ok(Exit::Success)
}
