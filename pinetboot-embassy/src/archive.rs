//! A read-only archive in memory: plain ustar (POSIX.1-1988), as `pinetboot pack` and `tar --format=ustar` make it.
//!
//! On a board the archive is in flash, which is mapped into memory, and a file is a part of it: nothing is copied and nothing
//! is indexed. A look-up reads header after header, about a millisecond for three hundred files.
//!
//! Not done: links, and the extensions of GNU and pax (names past 255 bytes, sparse files). They are skipped.

use pinetboot_core::BootPath;
use pinetboot_core::pi::Prefix;

/// The archive at the beginning of a memory.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
}

impl<'a> Archive<'a> {
    /// The archive at the beginning of this memory. Bytes after its end are ignored; erased flash is an archive without
    /// files.
    pub fn new(memory: &'a [u8]) -> Self {
        let mut entries = Entries { left: memory };
        while entries.next().is_some() {}
        Self { bytes: memory.get(..memory.len() - entries.left.len()).unwrap_or_default() }
    }

    /// The files and directories of the archive, in their order.
    pub fn entries(&self) -> Entries<'a> {
        Entries { left: self.bytes }
    }

    /// The archive's length in bytes, without the zeros at its end.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Looks a file up in the directory of a Pi and in the shared one.
    ///
    /// Of several files of the same name the last counts, as it would when they are unpacked.
    pub fn look_up(&self, prefix: Option<Prefix>, file: &BootPath<'_>) -> Found<'a> {
        let mut found = Found::default();
        for entry in self.entries() {
            if entry.is(file.components()) {
                found.shared = Some(entry.bytes);
            }
            if let (Some(prefix), Some((directory, name))) = (prefix, entry.split_first())
                && Prefix::parse(directory) == Some(prefix)
            {
                let own = found.own.get_or_insert(None);
                if name.is(file.components()) {
                    *own = Some(name.bytes);
                }
            }
        }
        found
    }
}

/// The result of [`Archive::look_up`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// The file in the directory of that Pi, if the Pi has an own directory.
    pub own: Option<Option<&'a [u8]>>,
    /// The file in the shared directory.
    pub shared: Option<&'a [u8]>,
}

/// A file in an [`Archive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The two parts of its name, to be joined by a slash if the first is not empty.
    name: [&'a str; 2],
    directory: bool,
    /// The file's bytes.
    pub bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The components of its name.
    pub fn components(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let parts = self.name.into_iter().flat_map(|part| part.split('/'));
        parts.filter(|component| !component.is_empty() && *component != ".")
    }

    /// Whether the entry is a file of this name.
    fn is<'n>(&self, name: impl Iterator<Item = &'n str>) -> bool {
        !self.directory && self.components().eq(name)
    }

    /// The first component of the name, and the entry under its name within that directory.
    fn split_first(&self) -> Option<(&'a str, Self)> {
        let part = self.name.iter().position(|part| split(part).is_some())?;
        let (first, rest) = split(self.name.get(part)?)?;
        let name = if part == 0 { [rest, self.name[1]] } else { ["", rest] };
        let inner = Self { name, ..*self };
        (self.directory || inner.components().next().is_some()).then_some((first, inner))
    }
}

/// The first component of a name, and the rest.
fn split(name: &str) -> Option<(&str, &str)> {
    let mut rest = name;
    while !rest.is_empty() {
        let (first, after) = rest.split_once('/').unwrap_or((rest, ""));
        if !first.is_empty() && first != "." {
            return Some((first, after));
        }
        rest = after;
    }
    None
}

/// Iterator over the files and directories of an archive: [`Archive::entries`]. Ends at the first block that is not a header.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    left: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let (header, after) = self.left.split_first_chunk::<BLOCK>()?;
            let header = Header(header);
            let len = header.len()?;
            let padded = len.checked_next_multiple_of(BLOCK)?;
            let (bytes, left) = (after.get(..len)?, after.get(padded..)?);
            self.left = left;
            if let (Some(name), Some(directory)) = (header.name(), header.is_directory()) {
                return Some(Entry { name, directory, bytes });
            }
        }
    }
}

/// The block before each file. Fields and their places: POSIX.1-1988, section 10.1.1.
struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    fn field(&self, at: usize, len: usize) -> &'a [u8] {
        let field = self.0.get(at..at + len).unwrap_or_default();
        field.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The length of the file in bytes; `None` if the block is not a header. The header's checksum is not verified here: it
    /// would take longer than all the rest, and `pinetboot pack --check` verifies it.
    fn len(&self) -> Option<usize> {
        (self.0.get(257..262)? == b"ustar").then_some(())?;
        let digits = self.field(124, 12).trim_ascii();
        let digit = |sum: usize, digit: &u8| match digit {
            b'0'..=b'7' => sum.checked_mul(8)?.checked_add(usize::from(digit - b'0')),
            _ => None,
        };
        digits.iter().try_fold(0, digit)
    }

    fn name(&self) -> Option<[&'a str; 2]> {
        let text = |at, len| core::str::from_utf8(self.field(at, len)).ok();
        Some([text(345, 155)?, text(0, 100)?])
    }

    /// `None` if it is neither a directory nor a file.
    fn is_directory(&self) -> Option<bool> {
        match self.0[156] {
            b'0' | 0 => Some(false),
            b'5' => Some(true),
            _ => None,
        }
    }
}

const BLOCK: usize = 512;
