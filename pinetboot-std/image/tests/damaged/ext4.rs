//! ext4 images: made by mke2fs, damaged, and read by this crate and by debugfs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use pinetboot_image::ext4::{Ext4, FileKind, Inode};
use pinetboot_image::{ImageError, ReadAt};
use tempfile::TempDir;

use crate::random::Random;
use crate::run;

/// Each file by its path, the root's being empty.
pub(crate) type Listing = BTreeMap<Vec<u8>, Entry>;

#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    permissions: u32,
    owner: (u32, u32),
    size: u64,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Kind {
    Directory,
    /// The content, if it is not too large.
    Regular(Option<Vec<u8>>),
    Symlink(Vec<u8>),
    /// By the bits of its mode.
    Special(u32),
}

pub(crate) struct Image {
    directory: TempDir,
    sound: Vec<u8>,
    bytes: Vec<u8>,
    /// Bytes that are read as metadata.
    metadata: Vec<u64>,
}

impl Image {
    pub(crate) fn new(features: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir_all(tree.join("many")).unwrap();
        fs::create_dir_all(tree.join("etc/deep")).unwrap();
        for number in 0..120 {
            fs::write(tree.join(format!("many/a-name-that-takes-some-room-{number}")), "").unwrap();
        }
        for size in [1, 1024, 1025, 12 * 1024, 13 * 1024 + 1] {
            fs::write(tree.join(format!("etc/{size}")), vec![b'x'; size]).unwrap();
        }
        // More extents than an inode holds.
        let sparse = File::create(tree.join("etc/sparse")).unwrap();
        (0..9).for_each(|at| sparse.write_all_at(b"data", at * 8000).unwrap());
        symlink("deep", tree.join("etc/short")).unwrap();
        symlink("t".repeat(200), tree.join("etc/long")).unwrap();
        fs::hard_link(tree.join("etc/1"), tree.join("etc/deep/second")).unwrap();
        let value = directory.path().join("value");
        fs::write(&value, [7; 400]).unwrap();
        let path = directory.path().join("image");
        run(Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "1024", "-I", "256", "-N", "256", "-O", features, "-d"])
            .args([&tree, &path])
            .arg("4m"));
        let image = Self { directory, sound: Vec::new(), bytes: Vec::new(), metadata: Vec::new() };
        let made = image.debugfs(
            true,
            &[
                "mknod null c 1 3".into(),
                "set_inode_field null mode 020620".into(),
                "set_inode_field etc/1 mode 0104755".into(),
                "set_inode_field etc/1 uid 1000".into(),
                "set_inode_field etc/1 gid 70000".into(),
                "ea_set etc/1 user.small x".into(),
                format!("ea_set -f {} etc/1025 user.large", value.display()),
            ],
        );
        assert_eq!(made.err(), None);
        let sound = fs::read(image.path()).unwrap();
        let image = Self { bytes: sound.clone(), sound, ..image };
        assert!(image.is_clean());
        image
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// Takes the file's content for the sound one.
    pub(crate) fn reload(&mut self) {
        self.bytes = fs::read(self.path()).unwrap();
        self.sound.clone_from(&self.bytes);
    }

    pub(crate) fn undo(&mut self) {
        self.bytes.clone_from(&self.sound);
        fs::write(self.path(), &self.bytes).unwrap();
    }

    pub(crate) fn flip(&mut self, at: u64, bits: u8) {
        self.bytes[at as usize] ^= bits;
        fs::write(self.path(), &self.bytes).unwrap();
    }

    /// Flips 1 to `most` bits of what [`read_tracked`](Self::read_tracked) read, and returns where.
    pub(crate) fn flip_metadata(&mut self, random: &mut Random, most: u64) -> Vec<(u64, u8)> {
        let flip = |random: &mut Random| (*random.choose(&self.metadata), 1 << random.below(8));
        let flips: Vec<_> = (0..=random.below(most)).map(|_| flip(random)).collect();
        for (at, bits) in &flips {
            self.bytes[*at as usize] ^= bits;
        }
        fs::write(self.path(), &self.bytes).unwrap();
        flips
    }

    /// Changes one field to another value, as debugfs does: all checksums are right afterwards.
    pub(crate) fn change_by_debugfs(&mut self, random: &mut Random) -> String {
        let path = *random.choose(&[
            "etc",
            "many",
            "etc/1",
            "etc/1025",
            "etc/sparse",
            "etc/short",
            "etc/long",
            "null",
        ]);
        let value = match random.below(4) {
            0 => random.below(4),
            1 => random.below(70_000),
            2 => 1 << random.below(32),
            _ => random.next() >> 32,
        };
        let fields = [
            "mode",
            "size",
            "links_count",
            "flags",
            "file_acl",
            "block[0]",
            "block[1]",
            "block[3]",
            "block[5]",
            "extra_isize",
            "generation",
            "blocks",
        ];
        let change = match random.below(5) {
            0 => format!("link {path} etc/deep/name-{value}"),
            1 => format!("unlink {path}"),
            _ => format!("set_inode_field {path} {} {value}", random.choose(&fields)),
        };
        self.change_by(&change);
        change
    }

    /// Runs a command of debugfs; one that cannot be carried out changes nothing.
    pub(crate) fn change_by(&mut self, command: &str) {
        let _ = self.debugfs(true, &[command.to_owned()]);
        self.bytes = fs::read(self.path()).unwrap();
    }

    pub(crate) fn is_clean(&self) -> bool {
        let status = Command::new("e2fsck")
            .arg("-fn")
            .arg(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.unwrap().code() == Some(0)
    }

    pub(crate) fn read(&self) -> Result<Listing, ImageError> {
        list(&Ext4::open(self.bytes.as_slice(), self.bytes.len() as u64)?, &|| {}, &|| {})
    }

    /// Reads everything, and remembers the places of metadata.
    pub(crate) fn read_tracked(&mut self) -> Result<Listing, ImageError> {
        let tracked = Tracked { bytes: &self.bytes, is_on: Cell::new(true), places: RefCell::default() };
        let ext4 = Ext4::open(&tracked, self.bytes.len() as u64)?;
        let listing = list(&ext4, &|| tracked.is_on.set(false), &|| tracked.is_on.set(true));
        let mut places: Vec<u64> = tracked.places.take().into_iter().flatten().collect();
        places.sort_unstable();
        places.dedup();
        self.metadata = places;
        listing
    }

    /// What debugfs reads; an error if it says that anything is wrong. One process for each level of the tree: a process
    /// takes longer than the reading.
    pub(crate) fn read_by_debugfs(&self) -> Result<Listing, String> {
        let mut found = Vec::new(); // path, inode number, mode, owner, size
        let mut level = vec![(Vec::new(), 2)];
        let mut seen = vec![2];
        while !level.is_empty() {
            let commands: Vec<_> = level.iter().map(|(_, number)| format!("ls -p <{number}>")).collect();
            let answers = self.debugfs(false, &commands)?;
            let mut below = Vec::new();
            for ((parent, _), answer) in level.iter().zip(answers) {
                for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let Line { inode, mode, owner, name, size } =
                        Line::parse(line).ok_or("a name with a line end")?;
                    let path = match name {
                        b"." if parent.is_empty() => Vec::new(),
                        b"." | b".." => continue,
                        _ if inode == 0 => continue, // an unused entry
                        name => [parent, b"/".as_slice(), name].concat(),
                    };
                    if !path.is_empty() && mode & 0xf000 == 0x4000 {
                        if seen.contains(&inode) {
                            return Err("a directory twice".into());
                        }
                        seen.push(inode);
                        below.push((path.clone(), inode));
                    }
                    found.push((path, inode, mode, owner, size));
                }
            }
            level = below;
        }
        let links = found.iter().filter(|(_, _, mode, ..)| mode & 0xf000 == 0xa000);
        let commands: Vec<_> = links.map(|(_, inode, ..)| format!("stat <{inode}>")).collect();
        let mut targets: VecDeque<_> =
            self.debugfs(false, &commands)?.iter().map(|stat| short_target(stat)).collect();
        // debugfs goes by a link's size, Linux (`ext4_inode_is_fast_symlink`) by its blocks.
        if targets.iter().flatten().any(|target| target.starts_with(&[0x0a, 0xf3])) {
            return Err("a map of blocks for a link's target".into());
        }
        let mut links = targets.iter();
        let has_content = |(_, _, mode, _, size): &&(_, _, u32, _, _)| match mode & 0xf000 {
            0x8000 => *size <= LARGE,
            0xa000 => links.next() == Some(&None),
            _ => false,
        };
        let commands: Vec<_> =
            found.iter().filter(has_content).map(|(_, inode, ..)| format!("cat <{inode}>")).collect();
        let mut contents = self.debugfs(false, &commands)?.into_iter();
        let mut content = || contents.next().ok_or("no content");
        let mut listing = Listing::new();
        for (path, _, mode, owner, size) in found {
            let kind = match mode & 0xf000 {
                0x4000 => Kind::Directory,
                0x8000 => Kind::Regular((size <= LARGE).then(&mut content).transpose()?),
                0xa000 => Kind::Symlink(targets.pop_front().flatten().map_or_else(&mut content, Ok)?),
                bits => Kind::Special(bits),
            };
            if listing.insert(path, Entry { kind, permissions: mode & 0xfff, owner, size }).is_some() {
                return Err(NAME_TWICE.into());
            }
        }
        Ok(listing)
    }

    /// Runs debugfs's commands, and returns the output of each.
    fn debugfs(&self, write: bool, commands: &[String]) -> Result<Vec<Vec<u8>>, String> {
        let script = self.directory.path().join("script");
        fs::write(&script, commands.join("\n") + "\n").unwrap();
        let mut debugfs = Command::new("debugfs");
        if write {
            debugfs.arg("-w");
        }
        let output = debugfs.arg("-f").arg(script).arg(self.path()).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).lines().skip(1).collect::<Vec<_>>().join("; ");
        if !said.is_empty() {
            return Err(said);
        }
        let mut rest = output.stdout.as_slice();
        let mut answers = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            rest = rest.strip_prefix(format!("debugfs: {command}\n").as_bytes()).ok_or("another output")?;
            let next = commands.get(index + 1).map(|next| format!("debugfs: {next}\n"));
            let end = next.map_or(Some(rest.len()), |next| {
                rest.windows(next.len()).position(|window| window == next.as_bytes())
            });
            let (answer, after) = rest.split_at(end.ok_or("another output")?);
            answers.push(answer.to_vec());
            rest = after;
        }
        Ok(answers)
    }
}

