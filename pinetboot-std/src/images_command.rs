//! `pinetboot images`: lists, checks, renames and removes imported images, and selects the current one.

mod directory_view;
mod list;
mod users;
mod verify;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::exit::{Exit, Failed};
use crate::images::{self, Image, Images};
use crate::output::{self, Output};
use crate::roots::State;
use users::Users;

/// Options of `images`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Args {
    /// Directory of images, to list [default: .]
    pub dir: Option<PathBuf>,

    /// Make this the current image, which Pis get at their next boot [default: list only]
    #[arg(long = "use", value_name = "NAME")]
    pub use_: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// The action.
    #[command(subcommand)]
    pub command: Option<Action>,
}

/// The actions on images.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the images, their size on the disk, and the Pis with a layer on each
    List {
        /// The images.
        #[command(flatten)]
        of: Directory,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List the images that `pinetboot import` downloads by name, of Raspberry Pi Imager's list
    #[cfg(feature = "import")]
    Available {
        /// Address of the list
        #[arg(long, value_name = "URL", default_value = crate::import::catalogue::LIST)]
        list_url: String,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make an image the current one, which Pis get at their next boot
    Use {
        /// The image [required without --previous]
        #[arg(required_unless_present = "previous", value_name = "NAME")]
        name: Option<String>,

        /// Go back to the image that was the current one before
        #[arg(long, conflicts_with = "name")]
        previous: bool,

        /// The images.
        #[command(flatten)]
        of: Place,
    },
    /// Remove an image; refused if it is the current one or a Pi uses it
    Remove {
        /// The image
        name: String,

        /// The images.
        #[command(flatten)]
        of: Directory,
    },
    /// Rename an image; refused if a Pi uses it
    Rename {
        /// The image
        name: String,

        /// Its new name: letters, digits and ._+-
        #[arg(value_name = "NEW")]
        new: String,

        /// The images.
        #[command(flatten)]
        of: Directory,
    },
    /// Report whether a Pi would boot an image, and compare all its files with the checksums of the import
    Verify {
        /// The image [default: the current one]
        name: Option<String>,

        /// The images.
        #[command(flatten)]
        of: Place,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Names a directory of images.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// Directory of images
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// Names a directory of images, and who may use them.
#[derive(Debug, Clone, clap::Args)]
pub struct Directory {
    /// The images.
    #[command(flatten)]
    pub place: Place,

    /// State directory of the server, with the layers of Pis [default: DIR/state]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// Configuration of the server, whose inventory may name images [default: layers alone tell who uses an image]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Place {
    fn images(&self) -> Result<Images, Failed> {
        Images::open(&self.dir).map_err(failed)?.ok_or_else(|| self.no_image())
    }

    fn no_image(&self) -> Failed {
        if let Err(failed) = readable(&self.dir) {
            return failed;
        }
        let dir = self.dir.display();
        let full = self.dir.canonicalize().unwrap_or_default();
        let holds_images = |above: &&Path| matches!(Images::open(above), Ok(Some(_)));
        let message = match full.ancestors().skip(1).take(2).find(holds_images) {
            Some(above) => format!("{dir}: holds no image; the directory of images is {}", above.display()),
            None => format!("{dir}: holds no image. To import one: pinetboot import IMAGE --to {dir}"),
        };
        Failed::new(Exit::Tree, message)
    }
}

impl Directory {
    fn images(&self) -> Result<Images, Failed> {
        self.place.images()
    }

    fn users(&self, images: &Images) -> Result<Users, Failed> {
        // A state that is named is there: without its layers, an image in use would be removed.
        self.state.as_deref().map_or(Ok(()), readable)?;
        let state = self.state.clone().unwrap_or_else(|| images.state());
        Users::find(&State::at(&state), self.config.as_deref())
    }
}

/// Runs the action.
///
/// # Errors
///
/// The obstacle and the remedy.
pub fn run(options: &Args, quiet: bool) -> Result<Exit, Failed> {
    let out = &mut output::stdout();
    match &options.command {
        None => {
            let dir = options.dir.clone().unwrap_or_else(|| ".".into());
            let of = Directory { place: Place { dir }, state: None, config: None };
            let images = of.images()?;
            if let Some(name) = &options.use_ {
                use_image(&images, name, out)?;
            }
            list::print(&images, &of.users(&images)?, options.json, out)?;
        }
        Some(Action::List { of, json }) => {
            let images = of.images()?;
            list::print(&images, &of.users(&images)?, *json, out)?;
        }
        #[cfg(feature = "import")]
        Some(Action::Available { list_url, json }) => {
            return crate::import::catalogue::print(list_url, *json, out);
        }
        Some(Action::Use { name, of, .. }) => {
            let images = of.images()?;
            let name = match name {
                Some(name) => name.clone(),
                None => previous(&images)?.name,
            };
            use_image(&images, &name, out)?;
        }
        Some(Action::Remove { name, of }) => remove(of, name, out)?,
        Some(Action::Rename { name, new, of }) => rename(of, name, new, out)?,
        Some(Action::Verify { name, of, json }) => {
            let images = of.images()?;
            let image = match name {
                Some(name) => find(&images, name)?,
                None => current(&images)?,
            };
            return verify::verify(&images, &image, (*json, quiet), out);
        }
    }
    Ok(Exit::Success)
}

fn use_image(images: &Images, name: &str, out: &mut Output) -> Result<(), Failed> {
    writeln!(out, "{}", images.switch(name).map_err(failed)?)
}

fn previous(images: &Images) -> Result<Image, Failed> {
    images.previous().map_err(failed)?.ok_or_else(|| {
        Failed::new(Exit::Usage, "no image was the current one before, or it was removed: name the image")
    })
}

fn remove(of: &Directory, name: &str, out: &mut Output) -> Result<(), Failed> {
    let images = of.images()?;
    find(&images, name)?;
    if images.current().ok().flatten().is_some_and(|current| current.name == name) {
        let dir = of.place.dir.display();
        let message = format!(
            "{name} is the current image. Make another one current first: pinetboot images use NAME --dir {dir}"
        );
        return Err(Failed::new(Exit::Usage, message));
    }
    of.users(&images)?.refuse_if_used(name, &of.place.dir, "removed")?;
    images.remove(name).map_err(failed)?;
    writeln!(out, "{name} is removed")
}

fn rename(of: &Directory, name: &str, new: &str, out: &mut Output) -> Result<(), Failed> {
    let images = of.images()?;
    find(&images, name)?;
    if !images::is_name(new) {
        let message = format!("{new} is not an image name: use letters, digits and ._+- only");
        return Err(Failed::new(Exit::Usage, message));
    }
    of.users(&images)?.refuse_if_used(name, &of.place.dir, "renamed")?;
    images.rename(name, new).map_err(failed)?;
    writeln!(out, "{name} is renamed to {new}")
}

fn current(images: &Images) -> Result<Image, Failed> {
    let current = images.current().map_err(failed)?;
    current.ok_or_else(|| Failed::new(Exit::Usage, "no image is the current one: name the image"))
}

fn find(images: &Images, name: &str) -> Result<Image, Failed> {
    images.find(name).map_err(failed)?.ok_or_else(|| {
        let names: Vec<_> = images.list().unwrap_or_default().into_iter().map(|image| image.name).collect();
        Failed::new(Exit::Usage, format!("no image {name}; there are {}", names.join(", ")))
    })
}

/// Fails unless the path is a directory that can be read.
fn readable(dir: &Path) -> Result<(), Failed> {
    match dir.read_dir() {
        Ok(_) => Ok(()),
        Err(error) => Err(Failed::new(Exit::Tree, format!("{}: {error}", dir.display()))),
    }
}

fn failed(error: images::ImagesError) -> Failed {
    Failed::new(Exit::Tree, error)
}

/// The directory of images in a path, for a message.
fn at(dir: &Path) -> impl std::fmt::Display {
    dir.display()
}

const EXAMPLES: &str = "\
Examples:
  sudo pinetboot images /srv/pi                                 list the images
  pinetboot images available                                    list the images to download by name
  sudo pinetboot images use v2 --dir /srv/pi                    Pis get v2 at their next boot
  sudo pinetboot images use --previous --dir /srv/pi            and back
  sudo pinetboot images remove v1 --dir /srv/pi --config /etc/pinetboot.toml";
