//! The kernel modules in the initramfs, which are loaded in the order of their names.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::console::Console;

/// Loads all modules of the kernel that runs, and removes each from the initramfs: its memory is free then. What fails is written to the
/// console, and the boot goes on: a network driver, say, refuses where another machine's hardware is missing.
pub(crate) fn load_all(console: &Console, directory: &Path) {
    let release = match fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => release.trim().to_owned(),
        Err(error) => return console.error(format_args!("the kernel's release is unknown: {error}")),
    };
    let Ok(entries) = fs::read_dir(directory.join(&release)) else {
        return console.error(format_args!(
            "the initramfs has no modules of the kernel {release}. Start another kernel and shut the system down cleanly: the server then reads them"
        ));
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if let Err(error) = load(&path) {
            let name = path.file_name().unwrap_or_default().display();
            console.error(format_args!(
                "module {name} is not loaded: {error}. Give the initramfs this kernel's modules"
            ));
        }
        if let Err(error) = fs::remove_file(&path) {
            console.error(format_args!("{}: {error}. Its memory stays in use", path.display()));
        }
    }
}

fn load(path: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(Errno::ENOEXEC) => Err("it is of another kernel".into()),
        Err(error) => Err(error.desc().into()),
    }
}
