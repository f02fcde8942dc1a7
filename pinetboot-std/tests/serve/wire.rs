//! Packets that should not come: answered as the RFCs say, or not at all, and the server goes on.

use pinetboot_core::tftp::Options;

use crate::common::{Folder, Peer, Serving, fetch, peer};

/// An option that makes no sense is not answered, as one that is unknown, and the transfer goes without it.
#[test]
fn options_out_of_their_range_are_passed_over() {
    let tree = Folder::tree(&[("file", &[0; 600])]);
    for mode in [&[][..], &["--single-port"]] {
        let serving = Serving::start(&tree, mode);
        for (asked, answer) in [
            ("blksize=0", "DATA 1 +512"),
            ("blksize=1", "DATA 1 +512"),
            ("blksize=7", "DATA 1 +512"),
            ("blksize=8", "OACK blksize=8"),
            ("blksize=", "DATA 1 +512"),
            ("blksize=-1", "DATA 1 +512"),
            ("blksize=+512", "DATA 1 +512"),
            ("blksize=0x200", "DATA 1 +512"),
            ("blksize=65464", "OACK blksize=65464"),
            ("blksize=65465", "OACK blksize=65464"),
            ("blksize=65535", "OACK blksize=65464"),
            ("blksize=65536", "OACK blksize=65464"),
            ("blksize=99999999999999999999999", "OACK blksize=65464"),
            ("windowsize=0", "DATA 1 +512"),
            ("windowsize=1", "OACK windowsize=1"),
            ("windowsize=65535", "OACK windowsize=64"),
            ("windowsize=65536", "OACK windowsize=64"),
            ("timeout=0", "DATA 1 +512"),
            ("timeout=1", "OACK timeout=1"),
            ("timeout=60", "OACK timeout=60"),
            ("timeout=255", "DATA 1 +512"),
            ("timeout=256", "DATA 1 +512"),
            ("tsize=0", "OACK tsize=600"),
            ("tsize=12345", "OACK tsize=600"),
            ("tsize=x", "DATA 1 +512"),
            ("multicast=", "DATA 1 +512"),
            ("BLKSIZE=1024 TSize=0", "OACK tsize=600 blksize=1024"),
            ("blksize=7 tsize=0 windowsize=0", "OACK tsize=600"),
            ("blksize=100 blksize=200", "OACK blksize=100"),
        ] {
            let mut peer = Peer::of(serving.address());
            peer.exchange(&format!("RRQ file octet {asked}"), answer);
            peer.say("ERROR 0 enough");
        }
        serving.stop();
    }
}

#[test]
fn requests_that_are_none_get_an_error_or_silence() {
    let tree = Folder::tree(&[("file", &[0; 600])]);
    for mode in [&[][..], &["--single-port"]] {
        let serving = Serving::start(&tree, mode);
        let long_name = ["\0\x01", &"x".repeat(490), "\0octet\0"].concat();
        let with_much_behind = ["\0\x01file\0octet\0", &"x".repeat(600), "\0y\0"].concat();
        for (bytes, answer) in [
            (&b""[..], None),
            (b"\0", None),
            (b"\x01", None),
            (b"\0\x01", Some("ERROR 4")),
            (b"\0\x02", Some("ERROR 4")),
            (b"\0\x01file", Some("ERROR 4")),
            (b"\0\x01file\0", Some("ERROR 4")),
            (b"\0\x01file\0octe", Some("ERROR 4")),
            (b"\0\x01file\0octet", Some("DATA 1 +512")),
            (b"\0\x01\0octet\0", Some("ERROR 4")),
            (b"\0\x01file\0mail\0", Some("ERROR 4")),
            (b"\0\x01file\0\0", Some("ERROR 4")),
            (b"\0\x01file\0octet\0blksize", Some("DATA 1 +512")),
            (b"\0\x01file\0octet\0blksize\0", Some("DATA 1 +512")),
            (b"\0\x01file\0octet\0blksize\0\x35", Some("DATA 1 +512")),
            (b"\0\x01file\0OcTeT\0\0\0\0\0", Some("DATA 1 +512")),
            (long_name.as_bytes(), Some("ERROR 2")),
            (with_much_behind.as_bytes(), Some("DATA 1 +512")),
            (b"\0\x03", None),
            (b"\0\x03\0\x01data", Some("ERROR 5")),
            (b"\0\x04\0", None),
            (b"\0\x04\0\x01", Some("ERROR 5")),
            (b"\0\x05\0", None),
            (b"\0\x05\0\x01no\0", None),
            (b"\0\x06blksize\x00512\0", Some("ERROR 5")),
            (b"\0\0", Some("ERROR 4")),
            (b"\0\x07file\0octet\0", Some("ERROR 4")),
            (b"\x01\x01file\0octet\0", Some("ERROR 4")),
            (b"GET / HTTP/1.0\r\n\r\n", Some("ERROR 4")),
        ] {
            let mut peer = Peer::of(serving.address());
            // The rate of ERRORs to an address has a bound: asks again until the answer comes.
            let ask = || {
                peer.send(bytes, serving.address());
                serving.settle();
                Some(peer.heard()).filter(|heard| answer.is_none() || !heard.is_empty())
            };
            let heard = std::iter::repeat_with(ask).take(10).flatten().next().unwrap_or_default();
            let expected = heard.iter().all(|heard| answer.is_some_and(|answer| heard.starts_with(answer)));
            assert!(
                expected && heard.len() == usize::from(answer.is_some()),
                "{:?}: {heard:?}",
                bytes.escape_ascii().to_string()
            );
            peer.say("ERROR 0 enough");
        }
        let log = serving.stop();
        assert!(!log.contains("panic"), "{log}");
    }
}

