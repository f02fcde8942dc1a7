//! The bytes of a new overlay file.

use super::OpenError;
use super::header::{self, Header, Identity};
use super::tables::{l1_entries, refcount_blocks};
use crate::disk::DiskError;
use crate::image::SECTOR;

/// The bytes of an overlay file without changes.
pub(super) fn empty(
    base: &str,
    format: &str,
    identity: Identity,
    len: u64,
    cluster_bits: u32,
) -> Result<Vec<u8>, OpenError> {
    let len = len.checked_next_multiple_of(SECTOR).ok_or(DiskError::NoSpace)?;
    let mut header = Header {
        cluster_bits,
        len,
        l1_offset: 0,
        l1_entries: 0,
        refcounts_offset: 0,
        refcounts_clusters: 0,
        autoclear: header::AUTOCLEAR_LOG | header::AUTOCLEAR_CLOSED,
        base: base.to_owned(),
        base_format: Some(format.to_owned()),
        identity: Some(identity),
        is_foreign: false,
    };
    let cluster = header.cluster();
    header.l1_entries = l1_entries(&header, len);
    header.refcounts_clusters = (refcount_blocks(&header, len) * 8).div_ceil(cluster);
    if header.l1_entries * 8 > header::MOST_L1 || header.refcounts_clusters * cluster > header::MOST_REFCOUNTS
    {
        return Err(DiskError::NoSpace.into());
    }
    // Header, refcount table, blocks of refcounts, L1 table.
    header.refcounts_offset = cluster;
    let l1_clusters = (header.l1_entries * 8).div_ceil(cluster);
    let tables = 1 + header.refcounts_clusters + l1_clusters;
    let mut blocks = 1;
    while tables + blocks > blocks * header.per_block() {
        blocks += 1;
    }
    header.l1_offset = (1 + header.refcounts_clusters + blocks) * cluster;
    let mut bytes = header.emit();
    bytes.resize(usize::try_from((tables + blocks) * cluster).map_err(|_| DiskError::NoSpace)?, 0);
    let first_block = header.refcounts_offset + header.refcounts_clusters * cluster;
    let mut put = |at: u64, value: &[u8]| {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
            place.copy_from_slice(value);
        }
    };
    for block in 0..blocks {
        put(header.refcounts_offset + block * 8, &(first_block + block * cluster).to_be_bytes());
    }
    for used in 0..tables + blocks {
        put(first_block + used * 2, &1u16.to_be_bytes());
    }
    Ok(bytes)
}
