//! The end of the machine: systemd makes /run/initramfs the root once all else has ended, and starts `/shutdown` there (systemd,
//! "The initrd Interface"). That is this program, which gives the disk back at once: a machine that only goes silent has it for as long as
//! the server takes it for a slow one.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chroot};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::mount::umount;
use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::{chdir, sync};

use crate::console::Console;
use crate::disk::Device;

/// The name by which systemd starts this program.
pub(crate) const NAME: &str = "/shutdown";

/// Puts this program where systemd finds it at the end. A machine without it ends all the same.
pub(crate) fn install(console: &Console) {
    let install = || -> io::Result<()> {
        fs::create_dir_all(DIRECTORY)?;
        let program = format!("{DIRECTORY}{NAME}");
        fs::copy(env::current_exe()?, &program)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
    };
    if let Err(error) = install() {
        console.error(format_args!("{DIRECTORY}: {error}. The server learns of a shutdown by silence alone"));
    }
}

/// Ends the machine as the arguments say.
pub(crate) fn run(console: &Console) -> ! {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let how = match arguments.first().and_then(|verb| verb.to_str()) {
        Some("reboot") => RebootMode::RB_AUTOBOOT,
        Some("halt") => RebootMode::RB_HALT_SYSTEM,
        Some("kexec") => RebootMode::RB_KEXEC,
        _ => RebootMode::RB_POWER_OFF,
    };
    // A restart with a word for the firmware, as in `reboot "0 tryboot"`: systemd has the system call for it.
    if how == RebootMode::RB_AUTOBOOT && Path::new(WORD).exists() {
        let error = give_back(&arguments);
        console
            .error(format_args!("systemd does not restart the machine: {error}. This restart has no word"));
    }
    unmount();
    sync();
    // systemd has made the root read-only before; nothing is written to the disk any more.
    if let Err(error) = Device::open().and_then(|mut device| device.disconnect()) {
        console
            .error(format_args!("the disk is not given back: {error}. The server does so after a silence"));
    }
    loop {
        let Err(error) = reboot(how);
        console.error(format_args!("the kernel does not end the machine: {error}. Switch it off"));
        thread::sleep(BETWEEN_TRIES);
    }
}

/// Starts systemd's own end in the old root, which finds this program no more; returns only an error.
fn give_back(arguments: &[OsString]) -> io::Error {
    let _as_far_as_it_goes = fs::remove_file(NAME);
    if let Err(error) = chroot(OLD_ROOT) {
        return error;
    }
    if let Err(error) = chdir("/") {
        return error.into();
    }
    Command::new(SYSTEMD).args(arguments).exec()
}

/// Unmounts the old root and what is mounted in it, the last first.
fn unmount() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for place in old_mounts(&mounts).iter().rev() {
        // One that is busy is read-only by now.
        let _unmounted = umount(*place);
    }
}

/// The places of mounts in the old root, in the order in which they were mounted (proc_pid_mountinfo(5): field 5).
fn old_mounts(text: &str) -> Vec<&str> {
    let is_old = |place: &&str| {
        place.strip_prefix(OLD_ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    text.lines().filter_map(|line| line.split(' ').nth(4)).filter(is_old).collect()
}

const DIRECTORY: &str = "/run/initramfs";
const OLD_ROOT: &str = "/oldroot";
const SYSTEMD: &str = "/lib/systemd/systemd-shutdown";
const BETWEEN_TRIES: Duration = Duration::from_secs(5);
/// Where systemd keeps the word of a restart.
const WORD: &str = "/run/systemd/reboot-param";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_root_alone_is_unmounted() {
        let mounts = "22 1 0:5 / / rw - rootfs rootfs rw\n\
                      23 22 43:2 / /oldroot ro,noatime - ext4 /dev/nbd0p2 ro\n\
                      24 22 0:20 / /proc rw - proc proc rw\n\
                      25 23 0:20 / /oldroot/proc rw - proc proc rw\n\
                      26 22 0:21 / /oldroots rw - tmpfs tmpfs rw\n";
        assert_eq!(old_mounts(mounts), ["/oldroot", "/oldroot/proc"]);
    }
}
