//! What `pinetboot import` takes, as typed.

use std::path::PathBuf;

use super::changes::{is_host_name, is_user_name};
use crate::images;

/// Options of `import`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The image: .img, as it is or in .xz, .gz, .zst or .zip
    pub image: PathBuf,

    /// The directory of images; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,

    /// What to call the image [default: the file's name]
    #[arg(long, value_name = "NAME", value_parser = image_name)]
    pub name: Option<String>,

    /// Put it in use although another image is; the first one is anyway
    #[arg(long)]
    pub current: bool,

    /// Say what would be changed in the system, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Import only the boot partition's files, as they are: needs no root
    #[arg(long, conflicts_with_all = ["hostname", "user"])]
    pub boot_only: bool,

    /// The machine's name
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub hostname: Option<String>,

    /// Someone who may log in, with SSH on; asks for a password unless one of the next two is given
    #[arg(long, value_name = "NAME", value_parser = user_name)]
    pub user: Option<String>,

    /// Their password: the first line of this file; - is standard input
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,

    /// Their public SSH keys; without --password-file the only way in
    #[arg(long, value_name = "FILE", requires = "user")]
    pub ssh_key: Option<PathBuf>,
}

/// What an image may be called.
fn image_name(text: &str) -> Result<String, String> {
    let wrong = "expected up to 64 letters, digits, dots and dashes, like trixie-2026-04";
    if images::is_name(text) { Ok(text.into()) } else { Err(wrong.into()) }
}

fn host_name(text: &str) -> Result<String, String> {
    let wrong = "expected letters, digits and dashes, like pi-kitchen";
    if is_host_name(text) { Ok(text.into()) } else { Err(wrong.into()) }
}

fn user_name(text: &str) -> Result<String, String> {
    let wrong = "expected lower-case letters and digits, like ada";
    if is_user_name(text) { Ok(text.into()) } else { Err(wrong.into()) }
}

const EXAMPLES: &str = "\
Examples:
  sudo pinetboot import raspios-trixie.img.xz --to /srv/pi
  sudo pinetboot import raspios-trixie.img.xz --to /srv/pi --user ada --ssh-key ~/.ssh/id_ed25519.pub
  pinetboot import raspios-trixie.img.xz --to /srv/pi --dry-run
  sudo pinetboot import new.img.xz --to /srv/pi --name new && pinetboot images /srv/pi";
