//! The header of a qcow2 file.
//!
//! Source: `docs/interop/qcow2.txt` of the project QEMU. Read and written: version 3 with refcounts of 16 bits. Refused: internal
//! snapshots, encryption, compression, external data files, extended L2 entries, and files marked dirty or corrupt.

use crate::fingerprint::Fingerprint;

use super::OpenError;

/// The header's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The binary logarithm of a cluster's bytes, 9 to 21.
    pub(super) cluster_bits: u32,
    /// The disk's length in bytes.
    pub(super) len: u64,
    pub(super) l1_offset: u64,
    /// Entries of the L1 table.
    pub(super) l1_entries: u64,
    pub(super) refcounts_offset: u64,
    /// Clusters of the refcount table.
    pub(super) refcounts_clusters: u64,
    pub(super) autoclear: u64,
    /// The base's path, as the file gives it.
    pub(super) base: String,
    /// The base's format, if the file gives it.
    pub(super) base_format: Option<String>,
    pub(super) identity: Option<Identity>,
    /// Features and extensions that this crate does not know: they may use clusters of the file.
    pub(super) is_foreign: bool,
}

/// The header extension of this crate, which other programs keep as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// A random number: the log names the overlay by it.
    pub(super) id: u64,
    /// The base that the overlay was made on.
    pub(super) base: Fingerprint,
}

impl Header {
    /// Reads a header from the first bytes of a file, 64 KiB of them if there are as many.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let word = |at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word));
        let long = |at: usize| bytes.get(at..)?.first_chunk().map(|long| u64::from_be_bytes(*long));
        let word = |at| word(at).ok_or(OpenError::Damaged("the header ends early"));
        let long = |at| long(at).ok_or(OpenError::Damaged("the header ends early"));
        if word(0)? != MAGIC {
            return Err(OpenError::Damaged("not a qcow2 file"));
        }
        if word(4)? != 3 {
            return Err(OpenError::Unsupported("qcow2 version 2: run qemu-img amend -o compat=1.1"));
        }
        let cluster_bits = word(20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(OpenError::Damaged("the cluster size"));
        }
        match long(72)? {
            0 => {}
            INCOMPATIBLE_DIRTY => {
                return Err(OpenError::Unsupported("the file is marked dirty: run qemu-img check -r all"));
            }
            INCOMPATIBLE_CORRUPT => {
                return Err(OpenError::Unsupported("the file is marked corrupt: run qemu-img check -r all"));
            }
            _ => {
                return Err(OpenError::Unsupported(
                    "an external data file, compression by zstd, or extended L2 entries",
                ));
            }
        }
        if word(32)? != 0 {
            return Err(OpenError::Unsupported("encryption"));
        }
        if word(60)? != 0 {
            return Err(OpenError::Unsupported("internal snapshots"));
        }
        if word(96)? != REFCOUNT_ORDER {
            return Err(OpenError::Unsupported("refcounts of other than 16 bits"));
        }
        let header = Self {
            cluster_bits,
            len: long(24)?,
            l1_offset: long(40)?,
            l1_entries: word(36)?.into(),
            refcounts_offset: long(48)?,
            refcounts_clusters: word(56)?.into(),
            autoclear: long(88)?,
            base: String::new(),
            base_format: None,
            identity: None,
            is_foreign: long(88)? & !(AUTOCLEAR_LOG | AUTOCLEAR_CLOSED) != 0,
        };
        header.check()?;
        header.names(bytes, long(8)?, word(16)?, word(100)?)
    }

    /// The bytes of the header, for a new file.
    pub(super) fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let word =
            |out: &mut Vec<u8>, word: u64| out.extend(u32::try_from(word).unwrap_or(u32::MAX).to_be_bytes());
        let extension = |out: &mut Vec<u8>, kind: u32, data: &[u8]| {
            word(out, kind.into());
            word(out, data.len() as u64);
            out.extend(data);
            out.resize(out.len().next_multiple_of(8), 0);
        };
        word(&mut out, MAGIC.into());
        word(&mut out, 3);
        out.extend(0u64.to_be_bytes()); // the base's path: below
        word(&mut out, self.base.len() as u64);
        word(&mut out, self.cluster_bits.into());
        out.extend(self.len.to_be_bytes());
        word(&mut out, 0); // no encryption
        word(&mut out, self.l1_entries);
        out.extend(self.l1_offset.to_be_bytes());
        out.extend(self.refcounts_offset.to_be_bytes());
        word(&mut out, self.refcounts_clusters);
        word(&mut out, 0); // no snapshots
        out.extend([0, 0, 0, self.autoclear].into_iter().flat_map(u64::to_be_bytes));
        word(&mut out, REFCOUNT_ORDER.into());
        word(&mut out, LENGTH as u64);
        if let Some(format) = &self.base_format {
            extension(&mut out, EXTENSION_FORMAT, format.as_bytes());
        }
        if let Some(identity) = &self.identity {
            let bytes = [&identity.id.to_be_bytes()[..], &identity.base.emit()].concat();
            extension(&mut out, EXTENSION_IDENTITY, &bytes);
        }
        extension(&mut out, EXTENSION_END, &[]);
        let name_at = out.len() as u64;
        out[8..16].copy_from_slice(&name_at.to_be_bytes());
        out.extend(self.base.as_bytes());
        out
    }

    /// Whether the last writer of the file was this crate, and closed the file.
    pub(super) const fn was_closed(&self) -> bool {
        self.autoclear & AUTOCLEAR_CLOSED != 0
    }

    /// Bytes of a cluster.
    pub(super) const fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Clusters that one L2 table maps.
    pub(super) const fn per_l2(&self) -> u64 {
        self.cluster() / 8
    }

    /// Clusters whose refcounts are in one block.
    pub(super) const fn per_block(&self) -> u64 {
        self.cluster() / 2
    }

    fn check(&self) -> Result<(), OpenError> {
        let cluster = self.cluster();
        let table = |offset: u64, len: u64, most: u64| {
            offset > 0 && offset.is_multiple_of(cluster) && offset <= MOST_OFFSET && len <= most
        };
        if !table(self.l1_offset, self.l1_entries * 8, MOST_L1) {
            return Err(OpenError::Damaged("the place of the L1 table"));
        }
        if self.refcounts_clusters == 0
            || !table(self.refcounts_offset, self.refcounts_clusters * cluster, MOST_REFCOUNTS)
        {
            return Err(OpenError::Damaged("the place of the refcount table"));
        }
        if self.len.div_ceil(cluster * self.per_l2()) > self.l1_entries || !self.len.is_multiple_of(512) {
            return Err(OpenError::Damaged("the length of the disk"));
        }
        Ok(())
    }

    /// Adds the extensions, and the base's name.
    fn names(mut self, bytes: &[u8], name_at: u64, name_len: u32, length: u32) -> Result<Self, OpenError> {
        let ends_early = || OpenError::Damaged("a header extension");
        let mut at = usize::try_from(length).map_err(|_| ends_early())?;
        if at < LENGTH || !at.is_multiple_of(8) {
            return Err(OpenError::Damaged("the length of the header"));
        }
        // Each extension has 8 bytes at least: the bytes bound the loop.
        loop {
            let head = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).ok_or_else(ends_early)?;
            let (kind, len) = head.split_at(4);
            let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
            let (kind, len) = (number(kind), usize::try_from(number(len)).map_err(|_| ends_early())?);
            let data = at
                .checked_add(8)
                .and_then(|at| bytes.get(at..at.checked_add(len)?))
                .ok_or_else(ends_early)?;
            match kind {
                EXTENSION_END => break,
                EXTENSION_FORMAT => self.base_format = Some(String::from_utf8_lossy(data).into_owned()),
                EXTENSION_IDENTITY => self.identity = Identity::parse(data),
                EXTENSION_FEATURES => {}
                _ => self.is_foreign = true,
            }
            at += 8 + len.next_multiple_of(8);
        }
        let name = usize::try_from(name_at).ok().zip(usize::try_from(name_len).ok());
        let name = name.filter(|(at, len)| *at > 0 && *len <= MOST_NAME);
        let name =
            name.and_then(|(at, len)| bytes.get(at..at.checked_add(len)?)).filter(|name| !name.is_empty());
        let name = name.and_then(|name| str::from_utf8(name).ok());
        self.base = name.ok_or(OpenError::Unsupported("no base image"))?.to_owned();
        Ok(self)
    }
}

