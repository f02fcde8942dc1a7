//! The file system identity of a thread: set per thread and kept until another is needed, since consecutive calls mostly have the
//! same user.
//!
//! File system ids (setfsuid(2)) and supplementary groups belong to a thread, although the C library sets groups for a process. With
//! a file system uid other than 0 the kernel also drops the capabilities that override modes and keep set-id bits, and restores
//! them with uid 0.

use std::cell::RefCell;

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::thread::set_thread_groups;

use crate::file_system::{Caller, FsError, Result};

/// Lets this thread act as `caller`.
pub(super) fn act_as(caller: &Caller) -> Result<()> {
    THREAD.with_borrow_mut(|thread| thread.become_caller(caller))
}

/// Lets this thread act as root, which opening a file by its handle requires.
pub(super) fn act_as_root() -> Result<()> {
    act_as(&Caller::ROOT)
}

/// Whether this thread makes files with exact modes; if not, the caller has to set modes again.
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
    /// The client applies the umask before its call, so the server's has to be 0. Threads share the umask unless unshare(2)
    /// separates them, which containers may forbid.
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
        // Neither call reports a failure: an invalid id returns the current one.
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
