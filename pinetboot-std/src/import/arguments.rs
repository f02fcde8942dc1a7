//! The command line of `pinetboot import`.

use std::path::PathBuf;

use super::changes::{is_host_name, is_user_name};
use super::{catalogue, download};
use crate::images;
use crate::space::Size;

/// Options of `import`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Image to import: an .img, plain or in .xz, .gz, .zst, .bz2, .zip or .tar; a card's device; an https address; a name of
    /// Raspberry Pi Imager's list, such as raspios-lite (`pinetboot images available` has all); - is standard input
    pub image: PathBuf,

    /// Directory of images; created if missing
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,

    /// Name of the image in that directory; required for a device and standard input [default: the file's name without its
    /// endings]
    #[arg(long, value_name = "NAME", value_parser = image_name)]
    pub name: Option<String>,

    /// Make this the current image, even if no Pi would boot it (the first import that a Pi boots always becomes current)
    #[arg(long)]
    pub current: bool,

    /// Succeed without an import if an image of that name exists
    #[arg(long)]
    pub if_missing: bool,

    /// Refuse an image with another SHA-256, 64 hexadecimal digits; of the file, compressed or not [default: the one published
    /// beside an address, or in the list]
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub sha256: Option<String>,

    /// Import the boot files of this partition [default: by autoboot.txt, or the first FAT with boot files]
    #[arg(long, value_name = "N")]
    pub boot_partition: Option<u32>,

    /// Import this partition as root [default: the ext4 with a system, by cmdline.txt among several]
    #[arg(long, value_name = "N", conflicts_with = "boot_only")]
    pub root_partition: Option<u32>,

    /// Address of the list of images by name
    #[arg(long, value_name = "URL", default_value = catalogue::LIST, hide_default_value = true)]
    pub list_url: String,

    /// List the changes to the system and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Print the changes of --dry-run as one JSON object
    #[arg(long, requires = "dry_run")]
    pub json: bool,

    /// Leave this much disk space free for the server, as `serve --disk-reserve` does. Size as in 500M or 2GiB; 0 disables
    /// [default: 5 % of the disk, at most 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub disk_reserve: Option<Size>,

    /// Import only the boot partition's files, unchanged. Needs no root privileges
    #[arg(long, conflicts_with_all = ["hostname", "user"])]
    pub boot_only: bool,

    /// Host name of the system [default: the image's]
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub hostname: Option<String>,

    /// Create this user and enable SSH. Prompts for a password unless --password-file or --ssh-key is given
    /// [default: no user is added]
    #[arg(long, value_name = "NAME", value_parser = user_name)]
    pub user: Option<String>,

    /// Read the user's password from the first line of this file; - is standard input [default: ask]
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,

    /// Let the user log in with the public SSH keys in this file; without --password-file, with nothing else
    /// [default: no keys]
    #[arg(long, value_name = "FILE", requires = "user")]
    pub ssh_key: Option<PathBuf>,
}

impl Args {
    /// The arguments of an import with all defaults.
    pub fn of(image: PathBuf, to: PathBuf) -> Self {
        Self {
            image,
            to,
            name: None,
            current: false,
            if_missing: false,
            sha256: None,
            boot_partition: None,
            root_partition: None,
            list_url: catalogue::LIST.into(),
            dry_run: false,
            json: false,
            disk_reserve: None,
            boot_only: false,
            hostname: None,
            user: None,
            password_file: None,
            ssh_key: None,
        }
    }
}

/// Parses a SHA-256.
fn sha256(text: &str) -> Result<String, String> {
    let wrong = "expected 64 hexadecimal digits";
    if download::is_sha256(text) { Ok(text.to_ascii_lowercase()) } else { Err(wrong.into()) }
}

/// Parses the name of an image.
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
