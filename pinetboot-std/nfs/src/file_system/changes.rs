//! What a client wants a file to be: RFC 1813, section 2.6 (`sattr3`), and the arguments of CREATE, MKNOD and WRITE.

use super::attributes::{Device, Time};

/// Attributes to be set, or to be had from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission, set-id and sticky bits; others mean nothing.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The length in bytes.
    pub size: Option<u64>,
    /// When the file was last read.
    pub accessed: SetTime,
    /// When its content was last changed.
    pub modified: SetTime,
}

/// A time to be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// The time stays as it is.
    #[default]
    Keep,
    /// The server's clock says the time, which takes no more than the permission to write.
    Now,
    /// The client says the time.
    To(Time),
}

/// How a regular file is to be made (`createhow3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateHow {
    /// A file that is there already is taken, and only its size set.
    Unchecked(SetAttributes),
    /// A file that is there already is an error.
    Guarded(SetAttributes),
    /// A file that is there already is an error, unless it was made with this verifier, which is kept with it.
    Exclusive([u8; 8]),
}

/// A file without content to be made, beside a directory and a symbolic link (`mknoddata3`).
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

/// How durable a write is to be before it is answered (`stable_how`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stable {
    /// Whatever is fastest: a commit follows.
    Unstable,
    /// The content is on the disk, and what it takes to read it.
    DataSync,
    /// The content and all attributes are on the disk.
    FileSync,
}
