//! `pinetboot images`: lists imported images, or makes one current.

use std::path::PathBuf;

use super::Images;
use crate::exit::{Exit, Failed};
use crate::output;
use crate::text::shown;
use crate::time;

/// Options of `images`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of images
    pub dir: PathBuf,

    /// Make this the current image, which Pis get at their next boot [default: list only]
    #[arg(long = "use", value_name = "NAME")]
    pub use_: Option<String>,
}

/// Makes the named image current, if one is named, and lists all images.
///
/// # Errors
///
/// If the directory holds no image, or not the named one.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let failed = |error| Failed::new(Exit::Tree, error);
    let images = Images::open(&options.dir).map_err(failed)?.ok_or_else(|| {
        let dir = options.dir.display();
        Failed::new(
            Exit::Tree,
            format!("{dir}: holds no image. To import one: pinetboot import IMAGE --to {dir}"),
        )
    })?;
    if let Some(name) = &options.use_ {
        images.make_current(name).map_err(failed)?;
    }
    let current = images.current().map_err(failed)?.map(|image| image.name);
    let out = &mut output::stdout();
    for image in images.list().map_err(failed)? {
        let mark = if current.as_ref() == Some(&image.name) { '*' } else { ' ' };
        let facts = &image.facts;
        writeln!(
            out,
            "{mark} {}  {}  imported {}",
            image.name,
            shown(&facts.release),
            shown(&time::local(&facts.imported))
        )?;
    }
    Ok(Exit::Success)
}
