//! FAT images: made by mkfs.vfat and mcopy, damaged, and read by this crate and by mtools.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pinetboot_image::fat::{Fat, Visit};
use pinetboot_image::{ImageError, Part, ReadAt};
use tempfile::TempDir;

use crate::random::Random;
use crate::run;

/// Each file's content by its path; `None`: a directory.
pub(crate) type Listing = BTreeMap<String, Option<Vec<u8>>>;

pub(crate) struct Image {
    directory: TempDir,
    bytes: Vec<u8>,
    flips: Vec<(u64, u8)>,
    /// Bytes that are read for more than a file's content, most of them not 0.
    metadata: Vec<u64>,
}

impl Image {
    pub(crate) fn new(bits: u32, kilobytes: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir_all(tree.join("overlays/deep")).unwrap();
        for number in 0..20 {
            fs::write(
                tree.join(format!("overlays/an overlay with a long name {number}.dtbo")),
                [number; 700],
            )
            .unwrap();
        }
        fs::write(tree.join("overlays/deep/README"), "x").unwrap();
        fs::write(tree.join("config.txt"), "arm_64bit=1\n").unwrap();
        fs::write(tree.join("start4.elf"), [7; 20_000]).unwrap();
        fs::write(tree.join("empty"), "").unwrap();
        let path = directory.path().join("image");
        run(Command::new("mkfs.vfat")
            .args(["-F", &bits.to_string(), "-s", "1", "-C"])
            .arg(&path)
            .arg(kilobytes.to_string()));
        let mut files: Vec<_> = fs::read_dir(&tree).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        run(Command::new("mcopy").args(["-s", "-m", "-i"]).arg(&path).args(files).arg("::"));
        let bytes = fs::read(&path).unwrap();
        let mut image = Self { directory, bytes, flips: Vec::new(), metadata: Vec::new() };
        assert!(image.is_clean());
        image.track();
        image
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    pub(crate) fn flip(&mut self, random: &mut Random) -> &[(u64, u8)] {
        for _ in 0..=random.below(3) {
            let (at, bits) = (*random.choose(&self.metadata), 1 << random.below(8));
            self.flips.push((at, bits));
            self.change(at, bits);
        }
        &self.flips
    }

    pub(crate) fn undo(&mut self) {
        for (at, bits) in std::mem::take(&mut self.flips) {
            self.change(at, bits);
        }
    }

    fn change(&mut self, at: u64, bits: u8) {
        self.bytes[at as usize] ^= bits;
        let file = fs::File::options().write(true).open(self.path()).unwrap();
        file.write_all_at(&[self.bytes[at as usize]], at).unwrap();
    }

    pub(crate) fn is_clean(&self) -> bool {
        let mut fsck = Command::new("fsck.fat");
        fsck.arg("-n").arg(self.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        fsck.status().unwrap().code() == Some(0)
    }

    pub(crate) fn read(&self) -> Result<Listing, ImageError> {
        let mut reader = Reader { listing: Listing::new(), with_content: true };
        Fat::open(Part::new(self.bytes.as_slice(), 0, self.bytes.len() as u64))?.walk(&mut reader)?;
        Ok(reader.listing)
    }

    /// Notes the places of everything but content: the sectors of directories, and the table.
    fn track(&mut self) {
        let tracked = Tracked { bytes: &self.bytes, places: RefCell::default() };
        let fat = Fat::open(Part::new(&tracked, 0, self.bytes.len() as u64)).unwrap();
        fat.walk(&mut Reader { listing: Listing::new(), with_content: false }).unwrap();
        let reserved = u64::from(u16::from_le_bytes([self.bytes[14], self.bytes[15]]));
        let table = reserved * 512..reserved * 512 + 400;
        let places = tracked.places.take().into_iter().flatten().chain(table);
        // Without the mark at the boot sector's end, which the specification calls for and fsck.fat does not.
        let places = places.filter(|at| !(510..512).contains(at));
        self.metadata = places.filter(|at| self.bytes[*at as usize] != 0 || at % 32 == 0).collect();
    }

    /// What mtools reads; an error if it says that anything is wrong.
    pub(crate) fn read_by_mtools(&self) -> Result<Listing, String> {
        let out = tempfile::tempdir_in(self.directory.path()).unwrap();
        let mut mcopy = Command::new("mcopy");
        mcopy.env("LC_ALL", "C.UTF-8").args(["-s", "-n", "-i"]).arg(self.path()).arg("::*").arg(out.path());
        let output = mcopy.stdin(Stdio::null()).output().unwrap();
        if !output.status.success() || !output.stderr.is_empty() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let mut listing = Listing::new();
        gather(out.path(), out.path(), &mut listing).map_err(|error| error.to_string())?;
        Ok(listing)
    }
}

/// Compares two readings: all contents, and the names that the sound image has. Of a long name that lacks a part Linux
/// (`fat_parse_long`) and this crate take the short one, mtools the rest; nor are names of a code page or with odd blanks alike.
pub(crate) fn same(ours: &Listing, theirs: &Listing, sound: &Listing) -> Result<(), String> {
    let contents = |listing: &Listing| {
        let mut contents: Vec<_> = listing.values().cloned().collect();
        contents.sort();
        contents
    };
    if contents(ours) != contents(theirs) {
        return Err("other contents".into());
    }
    let differs = |name: &&String| ours.get(*name).zip(theirs.get(*name)).is_some_and(|(a, b)| a != b);
    match sound.keys().find(differs) {
        Some(name) => Err(format!("{name:?} differs")),
        None => Ok(()),
    }
}

/// Errors where fsck.fat is content. Linux does not show a file with such a name (fs/readdir.c, `verify_dirent_name`), and a name
/// cannot be twice in the system that an import writes to.
pub(crate) const OVERLOOKED: &[&str] = &["its boot partition has an invalid file name", NAME_TWICE];
const NAME_TWICE: &str = "a name twice";

fn gather(root: &Path, directory: &Path, listing: &mut Listing) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.strip_prefix(root).map_err(io::Error::other)?.to_string_lossy().into_owned();
        let content = if path.is_dir() { None } else { Some(fs::read(&path)?) };
        if path.is_dir() {
            gather(root, &path, listing)?;
        }
        listing.insert(name, content);
    }
    Ok(())
}

struct Reader {
    listing: Listing,
    with_content: bool,
}

impl Visit for Reader {
    type Error = ImageError;

    fn directory(&mut self, path: &[String]) -> Result<(), ImageError> {
        if self.listing.insert(path.join("/"), None).is_some() {
            return Err(ImageError::Corrupt(NAME_TWICE));
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &[String],
        len: u64,
        _: Option<i64>,
        content: &mut dyn Read,
    ) -> Result<(), ImageError> {
        let mut bytes = Vec::new();
        if self.with_content {
            content.take(len).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != len {
                return Err(ImageError::Corrupt("a file that is too short"));
            }
        }
        if self.listing.insert(path.join("/"), Some(bytes)).is_some() {
            return Err(ImageError::Corrupt(NAME_TWICE));
        }
        Ok(())
    }
}

/// Bytes of which the places that are read are noted.
struct Tracked<'a> {
    bytes: &'a [u8],
    places: RefCell<Vec<std::ops::Range<u64>>>,
}

impl ReadAt for Tracked<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.places.borrow_mut().push(offset..offset + buf.len() as u64);
        self.bytes.read_exact_at(buf, offset)
    }
}
