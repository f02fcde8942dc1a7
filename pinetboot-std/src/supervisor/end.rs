//! The end of the process, whatever its threads wait for.

use std::path::Path;
use std::process;

use crate::exit::Exit;

/// Ends the process without its other threads. A thread that waits for a device in the kernel outlives the process until the device
/// answers, with all descriptors: the ports are free for the next server all the same.
pub(crate) fn end(exit: Exit) -> ! {
    close_sockets(Path::new("/proc/self/fd"));
    process::exit(exit as i32)
}

/// Closes all sockets but the standard streams. Sockets alone: a thread that still uses the number of a closed descriptor could
/// write to another file of that number. Calls on sockets fail on files (ENOTSOCK). All are found before the first is closed: a debug
/// build aborts if a thread drops a closed one before the process has ended.
fn close_sockets(descriptors: &Path) {
    let Ok(entries) = std::fs::read_dir(descriptors) else { return };
    let numbers = entries.flatten().filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        let is_socket = target.as_os_str().as_encoded_bytes().starts_with(b"socket:");
        let number = entry.file_name().to_str()?.parse::<i32>().ok()?;
        (is_socket && number > 2).then_some(number)
    });
    for number in numbers.collect::<Vec<_>>() {
        let _closed = nix::unistd::close(number);
    }
}
