//! Read access to the system in an image.

use pinetboot_image::{ImageError, ReadAt, SystemView};

/// A system's files. Symbolic links are followed and stay inside, as for a process in a `chroot`. Paths start at the root,
/// without a leading slash.
pub trait View {
    /// A file's content, cut off at 1 MiB; `None` if no regular file has that path.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ImageError>;

    /// The names in a directory, sorted, without those that are not UTF-8; empty if no directory has that path.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    fn list(&self, directory: &str) -> Result<Vec<String>, ImageError>;

    /// A file's text; `None` if the file is missing or not UTF-8.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    fn text(&self, path: &str) -> Result<Option<String>, ImageError> {
        Ok(self.read(path)?.and_then(|content| String::from_utf8(content).ok()))
    }

    /// Whether a directory entry of that path exists; a dangling link counts.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    fn has(&self, path: &str) -> Result<bool, ImageError> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(self.list(directory)?.iter().any(|entry| entry == name))
    }

    /// Whether the system has that systemd unit, or an init script of that name.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    fn has_unit(&self, name: &str) -> Result<bool, ImageError> {
        for directory in ["usr/lib/systemd/system", "lib/systemd/system", "etc/systemd/system", "etc/init.d"]
        {
            if self.has(&format!("{directory}/{name}"))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl<R: ReadAt, B: ReadAt> View for SystemView<'_, R, B> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ImageError> {
        Self::read(self, path, MAX_LEN)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, ImageError> {
        Self::list(self, directory)
    }
}

/// The longest file that a step reads, in bytes: a kernel's configuration has 300 KB.
const MAX_LEN: u64 = 1 << 20;
