//! The first program of a machine whose root is on an NBD disk: the `/init` of its initramfs.
//!
//! ```text
//! kernel command line -> Settings
//! /modules/*.ko -> kernel;  ip= -> network;  keeper: negotiation -> socket -> kernel (/dev/nbd0)
//! root= -> partition of /dev/nbd0 -> mount -> switch root -> the system's init
//! ```
//!
//! The keeper is a second process of this program. It stays, locked in memory, and connects again after a server's restart. Its
//! `argv[0]` begins with `@`, which systemd's killing at shutdown spares (systemd, "Storage Daemons for the Root File System").
//!
//! A third process of this program ends the machine: systemd starts it when all else has ended, and it gives the disk back.
//!
//! What fails is written to the console with a remedy and the number of a rule, and told to the server; then the machine restarts, as a Pi's
//! firmware repeats a failed boot.
//!
//! Not done: TLS; IPv6.

#![forbid(unsafe_code)]

mod command_line;
mod console;
mod disk;
mod failure;
mod keeper;
mod modules;
mod netlink;
mod network;
mod root;
mod settings;
mod shutdown;
mod start;

use std::convert::Infallible;
use std::env;

use console::Console;
use failure::Failure;

fn main() {
    let name = env::args_os().next().unwrap_or_default();
    let Err(failure) = match name.as_encoded_bytes() {
        [b'@', ..] => keeper::run(&Console::open()),
        _ if name == shutdown::NAME && std::process::id() == 1 => shutdown::run(&Console::open()),
        _ => start_system(),
    };
    Console::open().end(&failure); // the first program has mounted /dev by now
}

fn start_system() -> Result<Infallible, Failure> {
    if std::process::id() == 1 {
        return start::run();
    }
    // Nothing of this program is for a running system, which it would restart.
    eprintln!("pinetboot-init is not the first process: pack it into an initramfs as /init");
    std::process::exit(2);
}
