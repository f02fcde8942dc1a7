//! The content of the files: bytes that follow from the file's name and the offset, so that a client knows the bytes without
//! having the file. To check a block costs one comparison of memory.

use std::sync::LazyLock;

/// The content of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// A long pattern, from this place in the pattern on, repeated.
    Pattern(usize),
    /// Zeros, as a sparse file has.
    Zeros,
}

impl Content {
    /// The content of the file with this name.
    pub(crate) fn of(name: &str) -> Self {
        let hash = name.bytes().fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        Self::Pattern(hash % PERIOD)
    }

    /// `len` bytes from `offset` on; `len` is at most [`LONGEST`].
    pub(crate) fn at(self, offset: u64, len: usize) -> &'static [u8] {
        match self {
            Self::Pattern(start) => {
                let from = ((offset % PERIOD as u64) as usize + start) % PERIOD;
                &PATTERN[from..from + len]
            }
            Self::Zeros => &ZEROS[..len],
        }
    }
}

/// A period and a block more. Small enough to stay in the cache, and a period that no block size divides.
static PATTERN: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    let mut bytes: Vec<u8> = (0..PERIOD as u64 / 8).flat_map(|word| mix(word).to_le_bytes()).collect();
    bytes.extend_from_within(..LONGEST);
    bytes.into()
});

static ZEROS: [u8; LONGEST] = [0; LONGEST];

/// SplitMix64.
const fn mix(word: u64) -> u64 {
    let state = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// 8 times a prime.
const PERIOD: usize = 8 * 8191;

/// The longest piece, in bytes, that [`Content::at`] returns.
pub(crate) const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_differs_from_block_to_block_and_from_other_files() {
        let file = Content::of("kernel.img");
        let other = Content::of("config.txt");
        for block in 0..1000 {
            assert_ne!(file.at(block * 1024, 1024), file.at((block + 1) * 1024, 1024));
            assert_ne!(file.at(block * 1024, 1024), other.at(block * 1024, 1024));
        }
    }

    #[test]
    fn pieces_join() {
        let file = Content::of("kernel.img");
        let whole: Vec<u8> = (0..200_000).map(|offset| file.at(offset, 1)[0]).collect();
        assert_eq!(whole[65_000..66_468], *file.at(65_000, 1468));
        assert_eq!(whole[..PERIOD][..1000], whole[PERIOD..][..1000]);
    }
}
