//! Serves one directory over NFSv3, the simplest use of [`pinetboot_nfs`]. Takes root.
//!
//! ```text
//! sudo cargo run --release -p pinetboot-nfs --example nfs -- DIRECTORY STATE [PORT]
//! sudo nfs-ls 'nfs://127.0.0.1/?nfsport=PORT&mountport=PORT'
//! ```

use std::error::Error;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinetboot_nfs::{DirectoryTree, Event, Export, Handles, NfsConfig, Observer, OneExport, Portmap};

/// Writes down what happens.
struct Printer;

impl Observer for Printer {
    fn observe(&self, event: &Event<'_>) {
        eprintln!("{event:?}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(state)) = (arguments.next(), arguments.next()) else {
        return Err("usage: nfs DIRECTORY STATE [PORT]".into());
    };
    let port = arguments.next().map_or(Ok(2049), |port| port.parse())?;
    let export = Export {
        id: 1,
        path: PathBuf::from("/"),
        tree: Arc::new(DirectoryTree::open(Path::new(&directory), 4096)?),
        read_only: false,
        root_squash: false,
    };
    let config = NfsConfig {
        listen: vec![Ipv4Addr::LOCALHOST],
        port,
        portmap: Portmap::Off,
        observer: Arc::new(Printer),
        ..NfsConfig::new(Handles::load(Path::new(&state))?)
    };
    let running = pinetboot_nfs::start(config, Arc::new(OneExport::new(export)))?;
    println!("ready nfs {}", running.port());
    loop {
        std::thread::park();
    }
}
