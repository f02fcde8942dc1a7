//! Captured messages, and messages as their options.
//!
//! `*.hex` are UDP payloads in hexadecimal; how each was made stands at its head. The servers and clients were Debian 12's
//! and ran in network namespaces, the server at 10.77.0.1, a raw socket between them.
#![allow(dead_code, reason = "every test uses its own part")]

use std::net::Ipv4Addr;
use std::path::Path;

use pinetboot_core::Instant;
use pinetboot_core::dhcp::{
    Arrival, Emitter, HardwareAddress, Header, MAX_LEN, Message, MessageType, OptionCode, Port,
};
use pinetboot_core::pi::{PiIdentity, Revision};

/// The Pi 4 of `pi4-discover.hex`.
pub(crate) const MAC: [u8; 6] = [0xe4, 0x5f, 0x01, 0x09, 0x02, 0xf7];
pub(crate) const XID: u32 = 0x9a3c_1b02;

pub(crate) fn pi4() -> PiIdentity {
    PiIdentity::new(*b"4iPR", Revision::from_code(0x00d0_3114), MAC, 0x91cd_f03d).unwrap()
}

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// The bytes of a captured message.
pub(crate) fn captured(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dhcp").join(name).with_extension("hex");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let digits: Vec<u8> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::chars)
        .map(|digit| digit.to_digit(16).expect("a hexadecimal digit") as u8)
        .collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// All captured messages, by name.
pub(crate) fn all_captured() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dhcp");
    let mut all: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .map(|name| (name.clone(), captured(&name)))
        .collect();
    all.sort();
    all
}

/// A message of these parts.
pub(crate) fn message(header: &Header, kind: MessageType, options: &[(OptionCode, &[u8])]) -> Vec<u8> {
    let mut out = vec![0; MAX_LEN];
    let mut message = Emitter::new(header, &mut out).unwrap();
    message.kind(kind).unwrap();
    for (code, value) in options {
        message.option(*code, value).unwrap();
    }
    let len = message.finish().unwrap();
    out.truncate(len);
    out
}

/// A message came from a client that has no address, or from a relay agent.
pub(crate) fn arrival(at: Instant) -> Arrival {
    Arrival::new(at, Port::Server, "0.0.0.0:68".parse().unwrap())
}

/// The client of this number.
pub(crate) fn hardware(number: u32) -> HardwareAddress {
    let [a, b, c, d] = number.to_be_bytes();
    HardwareAddress::ethernet([2, 0, a, b, c, d])
}

/// The options, as people read them.
pub(crate) fn shown(bytes: &[u8]) -> Vec<String> {
    let message = Message::parse(bytes).unwrap();
    message.options().map(|option| option.to_string().trim_start_matches("option ").to_owned()).collect()
}
