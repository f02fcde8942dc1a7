//! The load: the calls of a client, and the checks of the replies.

use std::time::Instant;

use nfs3_types::nfs3::{
    COMMIT3args, CREATE3args, CREATE3res, FSINFO3args, FSINFO3res, GETATTR3args, LOOKUP3args, MKDIR3args,
    MKDIR3res, NFS_PROGRAM, Nfs3Option, Nfs3Result, READ3args, READDIRPLUS3args, READDIRPLUS3res,
    REMOVE3args, RMDIR3args, WRITE3args, cookieverf3, createhow3, diropargs3, nfs_fh3, sattr3, stable_how,
};
use nfs3_types::xdr_codec::{Opaque, Unpack};

use super::client::{Client, data_read, successful};
use super::row::{Done, Size};
use crate::Failed;
use crate::content::Content;

/// A directory with a file in it, and a client.
pub(super) struct Load {
    client: Client,
    root: nfs_fh3,
    dir: nfs_fh3,
    file: nfs_fh3,
    pub(super) size: Size,
    /// The size of directory listing that the server prefers, in bytes.
    piece_of_list: u32,
    /// The content that each piece of 4 KiB of the file was written with last.
    written: Vec<Content>,
    /// The written bytes have not been read back yet.
    unsettled: bool,
    /// The files that exist now, besides `file`.
    files: Vec<nfs_fh3>,
}

impl Load {
    pub(super) fn new((mut client, root): (Client, nfs_fh3), size: Size) -> Result<Self, Failed> {
        let arguments = MKDIR3args { where_: entry(&root, "load"), attributes: mode(0o755) };
        let dir = match client.call(NFS_PROGRAM::NFSPROC3_MKDIR as u32, &arguments)? {
            MKDIR3res::Ok(made) => made.obj,
            MKDIR3res::Err((status, _)) => return Err(format!("MKDIR: {status:?}").into()),
        };
        let dir = handle(dir)?;
        let arguments = CREATE3args { where_: entry(&dir, "file"), how: createhow3::GUARDED(mode(0o644)) };
        let made = client.call(NFS_PROGRAM::NFSPROC3_CREATE as u32, &arguments)?;
        let file = created(made)?;
        let fsroot = root.clone();
        let piece_of_list = match client.call(NFS_PROGRAM::NFSPROC3_FSINFO as u32, &FSINFO3args { fsroot })? {
            FSINFO3res::Ok(information) => information.dtpref,
            FSINFO3res::Err((status, _)) => return Err(format!("FSINFO: {status:?}").into()),
        };
        let written = vec![Content::Zeros; (size.file / PIECE) as usize];
        Ok(Self {
            client,
            root,
            dir,
            file,
            size,
            piece_of_list,
            written,
            unsettled: false,
            files: Vec::new(),
        })
    }

    /// Goes on at the restarted server, with the handles from before.
    pub(super) fn reconnect(&mut self, (client, root): (Client, nfs_fh3)) -> Result<(), Failed> {
        if root.data != self.root.data {
            return Err("another handle for the same directory, after the server was restarted".into());
        }
        self.client = client;
        Ok(())
    }

    /// The whole file from front to back, and then to the disk.
    pub(super) fn write_all(&mut self, depth: usize) -> Result<Done, Failed> {
        let start = Instant::now();
        let content = Content::of("all");
        let Done { calls, .. } =
            self.write(self.size.file / MIB, depth, MIB, content, |number| number * MIB)?;
        self.commit()?;
        Ok(Done { calls: calls + 1, count: self.size.file, time: start.elapsed() })
    }

    /// Pieces of 4 KiB all over the file.
    pub(super) fn write_some(&mut self, count: u64, depth: usize) -> Result<Done, Failed> {
        let content = Content::of(if depth == 1 { "some" } else { "more" });
        let pieces = self.size.file / PIECE;
        self.write(count, depth, PIECE, content, |number| scattered(number, pieces) * PIECE)
    }

    /// The whole file from front to back, a few times.
    pub(super) fn read_all(&mut self, len: u64, depth: usize) -> Result<Done, Failed> {
        let all = self.size.file / len;
        let done = self.read(PASSES * all, depth, len, |number| number % all * len)?;
        Ok(Done { count: PASSES * self.size.file, ..done })
    }

    /// Pieces of 4 KiB all over the file.
    pub(super) fn read_some(&mut self, count: u64, depth: usize) -> Result<Done, Failed> {
        let pieces = self.size.file / PIECE;
        self.read(count, depth, PIECE, |number| scattered(number, pieces) * PIECE)
    }

