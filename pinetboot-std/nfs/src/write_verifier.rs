//! The write verifier: its change tells clients to repeat unstable writes, which may be lost.

use std::sync::atomic::{AtomicU64, Ordering};

use nfs3_types::nfs3::{nfsstat3, writeverf3};
use rustix::io;
use rustix::rand::{GetRandomFlags, getrandom};

/// > This is a cookie that the client can use to determine whether the server has changed state between a call to WRITE and
/// > a subsequent call to either WRITE or COMMIT. (RFC 1813, section 3.3.7)
///
/// The verifier changes with every start, and when writing to the disk fails: the kernel reports such a failure to one waiting call
/// only, and then counts the data as written. Other clients learn of the failure from the verifier alone.
#[derive(Debug)]
pub(super) struct WriteVerifier(AtomicU64);

impl WriteVerifier {
    /// A random verifier.
    pub(super) fn new() -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        Ok(Self(AtomicU64::new(u64::from_ne_bytes(random))))
    }

    /// The current verifier. Read this before a write, but after a commit: a failure in between then costs a repeated write, not data.
    pub(super) fn now(&self) -> writeverf3 {
        writeverf3(self.0.load(Ordering::SeqCst).to_be_bytes())
    }

    /// Records a failed write to the disk.
    pub(super) fn failed(&self, status: nfsstat3) {
        let lost = matches!(
            status,
            nfsstat3::NFS3ERR_IO
                | nfsstat3::NFS3ERR_NOSPC
                | nfsstat3::NFS3ERR_DQUOT
                // ext4 turns read-only after an error.
                | nfsstat3::NFS3ERR_ROFS
        );
        if lost {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}
