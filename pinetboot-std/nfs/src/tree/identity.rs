//! On whose behalf the kernel takes a thread to act: set per thread and kept until another is wanted, since most requests
//! in a row are the same user's.
//!
//! File system ids (setfsuid(2)) and supplementary groups belong to a thread, other than the C library makes believe.
//! With a file system uid other than 0 the kernel also takes away the capabilities that let root pass modes and keep set-id
//! bits, and gives them back with uid 0.

use std::cell::RefCell;

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::thread::set_thread_groups;

use crate::file_system::{Caller, FsError, Result};

/// From here on this thread acts as `caller`.
pub(super) fn act_as(caller: &Caller) -> Result<()> {
    THREAD.with_borrow_mut(|thread| thread.become_caller(caller))
}

/// From here on this thread acts as root, which is what takes to open files by their handles.
pub(super) fn act_as_root() -> Result<()> {
    act_as(&Caller::ROOT)
}

/// Does this thread make files with the very modes that it is told? If not, modes are to be set again afterwards.
pub(super) fn modes_are_exact() -> bool {
    THREAD.with_borrow(|thread| thread.no_mask)
}

thread_local! {
    static THREAD: RefCell<Thread> = RefCell::new(Thread::prepare());
}

struct Thread {
    acting_as: Option<Caller>,
    no_mask: bool,
}

impl Thread {
    /// The mask for new files' modes is the client's business, done before it asks. It is shared by all threads that do not
    /// say otherwise, and not everybody lets us: containers forbid unshare(2) to their inmates.
    fn prepare() -> Self {
        let no_mask = unshare(CloneFlags::CLONE_FS).is_ok();
        if no_mask {
            umask(Mode::empty());
        }
        Self { acting_as: None, no_mask }
    }

    fn become_caller(&mut self, caller: &Caller) -> Result<()> {
        if self.acting_as.as_ref() == Some(caller) {
            return Ok(());
        }
        self.acting_as = None;
        let groups: Vec<_> = caller.groups.iter().copied().map(rustix::thread::Gid::from_raw).collect();
        // Neither call tells whether it worked: asking for what cannot be tells what is.
        set_thread_groups(&groups).map_err(|_| FsError::Fault)?;
        setfsgid(Gid::from_raw(caller.gid));
        setfsuid(Uid::from_raw(caller.uid));
        let (uid, gid) = (setfsuid(Uid::from_raw(INVALID)), setfsgid(Gid::from_raw(INVALID)));
        if (uid.as_raw(), gid.as_raw()) != (caller.uid, caller.gid) {
            return Err(FsError::Fault);
        }
        self.acting_as = Some(caller.clone());
        Ok(())
    }
}

const INVALID: u32 = u32::MAX;
