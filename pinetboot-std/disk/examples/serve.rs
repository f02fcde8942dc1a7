//! Serves an image, or an overlay made by `qemu-img create -f qcow2 -b IMAGE -F raw OVERLAY` or by this crate, over NBD: `cargo run --example
//! serve -- FILE [ADDRESS:PORT]`. Read-only for a raw image.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinetboot_disk::{Access, Disk, Event, Image, Limits, Observer, OneExport, Overlay, Server};

struct Printer;

impl Observer for Printer {
    fn event(&self, event: &Event<'_>) {
        eprintln!("{event:?}");
    }
}

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("give an image or a qcow2 file")?);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:10809".into());
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_overlay = path.extension().is_some_and(|extension| extension == "qcow2");
    let disk: Arc<dyn Disk> = if is_overlay {
        Arc::new(Overlay::open(&path, directory, Access::ReadWrite)?)
    } else {
        Arc::new(Image::open(&path, Access::ReadOnly)?)
    };
    let listener = TcpListener::bind(address)?;
    println!("ready nbd://{}", listener.local_addr()?);
    let server =
        Server::start(vec![listener], Arc::new(OneExport(disk)), Limits::default(), Arc::new(Printer))?;
    // Ends with the standard input.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    drop(server);
    Ok(())
}
