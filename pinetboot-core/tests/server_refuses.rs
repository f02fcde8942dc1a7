//! What the server does about strangers, nonsense, failures and crowds, one behaviour at a time.

mod common;

use common::{Lab, Memory};

fn lab() -> Lab {
    let storage = Memory::default().with("config.txt", 600).with("kernel.img", 3000);
    Lab::new(storage.with_failing("bad.img", 3000, 1024))
}

#[test]
fn a_stranger_gets_error_5_and_the_transfer_goes_on() {
    lab().observed().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.001 B > 1001 ACK 1
         0.001 * B: rejected, UnknownTransfer
         0.001 1001 > B ERROR 5 unknown transfer ID
         0.002 A:40001 > 1001 ACK 1
         0.002 * A:40001: rejected, UnknownTransfer
         0.002 1001 > A:40001 ERROR 5 unknown transfer ID
         0.003 B > 1001 DATA 1 @0 +512
         0.003 * B: rejected, UnknownTransfer
         0.003 1001 > B ERROR 5 unknown transfer ID
         0.004 B > 1001 RRQ config.txt octet
         0.004 * B: rejected, UnknownTransfer
         0.004 1001 > B ERROR 5 unknown transfer ID
         0.010 A > 1001 ACK 1
         0.010 1001 > A DATA 2 @512 +88
         0.020 A > 1001 ACK 2
         0.020 * A: Read complete, 600 bytes; 600 bytes passed, 0 resent",
    );
}

#[test]
fn a_client_at_the_wrong_port_is_a_stranger_too() {
    let left = lab().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 1001 > A DATA 1 @0 +512
         0.010 A > 69 ACK 1
         0.010 69 > A ERROR 5 unknown transfer ID
         0.020 A > 69 ERROR 0 never mind
         0.030 A > 69 HEX 00 09
         0.030 69 > A ERROR 4 illegal TFTP operation
         0.040 A > 1001 ACK 1
         0.040 1001 > A DATA 2 @512 +88",
    );
    assert_eq!(left, 1);
}

#[test]
fn with_a_single_port_strangers_are_told_from_clients_too() {
    let left = lab().single_port().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 69 > A DATA 1 @0 +512
         0.001 B > 69 ACK 1
         0.001 69 > B ERROR 5 unknown transfer ID
         0.002 B > 69 ERROR 0 never mind
         0.003 A:40001 > 69 ACK 1
         0.003 69 > A:40001 ERROR 5 unknown transfer ID
         0.004 B > 69 HEX 00 09
         0.004 69 > B ERROR 4 illegal TFTP operation
         0.010 A > 69 ACK 1
         0.010 69 > A DATA 2 @512 +88",
    );
    assert_eq!(left, 1);
}

/// Two servers could answer each other's errors for ever.
#[test]
fn an_error_is_never_answered() {
    for to in [69, 1001] {
        lab().observed().play(&format!(
            "0.000 A > {to} ERROR 5 unknown transfer ID
             0.000 * A: rejected, UnknownTransfer
             0.001 A > {to} HEX 00 05 00 04
             0.001 * A: rejected, UnknownTransfer
             0.002 A > {to} HEX 00 05 00 04 41
             0.002 * A: rejected, UnknownTransfer
             0.003 A > {to} HEX 00 05 00
             0.003 * A: rejected, UnknownTransfer
             0.004 A > {to} HEX 00 05
             0.004 * A: rejected, UnknownTransfer
             9.000 ."
        ));
    }
}

#[test]
fn an_error_that_is_cut_short_ends_the_transfer_as_quietly() {
    let cut = ["00 05", "00 05 00", "00 05 00 00", "00 05 00 00 41"];
    for (error, words) in cut.into_iter().zip(["", "", "", " A"]) {
        let left = lab().observed().play(&format!(
            "0.000 A > 69 RRQ config.txt octet tsize=0
             0.000 * A: Read config.txt
             0.000 * A: Read begins, 600 bytes by 512 x 1
             0.000 1001 > A OACK tsize=600
             0.010 A > 1001 HEX {error}
             0.010 * A: ends it, 0{words}
             0.010 * A: Read peer's error 0, a probe; 0 bytes passed, 0 resent
             9.000 ."
        ));
        assert_eq!(left, 0);
    }
}

