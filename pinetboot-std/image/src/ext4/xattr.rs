//! Extended attributes: capabilities and access control lists, above all.

use super::{Ext4, Inode, field};
use crate::ImageError;
use crate::read_at::{ReadAt, u16_at, u32_at};

/// An extended attribute, in the form of getxattr(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// The full name, like `security.capability`; without NUL.
    pub name: Vec<u8>,
    /// The value, one block at most.
    pub value: Vec<u8>,
}

impl<R: ReadAt> Ext4<R> {
    /// Reads all attributes of an inode.
    ///
    /// # Errors
    ///
    /// If they are invalid, in separate inodes, or their checksum is wrong.
    pub fn xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>, ImageError> {
        let mut found = Vec::new();
        if u32_at(&inode.xattr_inline, 0) == Some(MAGIC) {
            let entries = inode.xattr_inline.get(4..).unwrap_or_default();
            gather(entries, entries, &mut found)?;
        }
        if inode.xattr_block != 0 {
            let block = self.block(inode.xattr_block)?;
            if u32_at(&block, 0) != Some(MAGIC) {
                return Err(WRONG);
            }
            self.superblock.checksums.check_xattrs(inode.number, inode.xattr_block, &block)?;
            gather(block.get(32..).unwrap_or_default(), &block, &mut found)?;
        }
        Ok(found)
    }
}

/// Reads a list of entries; their values are at offsets in `values`.
fn gather(mut entries: &[u8], values: &[u8], found: &mut Vec<Xattr>) -> Result<(), ImageError> {
    while u32_at(entries, 0).is_some_and(|next| next != 0) {
        let [name_len, index, ..] = entries else { return Err(WRONG) };
        let offset = usize::from(field(u16_at(entries, 2))?);
        let in_inode = field(u32_at(entries, 4))?;
        let len = field(u32_at(entries, 8))? as usize;
        let name_end = 16 + usize::from(*name_len);
        let name = entries.get(16..name_end).ok_or(WRONG)?;
        if in_inode != 0 {
            return Err(ImageError::Unsupported(
                "the image's ext4 has an attribute in an inode, which cannot be read",
            ));
        }
        let value =
            if len == 0 { &[][..] } else { values.get(offset..).and_then(|v| v.get(..len)).ok_or(WRONG)? };
        if name.contains(&0) || found.len() >= MOST {
            return Err(WRONG);
        }
        if let Some(prefix) = prefix(*index) {
            let value = if matches!(index, 2 | 3) { access_list(value)? } else { value.to_vec() };
            found.push(Xattr { name: [prefix.as_bytes(), name].concat(), value });
        }
        entries = entries.get(name_end.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

/// The name prefix for an index; `None` for attributes that are internal to ext4.
const fn prefix(index: u8) -> Option<&'static str> {
    Some(match index {
        1 => "user.",
        2 => "system.posix_acl_access",
        3 => "system.posix_acl_default",
        4 => "trusted.",
        6 => "security.",
        _ => return None,
    })
}

/// Converts an access control list from ext4's form (version 1, ids only for named users and groups) to that of getxattr(2).
fn access_list(disk: &[u8]) -> Result<Vec<u8>, ImageError> {
    if u32_at(disk, 0) != Some(1) {
        return Err(WRONG);
    }
    let mut list = 2u32.to_le_bytes().to_vec();
    let mut rest = disk.get(4..).unwrap_or_default();
    while let Some((entry, after)) = rest.split_first_chunk::<4>() {
        let tag = field(u16_at(entry, 0))?;
        list.extend_from_slice(entry);
        rest = after;
        let mut id = &NO_ID;
        if matches!(tag, ACL_USER | ACL_GROUP) {
            (id, rest) = rest.split_first_chunk::<4>().ok_or(WRONG)?;
        }
        list.extend_from_slice(id);
    }
    if rest.is_empty() { Ok(list) } else { Err(WRONG) }
}

const WRONG: ImageError = ImageError::Corrupt("ext4 has invalid extended attributes");
const MAGIC: u32 = 0xea02_0000;
/// The most attributes of an inode: more do not fit into the inode and a block.
const MOST: usize = 1024;
const ACL_USER: u16 = 2;
const ACL_GROUP: u16 = 8;
const NO_ID: [u8; 4] = [0xff; 4];
