//! Calls of every procedure, with good handles, on a tree that earlier calls have changed.
#![no_main]

use std::net::{Ipv4Addr, SocketAddrV4};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pinetboot_fuzz::{nfs_call, nfs_handle, nfs_server};

#[derive(Arbitrary, Debug)]
struct Calls<'a> {
    udp: bool,
    /// A port below 1024, which is served, or not.
    reserved: bool,
    calls: Vec<Call<'a>>,
}

#[derive(Arbitrary, Debug)]
struct Call<'a> {
    mount: bool,
    procedure: u8,
    credentials: Option<(u32, u32)>,
    parts: [Option<Part<'a>>; 6],
}

#[derive(Arbitrary, Debug)]
enum Part<'a> {
    Handle(u8),
    Name(u8),
    Opaque(&'a [u8]),
    Number(u32),
    Flag(bool),
    Bytes(&'a [u8]),
    Zeros(u8),
}

fuzz_target!(|calls: Calls<'_>| {
    let Calls { udp, reserved, calls } = calls;
    let server = nfs_server(udp);
    let client = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), if reserved { 1023 } else { 1024 });
    for (xid, call) in (0..).zip(calls.iter().take(64)) {
        let (program, version) =
            if call.mount { (100_005, 1 + 2 * u32::from(call.procedure & 1)) } else { (100_003, 3) };
        let mut bytes = nfs_call(xid, program, version, u32::from(call.procedure % 24), call.credentials);
        for part in call.parts.iter().flatten() {
            match part {
                Part::Handle(number) => opaque(&mut bytes, &nfs_handle(u64::from(number % 16))),
                Part::Name(number) => opaque(&mut bytes, NAMES[usize::from(*number) % NAMES.len()]),
                Part::Opaque(value) => opaque(&mut bytes, value),
                Part::Number(number) => bytes.extend(number.to_be_bytes()),
                Part::Flag(flag) => bytes.extend(u32::from(*flag).to_be_bytes()),
                Part::Bytes(value) => bytes.extend_from_slice(value),
                Part::Zeros(count) => bytes.resize(bytes.len() + usize::from(*count), 0),
            }
        }
        let answer = server.datagram(client, &bytes).expect("every call is answered");
        assert_eq!(answer[..8], [xid.to_be_bytes(), [0, 0, 0, 1]].concat());
        // The longest are MOUNT's lists, without NFS by UDP.
        let most = if udp { 33 * 1024 } else { 1280 };
        assert!(answer.len() <= most, "{} bytes", answer.len());
        // A repeated call that must not be carried out twice is answered alike.
        if !call.mount && matches!(call.procedure % 24, 8..=15) {
            assert_eq!(server.datagram(client, &bytes), Some(answer));
        }
    }
});

fn opaque(bytes: &mut Vec<u8>, value: &[u8]) {
    bytes.extend(u32::try_from(value.len()).expect("short").to_be_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

const NAMES: &[&[u8]] =
    &[b"a", b"b", b"c", b".", b"..", b"", b"/", b"a/b", b"/a", b"a\0b", &[b'x'; 255], &[b'x'; 256]];
