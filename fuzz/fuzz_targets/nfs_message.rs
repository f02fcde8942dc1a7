//! Any datagram or stream is answered or not, and a stream's answers do not depend on the sizes of its pieces.
#![no_main]

use std::net::{Ipv4Addr, SocketAddrV4};

use libfuzzer_sys::fuzz_target;
use pinetboot_fuzz::nfs_server;

fuzz_target!(|bytes: &[u8]| {
    let client = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 1023);
    let server = nfs_server(true);
    for answer in
        [server.datagram(client, bytes), server.portmap_datagram(client, bytes)].into_iter().flatten()
    {
        assert!(answer.len() >= 20, "an answer has a head");
        assert_eq!(answer[..4], bytes[..4], "and its call's number");
    }
    let Some((&cut, stream)) = bytes.split_first() else { return };
    let whole = nfs_server(true).stream(client, &[stream]);
    let pieces: Vec<_> = stream.chunks(usize::from(cut).max(1)).collect();
    let cut = nfs_server(true).stream(client, &pieces);
    assert_eq!(whole.map(|answers| answers.len()), cut.map(|answers| answers.len()));
});
