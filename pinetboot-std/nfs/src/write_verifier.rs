//! The number by which clients learn that what they wrote may be lost, so that they write it again.

use std::sync::atomic::{AtomicU64, Ordering};

use nfs3_types::nfs3::{nfsstat3, writeverf3};
use rustix::io;
use rustix::rand::{GetRandomFlags, getrandom};

/// > This is a cookie that the client can use to determine whether the server has changed state between a call to WRITE and
/// > a subsequent call to either WRITE or COMMIT. (RFC 1813, section 3.3.7)
///
/// It changes with every start, and when something could not be put on the disk: the kernel tells one of those that wait
/// for that, and then takes the data for written. Whoever else has written there learns it from the number alone.
#[derive(Debug)]
pub(super) struct WriteVerifier(AtomicU64);

impl WriteVerifier {
    /// Another one after each start.
    pub(super) fn new() -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        Ok(Self(AtomicU64::new(u64::from_ne_bytes(random))))
    }

    /// To be asked before a write, but after a commit: what is lost meanwhile is written once too often, not once too rarely.
    pub(super) fn now(&self) -> writeverf3 {
        writeverf3(self.0.load(Ordering::SeqCst).to_be_bytes())
    }

    /// To be told how writing to the disk has failed.
    pub(super) fn failed(&self, status: nfsstat3) {
        let lost = matches!(
            status,
            nfsstat3::NFS3ERR_IO
                | nfsstat3::NFS3ERR_NOSPC
                | nfsstat3::NFS3ERR_DQUOT
                // ext4 says so after an error that made it stop.
                | nfsstat3::NFS3ERR_ROFS
        );
        if lost {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}