/// All kinds of packets, of all lengths, to the listening port and to a transfer's port, from its client and from others.
#[test]
fn garbage_is_survived() {
    let tree = Folder::tree(&[("file", &[0; 600])]);
    for mode in [&[][..], &["--single-port"]] {
        let serving = Serving::start(&tree, mode);
        let mut victim = Peer::of(serving.address());
        // On a busy machine all this may take longer than the server waits for an ACK by default.
        victim.exchange("RRQ file octet timeout=60", "OACK timeout=60");
        victim.exchange("ACK 0", "DATA 1 +512");
        let transfer = victim.transfer.unwrap();
        let intruder = Peer::of(serving.address());
        for to in [serving.address(), transfer] {
            garbage(|bytes| intruder.send(bytes, to), 3000);
        }
        serving.settle();
        // A datagram of an intruder has no effect on the transfer.
        assert_eq!(victim.heard(), [""; 0]);
        victim.exchange("ACK 1", "DATA 2 +88");
        victim.say("ACK 2");
        for _ in 0..20 {
            let mut client = Peer::of(serving.address());
            client.exchange("RRQ file octet", "DATA 1 +512");
            let transfer = client.transfer.unwrap();
            garbage(|bytes| client.send(bytes, transfer), 50);
        }
        serving.settle();
        assert_eq!(fetch(serving.address(), "file", Options::default()).unwrap(), [0; 600]);
        let log = serving.stop();
        assert!(!log.contains("panic"), "{log}");
    }
}

fn garbage(send: impl Fn(&[u8]), count: u64) {
    let noise = crate::common::content("noise", 65507);
    for number in 0..count {
        let start = (number * 7919 % 60_000) as usize;
        let len = match number % 100 {
            0 => 65507 - start,
            99 => 2000,
            short => short as usize,
        };
        let mut bytes = noise[start..][..len.min(65507 - start)].to_vec();
        // Mostly something that looks like a packet.
        if number % 4 != 0 && bytes.len() > 2 {
            bytes[0] = 0;
            bytes[1] %= 8;
        }
        send(&bytes);
    }
}

#[test]
fn datagrams_of_64_kib_are_survived() {
    let tree = Folder::tree(&[("file", &[0; 600])]);
    let uploads = Folder::new(&[]);
    for mode in [&[][..], &["--single-port"]] {
        let upload = ["--allow-upload", uploads.path().to_str().unwrap(), "--overwrite"];
        let serving = Serving::start(&tree, &[mode, &upload].concat());
        for opcode in 0..8 {
            let mut largest = vec![b'x'; 65507];
            largest[..2].copy_from_slice(&[0, opcode]);
            let peer = Peer::of(serving.address());
            peer.send(&largest, serving.address());
            // To a transfer, from its own client: what makes no sense there ends it with an ERROR.
            let mut peer = Peer::of(serving.address());
            peer.exchange("RRQ file octet", "DATA 1 +512");
            let transfer = peer.transfer.unwrap();
            peer.send(&largest, transfer);
            let mut peer = Peer::of(serving.address());
            peer.exchange("WRQ up octet", "ACK 0");
            let transfer = peer.transfer.unwrap();
            peer.send(&largest, transfer);
        }
        // A DATA longer than the agreed block size is not accepted.
        let mut peer = Peer::of(serving.address());
        peer.exchange("WRQ up octet blksize=100", "OACK blksize=100");
        peer.exchange("DATA 1 +65000", "ERROR 4 illegal TFTP operation");
        assert_eq!(fetch(serving.address(), "file", Options::default()).unwrap(), [0; 600]);
        serving.stop();
        assert_eq!(uploads.names(), [""; 0], "no part of an upload is left");
    }
}

#[test]
fn the_wrong_packet_ends_a_transfer() {
    let tree = Folder::tree(&[("file", &[0; 600])]);
    for mode in [&[][..], &["--single-port"]] {
        let serving = Serving::start(&tree, mode);
        let mut peer = Peer::of(serving.address());
        peer.exchange("RRQ file octet", "DATA 1 +512");
        peer.exchange("DATA 1 +5", "ERROR 4 illegal TFTP operation");
        let mut peer = Peer::of(serving.address());
        peer.exchange("RRQ file octet", "DATA 1 +512");
        let transfer = peer.transfer.unwrap();
        peer.send(b"\0\x09", transfer);
        assert_eq!(peer.hear(), "ERROR 4 illegal TFTP operation");
        if mode == ["--single-port"] {
            peer.exchange("ACK 1", "ERROR 5 unknown transfer ID");
        }
        serving.stop();
    }
}

/// The tests' own text of packets, which all of these rely on.
#[test]
fn packets_are_what_they_are_written_as() {
    assert_eq!(peer::bytes("RRQ a octet blksize=7"), b"\0\x01a\0octet\0blksize\x007\0");
    assert_eq!(peer::bytes("ACK 258"), b"\0\x04\x01\x02");
    assert_eq!(peer::bytes("DATA 1 +2"), b"\0\x03\0\x01\0\0");
    assert_eq!(peer::bytes("ERROR 0 a b"), b"\0\x05\0\0a b\0");
}
