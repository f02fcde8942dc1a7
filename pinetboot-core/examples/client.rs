//! Fetches a file by TFTP: `cargo run --example client -- 127.0.0.1:6969 config.txt > config.txt`

mod common;

use std::error::Error;
use std::io::{self, Write, stdout};
use std::net::SocketAddrV4;

use common::Socket;
use pinetboot_core::tftp::{Client, Options, Outcome, Request};
use pinetboot_core::{Upload, block_on};

struct Stdout;

impl Upload for Stdout {
    type Error = io::Error;

    fn expect(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        stdout().write_all(bytes)
    }

    async fn finish(&mut self) -> io::Result<()> {
        stdout().flush()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("usage: client ADDRESS:PORT FILE".into());
    };
    let server: SocketAddrV4 = server.parse()?;
    let mut net = Socket::bind("0.0.0.0:0")?;
    let mut client = Client::new(&mut net, (), server);
    let options = Options::RASPBERRY_PI.with_window_size(8);
    let report = block_on(client.get(&Request::octet(file.as_bytes(), options), &mut Stdout))?;
    match report.outcome {
        Outcome::Complete { bytes } => eprintln!("{bytes} bytes, {} packets sent again", report.resent),
        other => return Err(format!("{file}: {other:?}").into()),
    }
    Ok(())
}