impl Identity {
    /// Reads the extension's bytes.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (id, base) = bytes.split_first_chunk()?;
        Some(Self { id: u64::from_be_bytes(*id), base: Fingerprint::parse(base)? })
    }
}

/// The offset of the header's field of autoclear features: a program that writes to the file and does not know a bit must clear the bit.
pub(super) const AUTOCLEAR_AT: u64 = 88;
/// This crate's bit: no other program has written to the file since this crate did, so its log holds.
pub(super) const AUTOCLEAR_LOG: u64 = 1 << 63;
/// This crate's bit: the file was closed, and each cluster that counts as in use is in use.
pub(super) const AUTOCLEAR_CLOSED: u64 = 1 << 62;
/// The offset of the disk's length, followed by the encryption method, and the L1 table's entries and offset.
pub(super) const LEN_AT: u64 = 24;
/// The offset of the refcount table's offset, followed by its clusters.
pub(super) const REFCOUNTS_AT: u64 = 48;
/// The highest offset in a file.
pub(super) const MOST_OFFSET: u64 = 1 << 55;
/// Bytes of an L1 table, at most; the limits are QEMU's.
pub(super) const MOST_L1: u64 = 32 << 20;
/// Bytes of a refcount table, at most.
pub(super) const MOST_REFCOUNTS: u64 = 8 << 20;
/// Bytes of the base's name, at most.
pub(super) const MOST_NAME: usize = 1023;
const INCOMPATIBLE_DIRTY: u64 = 1;
const INCOMPATIBLE_CORRUPT: u64 = 2;
const REFCOUNT_ORDER: u32 = 4;
const MAGIC: u32 = 0x5146_49fb;
const LENGTH: usize = 104;
const EXTENSION_END: u32 = 0;
const EXTENSION_FORMAT: u32 = 0xe279_2aca;
/// The names of features, in the header alone.
const EXTENSION_FEATURES: u32 = 0x6803_f857;
const EXTENSION_IDENTITY: u32 = 0x7069_6e62;
