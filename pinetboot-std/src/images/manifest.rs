//! The manifest of an image: its files as they were written, in the format of mtree(5).
//!
//! ```text
//! #mtree
//! ./etc/hostname type=file mode=0644 uid=0 gid=0 size=12 sha256digest=5891b5b5..
//! ./etc/mtab type=link mode=0777 uid=0 gid=0 link=../proc/self/mounts
//! ```
//!
//! Not listed: times and extended attributes.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, major, minor};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::beneath::beneath;

/// The files of an image, by their names.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    files: BTreeMap<String, String>,
    /// The content of all files, in bytes.
    bytes: u64,
}

/// A file that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The path; bytes other than printable ASCII are escaped as `\ooo`.
    pub(crate) path: String,
    pub(crate) kind: DifferenceKind,
}

/// The kind of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DifferenceKind {
    /// These keywords of mtree(5) differ.
    Changed(Vec<String>),
    Missing,
    Added,
}

/// Writes the manifest of the tree `root` to the new file `to`. `progress` hears of the bytes that were read, and may stop the work.
///
/// # Errors
///
/// The path that cannot be read, or the error of `progress`.
pub(crate) fn write(root: &Path, to: &Path, progress: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create_new(to)?);
    writeln!(out, "#mtree")?;
    visit(root, progress, |path, facts| writeln!(out, "{path} {facts}"))?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

impl Manifest {
    /// Reads a manifest; `None` if the file does not exist.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or a line has no keyword.
    pub(crate) fn read(file: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut manifest = Self::default();
        for (line, number) in BufReader::new(file).lines().zip(1..) {
            let line = line?;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (path, facts) = line
                .split_once(' ')
                .ok_or_else(|| io::Error::other(format!("line {number} has a path and no keyword")))?;
            let size = keyword(facts, "size").and_then(|size| size.parse::<u64>().ok()).unwrap_or(0);
            manifest.bytes = manifest.bytes.saturating_add(size);
            manifest.files.insert(path.to_owned(), facts.to_owned());
        }
        Ok(Some(manifest))
    }

    /// The number of files, directories among them.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// The content of all files, in bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Compares the tree `root` with the manifest; the differences are in order of their paths.
    ///
    /// # Errors
    ///
    /// As for [`write`].
    pub(crate) fn compare(
        mut self,
        root: &Path,
        progress: impl FnMut(u64) -> io::Result<()>,
    ) -> io::Result<Vec<Difference>> {
        let mut differences = Vec::new();
        visit(root, progress, |path, facts| {
            let kind = match self.files.remove(path) {
                Some(listed) if listed == facts => return Ok(()),
                Some(listed) => DifferenceKind::Changed(changed(&listed, facts)),
                None => DifferenceKind::Added,
            };
            differences.push(Difference { path: path.to_owned(), kind });
            Ok(())
        })?;
        let missing = self.files.into_keys().map(|path| Difference { path, kind: DifferenceKind::Missing });
        differences.extend(missing);
        differences.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(differences)
    }
}

/// Calls `take` with the path and the keywords of each file of a tree.
fn visit(
    root: &Path,
    mut progress: impl FnMut(u64) -> io::Result<()>,
    mut take: impl FnMut(&str, &str) -> io::Result<()>,
) -> io::Result<()> {
    let top = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut buffer = vec![0; 1 << 18];
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry.map_err(io::Error::from)?;
        let place = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let path = name(place);
        let facts = entry
            .metadata()
            .map_err(io::Error::from)
            .and_then(|metadata| facts(&top, place, &metadata, entry.path(), &mut buffer, &mut progress));
        let facts = facts.map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
        take(&path, &facts)?;
    }
    Ok(())
}

/// The keywords of a file.
fn facts(
    top: &OwnedFd,
    place: &Path,
    metadata: &Metadata,
    path: &Path,
    buffer: &mut [u8],
    progress: &mut impl FnMut(u64) -> io::Result<()>,
) -> io::Result<String> {
    let kind = metadata.file_type();
    let (kind, more) = if kind.is_file() {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let digest = digest(File::from(beneath(top, place, flags)?), buffer, progress)?;
        ("file", format!(" size={} sha256digest={digest}", metadata.len()))
    } else if kind.is_dir() {
        ("dir", String::new())
    } else if kind.is_symlink() {
        ("link", format!(" link={}", escaped(fs::read_link(path)?.as_os_str().as_bytes())))
    } else if kind.is_char_device() || kind.is_block_device() {
        let number = metadata.rdev();
        let device = format!(" device=linux,{},{}", major(number), minor(number));
        (if kind.is_char_device() { "char" } else { "block" }, device)
    } else {
        (if kind.is_fifo() { "fifo" } else { "socket" }, String::new())
    };
    let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
    Ok(format!("type={kind} mode={mode:04o} uid={uid} gid={gid}{more}"))
}

