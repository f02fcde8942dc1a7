//! Pinetboot's side: the NBD server of `pinetboot serve`, without the questions of who may.

use std::net::{IpAddr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use pinetboot_disk::{Access, Export, Exports, Limits, Overlay, Refused, Server};

use super::client::PORT;
use crate::Failed;
use crate::world;

/// The overlays of a directory, `disk-0.qcow2` and so on, each opened for its first client.
struct Overlays(PathBuf, Mutex<Vec<(String, Arc<Overlay>)>>);

impl Exports for Overlays {
    fn open(&self, _client: IpAddr, name: &str) -> Result<Export, Refused> {
        let mut opened = self.1.lock().map_err(|_| Refused)?;
        if let Some((_, overlay)) = opened.iter().find(|(opened, _)| opened == name) {
            return Ok(Export::new(overlay.clone()));
        }
        let path = self.0.join(name).with_extension("qcow2");
        let overlay = Overlay::open(&path, &self.0, Access::ReadWrite).map_err(|error| {
            eprintln!("{}: {error}", path.display());
            Refused
        })?;
        let overlay = Arc::new(overlay);
        opened.push((name.to_owned(), overlay.clone()));
        Ok(Export::new(overlay))
    }

    fn list(&self, _client: IpAddr) -> Vec<String> {
        Vec::new()
    }
}

/// Serves the overlays of a directory until the process is killed.
pub(crate) fn serve(directory: &Path) -> Result<(), Failed> {
    let listener =
        TcpListener::bind(SocketAddrV4::new(world::SERVER, PORT)).map_err(|error| error.to_string())?;
    let exports = Arc::new(Overlays(directory.to_owned(), Mutex::default()));
    let limits = Limits { per_client: 1000, ..Limits::default() };
    let _server =
        Server::start(vec![listener], exports, limits, Arc::new(())).map_err(|error| error.to_string())?;
    loop {
        std::thread::park();
    }
}
