//! Makes a layer from an archive of any origin.
//!
//! Each file is made anew in a directory that openat2(2) opens beneath the new layer, without links; so no name and no link of an
//! archive leads elsewhere. Memory holds one file's records, up to 1 MiB; the disk holds no more than the archive's bytes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, ResolveFlag, open, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, linkat, symlinkat, syncfs};
use tar::{Archive, Entry, EntryType};

use super::{END, HEAD, Head, IDENTITY, MOST, Target, UPPER, VERSION, is_carried, pax};
use crate::beneath::beneath_by;
use crate::durable;
use crate::pis;
use crate::roots::facts::LayerFacts;
use crate::roots::layer::{HALF_MADE, Layer, State, lock_directory, private_dir, remove_tree};
use crate::roots::made::Made;

/// Makes a layer.
///
/// # Errors
///
/// The reason; nothing is left of the layer.
pub(in crate::roots) fn import(state: &State, from: impl Read, target: &Target) -> io::Result<Layer> {
    let mut archive = Archive::new(from);
    let mut files = Files { entries: archive.entries()?.raw(true) };
    let (name, mut head) = files.next()?.ok_or_else(|| wrong("it is empty"))?;
    if name.path != Path::new(HEAD) {
        return Err(wrong("it does not begin with layer.toml"));
    }
    let head: Head = toml::from_str(&text(&mut head)?).map_err(|error| wrong(error.message()))?;
    if head.version != VERSION {
        return Err(wrong("a newer pinetboot wrote it: upgrade pinetboot"));
    }
    let pi = target.pi.or_else(|| pis::pi(&head.pi)).ok_or_else(|| wrong("it names no Pi"))?;
    if !head.boot.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(wrong("its boot files lie outside of the root"));
    }
    let image = target.image.clone().unwrap_or(head.image);
    if !crate::images::is_name(&image) {
        return Err(wrong("it names no image"));
    }
    let dir = state.pi_dir(pi);
    let place = dir.join(&image);
    if place.exists() {
        return Err(io::Error::other(format!(
            "{pi} has a layer on {image} already: 'pinetboot roots reset {pi} --image {image} --now' removes it"
        )));
    }
    let new = dir.join(format!("{HALF_MADE}{image}"));
    remove_tree(&new)?;
    private_dir(&new)?;
    let _not_a_leftover = lock_directory(&new)?;
    let root = state.dir().join("..").join(crate::images::IMAGES).join(&image).join(crate::images::ROOT);
    let facts = LayerFacts {
        export: Made::load(state).unused_export(),
        root: root.canonicalize().unwrap_or(root),
        boot: head.boot,
        content: head.content,
        ..LayerFacts::default()
    };
    let made = fill(&mut files, &new, state, &facts).and_then(|()| {
        let identity = dir.join(IDENTITY);
        if !identity.exists() {
            durable::rename(&new.join(IDENTITY), &identity)?;
        }
        remove_tree(&new.join(IDENTITY))?;
        durable::rename(&new, &place)
    });
    if let Err(error) = made {
        let _removed_at_the_next_start = remove_tree(&new);
        return Err(error);
    }
    Ok(Layer { pi, image, place, facts })
}

