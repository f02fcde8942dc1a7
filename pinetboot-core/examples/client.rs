//! Fetches a file by TFTP: `cargo run --example client -- 127.0.0.1:6969 config.txt > config.txt`

use std::error::Error;
use std::io::{Write, stdout};

use pinetboot_core::adapter::std::UdpPort;
use pinetboot_core::block_on;
use pinetboot_core::tftp::{Client, Options, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("usage: client ADDRESS:PORT FILE".into());
    };
    let mut client = Client::new(UdpPort::bind("0.0.0.0:0".parse()?)?, (), server.parse()?);
    let request = Request::octet(file.as_bytes(), Options::RASPBERRY_PI.with_window_size(8));
    let mut bytes = Vec::new();
    let report = block_on(client.get(&request, &mut bytes))?.into_result()?;
    eprintln!("{} bytes, {} packets sent again", report.bytes, report.resent);
    Ok(stdout().write_all(&bytes)?)
}
