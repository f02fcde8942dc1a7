//! Read access to the files of a boot tree or of a root, on a disk or in an image, within a budget.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use xattr::FileExt;

use crate::beneath::within;
use crate::simulate::BootFiles;
use crate::text::shown;

/// Files by their path from the top, without a leading slash. Symbolic links are followed and stay inside, as for a process in a
/// `chroot`.
pub(crate) trait Source {
    /// A regular file's first bytes; `None` if no regular file has that path.
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>>;

    /// The names in a directory that are UTF-8, sorted; empty if no directory has that path.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// A regular file's length in bytes; `None` if no regular file has that path.
    fn len(&self, path: &str) -> io::Result<Option<u64>>;

    /// Whether a regular file has the attribute `security.capability`, and neither setuid nor setgid bit.
    fn has_capability(&self, path: &str) -> io::Result<bool>;
}

/// The limits of one check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes to read.
    pub(crate) bytes: u64,
    /// Time.
    pub(crate) time: Duration,
}

/// A part of a source, with a budget that all parts share.
#[derive(Clone)]
pub(crate) struct Tree<'a> {
    source: &'a dyn Source,
    /// The top of this part, with a slash at its end; empty for all.
    top: String,
    budget: &'a Budget,
}

/// What is left of the limits, and the faults so far.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: Cell<u64>,
    end: Instant,
    faults: RefCell<BTreeMap<String, String>>,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { bytes: Cell::new(limits.bytes), end: Instant::now() + limits.time, faults: RefCell::default() }
    }

    /// Whether files were not read, for want of time or bytes: their absence means nothing then.
    pub(crate) fn is_spent(&self) -> bool {
        self.bytes.get() == 0 || Instant::now() >= self.end
    }

    /// The paths that could not be read, with the reason.
    pub(crate) fn faults(&self) -> Vec<(String, String)> {
        self.faults.borrow().iter().take(MOST_FAULTS).map(|(path, why)| (path.clone(), why.clone())).collect()
    }
}

impl<'a> Tree<'a> {
    pub(crate) fn new(source: &'a dyn Source, budget: &'a Budget) -> Self {
        Self { source, top: String::new(), budget }
    }

    /// The part beneath a directory.
    pub(crate) fn beneath(&self, directory: &str) -> Self {
        let directory = directory.trim_matches('/');
        let top = if directory.is_empty() { self.top.clone() } else { format!("{}{directory}/", self.top) };
        Self { top, ..self.clone() }
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.budget.is_spent()
    }

    /// Whether a path could not be read.
    pub(crate) fn has_faults(&self) -> bool {
        !self.budget.faults.borrow().is_empty()
    }

    /// A regular file's first bytes.
    pub(crate) fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let left = self.budget.bytes.get();
        let content = self.ask(path, |path| self.source.read(path, limit.min(left)))??;
        self.budget.bytes.set(left.saturating_sub(content.len() as u64));
        Some(content)
    }

    /// A file's text, of 1 MiB at most; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        Some(String::from_utf8_lossy(&self.read(path, TEXT)?).into_owned())
    }

    /// The names in a directory.
    pub(crate) fn list(&self, path: &str) -> Vec<String> {
        self.ask(path, |path| self.source.list(path)).unwrap_or_default()
    }

    /// A regular file's length in bytes.
    pub(crate) fn len(&self, path: &str) -> Option<u64> {
        self.ask(path, |path| self.source.len(path))?
    }

    /// Whether a regular file has that path.
    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.len(path).is_some()
    }

    /// Whether a directory entry has that path, a dangling link included.
    pub(crate) fn has(&self, path: &str) -> bool {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.list(directory).iter().any(|entry| entry == name)
    }

    pub(crate) fn has_capability(&self, path: &str) -> bool {
        self.ask(path, |path| self.source.has_capability(path)).unwrap_or(false)
    }

    fn ask<T>(&self, path: &str, ask: impl FnOnce(&str) -> io::Result<T>) -> Option<T> {
        if self.is_spent() {
            return None;
        }
        let path = format!("{}{}", self.top, path.trim_start_matches('/'));
        ask(path.trim_end_matches('/'))
            .map_err(|error| {
                self.budget.faults.borrow_mut().insert(shown(&path).to_string(), error.to_string())
            })
            .ok()
    }
}