fn fill<R: Read>(files: &mut Files<'_, R>, new: &Path, state: &State, facts: &LayerFacts) -> io::Result<()> {
    private_dir(&new.join(IDENTITY))?;
    let mut unpack = Unpack {
        top: open(new, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?,
        times: Vec::new(),
    };
    let mut has_upper = false;
    while let Some((name, entry)) = files.next()? {
        let mut parts = name.path.components();
        match (parts.next(), parts.clone().count()) {
            (Some(Component::Normal(top)), below) if top == UPPER => {
                has_upper |= below == 0;
                unpack.make(&name, entry)?;
            }
            (Some(Component::Normal(top)), 0) if top == IDENTITY => {}
            (Some(Component::Normal(top)), 1) if top == IDENTITY && entry.header().entry_type().is_file() => {
                unpack.make(&name, entry)?;
            }
            _ => return Err(wrong(&format!("{} has no place in a layer", name.path.display()))),
        }
    }
    if !has_upper {
        return Err(wrong("it has no directory upper"));
    }
    unpack.leave(Path::new(""))?;
    for part in ["work", "merged"] {
        private_dir(&new.join(part))?;
    }
    crate::roots::adopt::mark(&new.join(UPPER))?;
    facts.write(&new.join(HEAD), state.dir(), false)?;
    Ok(syncfs(open(new, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)?)
}

/// The files of an archive, each with its records.
struct Files<'a, R: Read> {
    entries: tar::Entries<'a, R>,
}

/// The name of a file, and its records.
#[derive(Default)]
struct Name {
    path: PathBuf,
    link: Vec<u8>,
    modified: Option<(i64, i64)>,
    attributes: Vec<(String, Vec<u8>)>,
    /// The length of a file with holes.
    sparse: Option<u64>,
}

impl<'a, R: Read> Files<'a, R> {
    fn next(&mut self) -> io::Result<Option<(Name, Entry<'a, R>)>> {
        let mut name = Name::default();
        let mut path = None;
        loop {
            let Some(entry) = self.entries.next() else {
                return Err(wrong("it is cut off"));
            };
            let mut entry = entry.map_err(unreadable)?;
            match entry.header().entry_type() {
                EntryType::XHeader => {
                    let records = bytes(&mut entry)?;
                    for (key, value) in pax::parse(&records)? {
                        name.take(&key, value, &mut path)?;
                    }
                }
                EntryType::Regular if entry.header().path_bytes().as_ref() == END.as_bytes() => {
                    return Ok(None);
                }
                _ => {
                    let field = || PathBuf::from(OsStr::from_bytes(&entry.header().path_bytes()));
                    name.path = path.unwrap_or_else(field);
                    if name.link.is_empty() {
                        name.link = entry.header().link_name_bytes().unwrap_or_default().into_owned();
                    }
                    if !name.path.components().all(|part| matches!(part, Component::Normal(_))) {
                        return Err(wrong(&format!(
                            "the path {} leads out of the layer",
                            name.path.display()
                        )));
                    }
                    return Ok(Some((name, entry)));
                }
            }
        }
    }
}

impl Name {
    fn take(&mut self, key: &str, value: &[u8], path: &mut Option<PathBuf>) -> io::Result<()> {
        let number = |value: &[u8]| str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        match key {
            "path" | "GNU.sparse.name" => *path = Some(OsStr::from_bytes(value).into()),
            "linkpath" => self.link = value.to_vec(),
            "mtime" => self.modified = Some(time(value).ok_or_else(|| wrong("a time is none"))?),
            "GNU.sparse.realsize" => {
                self.sparse = Some(number(value).ok_or_else(|| wrong("a size is no number"))?);
            }
            "GNU.sparse.major" | "GNU.sparse.minor" => {}
            key => {
                if let Some(attribute) = key.strip_prefix("SCHILY.xattr.").filter(|name| is_carried(name)) {
                    self.attributes.push((attribute.to_owned(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// Makes files beneath one directory.
struct Unpack {
    top: OwnedFd,
    /// The directories of the last file, with the times that they get when they are complete.
    times: Vec<(PathBuf, Option<(i64, i64)>)>,
}

impl Unpack {
    fn make<R: Read>(&mut self, name: &Name, mut entry: Entry<'_, R>) -> io::Result<()> {
        self.leave(&name.path)?;
        let above = name.path.parent().filter(|above| !above.as_os_str().is_empty());
        let parent = self.directory(above.unwrap_or(Path::new(".")))?;
        let last = name.path.file_name().unwrap_or_default();
        let header = entry.header();
        let mode = Mode::from_bits_truncate(header.mode()? & 0o7777);
        let id = |number: u64| u32::try_from(number).ok().filter(|id| *id != u32::MAX);
        let (uid, gid) = (id(header.uid()?), id(header.gid()?));
        let (uid, gid) = uid.zip(gid).ok_or_else(|| wrong("an owner is none"))?;
        let kind = header.entry_type();
        match kind {
            EntryType::Link => {
                let to = Path::new(OsStr::from_bytes(&name.link));
                let (above, of) =
                    to.parent().zip(to.file_name()).ok_or_else(|| wrong("a link leads nowhere"))?;
                if !to.starts_with(UPPER) {
                    return Err(wrong("a link leads out of the layer"));
                }
                return Ok(linkat(self.directory(above)?, of, &parent, last, AtFlags::empty())?);
            }
            EntryType::Regular | EntryType::Continuous => {
                let flags =
                    OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = File::from(openat(&parent, last, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
                match name.sparse {
                    Some(len) => sparse(&mut entry, &file, len)?,
                    None => copy(&mut entry, &file, 0, u64::MAX)?,
                }
            }
            EntryType::Directory => mkdirat(&parent, last, Mode::S_IRWXU)?,
            EntryType::Symlink => symlinkat(OsStr::from_bytes(&name.link), &parent, last)?,
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let node = match kind {
                    EntryType::Char => SFlag::S_IFCHR,
                    EntryType::Block => SFlag::S_IFBLK,
                    _ => SFlag::S_IFIFO,
                };
                let number = |part: io::Result<Option<u32>>| Ok::<_, io::Error>(part?.unwrap_or(0).into());
                let device = match kind {
                    EntryType::Fifo => 0,
                    _ => makedev(number(header.device_major())?, number(header.device_minor())?),
                };
                mknodat(&parent, last, node, Mode::empty(), device)?;
            }
            _ => return Err(wrong(&format!("{} is of no kind that a layer has", name.path.display()))),
        }
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        fchownat(&parent, last, owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if kind != EntryType::Symlink {
            // Nothing else writes to this directory: the name is still this file.
            fchmodat(&parent, last, mode, FchmodatFlags::FollowSymlink)?;
        }
        // The parent by its descriptor, and the last name without following a link.
        let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(last);
        for (attribute, value) in &name.attributes {
            xattr::set(&path, attribute, value)?;
        }
        if kind == EntryType::Directory {
            self.times.push((name.path.clone(), name.modified));
            return Ok(());
        }
        set_time(&parent, last, name.modified)
    }

    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
        Ok(beneath_by(&self.top, path, flags, ResolveFlag::RESOLVE_NO_SYMLINKS)?)
    }

    /// Sets the times of the directories that this path leaves.
    fn leave(&mut self, for_path: &Path) -> io::Result<()> {
        while let Some((path, modified)) = self.times.pop_if(|(path, _)| !for_path.starts_with(path)) {
            set_time(&self.directory(&path)?, OsStr::new("."), modified)?;
        }
        Ok(())
    }
}

fn set_time(parent: &OwnedFd, name: &OsStr, modified: Option<(i64, i64)>) -> io::Result<()> {
    let Some((seconds, nanoseconds)) = modified else { return Ok(()) };
    let time = TimeSpec::new(seconds, nanoseconds);
    Ok(utimensat(parent.as_fd(), name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}

/// Writes a file with holes: GNU tar's sparse format 1.0.
fn sparse(from: &mut impl Read, file: &File, len: u64) -> io::Result<()> {
    let mut map = Map { from, read: 0 };
    let parts = map.number()?;
    let mut at = Vec::new();
    // The map is in the archive, so its length bounds this.
    for _ in 0..parts {
        at.push((map.number()?, map.number()?));
    }
    let padding = map.read.next_multiple_of(512) - map.read;
    io::copy(&mut map.from.by_ref().take(padding), &mut io::sink())?;
    for (offset, part) in at {
        if offset.checked_add(part).is_none_or(|end| end > len) {
            return Err(wrong("a part of a file is beyond its end"));
        }
        copy(&mut map.from, file, offset, part)?;
    }
    file.set_len(len)
}

/// The map of a file with holes: decimal numbers, each in a line.
struct Map<'a, R> {
    from: &'a mut R,
    read: u64,
}

impl<R: Read> Map<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        let mut digits = String::new();
        loop {
            let mut byte = [0];
            self.from.read_exact(&mut byte)?;
            self.read += 1;
            match byte[0] {
                b'\n' => return digits.parse().map_err(|_| wrong("a map of holes is damaged")),
                digit @ b'0'..=b'9' if digits.len() < 20 => digits.push(digit.into()),
                _ => return Err(wrong("a map of holes is damaged")),
            }
        }
    }
}

/// Copies up to `most` bytes to an offset; fewer only at the end of the entry if `most` is the maximum.
fn copy(from: &mut impl Read, file: &File, mut at: u64, most: u64) -> io::Result<()> {
    let (mut buffer, mut left) = (vec![0; 64 << 10], most);
    while left > 0 {
        let len = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let len = from.read(buffer.get_mut(..len).unwrap_or_default())?;
        if len == 0 {
            return if most == u64::MAX { Ok(()) } else { Err(wrong("it is cut off")) };
        }
        file.write_all_at(buffer.get(..len).unwrap_or_default(), at)?;
        (at, left) = (at + len as u64, left - len as u64);
    }
    Ok(())
}

fn bytes(from: &mut Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    let size = from.size();
    if size > MOST {
        return Err(wrong("a header has more than 1 MiB"));
    }
    let mut bytes = Vec::new();
    from.take(MOST).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(wrong("it is cut off")) }
}

fn text(from: &mut Entry<'_, impl Read>) -> io::Result<String> {
    String::from_utf8(bytes(from)?).map_err(|_| wrong("layer.toml is no text"))
}

/// Seconds and nanoseconds of a decimal number.
fn time(value: &[u8]) -> Option<(i64, i64)> {
    let value = str::from_utf8(value).ok()?;
    let (seconds, fraction) = value.split_once('.').unwrap_or((value, ""));
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some((seconds.parse().ok()?, nanoseconds))
}

/// An error of the crate tar, whose words are as "failed to read entire block"; those of the system stay.
fn unreadable(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Other | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            wrong(&format!("it is no tar archive, or one that is compressed or cut off ({error})"))
        }
        _ => error,
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not a layer that 'pinetboot roots export' wrote, or damaged: {why}"),
    )
}
