//! The attributes of a file: RFC 1813, section 2.6 (`fattr3`).

use std::time::{SystemTime, UNIX_EPOCH};

/// Attributes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The kind of the file.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits, up to `0o7777`.
    pub mode: u32,
    /// Number of hard links.
    pub links: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its length in bytes; of a symbolic link, that of its target.
    pub size: u64,
    /// Used bytes on the disk.
    pub used: u64,
    /// The device of a device node.
    pub device: Device,
    /// Its number within its file system (`fileid`), constant while the file exists.
    pub file_number: u64,
    /// Last read (atime).
    pub accessed: Time,
    /// Last change of the content (mtime).
    pub modified: Time,
    /// Last change of content or attributes (ctime).
    pub changed: Time,
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file with content.
    Regular,
    /// A directory.
    Directory,
    /// A device node of a block device.
    BlockDevice,
    /// A device node of a character device.
    CharacterDevice,
    /// A symbolic link.
    Symlink,
    /// A socket.
    Socket,
    /// A named pipe.
    Fifo,
}

/// The numbers of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// The major number: the driver.
    pub major: u32,
    /// The minor number: the device of the driver.
    pub minor: u32,
}

/// A time since 1970, in NFSv3's range: until 2106.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds.
    pub seconds: u32,
    /// Nanoseconds beyond them, up to 999,999,999. A client may send more.
    pub nanoseconds: u32,
}

/// The nearest time in NFSv3's range.
impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        match u32::try_from(since.as_secs()) {
            Ok(seconds) => Self { seconds, nanoseconds: since.subsec_nanos() },
            Err(_) => Self { seconds: u32::MAX, nanoseconds: 999_999_999 },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_out_of_range_is_the_nearest() {
        let at = |seconds| UNIX_EPOCH + Duration::new(seconds, 7);
        assert_eq!(Time::from(at(1)), Time { seconds: 1, nanoseconds: 7 });
        assert_eq!(Time::from(UNIX_EPOCH - Duration::from_secs(1)), Time::default());
        let last = u64::from(u32::MAX);
        assert_eq!(Time::from(at(last)), Time { seconds: u32::MAX, nanoseconds: 7 });
        assert_eq!(Time::from(at(last + 1)), Time { seconds: u32::MAX, nanoseconds: 999_999_999 });
    }
}
