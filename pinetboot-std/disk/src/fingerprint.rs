//! A base image's fingerprint: an overlay on a base that changed is garbage, and is refused.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use sha2::{Digest, Sha256};

/// The length, the time of the last change, and samples of the content of a file.
///
/// Every write to a file changes its time; the samples find a file whose time was set back. The samples are the first MiB,
/// which has the partition table and the boot sector, and 64 blocks of 4096 bytes spread evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    len: u64,
    /// Nanoseconds since 1970.
    modified: i64,
    samples: [u8; 32],
}

impl Fingerprint {
    /// The fingerprint of a file.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let len = metadata.len();
        let mut hash = Sha256::new();
        let mut buf = vec![0; FIRST];
        sample(file, 0, &mut buf, &mut hash)?;
        for index in 0..BLOCKS {
            sample(file, len / BLOCKS * index, &mut buf[..BLOCK], &mut hash)?;
        }
        let modified = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Ok(Self { len, modified, samples: hash.finalize().into() })
    }

    pub(crate) fn emit(&self) -> Vec<u8> {
        [&self.len.to_be_bytes()[..], &self.modified.to_be_bytes(), &self.samples].concat()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk()?;
        let (modified, rest) = rest.split_first_chunk()?;
        let (len, modified) = (u64::from_be_bytes(*len), i64::from_be_bytes(*modified));
        Some(Self { len, modified, samples: *rest.first_chunk()? })
    }
}

fn sample(file: &File, offset: u64, buf: &mut [u8], hash: &mut Sha256) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    hash.update(&buf[..done]);
    Ok(())
}

const FIRST: usize = 1 << 20;
const BLOCKS: u64 = 64;
const BLOCK: usize = 4096;
