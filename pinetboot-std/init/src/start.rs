//! The steps from the kernel's start to the system's.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::chroot;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout};
use pinetboot_core::pi::rules::{DISK_DRIVER_MISSING, DISK_WITHOUT_ROOT, NO_FIRST_PROGRAM};

use crate::console::Console;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::{keeper, modules, network, root, shutdown};

/// Starts the system; returns only a failure.
pub(crate) fn run() -> Result<Infallible, Failure> {
    for (kind, place, flags) in MOUNTS {
        make_directory(place)?;
        // devtmpfs may be there (CONFIG_DEVTMPFS_MOUNT), and mounted once more it is the same one.
        mount(Some(kind), place, Some(kind), flags, None::<&str>).map_err(|error| {
            Failure::new(
                &DISK_DRIVER_MISSING,
                format!("{kind} is not mounted at {place}: {error}"),
                "The kernel lacks this file system",
            )
        })?;
    }
    let console = Console::open();
    let settings = Settings::read()?;
    modules::load_all(&console, Path::new("/modules"));
    network::configure(&console, &settings.network)?;
    keeper::start()?;
    make_directory(ROOT)?;
    root::mount_at(&settings.root, ROOT)?;
    shutdown::install(&console);
    switch()?;
    Err(execute(&console, settings.init.as_deref()))
}

/// Makes the mounted root the root of this process. The mounts of the initramfs go along: systemd keeps /run and what is in it.
fn switch() -> Result<(), Failure> {
    let failed = |what: &str, error: io::Error| {
        Failure::new(
            &DISK_WITHOUT_ROOT,
            format!("{what}: {error}"),
            "Check that the image's root has the directories /dev, /proc, /run and /sys",
        )
    };
    for (_, place, _) in MOUNTS {
        let target = format!("{ROOT}{place}");
        mount(Some(place), target.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .map_err(|error| failed(&target, error.into()))?;
    }
    chdir(ROOT).map_err(|error| failed(ROOT, error.into()))?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .map_err(|error| failed("/", error.into()))?;
    chroot(".").map_err(|error| failed("chroot", error))?;
    chdir("/").map_err(|error| failed("/", error.into()))?;
    let console = OpenOptions::new().read(true).write(true).open("/dev/console");
    let console = console.map_err(|error| failed("/dev/console", error))?;
    for done in [dup2_stdin(&console), dup2_stdout(&console), dup2_stderr(&console)] {
        done.map_err(|error| failed("/dev/console", error.into()))?;
    }
    Ok(())
}

/// Becomes the system's first program, with the arguments that the kernel had for this one. As initramfs-tools does, and unlike the kernel
/// alone, it goes on without a program that `init=` names and the root lacks: a card's first boot names one that its later boots do not.
fn execute(console: &Console, init: Option<&str>) -> Failure {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    for program in init.into_iter().chain(INITS) {
        let error = Command::new(program).args(&arguments).exec();
        console.error(format_args!("{program} does not start: {error}. Check init= in cmdline.txt"));
    }
    Failure::new(
        &NO_FIRST_PROGRAM,
        "no first program starts",
        "The image has no system for this machine's processor",
    )
}

fn make_directory(path: &str) -> Result<(), Failure> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Failure::new(
            &DISK_DRIVER_MISSING,
            format!("{path}: {error}"),
            "The initramfs is damaged: make it anew",
        )),
        _ => Ok(()),
    }
}

/// What is mounted in the initramfs: its type, and its place here and in the root.
const MOUNTS: [(&str, &str, MsFlags); 4] = [
    ("proc", "/proc", MsFlags::empty()),
    ("sysfs", "/sys", MsFlags::empty()),
    ("devtmpfs", "/dev", MsFlags::empty()),
    ("tmpfs", "/run", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV)),
];
const ROOT: &str = "/root";
/// As in the kernel (init/main.c, `kernel_init`), but for the shell.
const INITS: [&str; 3] = ["/sbin/init", "/etc/init", "/bin/init"];