    /// Creates `count` new files.
    pub(super) fn create(&mut self, count: u64, depth: usize) -> Result<Done, Failed> {
        let (dir, mut files) = (self.dir.clone(), vec![None; count as usize]);
        let done = drive(
            &mut self.client,
            count,
            depth,
            |client, number| {
                let how = createhow3::GUARDED(mode(0o644));
                let name = name(number);
                let arguments = CREATE3args { where_: entry(&dir, &name), how };
                client.send(NFS_PROGRAM::NFSPROC3_CREATE as u32, &arguments)
            },
            |number, mut body| {
                let made =
                    CREATE3res::unpack(&mut body).map_err(|_| "CREATE: an answer that makes no sense")?;
                files[number as usize] = Some(created(made.0)?);
                Ok(())
            },
        )?;
        self.files = files.into_iter().flatten().collect();
        Ok(done)
    }

    /// Every file by its name.
    pub(super) fn look_up(&mut self, depth: usize) -> Result<Done, Failed> {
        let (dir, count) = (self.dir.clone(), self.files.len() as u64);
        let files = &self.files;
        drive(
            &mut self.client,
            count,
            depth,
            |client, number| {
                let name = name(scattered(number, count));
                let what = entry(&dir, &name);
                client.send(NFS_PROGRAM::NFSPROC3_LOOKUP as u32, &LOOKUP3args { what })
            },
            |number, body| {
                successful(body)?;
                let expected = &files[scattered(number, count) as usize].data;
                match body.get(8..8 + expected.len()) == Some(expected) {
                    true => Ok(()),
                    false => Err("LOOKUP: the wrong file".into()),
                }
            },
        )
    }

    /// Every file's attributes.
    pub(super) fn stat(&mut self, depth: usize) -> Result<Done, Failed> {
        let (files, count) = (&self.files, self.files.len() as u64);
        drive(
            &mut self.client,
            count,
            depth,
            |client, number| {
                let object = files[scattered(number, count) as usize].clone();
                client.send(NFS_PROGRAM::NFSPROC3_GETATTR as u32, &GETATTR3args { object })
            },
            |_, body| successful(body),
        )
    }

    /// All entries with their attributes and handles, in pieces as large as the server prefers, as Linux asks for them.
    pub(super) fn list(&mut self) -> Result<Done, Failed> {
        let start = Instant::now();
        let names = self.names()?;
        let time = start.elapsed();
        match names == self.files.len() as u64 {
            true => Ok(Done { calls: names, count: names, time }),
            false => Err(format!("READDIRPLUS: {names} files instead of {}", self.files.len()).into()),
        }
    }

    /// Every file that [`create`](Self::create) made.
    pub(super) fn remove(&mut self, depth: usize) -> Result<Done, Failed> {
        let (dir, count) = (self.dir.clone(), self.files.len() as u64);
        let done = drive(
            &mut self.client,
            count,
            depth,
            |client, number| {
                let name = name(scattered(number, count));
                let object = entry(&dir, &name);
                client.send(NFS_PROGRAM::NFSPROC3_REMOVE as u32, &REMOVE3args { object })
            },
            |_, body| successful(body),
        )?;
        self.files.clear();
        Ok(done)
    }

    /// Checks outside all rows: the disk has the written bytes, and the directory the created files.
    pub(super) fn settle(&mut self) -> Result<(), Failed> {
        if core::mem::take(&mut self.unsettled) {
            self.commit()?;
            let all = self.size.file / MIB;
            self.read(all, 4, MIB, |number| number * MIB)?;
        }
        self.list().map(drop)
    }

    /// Removes all files and the directory.
    pub(super) fn clean(mut self) -> Result<(), Failed> {
        let object = entry(&self.dir, "file");
        self.client.send(NFS_PROGRAM::NFSPROC3_REMOVE as u32, &REMOVE3args { object })?;
        successful(self.client.receive()?.1)?;
        let object = entry(&self.root, "load");
        self.client.send(NFS_PROGRAM::NFSPROC3_RMDIR as u32, &RMDIR3args { object })?;
        successful(self.client.receive()?.1)
    }

    fn write(
        &mut self,
        count: u64,
        depth: usize,
        len: u64,
        content: Content,
        place: impl Fn(u64) -> u64,
    ) -> Result<Done, Failed> {
        self.unsettled = true;
        let (file, written) = (self.file.clone(), &mut self.written);
        let mut data = Vec::new();
        drive(
            &mut self.client,
            count,
            depth,
            |client, number| {
                let offset = place(number);
                data.clear();
                for piece in pieces(offset, len) {
                    data.extend_from_slice(content.at(piece * PIECE, PIECE as usize));
                    written[piece as usize] = content;
                }
                let data = Opaque::borrowed(&data);
                let (file, stable) = (file.clone(), stable_how::UNSTABLE);
                let arguments = WRITE3args { file, offset, count: len as u32, stable, data };
                client.send(NFS_PROGRAM::NFSPROC3_WRITE as u32, &arguments)
            },
            |_, body| successful(body),
        )
    }

