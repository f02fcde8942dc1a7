//! `pinetboot demo`: a server with a small tree, and a simulated Pi 5 that boots from it, in one process.
//!
//! The server listens on the loopback interface and a free port: the demo needs no privilege, no file and no second machine.

mod tree;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;

use pinetboot_core::block_on;
use pinetboot_core::pi::Model;
use pinetboot_core::tftp::{Limits, Server};

use crate::exit::{Exit, Failed};
use crate::net::{self, Interrupt, LinuxNet};
use crate::output;
use crate::simulate::{Pi, Report, simulate};
use tree::DemoTree;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Boots a simulated Pi 5 from a tree in memory and shows it on standard output.
///
/// # Errors
///
/// If the loopback interface is missing, or standard output fails.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let (stdout, nowhere) = (&mut output::stdout(), &mut io::sink());
    let out: &mut dyn Write = if options.json { nowhere } else { stdout };
    let report = demonstrate(out)?;
    if options.json {
        stdout.json(&report)?;
    }
    Ok(report.exit())
}

fn demonstrate(out: &mut dyn Write) -> Result<Report, Failed> {
    let tree = DemoTree::new();
    let (files, megabytes) = (tree.files(), tree.bytes() as f64 / 1e6);
    let net = LinuxNet::listen(&[LOOPBACK], net::Options::default())
        .map_err(|error| Failed::new(Exit::Bind, error))?;
    let failure = |error: io::Error| Failed::new(Exit::Failure, error);
    let server = net.addresses().map_err(failure)?.first().copied().unwrap_or(LOOPBACK);
    let control = net.control();
    let running = thread::Builder::new().name("server".into()).spawn(|| serve(net, tree)).map_err(failure)?;

    let intro = format!(
        "TFTP server {server} in this process: {files} files, {megabytes:.1} MB, generated in memory.\n"
    );
    let outro = "\nTo boot a real Pi: copy the boot partition of its SD card into a directory, then run\n  \
                 sudo pinetboot serve DIRECTORY\n";
    let write = |out: &mut dyn Write, text: &str| out.write_all(text.as_bytes()).map_err(output::failed);
    let booted = write(out, &intro)
        .and_then(|()| simulate(&Pi { mounts_root: false, ..Pi::new(Model::Pi5, SERIAL, server) }, out))
        .and_then(|report| write(out, outro).map(|()| report));

    control.stop();
    match running.join() {
        Ok(Interrupt::Failed(error)) => {
            Err(Failed::new(Exit::Failure, format!("the server failed: {error}")))
        }
        Ok(_) => booted,
        Err(_) => Err(Failed::new(Exit::Failure, "the server panicked")),
    }
}

/// Serves until [`Control::stop`](net::Control::stop) is called.
fn serve(net: LinuxNet, tree: DemoTree) -> Interrupt {
    let mut places: [_; PLACES] = std::array::from_fn(|_| None);
    let mut server = Server::<_, _, _, { 2 * PLACES }>::new(net, tree, (), Limits::default(), &mut places);
    match block_on(server.run()) {
        Ok(never) => match never {},
        Err(interrupt) => interrupt,
    }
}

/// The loopback address with a free port.
const LOOPBACK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

/// Sessions: one Pi fetches one file at a time; the spare ones cover a lost ERROR.
const PLACES: usize = 8;

const SERIAL: u32 = 0xbd98_9ae1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots() {
        let mut out = Vec::new();
        let exit = demonstrate(&mut out).unwrap().exit();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(exit, Exit::Success, "{out}");
        assert!(out.lines().all(|line| line.len() <= 100), "{out}");
        for expected in [
            "bd989ae1//overlays/vc4-kms-v3d-pi5.dtbo",
            "9,698,043 B",
            "missing (normal: built in)",
            "Would start the kernel: kernel_2712.img, initramfs_2712, bcm2712-rpi-5-b.dtb and 1 overlay.",
        ] {
            assert!(out.contains(expected), "{expected}\n{out}");
        }
        assert!(!out.contains("Warning"), "{out}");
    }
}
