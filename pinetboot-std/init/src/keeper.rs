//! The keeper: makes the disk, and connects it again when its connection is dead.
//!
//! All its memory is locked: a page that had to come from the disk would never come.

use std::convert::Infallible;
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::unistd::setsid;
use pinetboot_core::pi::rules::{DISK_DRIVER_MISSING, DISK_MAY_HAVE_LOST_WRITES};

use crate::console::Console;
use crate::disk::{Device, Export, NoSession, Session};
use crate::failure::Failure;
use crate::network::Renewal;
use crate::settings::{DiskAddress, Settings};

/// Starts the keeper as a process of its own, and returns once the disk is there.
pub(crate) fn start() -> Result<(), Failure> {
    let failed = |error: &dyn core::fmt::Display| {
        Failure::new(
            &DISK_DRIVER_MISSING,
            format!("the process that keeps the disk has failed: {error}"),
            "Read the lines above this one",
        )
    };
    // Not a fork: the child has its own `argv[0]`, and unsafe code is not needed.
    let program = env::current_exe().map_err(|error| failed(&error))?;
    let mut child = Command::new(program)
        .arg0(NAME)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let mut said = String::new();
    let output = child.stdout.take().ok_or_else(|| failed(&"no pipe"))?;
    BufReader::new(output).read_line(&mut said).map_err(|error| failed(&error))?;
    if said == READY { Ok(()) } else { Err(failed(&"it ended")) }
}

/// The keeper's part.
pub(crate) fn run(console: &Console) -> Result<Infallible, Failure> {
    let settings = Settings::read()?;
    // In a session of its own no terminal ends it.
    if let Err(error) = setsid() {
        console.error(format_args!("no session for the keeper: {error}. The disk may end with the console"));
    }
    if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        console.error(format_args!("memory is not locked: {error}. Do not use swap on this disk"));
    }
    let mut device = Device::open().map_err(|error| {
        let remedy = "The initramfs lacks nbd.ko of this kernel, or the kernel has none: CONFIG_BLK_DEV_NBD";
        Failure::new(&DISK_DRIVER_MISSING, format!("the kernel has no NBD driver: {error}"), remedy)
    })?;
    let (mut server, session) = connect(console, &settings.disks, None)?;
    device.connect(&session).map_err(kernel_refuses)?;
    let export = session.export;
    let address = session.stream.local_addr();
    drop(session.stream); // the kernel has its own reference
    let renewal = match address {
        Ok(SocketAddr::V4(address)) => Renewal::of(&settings.network, *address.ip()),
        _ => Ok(None),
    };
    let started = renewal.and_then(|renewal| renewal.map_or(Ok(()), Renewal::start));
    if let Err(error) = started {
        console.error(format_args!(
            "the lease of the address is not renewed: {error}. Reserve the address for this machine"
        ));
    }
    console.info(format_args!("/dev/nbd0 has {} bytes of {server}", export.len));
    // The receiver is the first program, which ends this pipe when it has become the system's.
    let mut output = io::stdout();
    output.write_all(READY.as_bytes()).and_then(|()| output.flush()).map_err(|error| {
        Failure::new(
            &DISK_DRIVER_MISSING,
            format!("the first program has ended: {error}"),
            "Read the lines above this one",
        )
    })?;
    loop {
        device.wait_for_death().map_err(kernel_refuses)?;
        console.error(format_args!("the connection to {server} is dead: disk requests wait for another"));
        let (next, session) = connect(console, &settings.disks, Some(&export))?;
        device.reconnect(&session).map_err(kernel_refuses)?;
        server = next;
        console.error(format_args!("connected to {server} again: disk requests go on"));
    }
}

/// Connects to the first server that has the disk, as often as it takes; to the same disk with the same content as `before`.
fn connect(
    console: &Console,
    disks: &[DiskAddress],
    before: Option<&Export>,
) -> Result<(SocketAddrV4, Session), Failure> {
    let mut refused_since = None;
    let mut told: Option<Instant> = None;
    loop {
        let began = Instant::now();
        let tells = told.is_none_or(|at| at + BETWEEN_LINES <= began);
        let (mut refusal, mut another) = (None, None);
        for disk in disks {
            let why = match Session::open(disk) {
                Ok(session) => match before.map_or(Ok(()), |before| same(before, &session.export)) {
                    Ok(()) => return Ok((disk.server, session)),
                    Err(failure) => {
                        another = Some(failure);
                        continue;
                    }
                },
                Err(why) => why,
            };
            if tells {
                let line = format_args!("{}: {why} [{}]", disk.server, why.rule());
                // Once, so that the silence afterwards shows that nothing else goes on. A machine that runs may wait for a server that starts.
                if before.is_none() && told.is_none() { console.report(line) } else { console.error(line) }
            }
            if let NoSession::Refused(_) = why {
                refusal = Some(why);
            }
        }
        if tells {
            told = Some(began);
        }
        // The disk of one server, which had it, may yet come back on another.
        if let Some(failure) = another.filter(|_| disks.len() == 1) {
            return Err(failure);
        }
        match refusal {
            // A server that still has the connection of this machine's last boot gives the disk free after a while.
            Some(why) if *refused_since.get_or_insert(began) + REFUSED <= began => {
                return Err(Failure::new(why.rule(), why.to_string(), "The next boot gets a new secret"));
            }
            Some(_) => {}
            None => refused_since = None,
        }
        thread::sleep(BETWEEN_TRIES);
    }
}

/// A disk that lost writes which it had answered, or another one, damages the file system that goes on with it. As after a power cut,
/// the next boot finds a file system whose journal repairs it.
fn same(before: &Export, now: &Export) -> Result<(), Failure> {
    if before.len != now.len {
        return Err(Failure::new(
            &DISK_MAY_HAVE_LOST_WRITES,
            format!("the disk had {} bytes and has {} now", before.len, now.len),
            "The machine starts anew with it",
        ));
    }
    if before.description != now.description {
        let text = |export: &Export| export.description.clone().unwrap_or_else(|| "nothing".into());
        return Err(Failure::new(
            &DISK_MAY_HAVE_LOST_WRITES,
            format!(
                "the server's machine was restarted, and may have lost writes: it says \"{}\", and said \"{}\"",
                text(now),
                text(before)
            ),
            "The machine starts anew, as after a power cut",
        ));
    }
    Ok(())
}

fn kernel_refuses(error: Errno) -> Failure {
    Failure::new(
        &DISK_DRIVER_MISSING,
        format!("the kernel's NBD driver refuses: {error}"),
        "Linux 5.4 or newer is needed",
    )
}

/// systemd ends no process whose `argv[0]` begins with `@` (its page "Storage Daemons for the Root File System").
const NAME: &str = "@pinetboot-init";
const READY: &str = "ready\n";
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// How long refusals are taken for a state that passes.
const REFUSED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_may_have_lost_writes_is_another_disk() {
        let export = |len, description: Option<&str>| Export {
            len,
            flags: 0,
            description: description.map(str::to_owned),
        };
        let before = export(1024, Some("boot 1"));
        assert!(same(&before, &export(1024, Some("boot 1"))).is_ok());
        assert!(same(&before, &Export { flags: 1, ..before.clone() }).is_ok());
        for other in [export(1024, Some("boot 2")), export(1024, None), export(2048, Some("boot 1"))] {
            assert!(same(&before, &other).is_err(), "{other:?}");
        }
    }
}