    fn read(
        &mut self,
        count: u64,
        depth: usize,
        len: u64,
        place: impl Fn(u64) -> u64,
    ) -> Result<Done, Failed> {
        let (file, written) = (self.file.clone(), &self.written);
        drive(
            &mut self.client,
            count,
            depth,
            |client, number| {
                let arguments = READ3args { file: file.clone(), offset: place(number), count: len as u32 };
                client.send(NFS_PROGRAM::NFSPROC3_READ as u32, &arguments)
            },
            |number, body| {
                successful(body)?;
                let data = data_read(body);
                let right = data.len() == len as usize
                    && pieces(place(number), len)
                        .zip(data.chunks(PIECE as usize))
                        .all(|(piece, data)| written[piece as usize].at(piece * PIECE, data.len()) == data);
                if right { Ok(()) } else { Err("READ: not what was written".into()) }
            },
        )
    }

    fn commit(&mut self) -> Result<(), Failed> {
        let arguments = COMMIT3args { file: self.file.clone(), offset: 0, count: 0 };
        self.client.send(NFS_PROGRAM::NFSPROC3_COMMIT as u32, &arguments)?;
        successful(self.client.receive()?.1)
    }

    /// The number of files besides the one that is written and read.
    fn names(&mut self) -> Result<u64, Failed> {
        let (mut names, mut cookie, mut cookieverf) = (0, 0, cookieverf3::default());
        loop {
            let (dir, count) = (self.dir.clone(), self.piece_of_list);
            let arguments = READDIRPLUS3args { dir, cookie, cookieverf, dircount: count, maxcount: count };
            let part = match self.client.call(NFS_PROGRAM::NFSPROC3_READDIRPLUS as u32, &arguments)? {
                READDIRPLUS3res::Ok(part) => part,
                READDIRPLUS3res::Err((status, _)) => return Err(format!("READDIRPLUS: {status:?}").into()),
            };
            cookieverf = part.cookieverf;
            cookie = part.reply.entries.0.last().map_or(cookie, |entry| entry.cookie);
            let entries = part.reply.entries.0.iter();
            names += entries
                .filter(|entry| entry.name.0.starts_with(PREFIX.as_bytes()) && entry.name_handle.is_some())
                .count() as u64;
            if part.reply.eof {
                return Ok(names);
            }
        }
    }
}

/// Sends `count` calls with up to `depth` of them under way, and checks each reply, in any order. Returns the time taken.
fn drive(
    client: &mut Client,
    count: u64,
    depth: usize,
    mut send: impl FnMut(&mut Client, u64) -> Result<u32, Failed>,
    mut check: impl FnMut(u64, &[u8]) -> Result<(), Failed>,
) -> Result<Done, Failed> {
    let start = Instant::now();
    let mut under_way: Vec<(u32, u64)> = Vec::with_capacity(depth);
    let mut next = 0;
    while next < count || !under_way.is_empty() {
        while next < count && under_way.len() < depth {
            under_way.push((send(client, next)?, next));
            next += 1;
        }
        let (xid, body) = client.receive()?;
        let known = under_way.iter().position(|(sent, _)| *sent == xid).ok_or("an answer to nothing")?;
        check(under_way.swap_remove(known).1, body)?;
    }
    Ok(Done { calls: count, count, time: start.elapsed() })
}

fn created(made: CREATE3res) -> Result<nfs_fh3, Failed> {
    match made {
        Nfs3Result::Ok(made) => handle(made.obj),
        Nfs3Result::Err((status, _)) => Err(format!("CREATE: {status:?}").into()),
    }
}

fn handle(made: Nfs3Option<nfs_fh3>) -> Result<nfs_fh3, Failed> {
    match made {
        Nfs3Option::Some(handle) => Ok(handle),
        Nfs3Option::None => Err("the reply has no handle of the new file".into()),
    }
}

fn entry<'a>(dir: &nfs_fh3, name: &'a str) -> diropargs3<'a> {
    diropargs3 { dir: dir.clone(), name: name.as_bytes().into() }
}

fn mode(mode: u32) -> sattr3 {
    sattr3 { mode: Nfs3Option::Some(mode), ..sattr3::default() }
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number:05}")
}

/// The numbers of the pieces of 4 KiB.
fn pieces(offset: u64, len: u64) -> core::ops::Range<u64> {
    offset / PIECE..(offset + len) / PIECE
}

/// All numbers below `count` in a shuffled order. The factor is a prime that divides no count here.
fn scattered(number: u64, count: u64) -> u64 {
    number.wrapping_mul(1_000_003) % count
}

const MIB: u64 = 1 << 20;
const PIECE: u64 = 4096;
const PASSES: u64 = 4;
const PREFIX: &str = "some-file-";
