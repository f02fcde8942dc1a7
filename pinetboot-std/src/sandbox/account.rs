//! The user that a process becomes.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::users::{User, Users};

/// A user of this system with the user's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// A path that an account cannot use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoAccess {
    /// The path, or the first directory on the way to it that the account cannot enter.
    pub path: PathBuf,
    /// The lacking access.
    pub access: &'static str,
}

impl Account {
    /// The user of this name in `/etc/passwd`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn named(name: &str) -> io::Result<Option<Self>> {
        let users = Users::read()?;
        Ok(users.named(name).map(|user| Self::of(user, &users)))
    }

    /// The user that owns no file: its number is that of owners whom a namespace does not know (user_namespaces(7)). A container has no
    /// list of users: the user is known by number there.
    pub fn without_files() -> Self {
        let users = Users::read().ok();
        let known = users.and_then(|users| Some(Self::of(users.numbered(OVERFLOW_UID)?, &users)));
        let (uid, gid) = (OVERFLOW_UID.into(), OVERFLOW_UID.into());
        known.unwrap_or_else(|| Self { name: OVERFLOW_UID.to_string(), uid, gid, groups: vec![gid] })
    }

    fn of(user: User, users: &Users) -> Self {
        let groups = users.groups_of(&user).into_iter().map(Gid::from_raw).collect();
        Self { name: user.name, uid: Uid::from_raw(user.uid), gid: Gid::from_raw(user.gid), groups }
    }

    /// The account, in the group of root too.
    #[must_use]
    pub fn with_group_of_root(mut self) -> Self {
        self.groups.push(Gid::from_raw(0));
        self
    }

    /// Whether this is root, from whom nothing is taken.
    pub const fn is_root(&self) -> bool {
        self.uid.is_root()
    }

    /// The numbers of the user and of its group.
    pub const fn ids(&self) -> (u32, u32) {
        (self.uid.as_raw(), self.gid.as_raw())
    }

    /// Checks that the account can read the first paths, and write to the second ones. Only root can check.
    ///
    /// # Errors
    ///
    /// The first path that the account cannot use.
    pub fn check(&self, read: &[PathBuf], write: &[PathBuf]) -> Result<(), NoAccess> {
        let checked = thread::scope(|scope| {
            // A thread with the account's rights, which ends with them.
            scope
                .spawn(|| {
                    if self.lend_to_this_thread().is_err() {
                        return Ok(());
                    }
                    let reads = read.iter().map(|path| (path, Access::READ_OK, "read"));
                    let writes =
                        write.iter().map(|path| (path, Access::READ_OK | Access::WRITE_OK, "write to"));
                    reads.chain(writes).try_for_each(|(path, access, word)| check(path, access, word))
                })
                .join()
        });
        checked.unwrap_or(Ok(()))
    }

    fn lend_to_this_thread(&self) -> rustix::io::Result<()> {
        let gid = |gid: &Gid| rustix::process::Gid::from_raw(gid.as_raw());
        let uid = rustix::process::Uid::from_raw(self.uid.as_raw());
        let groups: Vec<_> = self.groups.iter().map(gid).collect();
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid(&self.gid), gid(&self.gid), gid(&self.gid))?;
        set_thread_res_uid(uid, uid, uid)
    }

    pub(super) fn become_it(&self) -> io::Result<()> {
        setgroups(&self.groups)?;
        setresgid(self.gid, self.gid, self.gid)?;
        setresuid(self.uid, self.uid, self.uid)?;
        Ok(())
    }
}

fn check(path: &Path, access: Access, word: &'static str) -> Result<(), NoAccess> {
    let mut above: Vec<_> = path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    above.reverse();
    if let Some(closed) = above.into_iter().find(|directory| !may(directory, Access::EXEC_OK)) {
        return Err(NoAccess { path: closed.to_owned(), access: "enter" });
    }
    let access = if path.is_dir() { access | Access::EXEC_OK } else { access };
    if may(path, access) { Ok(()) } else { Err(NoAccess { path: path.to_owned(), access: word }) }
}

/// Whether this thread has the access; a missing file is another check's concern.
fn may(path: &Path, access: Access) -> bool {
    !matches!(
        accessat(CWD, path, access, AtFlags::EACCESS),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS)
    )
}

impl std::fmt::Display for NoAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot {} {}", self.access, self.path.display())
    }
}

const OVERFLOW_UID: u32 = 65534;
