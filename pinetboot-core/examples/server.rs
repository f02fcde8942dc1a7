//! A TFTP server of one directory, from one port: `cargo run --example server -- 127.0.0.1:6969 DIRECTORY`

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use common::Socket;
use pinetboot_core::tftp::{Limits, Server};
use pinetboot_core::{Event, File, Instant, NoUpload, Observer, OpenError, OpenRequest, Storage, block_on};

struct Directory(PathBuf);

impl Storage for Directory {
    type File = Opened;
    type Upload = NoUpload;
    type Refusal = OpenError;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Opened, OpenError> {
        let path = self.0.join(request.path.to_string());
        let file = fs::File::open(path).map_err(|_| OpenError::NotFound)?;
        let len = file.metadata().map_err(|_| OpenError::Failed)?.len();
        Ok(Opened(file, len))
    }
}

struct Opened(fs::File, u64);

impl File for Opened {
    type Error = std::io::Error;

    fn len(&self) -> u64 {
        self.1
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        self.0.read_exact_at(buf, offset)
    }
}

struct Print;

impl Observer for Print {
    type Transfer = ();

    fn observe(&mut self, now: Instant, event: &Event<'_>, _: Option<&mut ()>) {
        println!("{now}: {event:?}");
    }
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:6969".into());
    let directory = Directory(arguments.next().unwrap_or(".".into()).into());
    let mut places = [const { None }; 16];
    let mut server =
        Server::<_, _, _, 16>::new(Socket::bind(&address)?, directory, Print, Limits::default(), &mut places);
    match block_on(server.run())? {}
}
