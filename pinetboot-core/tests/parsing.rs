//! Requests and options as hostile or careless clients write them.

mod common;

use common::{bytes, options};
use pinetboot_core::tftp::{ErrorCode, Limits, Mode, Options, Packet, ParseError, Request};

/// The options of a read request that ends with these bytes.
fn asked(text: &str) -> Options {
    let datagram = [b"\0\x01config.txt\0octet\0", text.as_bytes()].concat();
    match Packet::parse(&datagram) {
        Ok(Packet::Read(request)) => request.options,
        other => panic!("{other:?}"),
    }
}

fn refused(datagram: &[u8]) -> ParseError {
    Packet::parse(datagram).expect_err("an error")
}

#[test]
fn block_sizes_out_of_range() {
    for value in ["0", "1", "7", "", "-1", "+512", " 512", "512 ", "5x", "0x200", "512.0", "\u{661}"] {
        assert_eq!(asked(&format!("blksize\0{value}\0")), Options::default(), "blksize {value:?}");
    }
    for (value, read) in [
        ("8", 8),
        ("0008", 8),
        ("65464", 65464),
        ("65465", 65464),
        ("65535", 65464),
        ("65536", 65464),
        ("65544", 65464), // 8, were it cut to 16 bits
        ("4294967304", 65464),
        ("18446744073709551624", 65464),
        ("99999999999999999999999999999999999999", 65464),
    ] {
        assert_eq!(asked(&format!("blksize\0{value}\0")).block_size, Some(read), "blksize {value}");
    }
}

#[test]
fn window_sizes_out_of_range() {
    for value in ["0", "000", "", "-1", "all"] {
        assert_eq!(asked(&format!("windowsize\0{value}\0")), Options::default(), "windowsize {value:?}");
    }
    for (value, read) in [("1", 1), ("65535", 65535), ("65536", 65535), ("65537", 65535)] {
        assert_eq!(asked(&format!("windowsize\0{value}\0")).window_size, Some(read), "windowsize {value}");
    }
}

#[test]
fn timeouts_out_of_range() {
    for value in ["0", "256", "257", "65537", "99999999999999999999999", "", "1s"] {
        assert_eq!(asked(&format!("timeout\0{value}\0")), Options::default(), "timeout {value:?}");
    }
    for value in [1, 6, 255] {
        assert_eq!(asked(&format!("timeout\0{value}\0")).timeout_secs, Some(value));
    }
}

#[test]
fn transfer_sizes_have_no_range() {
    for (value, read) in [
        ("0", 0),
        ("4294967296", 1 << 32),
        ("18446744073709551615", u64::MAX),
        ("18446744073709551616", u64::MAX),
        ("99999999999999999999999999", u64::MAX),
    ] {
        assert_eq!(asked(&format!("tsize\0{value}\0")).transfer_size, Some(read), "tsize {value}");
    }
}

#[test]
fn of_two_the_first_counts() {
    assert_eq!(asked("blksize\x001024\0blksize\x00512\0"), options("blksize=1024"));
    assert_eq!(asked("tsize\x000\0blksize\x001468\0TSIZE\x005\0"), options("tsize=0 blksize=1468"));
    assert_eq!(asked("blksize\x004\0blksize\x00512\0"), options("blksize=512"));
}

#[test]
fn case_does_not_count() {
    let mixed = "BLKSIZE\x001468\0tSize\x000\0TimeOut\x003\0windowSize\x004\0";
    assert_eq!(asked(mixed), options("tsize=0 blksize=1468 timeout=3 windowsize=4"));
    for (mode, known) in [("OCTET", Mode::Octet), ("NetAscii", Mode::Netascii), ("oCtEt", Mode::Octet)] {
        let datagram = [b"\0\x02file\0", mode.as_bytes(), b"\0"].concat();
        let request = Request::new(b"file", known, Options::default());
        assert_eq!(Packet::parse(&datagram), Ok(Packet::Write(request)));
    }
}

#[test]
fn unknown_options_are_passed_over() {
    assert_eq!(asked("multicast\0\0blksize\x001468\0rollover\x000\0"), options("blksize=1468"));
    assert_eq!(asked("blksiz\x00512\0blksizes\x00512\0"), Options::default());
    assert_eq!(asked("\0\0\0\0blksize\x00512\0"), options("blksize=512"));
}

#[test]
fn an_option_without_its_value_ends_the_options() {
    for cut in ["windowsize", "windowsize\0", "windowsize\x004", "w"] {
        assert_eq!(asked(&format!("blksize\x001468\0{cut}")), options("blksize=1468"), "{cut:?}");
    }
    // A value is missing in the middle: what follows is read as one, and is none.
    assert_eq!(asked("blksize\0tsize\x000\0"), Options::default());
}

#[test]
fn a_request_may_be_cut_at_every_byte() {
    let whole = bytes("RRQ 7bf18f79//config.txt octet tsize=0 blksize=1468");
    let mode_ends = whole.len() - "tsize.0.blksize.1468.".len();
    let tsize_ends = whole.len() - "blksize.1468.".len();
    for cut in 0..whole.len() {
        let parsed = Packet::parse(&whole[..cut]);
        // The mode alone may lack its NUL.
        if cut < mode_ends - 1 {
            let in_mode = cut >= mode_ends - "octet.".len();
            let why = if in_mode { ParseError::Mode } else { ParseError::Truncated };
            assert_eq!(parsed, Err(why), "cut at {cut}");
        } else {
            let options = if cut < tsize_ends { Options::default() } else { options("tsize=0") };
            let request = Request::octet(b"7bf18f79//config.txt", options);
            assert_eq!(parsed, Ok(Packet::Read(request)), "cut at {cut}");
        }
    }
}