#[test]
fn a_malformed_datagram_gets_error_4_if_it_might_be_tftp() {
    for (datagram, why) in [
        ("00 00", "Opcode"),
        ("00 07", "Opcode"),
        ("00 09 01 02 03", "Opcode"),
        ("ff ff ff ff", "Opcode"),
        ("00 01", "Truncated"),
        ("00 01 61", "Truncated"),
        ("00 01 61 00", "Mode"),
        ("00 01 61 00 6f 63 74 65", "Mode"),
        ("00 02 61 00", "Mode"),
        ("00 01 00 6f 63 74 65 74 00", "Filename"),
        ("00 01 61 00 6d 61 69 6c 00", "Mode"),
        ("00 01 61 00 00", "Mode"),
    ] {
        lab().observed().play(&format!(
            "0.000 A > 69 HEX {datagram}
             0.000 * A: rejected, Malformed({why})
             0.000 69 > A ERROR 4 illegal TFTP operation
             9.000 ."
        ));
    }
}

#[test]
fn a_malformed_datagram_that_says_nothing_gets_nothing() {
    for datagram in ["", "00", "00 03", "00 03 00", "00 04", "00 04 00"] {
        lab().observed().play(&format!(
            "0.000 A > 69 HEX {datagram}
             0.000 * A: rejected, Malformed(Truncated)
             9.000 ."
        ));
    }
}

#[test]
fn nonsense_within_a_transfer_ends_it_with_error_4() {
    for nonsense in ["00 09 00 00", "00 04 00", "00", "00 01 61"] {
        let why = if nonsense.starts_with("00 09") { "Opcode" } else { "Truncated" };
        let left = lab().observed().play(&format!(
            "0.000 A > 69 RRQ config.txt octet
             0.000 * A: Read config.txt, no options
             0.000 * A: Read begins, 600 bytes by 512 x 1
             0.000 1001 > A DATA 1 @0 +512
             0.010 A > 1001 HEX {nonsense}
             0.010 * A: rejected, Malformed({why})
             0.010 1001 > A ERROR 4 illegal TFTP operation
             0.010 * A: Read aborted with error 4; 0 bytes passed, 0 resent"
        ));
        assert_eq!(left, 0);
    }
}

#[test]
fn a_data_packet_from_a_reader_ends_it_with_error_4() {
    let left = lab().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 1001 > A DATA 1 @0 +512
         0.010 A > 1001 DATA 1 @0 +512
         0.010 1001 > A ERROR 4 illegal TFTP operation
         0.020 A > 1001 ACK 1
         0.020 1001 > A ERROR 5 unknown transfer ID",
    );
    assert_eq!(left, 0);
}

#[test]
fn a_read_failure_ends_it_with_an_error() {
    let left = lab().observed().play(
        "0.000 A > 69 RRQ bad.img octet
         0.000 * A: Read bad.img, no options
         0.000 * A: Read begins, 3000 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.010 A > 1001 ACK 1
         0.010 1001 > A DATA 2 @512 +512
         0.020 A > 1001 ACK 2
         0.020 1001 > A ERROR 0 error
         0.020 * A: Read aborted with error 0; 1024 bytes passed, 0 resent",
    );
    assert_eq!(left, 0);
}

/// In netascii the whole file is read before it begins.
#[test]
fn a_read_failure_before_it_begins_refuses_the_request() {
    let left = lab().observed().play(
        "0.000 A > 69 RRQ bad.img netascii
         0.000 * A: Read bad.img, no options
         0.000 * A: Read bad.img refused, 0 input/output error
         0.000 69 > A ERROR 0 input/output error",
    );
    assert_eq!(left, 0);
}

#[test]
fn a_lack_of_ports_is_told() {
    let lab = Lab { ports: 1, ..lab() };
    let left = lab.observed().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.010 B > 69 RRQ config.txt octet
         0.010 * B: Read config.txt, no options
         0.010 * B: rejected, NoPort
         0.020 A > 1001 ERROR 0 enough
         0.020 * A: ends it, 0 enough
         0.020 * A: Read peer's error 0, a probe; 0 bytes passed, 0 resent
         0.030 B > 69 RRQ config.txt octet
         0.030 * B: Read config.txt, no options
         0.030 * B: Read begins, 600 bytes by 512 x 1
         0.030 1001 > B DATA 1 @0 +512",
    );
    assert_eq!(left, 1);
}

