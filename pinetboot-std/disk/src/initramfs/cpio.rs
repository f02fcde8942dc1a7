//! An archive in cpio's format `newc` (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

/// A cpio archive under construction.
#[derive(Debug, Default)]
pub(super) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    pub(super) fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY | 0o755, (0, 0), &[]);
    }

    pub(super) fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// A regular file of less than 4 GiB.
    pub(super) fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, REGULAR | permissions, (0, 0), content);
    }

    /// The length in bytes so far.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    /// Owner, group and time are 0.
    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        let len = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let links = 1;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            len(content.len()),
            0,
            0,
            major,
            minor,
            len(name.len() + 1),
            0,
        ];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

// The types in a mode (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_its_head_name_and_content_each_padded_to_four_bytes() {
        let mut cpio = Cpio::default();
        cpio.file("init", 0o755, b"hello");
        let bytes = cpio.finish();
        let entry = "070701\
                     00000001000081ED000000000000000000000001000000000000000500000000000000000000000000000000\
                     0000000500000000init\0\0hello\0\0\0";
        assert_eq!(&bytes[..entry.len()], entry.as_bytes());
        assert!(bytes[entry.len()..].starts_with(b"070701"));
        assert!(bytes.windows(11).any(|part| part == b"TRAILER!!!\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
