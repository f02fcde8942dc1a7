//! Where an image comes from: a file, a block device, standard input, an address on the web, or a name of Raspberry Pi Imager's list.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use pinetboot_image::ImageFile;

use super::catalogue;
use super::download::{self, Download};
use super::stop::Stop;
use crate::exit::{Exit, Failed};
use crate::images::is_name;

/// The source of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A block device, such as a card in a reader.
    Device(PathBuf),
    /// Standard input.
    Stdin,
    /// An address on the web.
    Url(String),
}

/// The SHA-256s that an image must have, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Of the file, compressed or not.
    pub file: Option<String>,
    /// Of the unpacked image; of a download alone.
    pub image: Option<String>,
}

impl Source {
    /// The source that a command line names, and the SHA-256s that the list of Raspberry Pi Imager has.
    ///
    /// # Errors
    ///
    /// If the file does not exist, and the text is no name of the list.
    pub fn parse(text: &Path, list: &str) -> Result<(Self, Sums), Failed> {
        if text == Path::new("-") {
            return Ok((Self::Stdin, Sums::default()));
        }
        let usage = |why: String| Failed::new(Exit::Usage, format!("{}: {why}", text.display()));
        match (fs::metadata(text), text.to_str()) {
            (_, Some(url)) if download::is_url(url) => Ok((Self::Url(url.to_owned()), Sums::default())),
            (Ok(metadata), _) if metadata.is_file() => Ok((Self::File(text.to_owned()), Sums::default())),
            (Ok(metadata), _) if metadata.file_type().is_block_device() => {
                Ok((Self::Device(text.to_owned()), Sums::default()))
            }
            (Ok(metadata), _) if metadata.is_dir() => Err(usage(
                "a directory. Give an image; a directory is served as it stands: pinetboot serve DIR, or serve --nfs ROOT".into(),
            )),
            (Ok(_), _) => Err(usage("neither a file nor a block device. A stream is read from standard input: -".into())),
            (Err(error), Some(name)) if error.kind() == io::ErrorKind::NotFound && catalogue::is_name(name) => {
                let entry = catalogue::find(list, name)?;
                Ok((Self::Url(entry.url), Sums { file: entry.sha256, image: entry.image_sha256 }))
            }
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Err(usage("no such file".into())),
            (Err(error), _) => Err(usage(error.to_string())),
        }
    }

    /// The name of the file, for the image's facts.
    pub fn file_name(&self) -> String {
        match self {
            Self::File(path) | Self::Device(path) => {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
            Self::Stdin => "standard input".into(),
            Self::Url(url) => last_segment(url).to_owned(),
        }
    }

    /// The image's name: `2026-04-13-raspios-trixie-arm64-lite` of `...img.xz`. A device and standard input have none.
    pub fn image_name(&self) -> Option<String> {
        match self {
            Self::File(_) | Self::Url(_) => name_of(&self.file_name()),
            Self::Device(_) | Self::Stdin => None,
        }
    }

    /// Opens the image, and unpacks it in a directory; `stop` ends the reading, and `bar` shows its progress.
    /// A download is hashed unpacked too if `hash_content`.
    pub(super) fn open(
        &self,
        unpack_in: &Path,
        hash_content: bool,
        stop: Stop,
        bar: ProgressBar,
    ) -> io::Result<ImageFile> {
        let shown = bar.clone();
        let progress = move |read| {
            shown.set_position(read);
            stop.check()
        };
        match self {
            Self::File(path) => {
                bar.set_length(fs::metadata(path)?.len());
                ImageFile::open(path, unpack_in, progress)
            }
            Self::Device(path) => {
                let mut device = exclusive(path)?;
                bar.set_length(device.seek(SeekFrom::End(0))?);
                Ok(ImageFile::of_device(device))
            }
            Self::Stdin => ImageFile::from_stream(io::stdin(), unpack_in, false, progress),
            Self::Url(url) => {
                let (download, len) = Download::start(url)?;
                if let Some(len) = len {
                    bar.set_length(len);
                }
                ImageFile::from_stream(download, unpack_in, hash_content, progress)
            }
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) | Self::Device(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("standard input"),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// Opens a block device unless one of its file systems is mounted: open(2), "O_EXCL without O_CREAT if pathname refers to a block
/// device".
fn exclusive(path: &Path) -> io::Result<File> {
    let exclusive = nix::fcntl::OFlag::O_EXCL.bits();
    OpenOptions::new().read(true).custom_flags(exclusive).open(path).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => io::Error::new(
            error.kind(),
            "a file system on the device is mounted, and may change: unmount it first",
        ),
        io::ErrorKind::NotFound => io::Error::other("the device holds no medium"),
        _ => error,
    })
}

fn last_segment(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or_default()
}

fn name_of(file: &str) -> Option<String> {
    let mut name = file;
    for end in [".xz", ".gz", ".zst", ".bz2", ".zip", ".tar", ".tgz", ".img"] {
        let without = name.len().checked_sub(end.len()).and_then(|at| name.split_at_checked(at));
        name = without.filter(|(_, last)| last.eq_ignore_ascii_case(end)).map_or(name, |(first, _)| first);
    }
    let name: String = name
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() || "._+-".contains(char) { char } else { '-' })
        .take(64)
        .collect();
    Some(name).filter(|name| is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files() {
        for (file, name) in [
            ("2026-04-13-raspios-trixie-arm64-lite.img.xz", "2026-04-13-raspios-trixie-arm64-lite"),
            (
                "ubuntu-24.04.3-preinstalled-server-arm64+raspi.img.xz",
                "ubuntu-24.04.3-preinstalled-server-arm64+raspi",
            ),
            ("image_2026-01-01-my image.zip", "image_2026-01-01-my-image"),
            ("X.IMG", "X"),
            ("yocto.wic.img.bz2", "yocto.wic"),
        ] {
            assert_eq!(name_of(file).as_deref(), Some(name));
        }
        assert_eq!(name_of(".img"), None);
        assert_eq!(name_of(&format!("{}.img", "x".repeat(99))).unwrap().len(), 64);
        let url = Source::Url("https://example.org/a/os.img.xz?mirror=1".into());
        assert_eq!(url.image_name().as_deref(), Some("os"));
    }

    #[test]
    fn sources_are_told_apart() {
        let parse = |text: &str| Source::parse(Path::new(text), "").map(|(source, _)| source);
        assert_eq!(parse("-").unwrap(), Source::Stdin);
        assert_eq!(parse("https://x.org/a.img").unwrap(), Source::Url("https://x.org/a.img".into()));
        assert!(parse("/").unwrap_err().message.contains("directory"));
        assert!(parse("/dev/null").unwrap_err().message.contains("standard input"));
        assert!(parse("/none/a.img").unwrap_err().message.contains("no such file"));
    }
}
