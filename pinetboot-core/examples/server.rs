//! A TFTP server of one directory, from one port: `cargo run --example server -- 127.0.0.1:6969 DIRECTORY`

use pinetboot_core::adapter::std::{Directory, UdpPort};
use pinetboot_core::tftp::{Limits, Server};
use pinetboot_core::{Event, Instant, Observer, block_on};

struct Print;

impl Observer for Print {
    type Transfer = ();

    fn observe(&mut self, now: Instant, event: &Event<'_>, _: Option<&mut ()>) {
        println!("{now}: {event:?}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let net = UdpPort::bind(arguments.next().unwrap_or("127.0.0.1:6969".into()).parse()?)?;
    let files = Directory::open(arguments.next().unwrap_or(".".into()))?;
    let mut places = [const { None }; 16];
    match block_on(Server::<_, _, _, 16>::new(net, files, Print, Limits::default(), &mut places).run())? {}
}
