//! The bytes of real clients, and our own.
//!
//! Where a comment says "captured", they were taken from the wire: curl 7.88, tftp-hpa 5.2, atftp 0.8, busybox 1.35 and
//! U-Boot 2023.01 of Debian 12 and its EDK2 for aarch64, the last two in QEMU.

mod common;

use common::{bytes, options};
use pinetboot_core::BootPath;
use pinetboot_core::tftp::{ErrorCode, Limits, Mode, Options, Packet, Request};

/// A read request as it stands in a packet.
fn read<'a>(filename: &'a str, mode: Mode, asked: &str) -> Packet<'a> {
    Packet::Read(Request::new(filename.as_bytes(), mode, options(asked)))
}

fn emit(packet: &Packet<'_>) -> Vec<u8> {
    let mut buffer = [0xaa; 2048];
    let len = packet.emit(&mut buffer).expect("a packet that fits");
    assert!(buffer[len..].iter().all(|byte| *byte == 0xaa), "bytes written after the packet");
    buffer[..len].to_vec()
}

/// These bytes are this packet, and the other way round.
#[track_caller]
fn both_ways(bytes: &[u8], packet: &Packet<'_>) {
    assert_eq!(Packet::parse(bytes).as_ref(), Ok(packet));
    assert_eq!(emit(packet).escape_ascii().to_string(), bytes.escape_ascii().to_string());
}

#[test]
fn a_pi_5_asks_for_its_config() {
    let bytes = b"\0\x017bf18f79//config.txt\0octet\0tsize\x000\0blksize\x001468\0";
    both_ways(bytes, &read("7bf18f79//config.txt", Mode::Octet, "tsize=0 blksize=1468"));
    let Ok(Packet::Read(request)) = Packet::parse(bytes) else { panic!("no read request") };
    assert_eq!(request.options, Options::RASPBERRY_PI);
    assert_eq!(BootPath::parse(request.filename).unwrap().to_string(), "7bf18f79/config.txt");
}

#[test]
fn a_pi_4_of_2020_asks_in_49_bytes() {
    let bytes = b"\0\x01d9780558/start4.elf\0octet\0tsize\x000\0blksize\x001024\0";
    assert_eq!(bytes.len(), 49); // captured
    both_ways(bytes, &read("d9780558/start4.elf", Mode::Octet, "tsize=0 blksize=1024"));
}

#[test]
fn a_pi_3_asks_for_nothing_but_the_file_and_then_its_size() {
    both_ways(b"\0\x01bootcode.bin\0octet\0", &read("bootcode.bin", Mode::Octet, ""));
    both_ways(b"\0\x01start.elf\0octet\0tsize\x000\0", &read("start.elf", Mode::Octet, "tsize=0"));
}

#[test]
fn curl_asks() {
    // captured: without and with `--tftp-blksize 1468`, with `--tftp-no-options`, and `-T`
    parses(
        b"\0\x01config.txt\0octet\0tsize\x000\0blksize\x00512\0timeout\x006\0",
        read("config.txt", Mode::Octet, "tsize=0 blksize=512 timeout=6"),
    );
    parses(
        b"\0\x01/7bf18f79/config.txt\0octet\0tsize\x000\0blksize\x001468\0timeout\x006\0",
        read("/7bf18f79/config.txt", Mode::Octet, "tsize=0 blksize=1468 timeout=6"),
    );
    parses(b"\0\x01config.txt\0octet\0", read("config.txt", Mode::Octet, ""));
    let asked = options("tsize=3 blksize=512 timeout=6");
    parses(
        b"\0\x02up.txt\0octet\0tsize\x003\0blksize\x00512\0timeout\x006\0",
        Packet::Write(Request::octet(b"up.txt", asked)),
    );
}

#[test]
fn the_other_tools_ask() {
    // captured: tftp-hpa in both modes; atftp with the options as they are; busybox without and with `-b 1468`, and `-p`
    parses(b"\0\x01config.txt\0octet\0", read("config.txt", Mode::Octet, ""));
    parses(b"\0\x01config.txt\0netascii\0", read("config.txt", Mode::Netascii, ""));
    parses(
        b"\0\x01config.txt\0octet\0tsize\x000\0blksize\x001468\0windowsize\x008\0",
        read("config.txt", Mode::Octet, "tsize=0 blksize=1468 windowsize=8"),
    );
    parses(b"\0\x01config.txt\0octet\0tsize\x000\0", read("config.txt", Mode::Octet, "tsize=0"));
    parses(
        b"\0\x01config.txt\0octet\0blksize\x001468\0tsize\x000\0",
        read("config.txt", Mode::Octet, "tsize=0 blksize=1468"),
    );
    parses(
        b"\0\x02up.txt\0octet\0tsize\x003\0",
        Packet::Write(Request::octet(b"up.txt", options("tsize=3"))),
    );
}

#[test]
fn u_boot_asks() {
    // captured: without and with `setenv tftpwindowsize 16`
    parses(
        b"\0\x01kernel_2712.img\0octet\0timeout\x005\0blksize\x001468\0",
        read("kernel_2712.img", Mode::Octet, "timeout=5 blksize=1468"),
    );
    parses(
        b"\0\x01kernel_2712.img\0octet\0timeout\x005\0blksize\x001468\0windowsize\x0016\0",
        read("kernel_2712.img", Mode::Octet, "timeout=5 blksize=1468 windowsize=16"),
    );
}

