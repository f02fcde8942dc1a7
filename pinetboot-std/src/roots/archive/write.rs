//! Writes a layer as an archive.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};
use walkdir::WalkDir;

use super::{END, HEAD, Head, IDENTITY, MOST, UPPER, VERSION, is_carried, pax};
use crate::roots::layer::{Layer, State};

/// Writes a layer that is not in use, with the identity of its Pi.
///
/// # Errors
///
/// The system's.
pub(in crate::roots) fn export(state: &State, layer: &Layer, to: impl Write) -> io::Result<()> {
    let mut archive = Archive { builder: Builder::new(to), links: HashMap::new() };
    let head = Head {
        version: VERSION,
        pi: layer.pi.to_string(),
        image: layer.image.clone(),
        boot: layer.facts.boot.clone(),
        content: layer.facts.content.clone(),
    };
    archive.put_bytes(Path::new(HEAD), toml::to_string(&head).map_err(io::Error::other)?.as_bytes())?;
    let identity = state.pi_dir(layer.pi).join(IDENTITY);
    if identity.is_dir() {
        archive.put_tree(&identity, Path::new(IDENTITY))?;
    }
    archive.put_tree(&layer.upper(), Path::new(UPPER))?;
    archive.put_bytes(Path::new(END), b"")?;
    archive.builder.into_inner()?.flush()
}

struct Archive<W: Write> {
    builder: Builder<W>,
    /// The first name of each file with several, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Archive<W> {
    fn put_bytes(&mut self, name: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        self.put(header, name, None, &[], bytes)
    }

    fn put_tree(&mut self, top: &Path, name: &Path) -> io::Result<()> {
        for entry in WalkDir::new(top).follow_links(false).sort_by_file_name() {
            let entry = entry?;
            let below = entry.path().strip_prefix(top).map_err(io::Error::other)?;
            let name = if below.as_os_str().is_empty() { name.to_owned() } else { name.join(below) };
            self.put_file(entry.path(), &name, &fs::symlink_metadata(entry.path())?)?;
        }
        Ok(())
    }

