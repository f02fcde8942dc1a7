//! A root by NFS in the place of a disk: the image is a file of the tree that all Pis share, and what is written goes to a file of the
//! layer of one Pi. RFC 1813.

use std::fs;
use std::path::Path;
use std::process::Command;

use nfs3_types::nfs3::{
    COMMIT3args, CREATE3args, CREATE3res, LOOKUP3args, LOOKUP3res, NFS_PROGRAM, Nfs3Option, READ3args,
    WRITE3args, createhow3, diropargs3, nfs_fh3, sattr3, stable_how,
};
use nfs3_types::xdr_codec::Opaque;

use super::client::{Client, READ, WRITE};
use crate::Failed;
use crate::nfs::client::{Client as Connection, data_read, successful};
use crate::nfs::peer;

/// A connection with both files.
pub(super) struct NfsRoot {
    connection: Connection,
    image: nfs_fh3,
    written: nfs_fh3,
    /// The image is read up to here, and what was written from here on.
    end_of_image: u64,
    /// The number of each call under way, and the cookie of its request.
    under_way: Vec<(u32, u64)>,
    data: Vec<u8>,
}

/// The server's command; makes its tree.
pub(super) fn server(place: &Path, image: &Path) -> Result<Command, Failed> {
    let tree = peer::tree(place)?;
    fs::hard_link(image, tree.join(IMAGE)).map_err(|error| format!("no image in the tree: {error}"))?;
    peer::of_this_commit("overlay", &[], place, &tree)
}

impl NfsRoot {
    /// Mounts the root; makes the file that is written, unless it is there.
    pub(super) fn mount(end_of_image: u64) -> Result<Self, Failed> {
        let (mut connection, root) = Connection::mount("/")?;
        let entry = |name: &'static str| diropargs3 { dir: root.clone(), name: name.as_bytes().into() };
        let call = NFS_PROGRAM::NFSPROC3_LOOKUP as u32;
        let image = match connection.call(call, &LOOKUP3args { what: entry(IMAGE) })? {
            LOOKUP3res::Ok(found) => found.object,
            LOOKUP3res::Err((status, _)) => return Err(format!("LOOKUP: {status:?}").into()),
        };
        let how = createhow3::UNCHECKED(sattr3 { mode: Nfs3Option::Some(0o644), ..sattr3::default() });
        let arguments = CREATE3args { where_: entry(WRITTEN), how };
        let written = match connection.call(NFS_PROGRAM::NFSPROC3_CREATE as u32, &arguments)? {
            CREATE3res::Ok(made) => made.obj,
            CREATE3res::Err((status, _)) => return Err(format!("CREATE: {status:?}").into()),
        };
        let Nfs3Option::Some(written) = written else { return Err("CREATE: no handle".into()) };
        Ok(Self { connection, image, written, end_of_image, under_way: Vec::new(), data: Vec::new() })
    }
}

impl Client for NfsRoot {
    fn ask(
        &mut self,
        command: u16,
        cookie: u64,
        offset: u64,
        count: u32,
        payload: &[u8],
    ) -> Result<(), Failed> {
        let file = if command == READ && offset < self.end_of_image { &self.image } else { &self.written };
        let file = file.clone();
        let sent = match command {
            READ => {
                let arguments = READ3args { file, offset, count };
                self.connection.add(NFS_PROGRAM::NFSPROC3_READ as u32, &arguments)?
            }
            WRITE => {
                let (stable, data) = (stable_how::UNSTABLE, Opaque::borrowed(payload));
                let arguments = WRITE3args { file, offset, count, stable, data };
                self.connection.add(NFS_PROGRAM::NFSPROC3_WRITE as u32, &arguments)?
            }
            _ => {
                let arguments = COMMIT3args { file, offset: 0, count: 0 };
                self.connection.add(NFS_PROGRAM::NFSPROC3_COMMIT as u32, &arguments)?
            }
        };
        self.under_way.push((sent, cookie));
        Ok(())
    }

    fn send(&mut self) -> Result<(), Failed> {
        self.connection.send_all()
    }

    fn has_more(&self) -> bool {
        self.connection.has_more()
    }

    fn receive(&mut self) -> Result<u64, Failed> {
        let (answered, results) = self.connection.receive()?;
        let known = self.under_way.iter().position(|(sent, _)| *sent == answered);
        let (_, cookie) = self.under_way.swap_remove(known.ok_or("an answer to nothing")?);
        successful(results)?;
        self.data.clear();
        self.data.extend_from_slice(data_read(results));
        Ok(cookie)
    }

    fn data(&mut self, buf: &mut [u8]) -> Result<(), Failed> {
        let data = self.data.get(..buf.len()).ok_or("READ: less than was asked for")?;
        buf.copy_from_slice(data);
        Ok(())
    }
}

const IMAGE: &str = "image";
const WRITTEN: &str = "written";