/// Boot files as the bootloader requests them.
impl BootFiles for Tree<'_> {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(Tree::read(self, path, BOOT_FILE))
    }

    fn len(&self, path: &str) -> io::Result<Option<u64>> {
        Ok(Tree::len(self, path))
    }
}

/// A directory of this machine.
#[derive(Debug)]
pub(crate) struct Directory {
    top: OwnedFd,
    /// The path of boot files: a server follows a link by a path of this machine, as long as that leads into the tree.
    served: Option<PathBuf>,
}

impl Directory {
    /// Opens a root: absolute links start at its top.
    ///
    /// # Errors
    ///
    /// If the directory cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { top: OwnedFd::from(File::open(path)?), served: None })
    }

    /// Opens boot files: absolute links are paths of this machine.
    ///
    /// # Errors
    ///
    /// If the directory cannot be opened.
    pub(crate) fn of_boot_files(path: &Path) -> io::Result<Self> {
        Ok(Self { served: Some(path.canonicalize()?), ..Self::open(path)? })
    }

    /// The path without links of one that leads by absolute links to another place in the tree.
    fn by_absolute_links(&self, path: &Path) -> Option<PathBuf> {
        let top = self.served.as_ref()?;
        let found = top.join(path).canonicalize().ok()?;
        found.strip_prefix(top).map(Path::to_owned).ok()
    }

    /// Opens a path; `None` if nothing is there.
    fn find(&self, path: &str, flags: OFlag) -> io::Result<Option<File>> {
        let path = if path.is_empty() { Path::new(".") } else { Path::new(path) };
        let open = |path: &Path| within(&self.top, path, flags);
        let opened = match open(path) {
            Err(Errno::ENOENT) => self.by_absolute_links(path).map_or(Err(Errno::ENOENT), |path| open(&path)),
            opened => opened,
        };
        match opened {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO | Errno::ENAMETOOLONG) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a regular file without the right to read it, so that no device or pipe is touched.
    fn regular(&self, path: &str) -> io::Result<Option<File>> {
        Ok(match self.find(path, OFlag::O_PATH)? {
            Some(file) if file.metadata()?.is_file() => Some(file),
            _ => None,
        })
    }
}

impl Source for Directory {
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        if self.regular(path)?.is_none() {
            return Ok(None);
        }
        let Some(file) = self.find(path, READ)? else { return Ok(None) };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut content = Vec::new();
        file.take(limit).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let Some(directory) = self.find(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(directory)?.take(MOST_NAMES) {
            let name = entry?.file_name().to_str().ok().map(str::to_owned);
            names.extend(name.filter(|name| name != "." && name != ".."));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, path: &str) -> io::Result<Option<u64>> {
        self.regular(path)?.map(|file| Ok(file.metadata()?.len())).transpose()
    }

    fn has_capability(&self, path: &str) -> io::Result<bool> {
        let Some(file) = self.find(path, READ)? else { return Ok(false) };
        let status = file.metadata()?;
        let is_plain = status.is_file() && status.permissions().mode() & 0o6000 == 0;
        Ok(is_plain && file.get_xattr("security.capability").ok().flatten().is_some())
    }
}

/// Bytes of a boot file that a boot code reads: as many as of a long config.txt, an overlay map or a device tree.
const BOOT_FILE: u64 = 256 << 10;
/// Without O_NONBLOCK the opening of a pipe would wait for a writer.
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);
const TEXT: u64 = 1 << 20;
const MOST_NAMES: usize = 100_000;
const MOST_FAULTS: usize = 8;