#[test]
fn the_other_packets_may_be_cut_too() {
    for whole in ["DATA 1 @0 +0", "ACK 1"] {
        for cut in 0..4 {
            assert_eq!(refused(&bytes(whole)[..cut]), ParseError::Truncated);
        }
    }
    let error = bytes("ERROR 1 file not found");
    for cut in 2..error.len() {
        let (code, message) = if cut < 4 { (0, &b""[..]) } else { (1, &error[4..cut]) };
        let parsed = Packet::parse(&error[..cut]);
        assert_eq!(parsed, Ok(Packet::Error { code: ErrorCode(code), message }), "cut at {cut}");
    }
    let answer = bytes("OACK tsize=600 blksize=1468");
    for cut in 2..answer.len() {
        let options = if cut < 12 { Options::default() } else { options("tsize=600") };
        assert_eq!(Packet::parse(&answer[..cut]), Ok(Packet::OptionAck(options)), "cut at {cut}");
    }
}

#[test]
fn what_stands_after_an_ack_or_an_error_does_not_count() {
    assert_eq!(Packet::parse(b"\0\x04\0\x01padding"), Ok(Packet::Ack { block: 1 }));
    let error = Packet::Error { code: ErrorCode::FILE_NOT_FOUND, message: b"no" };
    assert_eq!(Packet::parse(b"\0\x05\0\x01no\0padding"), Ok(error));
}

#[test]
fn what_stands_behind_512_bytes_of_a_request_does_not_count() {
    for opcode in [1, 2] {
        let request = [&[0, opcode][..], b"config.txt\0octet\0tsize\x000\0"].concat();
        let whole = Packet::parse(&request);
        for padding in [1, 600, 60_000] {
            let padded = [&request[..], &vec![0; padding]].concat();
            assert_eq!(Packet::parse(&padded), whole, "{padding} bytes");
        }
        let long = [&[0, opcode][..], &[b'x'; 510], b"\0octet\0"].concat();
        assert_eq!(Packet::parse(&long), Err(ParseError::Truncated));
    }
}

#[test]
fn the_nul_behind_the_mode_may_be_missing() {
    let with = Packet::parse(b"\0\x01config.txt\0octet\0");
    assert!(with.is_ok());
    assert_eq!(Packet::parse(b"\0\x01config.txt\0octet"), with);
    assert_eq!(Packet::parse(b"\0\x01config.txt\0oct"), Err(ParseError::Mode));
    // Not where the 512 bytes of a request end.
    for (len, why) in [(503, None), (504, Some(ParseError::Truncated)), (505, Some(ParseError::Truncated))] {
        let cut = [b"\0\x01", &vec![b'x'; len][..], b"\0octet"].concat();
        assert_eq!(Packet::parse(&cut).err(), why, "{} bytes", cut.len());
    }
}

#[test]
fn a_block_may_have_64_kib() {
    let block = [&b"\0\x03\0\x01"[..], &[0; 65464]].concat();
    assert!(
        matches!(Packet::parse(&block), Ok(Packet::Data { block: 1, payload }) if payload.len() == 65464)
    );
}

#[test]
fn a_datagram_of_64_kib_is_parsed_like_any_other() {
    for opcode in [1, 2] {
        for (filling, result) in [(0, ParseError::Filename), (b'1', ParseError::Truncated)] {
            let mut datagram = vec![filling; 65507];
            datagram[..2].copy_from_slice(&[0, opcode]);
            assert_eq!(Packet::parse(&datagram), Err(result), "opcode {opcode} and {filling}");
        }
    }
    for (opcode, result) in [
        (0, Some(ParseError::Opcode)),
        (3, None),
        (4, None),
        (5, None),
        (6, None),
        (7, Some(ParseError::Opcode)),
        (255, Some(ParseError::Opcode)),
    ] {
        for filling in [0, b'1', 0xff] {
            let mut datagram = vec![filling; 65507];
            datagram[..2].copy_from_slice(&[0, opcode]);
            assert_eq!(Packet::parse(&datagram).err(), result, "opcode {opcode} and {filling}");
        }
    }
}

#[test]
fn what_is_no_request() {
    for (datagram, why) in [
        (&b"\0\x01\0octet\0"[..], ParseError::Filename),
        (b"\0\x01file\0\0", ParseError::Mode),
        (b"\0\x01file\0mail\0", ParseError::Mode),
        (b"\0\x01file\0octets\0", ParseError::Mode),
        (b"\0\x01file\0octe\0t\0", ParseError::Mode),
        (b"\x01\0file\0octet\0", ParseError::Opcode),
        (b"\x01\x01file\0octet\0", ParseError::Opcode),
        (b"\0\0", ParseError::Opcode),
        (b"", ParseError::Truncated),
        (b"\0", ParseError::Truncated),
    ] {
        assert_eq!(refused(datagram), why, "{}", datagram.escape_ascii());
    }
}

#[test]
fn blocks_are_as_large_as_the_path_carries() {
    for (max_payload, asked, agreed) in [
        (1472, 65464, 1468),
        (1472, 1468, 1468),
        (1472, 1467, 1467),
        (1472, 8, 8),
        (576, 1468, 572),
        (u16::MAX, 65464, 65464),
    ] {
        let asked = Options::default().with_block_size(asked);
        let (terms, answer) = Limits::default().within(max_payload).agree(&asked, Some(0));
        assert_eq!(terms.block_size, agreed);
        assert_eq!(answer.and_then(|answer| answer.block_size), Some(agreed));
    }
    // No block of 8 bytes fits: nothing can be agreed.
    for max_payload in 0..12 {
        let asked = options("blksize=1468");
        let (terms, answer) = Limits::default().within(max_payload).agree(&asked, Some(0));
        assert_eq!((terms.block_size, answer), (512, None));
    }
}
