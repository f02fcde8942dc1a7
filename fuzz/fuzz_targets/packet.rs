//! Any datagram parses or is refused, and a parsed packet is unchanged after emitting and parsing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinetboot_core::tftp::Packet;

fuzz_target!(|datagram: &[u8]| {
    let Ok(packet) = Packet::parse(datagram) else { return };
    // An ERROR that was cut short gets its code and its NUL, and a request the NUL of its mode; no other packet gets longer.
    let mut buffer = vec![0; datagram.len() + 3];
    let len = packet.emit(&mut buffer).expect("what came in fits where it came from");
    assert_eq!(Packet::parse(&buffer[..len]), Ok(packet));
    assert_eq!(packet.emit(&mut buffer[..len - 1]), None, "no room, and not noticed");
});
