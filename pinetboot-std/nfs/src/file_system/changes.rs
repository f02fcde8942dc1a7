//! Requested attributes: RFC 1813, section 2.6 (`sattr3`), and the arguments of CREATE, MKNOD and WRITE.

use super::attributes::{Device, Time};

/// Attributes to set; `None` leaves an attribute unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission, set-id and sticky bits; other bits are ignored.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The length in bytes.
    pub size: Option<u64>,
    /// Last read (atime).
    pub accessed: SetTime,
    /// Last change of the content (mtime).
    pub modified: SetTime,
}

/// A time to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// Leaves the time unchanged.
    #[default]
    Keep,
    /// Sets the time of the server's clock, which requires only the permission to write.
    Now,
    /// Sets the client's time.
    To(Time),
}

/// The mode of creation of a regular file (`createhow3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateHow {
    /// An existing file is opened, and only its size set.
    Unchecked(SetAttributes),
    /// An existing file is an error.
    Guarded(SetAttributes),
    /// An existing file is an error, unless it was made with the same verifier, which is stored with the file.
    Exclusive([u8; 8]),
}

/// A file to make with MKNOD (`mknoddata3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A device node of a character device.
    CharacterDevice(Device),
    /// A device node of a block device.
    BlockDevice(Device),
    /// A socket.
    Socket,
    /// A named pipe.
    Fifo,
}

/// The durability of a write before its answer (`stable_how`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stable {
    /// None: a COMMIT follows.
    Unstable,
    /// The content is on the disk, with the metadata needed to read it.
    DataSync,
    /// The content and all attributes are on the disk.
    FileSync,
}
