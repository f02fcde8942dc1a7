//! The sandbox of a process: what remains to the process after its start, when its sockets and trees are open.
//!
//! In this order: the user (`account`), the capabilities, no-new-privs (prctl(2)), the files ([`Paths`], landlock(7)) and the system
//! calls ([`Calls`], seccomp(2)). Each is a property of a thread that later threads inherit, so [`enter`] is called while the
//! process has one thread. A part that this system lacks is skipped and returned.

mod account;
mod calls;
mod lacking;
mod paths;

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

pub use account::{Account, NoAccess};
pub use calls::Calls;
pub use lacking::{Lacking, in_a_container, lacking};
pub use paths::Paths;
use paths::Rules;

/// What remains to a process.
#[derive(Debug)]
pub struct Remains {
    /// The user to become; `None` stays.
    pub account: Option<Account>,
    /// The capabilities.
    pub capabilities: CapabilitySet,
    /// The files; `None`: all that the user may use. In any case no TCP port is bound or connected to, and no process outside is
    /// signalled, as far as this kernel's landlock(7) knows these.
    pub paths: Option<Paths>,
    /// The system calls.
    pub calls: Calls,
}

/// A part of the sandbox that is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The part.
    pub part: &'static str,
    /// The reason.
    pub why: String,
}

/// Gives up all but what remains. Call this while the process has one thread.
///
/// # Errors
///
/// The system's, if the user or the capabilities cannot be given up.
pub fn enter(remains: &Remains) -> io::Result<Vec<Missing>> {
    let mut missing = Vec::new();
    let rules = remains.paths.as_ref().map(Paths::open);
    give_up_bounding_set(remains.capabilities);
    if let Some(account) = &remains.account {
        account.become_it()?;
    }
    keep(remains.capabilities)?;
    set_no_new_privs(true)?;
    match rules {
        Some(rules) => missing.extend(rules.and_then(Rules::restrict).err()),
        None => paths::restrict_network_and_signals(),
    }
    missing.extend(remains.calls.restrict().err());
    Ok(missing)
}

/// Removes all but these capabilities from the bounding set. Without CAP_SETPCAP the set stays; the process has nothing that could
/// make use of it, since no-new-privs follows.
/// Gives up all capabilities and becomes the user that serves boot files: the named one, else `pinetboot`, else the one without files. What
/// is not root's stays the user it is. The files and the system calls stay.
///
/// # Errors
///
/// The system's, and an unknown user.
#[cfg(feature = "web")]
pub(crate) fn become_user(name: Option<&str>) -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        let account = match name {
            Some(name) => Account::named(name)?.ok_or(io::ErrorKind::NotFound)?,
            None => Account::named(OWN_USER)?.unwrap_or_else(Account::without_files),
        };
        give_up_bounding_set(CapabilitySet::empty());
        account.become_it()?;
    }
    keep(CapabilitySet::empty())?;
    set_no_new_privs(true)?;
    Ok(())
}

/// The default user.
pub(crate) const OWN_USER: &str = "pinetboot";

fn give_up_bounding_set(keep: CapabilitySet) {
    for capability in CapabilitySet::all().difference(keep).iter() {
        // EINVAL: a capability that this kernel does not know.
        let _unknown_or_not_permitted = remove_capability_from_bounding_set(capability);
    }
}

fn keep(wanted: CapabilitySet) -> io::Result<()> {
    // Linux before 4.3 has no ambient set.
    let _not_there = clear_ambient_capability_set();
    let kept = wanted & rustix::thread::capabilities(None)?.permitted;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    Ok(())
}
