//! Facts about a kernel's file: its kind, version and page size.

use std::io::Read;

use flate2::read::MultiGzDecoder;

/// Facts about a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Kernel {
    /// Whether the file is a kernel of Linux, as far as its beginning shows.
    pub(crate) is_linux: bool,
    /// `6.12.34+rpt-rpi-2712`
    pub(crate) version: Option<String>,
    /// Bytes of a page.
    pub(crate) page_size: Option<u32>,
}

impl Kernel {
    /// Reads a whole file, unpacking one that gzip compressed.
    pub(crate) fn of(file: &[u8]) -> Self {
        if file.starts_with(GZIP) {
            let mut unpacked = Vec::new();
            // What a damaged file has before its damage is read too.
            let _damaged = MultiGzDecoder::new(file).take(MOST).read_to_end(&mut unpacked);
            return Self::of_unpacked(&unpacked);
        }
        Self::of_unpacked(file)
    }

    fn of_unpacked(file: &[u8]) -> Self {
        Self { is_linux: begins(file), version: version(file), page_size: page_size(file) }
    }

    /// The first two numbers of the version: (6, 12).
    pub(crate) fn series(&self) -> Option<(u32, u32)> {
        let mut numbers = self.version.as_deref()?.split(['.', '-', '+']).map_while(|part| part.parse().ok());
        Some((numbers.next()?, numbers.next()?))
    }

    /// The version without what a distribution adds: `6.12.36`.
    pub(crate) fn release(&self) -> Option<&str> {
        let version = self.version.as_deref()?;
        version.split(|c: char| !c.is_ascii_digit() && c != '.').next()
    }
}

/// Whether a file begins as a kernel: an arm64 Image (Documentation/arch/arm64/booting.rst: "ARM\x64" at byte 56), an ARM
/// zImage (Documentation/arch/arm/booting.rst: 0x016f2818 at byte 36), or either compressed by gzip.
pub(crate) fn begins(file: &[u8]) -> bool {
    let at = |offset: usize, magic: &[u8]| file.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    file.starts_with(GZIP) || at(56, ARM64) || at(36, ZIMAGE) || at(4, b"zimg")
}

/// The release in linux_banner (init/version.c): "Linux version 6.12.34 (..".
fn version(file: &[u8]) -> Option<String> {
    let mut rest = file;
    while let Some(at) = find(rest, BANNER) {
        rest = rest.get(at + BANNER.len()..)?;
        let end = rest.iter().take(LONGEST).position(|byte| *byte == b' ');
        let text = end.and_then(|end| std::str::from_utf8(rest.get(..end)?).ok()).unwrap_or_default();
        if text.starts_with(|first: char| first.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_graphic())
        {
            return Some(text.to_owned());
        }
    }
    None
}

/// Bits 1 and 2 of the flags in an arm64 Image's header (Documentation/arch/arm64/booting.rst).
fn page_size(file: &[u8]) -> Option<u32> {
    if !file.get(56..)?.starts_with(ARM64) {
        return None;
    }
    match (file.get(24)? >> 1) & 3 {
        1 => Some(4 << 10),
        2 => Some(16 << 10),
        3 => Some(64 << 10),
        _ => None,
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == first) {
        if bytes.get(from + at..)?.starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

const GZIP: &[u8] = &[0x1f, 0x8b];
const ARM64: &[u8] = b"ARM\x64";
const ZIMAGE: &[u8] = &[0x18, 0x28, 0x6f, 0x01];
const BANNER: &[u8] = b"Linux version ";
/// The longest release, with its separator: `UTS_LEN` of the kernel (include/linux/utsname.h).
const LONGEST: usize = 65;
/// Bytes of the largest kernel after unpacking.
const MOST: u64 = 256 << 20;

/// The beginning of an arm64 kernel with this release and pages of 16 KiB, for trees of tests and the demo.
pub(crate) fn image(release: &str) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[24] = 2 << 1;
    file[56..60].copy_from_slice(ARM64);
    file.extend(format!("Linux version {release} (pinetboot)\n\0").bytes());
    file
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_a_kernel_says_of_itself() {
        let file = image("6.12.34+rpt-rpi-2712");
        let kernel = Kernel::of(&file);
        assert_eq!(kernel.version.as_deref(), Some("6.12.34+rpt-rpi-2712"));
        assert_eq!((kernel.is_linux, kernel.page_size, kernel.series()), (true, Some(16384), Some((6, 12))));
        assert_eq!(kernel.release(), Some("6.12.34"));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&file).unwrap();
        assert_eq!(Kernel::of(&packed.finish().unwrap()), kernel);
        let decoy = [&b"Linux version %s"[..], b" Linux version \0\xff ", &file].concat();
        assert_eq!(version(&decoy), kernel.version);
    }

    #[test]
    fn other_files_are_no_kernels() {
        for file in [&b""[..], b"kernel", b"Linux version ", &[0x1f, 0x8b], &[0; 70], &[7; 4096]] {
            let kernel = Kernel::of(file);
            assert_eq!((kernel.version, kernel.page_size), (None, None));
        }
        assert!(!begins(&[0; 70]) && !begins(b"kernel"));
    }
}