#[test]
fn stopping_tells_every_client() {
    let left = lab().observed().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.010 B > 69 RRQ config.txt octet tsize=0
         0.010 * B: Read config.txt
         0.010 * B: Read begins, 600 bytes by 512 x 1
         0.010 1002 > B OACK tsize=600
         0.500 x stop
         0.500 1001 > A ERROR 0 the server was stopped
         0.500 * A: Read stopped; 0 bytes passed, 0 resent
         0.500 1002 > B ERROR 0 the server was stopped
         0.500 * B: Read stopped; 0 bytes passed, 0 resent
         9.000 .",
    );
    assert_eq!(left, 0);
}

/// An address may be forged: who has not answered yet gets little, however often he asks for the same.
#[test]
fn who_never_answers_gets_a_packet_for_each_request_and_one_more() {
    let left = lab().observed().play(
        "0.000 A > 69 RRQ kernel.img octet
         0.000 * A: Read kernel.img, no options
         0.000 * A: Read begins, 3000 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         1.000 1001 > A DATA 1 @0 +512
         2.000 A > 69 RRQ kernel.img octet
         2.000 * A: repeated
         2.000 1001 > A DATA 1 @0 +512
         4.000 A > 69 RRQ kernel.img octet
         4.000 * A: repeated
         4.000 1001 > A DATA 1 @0 +512
        16.000 * A: Read timed out; 0 bytes passed, 3 resent
        60.000 .",
    );
    assert_eq!(left, 0);
}

#[test]
fn the_longest_request_is_served_and_so_is_one_with_bytes_behind_it() {
    for len in [512, 513, 1400] {
        // `tsize` and then an option that is unknown, to make the length.
        let mut request = common::bytes("RRQ config.txt octet tsize=0");
        request.extend(b"padding\0");
        request.resize(len - 1, b'x');
        request.push(0);
        let digits: Vec<String> = request.iter().map(|byte| format!("{byte:02x}")).collect();
        lab().play(&format!("0.000 A > 69 HEX {}\n0.000 1001 > A OACK tsize=600", digits.join(" ")));
    }
}

#[test]
fn the_largest_datagrams_are_survived() {
    for opcode in 0..=7 {
        let mut datagram = vec![0; 65507];
        datagram[1] = opcode;
        let digits: Vec<String> = datagram.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = match opcode {
            3 | 4 | 6 => "0.000 69 > A ERROR 5 unknown transfer ID",
            5 => "",
            _ => "0.000 69 > A ERROR 4 illegal TFTP operation",
        };
        lab().play(&format!("0.000 A > 69 HEX {}\n{answer}", digits.join(" ")));
    }
}

/// Services that answer any datagram (echo, chargen), a resolver, another TFTP server: an answer would go to and fro, or hit a
/// third host. No client uses such a port.
#[test]
fn service_ports_get_no_answer() {
    for port in [0, 7, 19, 53, 67, 69, 111, 123, 1023] {
        lab().observed().play(&format!(
            "0.000 A:{port} > 69 RRQ config.txt octet
             0.000 * A:{port}: rejected, ServicePort
             0.001 A:{port} > 69 HEX 61 62 63 64 65
             0.001 * A:{port}: rejected, ServicePort"
        ));
    }
    lab().play(
        "0.000 A:1024 > 69 RRQ config.txt octet
         0.000 1001 > A:1024 DATA 1 @0 +512",
    );
}

#[test]
fn an_address_gets_few_errors_in_a_second() {
    let play = |packet: &str, error: &str, most: usize| {
        let line = |millis: usize, answered: bool| {
            let at = format!("{}.{:03}", millis / 1000, millis % 1000);
            let port = 2000 + millis;
            let answer = if answered { format!("{at} 69 > A:{port} {error}\n") } else { String::new() };
            format!("{at} A:{port} > 69 {packet}\n{answer}")
        };
        let flood = (0..400).map(|number| line(number, number < most));
        let others = "0.500 B > 69 RRQ none octet\n0.500 69 > B ERROR 1 file not found\n".to_owned();
        let later = line(1000, true);
        lab().play(&(flood.collect::<String>() + &others + &later));
    };
    play("RRQ missing octet", "ERROR 1 file not found", 128);
    play("ACK 7", "ERROR 5 unknown transfer ID", 16);
    play("HEX 00 09", "ERROR 4 illegal TFTP operation", 16);
}
