//! The kernel's log as the console: what is written there is shown on each console, and stays for `dmesg` and the journal.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};
use pinetboot_core::pi::console;

use crate::failure::Failure;
use crate::settings::Settings;

/// `/dev/kmsg`; standard error where the kernel has none.
#[derive(Debug)]
pub(crate) struct Console(Option<File>);

impl Console {
    /// Opens it. `/dev` has to be mounted for more than standard error.
    pub(crate) fn open() -> Self {
        Self(OpenOptions::new().write(true).open("/dev/kmsg").ok())
    }

    /// Writes a step of a normal boot; `quiet` on the command line hides it.
    pub(crate) fn info(&self, text: impl fmt::Display) {
        self.write(INFO, &text);
    }

    /// Writes an error, which is shown in spite of `quiet` (which shows what is below level 4: Linux, init/main.c).
    pub(crate) fn error(&self, text: impl fmt::Display) {
        self.write(ERROR, &text);
    }

    /// Writes an error, and tells it to the servers of the disk, as a kernel's netconsole does: they name the rule in the Pi's timeline. The
    /// datagram may be lost, and before the network is configured it is.
    pub(crate) fn report(&self, text: impl fmt::Display) {
        self.error(&text);
        let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else { return };
        for server in Settings::servers() {
            let line = format!("{NAME}: {text}\n");
            let _told = socket.send_to(line.as_bytes(), (*server.ip(), console::PORT));
        }
    }

    /// Writes the failure, and restarts the machine after a time to read it. Nothing is flushed: the disk is not there.
    pub(crate) fn end(&self, failure: &Failure) -> ! {
        self.report(failure);
        self.error(format_args!("the machine restarts in {} s", TO_READ.as_secs()));
        loop {
            thread::sleep(TO_READ);
            let Err(error) = reboot(RebootMode::RB_AUTOBOOT);
            self.error(format_args!(
                "the kernel does not restart the machine: {error}. Switch it off and on"
            ));
        }
    }

    fn write(&self, level: u8, text: &dyn fmt::Display) {
        // One write is one record.
        let line = format!("<{level}>{NAME}: {text}\n");
        let written = self.0.as_ref().map(|mut kmsg| kmsg.write_all(line.as_bytes()));
        if !matches!(written, Some(Ok(()))) {
            eprintln!("{NAME}: {text}");
        }
    }
}

/// What each line begins with: the server knows the lines by this (pinetboot-core, `pi::console`).
const NAME: &str = "pinetboot-init";
const INFO: u8 = 6;
const ERROR: u8 = 3;
const TO_READ: Duration = Duration::from_secs(20);
