//! A system's files as they are in the image.

use pinetboot_image::{ImageError, ReadAt, SystemView};

/// A system's files, found as a process would whose root it is: through links, which stay inside. Paths start at the root,
/// without a slash in front.
pub trait View {
    /// A file's content, as far as a text file that anyone edits can be long; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ImageError>;

    /// The names in a directory, sorted, without those that are not UTF-8; none if it is none.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    fn list(&self, directory: &str) -> Result<Vec<String>, ImageError>;

    /// A file's text; `None` if there is none, or it is no UTF-8.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    fn text(&self, path: &str) -> Result<Option<String>, ImageError> {
        Ok(self.read(path)?.and_then(|content| String::from_utf8(content).ok()))
    }

    /// Whether there is something of that name, be it a link that leads nowhere.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    fn has(&self, path: &str) -> Result<bool, ImageError> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(self.list(directory)?.iter().any(|entry| entry == name))
    }

    /// Whether systemd has such a unit.
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