    fn put_file(&mut self, path: &Path, name: &Path, file: &Metadata) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_mode(file.mode() & 0o7777);
        header.set_uid(file.uid().into());
        header.set_gid(file.gid().into());
        let mut records = Vec::new();
        header.set_mtime(u64::try_from(file.mtime()).unwrap_or_default());
        let time = format!("{}.{:09}", file.mtime(), file.mtime_nsec());
        pax::put(&mut records, b"mtime", time.as_bytes());
        header.set_size(0);
        if !file.is_dir() && file.nlink() > 1 {
            let id = (file.dev(), file.ino());
            if let Some(first) = self.links.get(&id).cloned() {
                header.set_entry_type(EntryType::Link);
                return self.put(header, name, Some(&first), &records, io::empty());
            }
            self.links.insert(id, name.to_owned());
        }
        for attribute in xattr::list(path)? {
            let Some(text) = attribute.to_str().filter(|text| is_carried(text)) else { continue };
            if let Some(value) = xattr::get(path, &attribute)? {
                pax::put(&mut records, [b"SCHILY.xattr.", text.as_bytes()].concat().as_slice(), &value);
            }
        }
        if records.len() as u64 > MOST {
            return Err(io::Error::other(format!(
                "{}: extended attributes of more than 1 MiB",
                path.display()
            )));
        }
        let kind = file.file_type();
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = fs::read_link(path)?;
            return self.put(header, name, Some(&target), &records, io::empty());
        }
        if kind.is_file() {
            header.set_entry_type(EntryType::Regular);
            return self.put_content(header, &File::open(path)?, name, records, file.len());
        }
        header.set_entry_type(if kind.is_dir() {
            EntryType::Directory
        } else if kind.is_char_device() {
            EntryType::Char
        } else if kind.is_block_device() {
            EntryType::Block
        } else if kind.is_fifo() {
            EntryType::Fifo
        } else {
            return Ok(()); // a socket, which tar(5) has no type for: its program makes a new one
        });
        if kind.is_char_device() || kind.is_block_device() {
            let number = file.rdev();
            header
                .set_device_major(u32::try_from(nix::sys::stat::major(number)).map_err(io::Error::other)?)?;
            header
                .set_device_minor(u32::try_from(nix::sys::stat::minor(number)).map_err(io::Error::other)?)?;
        }
        self.put(header, name, None, &records, io::empty())
    }

    /// A regular file; with holes, in the sparse format 1.0 of GNU tar.
    fn put_content(
        &mut self,
        mut header: Header,
        file: &File,
        name: &Path,
        mut records: Vec<u8>,
        len: u64,
    ) -> io::Result<()> {
        let parts = parts(file, len)?;
        let bytes: u64 = parts.iter().map(|part| part.1).sum();
        let mut map = Vec::new();
        if bytes < len {
            pax::put(&mut records, b"GNU.sparse.major", b"1");
            pax::put(&mut records, b"GNU.sparse.minor", b"0");
            pax::put(&mut records, b"GNU.sparse.name", name.as_os_str().as_bytes());
            pax::put(&mut records, b"GNU.sparse.realsize", len.to_string().as_bytes());
            map = format!("{}\n", parts.len()).into_bytes();
            map.extend(parts.iter().flat_map(|(at, len)| format!("{at}\n{len}\n").into_bytes()));
            map.resize(map.len().next_multiple_of(BLOCK), 0);
        }
        header.set_size(map.len() as u64 + bytes);
        let content = Content { file, parts: parts.into_iter(), at: 0, left: 0 };
        self.put(header, name, None, &records, map.as_slice().chain(content))
    }

    fn put(
        &mut self,
        mut header: Header,
        name: &Path,
        link: Option<&Path>,
        records: &[u8],
        data: impl Read,
    ) -> io::Result<()> {
        let mut records = records.to_vec();
        let old = header.as_old_mut();
        set_name(&mut old.name, name, b"path", &mut records);
        if let Some(link) = link {
            set_name(&mut old.linkname, link, b"linkpath", &mut records);
        }
        if !records.is_empty() {
            let mut extended = Header::new_ustar();
            extended.set_entry_type(EntryType::XHeader);
            extended.set_size(records.len() as u64);
            extended.set_cksum();
            self.builder.append(&extended, records.as_slice())?;
        }
        header.set_cksum();
        self.builder.append(&header, data)
    }
}

fn set_name(field: &mut [u8; 100], name: &Path, key: &[u8], records: &mut Vec<u8>) {
    let name = name.as_os_str().as_bytes();
    match field.get_mut(..name.len()).filter(|_| name.is_ascii()) {
        Some(field) => field.copy_from_slice(name),
        None => pax::put(records, key, name),
    }
}

/// The parts of a file that are not holes: offset and length.
fn parts(file: &File, len: u64) -> io::Result<Vec<(u64, u64)>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < len {
        let begin = match seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            begin => begin?,
        };
        let end = seek(file, SeekFrom::Hole(begin))?.min(len);
        if end <= begin {
            break;
        }
        parts.push((begin, end - begin));
        at = end;
    }
    Ok(parts)
}

/// The parts of a file, one after the other.
struct Content<'a> {
    file: &'a File,
    parts: std::vec::IntoIter<(u64, u64)>,
    at: u64,
    left: u64,
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            let Some((at, len)) = self.parts.next() else { return Ok(0) };
            (self.at, self.left) = (at, len);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let len = self.file.read_at(into.get_mut(..most).unwrap_or_default(), self.at)?;
        if len == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file became shorter meanwhile"));
        }
        (self.at, self.left) = (self.at + len as u64, self.left - len as u64);
        Ok(len)
    }
}

/// The block of the format.
const BLOCK: usize = 512;