/// A line of `ls -p`.
struct Line<'a> {
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    name: &'a [u8],
    size: u64,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let fields: Vec<_> = line.split(|byte| *byte == b'/').collect();
        let [b"", inode, mode, uid, gid, name, size, b""] = fields[..] else { return None };
        let number = |field: &[u8], radix| u64::from_str_radix(str::from_utf8(field).ok()?, radix).ok();
        Some(Self {
            inode: number(inode, 10)?,
            mode: number(mode, 8)? as u32,
            owner: (number(uid, 10)? as u32, number(gid, 10)? as u32),
            name,
            size: if size.is_empty() { 0 } else { number(size, 10)? },
        })
    }
}

/// The target of a link that is in the inode, from debugfs's `stat`.
fn short_target(stat: &[u8]) -> Option<Vec<u8>> {
    let mark = b"Fast link dest: \"";
    let at = stat.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let len = stat[at..].iter().rposition(|byte| *byte == b'"')?;
    Some(stat[at..at + len].to_vec())
}

/// Walks over all files, as an import does. `content` and `metadata` are called before reading the one and the other.
fn list<R: ReadAt>(ext4: &Ext4<R>, content: &dyn Fn(), metadata: &dyn Fn()) -> Result<Listing, ImageError> {
    let mut listing = Listing::new();
    let root = ext4.inode(Ext4::<R>::ROOT)?;
    let mut budget = ext4.budget();
    let mut seen = vec![root.number];
    let mut todo = vec![(Vec::new(), root)];
    while let Some((path, inode)) = todo.pop() {
        ext4.xattrs(&inode)?;
        let kind = match inode.kind {
            FileKind::Directory => {
                ext4.entries(&inode, &mut budget, |entry, _| {
                    let inode = ext4.inode(entry.inode)?;
                    if inode.kind == FileKind::Directory {
                        if seen.contains(&inode.number) {
                            return Err(ImageError::Corrupt("a directory twice"));
                        }
                        seen.push(inode.number);
                    }
                    todo.push(([&path, b"/".as_slice(), entry.name].concat(), inode));
                    Ok(())
                })?;
                Kind::Directory
            }
            FileKind::Regular => {
                ext4.runs(&inode, &mut ext4.budget())?;
                content();
                let bytes = (inode.size <= LARGE).then(|| ext4.read(&inode, LARGE)).transpose();
                metadata();
                Kind::Regular(bytes?)
            }
            FileKind::Symlink => {
                content();
                let target = ext4.target(&inode, &mut budget);
                metadata();
                Kind::Symlink(target?)
            }
            FileKind::CharacterDevice(_) => Kind::Special(0x2000),
            FileKind::BlockDevice(_) => Kind::Special(0x6000),
            FileKind::Fifo => Kind::Special(0x1000),
            FileKind::Socket => Kind::Special(0xc000),
        };
        if listing.insert(path, entry(kind, &inode)).is_some() {
            return Err(ImageError::Corrupt(NAME_TWICE));
        }
    }
    Ok(listing)
}

fn entry(kind: Kind, inode: &Inode) -> Entry {
    // debugfs shows no size of a directory.
    let size = if kind == Kind::Directory { 0 } else { inode.size };
    Entry { kind, permissions: inode.permissions, owner: (inode.uid, inode.gid), size }
}

/// Bytes of which the places that are read are noted.
struct Tracked<'a> {
    bytes: &'a [u8],
    is_on: Cell<bool>,
    places: RefCell<Vec<std::ops::Range<u64>>>,
}

impl ReadAt for Tracked<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.is_on.get() {
            self.places.borrow_mut().push(offset..offset + buf.len() as u64);
        }
        self.bytes.read_exact_at(buf, offset)
    }
}

pub(crate) const NAME_TWICE: &str = "a name twice";
/// Files beyond are compared by their size.
const LARGE: u64 = 1 << 20;