/// The SHA-256 of a file's content, in hexadecimal digits.
fn digest(
    mut file: File,
    buffer: &mut [u8],
    progress: &mut impl FnMut(u64) -> io::Result<()>,
) -> io::Result<String> {
    let mut hash = Sha256::new();
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(len) => {
                hash.update(buffer.get(..len).unwrap_or_default());
                progress(len as u64)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A path as mtree(5) writes it: `.`, `./etc`.
fn name(place: &Path) -> String {
    let place = place.as_os_str().as_bytes();
    if place.is_empty() { ".".into() } else { format!("./{}", escaped(place)) }
}

/// Text of printable ASCII: other bytes, the backslash and `#` are `\ooo` (mtree(5), vis(3)).
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_graphic() && !b"\\#".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("\\{byte:03o}"));
        }
        text
    })
}

/// The names of the keywords that differ.
fn changed(before: &str, now: &str) -> Vec<String> {
    let both = before.split(' ').chain(now.split(' '));
    let mut all: Vec<_> = both.filter_map(|fact| Some(fact.split_once('=')?.0.to_owned())).collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|name| keyword(before, name) != keyword(now, name));
    all
}

/// The value of a keyword.
fn keyword<'a>(facts: &'a str, name: &str) -> Option<&'a str> {
    facts
        .split(' ')
        .filter_map(|fact| fact.split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn tree() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let (root, list) = (directory.path().join("root"), directory.path().join("files.mtree"));
        fs::create_dir_all(root.join("etc/a b")).unwrap();
        fs::write(root.join("etc/hostname"), "hello\n").unwrap();
        fs::write(root.join("etc/kept"), "kept").unwrap();
        symlink("../x y#", root.join("etc/link")).unwrap();
        nix::unistd::mkfifo(&root.join("fifo"), Mode::S_IRWXU).unwrap();
        write(&root, &list, |_| Ok(())).unwrap();
        (directory, root, list)
    }

    #[test]
    fn the_manifest_has_the_form_of_mtree() {
        let (_directory, root, list) = tree();
        let text = fs::read_to_string(&list).unwrap();
        let (uid, gid) = (fs::metadata(&root).unwrap().uid(), fs::metadata(&root).unwrap().gid());
        let sum = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"; // of "hello\n"
        let mode = fs::metadata(root.join("etc/hostname")).unwrap().mode() & 0o7777;
        for line in [
            "#mtree\n",
            "\n./etc/a\\040b type=dir ",
            &format!(
                "\n./etc/hostname type=file mode={mode:04o} uid={uid} gid={gid} size=6 sha256digest={sum}\n"
            ),
            &format!("\n./etc/link type=link mode=0777 uid={uid} gid={gid} link=../x\\040y\\043\n"),
            "\n./fifo type=fifo ",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
        let manifest = Manifest::read(&list).unwrap().unwrap();
        assert_eq!((manifest.len(), manifest.bytes()), (7, 10));
        assert_eq!(manifest.compare(&root, |_| Ok(())).unwrap(), []);
    }

    #[test]
    fn each_kind_of_change_is_found() {
        let (_directory, root, list) = tree();
        fs::write(root.join("etc/hostname"), "hellO\n").unwrap();
        fs::set_permissions(root.join("etc/kept"), Permissions::from_mode(0o4711)).unwrap();
        fs::remove_file(root.join("etc/link")).unwrap();
        fs::remove_file(root.join("fifo")).unwrap();
        fs::write(root.join("fifo"), "").unwrap();
        fs::write(root.join("etc/new\n"), "").unwrap();
        let mut read = 0;
        let manifest = Manifest::read(&list).unwrap().unwrap();
        let differences = manifest.compare(&root, |len| {
            read += len;
            Ok(())
        });
        let changed =
            |names: &[&str]| DifferenceKind::Changed(names.iter().map(|name| (*name).to_owned()).collect());
        let found: Vec<_> = differences.unwrap().into_iter().map(|found| (found.path, found.kind)).collect();
        let expected = [
            ("./etc/hostname", changed(&["sha256digest"])),
            ("./etc/kept", changed(&["mode"])),
            ("./etc/link", DifferenceKind::Missing),
            ("./etc/new\\012", DifferenceKind::Added),
            ("./fifo", changed(&["mode", "sha256digest", "size", "type"])),
        ];
        let expected = expected.map(|(path, kind)| (path.to_owned(), kind));
        assert_eq!(
            found.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            expected.iter().map(|(path, _)| path).collect::<Vec<_>>()
        );
        assert_eq!(found[..4], expected[..4]);
        assert!(matches!(&found[4].1, DifferenceKind::Changed(names) if names.contains(&"type".to_owned())));
        assert_eq!(read, 10);
    }

    #[test]
    fn without_a_manifest_nothing_is_compared() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Manifest::read(&directory.path().join("none")).unwrap().is_none());
        fs::write(directory.path().join("bad"), "./etc\n").unwrap();
        assert!(Manifest::read(&directory.path().join("bad")).is_err());
    }

    #[test]
    fn the_work_can_be_stopped() {
        let (directory, root, _) = tree();
        let stop = |_| Err(io::Error::other("interrupted"));
        let error = write(&root, &directory.path().join("other"), stop).unwrap_err();
        assert!(error.to_string().contains("interrupted"), "{error}");
    }
}