#[test]
fn edk2_asks_and_aborts_and_asks_again() {
    // captured
    parses(
        b"\0\x01boot.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0",
        read("boot.efi", Mode::Octet, "tsize=0 blksize=1468 windowsize=4"),
    );
    parses(
        b"\0\x05\0\x08User aborted the transfer\0",
        Packet::Error { code: ErrorCode::OPTIONS_REFUSED, message: b"User aborted the transfer" },
    );
    parses(
        b"\0\x01boot.efi\0octet\0blksize\x001468\0windowsize\x004\0",
        read("boot.efi", Mode::Octet, "blksize=1468 windowsize=4"),
    );
}

#[track_caller]
fn parses(bytes: &[u8], packet: Packet<'_>) {
    assert_eq!(Packet::parse(bytes), Ok(packet));
}

#[test]
fn a_pi_ends_its_probes_early() {
    let early = Packet::Error { code: ErrorCode::NOT_DEFINED, message: b"Early terminate" };
    both_ways(b"\0\x05\0\0Early terminate\0", &early); // captured
}

#[test]
fn we_answer_a_pi() {
    let limits = Limits::default().within(1472);
    let (terms, answer) = limits.agree(&Options::RASPBERRY_PI, Some(9_698_043));
    assert_eq!((terms.block_size, terms.window_size), (1468, 1));
    let packet = Packet::OptionAck(answer.unwrap());
    both_ways(b"\0\x06tsize\x009698043\0blksize\x001468\0", &packet);
}

#[test]
fn every_option_is_said_in_the_order_of_a_pi_and_then_of_atftp() {
    let all = options("tsize=18446744073709551615 blksize=65464 timeout=255 windowsize=65535");
    both_ways(
        b"\0\x06tsize\x0018446744073709551615\0blksize\x0065464\0timeout\x00255\0windowsize\x0065535\0",
        &Packet::OptionAck(all),
    );
}

#[test]
fn the_short_packets() {
    both_ways(b"\0\x04\0\0", &Packet::Ack { block: 0 });
    both_ways(b"\0\x04\xff\xfe", &Packet::Ack { block: 65534 });
    both_ways(b"\0\x03\x01\x02", &Packet::Data { block: 258, payload: b"" });
    both_ways(b"\0\x03\0\x01\0\xff\0", &Packet::Data { block: 1, payload: b"\0\xff\0" });
    both_ways(b"\0\x06", &Packet::OptionAck(Options::default()));
    both_ways(b"\0\x05\0\x01file not found\0", &Packet::error(ErrorCode::FILE_NOT_FOUND));
    both_ways(b"\0\x05\x12\x34\0", &Packet::Error { code: ErrorCode(0x1234), message: b"" });
}

#[test]
fn the_errors_have_the_numbers_of_the_rfcs() {
    for (number, code, meaning) in [
        (0, ErrorCode::NOT_DEFINED, "error"),
        (1, ErrorCode::FILE_NOT_FOUND, "file not found"),
        (2, ErrorCode::ACCESS_VIOLATION, "access violation"),
        (3, ErrorCode::DISK_FULL, "disk full or allocation exceeded"),
        (4, ErrorCode::ILLEGAL_OPERATION, "illegal TFTP operation"),
        (5, ErrorCode::UNKNOWN_TRANSFER_ID, "unknown transfer ID"),
        (6, ErrorCode::FILE_EXISTS, "file already exists"),
        (7, ErrorCode::NO_SUCH_USER, "no such user"),
        (8, ErrorCode::OPTIONS_REFUSED, "options refused"),
    ] {
        assert_eq!((code.0, code.meaning()), (number, meaning));
        assert_eq!(emit(&Packet::error(code)), bytes(&format!("ERROR {number} {meaning}")));
    }
}

#[test]
fn nothing_is_emitted_that_does_not_fit() {
    let options = options("tsize=1 blksize=8 timeout=1 windowsize=1");
    for packet in [
        Packet::Read(Request::octet(b"config.txt", options)),
        Packet::Write(Request::octet(b"config.txt", options)),
        Packet::Data { block: 1, payload: b"bytes" },
        Packet::Ack { block: 1 },
        Packet::error(ErrorCode::NOT_DEFINED),
        Packet::OptionAck(options),
    ] {
        let len = emit(&packet).len();
        for room in 0..len {
            assert_eq!(packet.emit(&mut vec![0; room]), None, "{packet:?} in {room} of {len} bytes");
        }
    }
}

#[test]
fn a_nul_in_a_text_is_not_emitted() {
    let mut buffer = [0; 64];
    let request = Request::octet(b"config.txt\0octet", Options::default());
    assert_eq!(Packet::Read(request).emit(&mut buffer), None);
    let error = Packet::Error { code: ErrorCode::NOT_DEFINED, message: b"a\0b" };
    assert_eq!(error.emit(&mut buffer), None);
}
