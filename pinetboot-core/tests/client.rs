//! What the client does, one behaviour at a time. `S:69` is its server, 5000 its own port.

mod common;

use common::{content, options, play_client};
use pinetboot_core::Upload;
use pinetboot_core::tftp::netascii::Decoded;
use pinetboot_core::tftp::{Direction, ErrorCode, Mode, Options, Outcome, Probe, Report, Request};

/// Reads `config.txt` as the script says. What was received, unless it was not finished, and the report.
#[track_caller]
fn get(asked: &str, script: &str) -> (Option<Vec<u8>>, Report) {
    let mut kept = Kept::default();
    let request = Request::octet(b"config.txt", options(asked));
    let report = play_client(script, async |client| client.get(&request, &mut kept).await);
    (kept.finished.then_some(kept.bytes), report.expect("an end"))
}

/// Writes 600 bytes to `log.txt`.
#[track_caller]
fn put(asked: &str, script: &str) -> Report {
    let file = content(0..600);
    let request = Request::octet(b"log.txt", options(asked));
    play_client(script, async |client| client.put(&request, file.as_slice()).await).expect("an end")
}

#[track_caller]
fn probe(script: &str) -> Probe {
    play_client(script, async |client| client.probe(b"config.txt", Options::RASPBERRY_PI).await)
        .expect("an end")
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    finished: bool,
    /// As much as it takes, if not all.
    room: Option<usize>,
}

impl Upload for Kept {
    type Error = &'static str;

    fn expect(&mut self, len: u64) -> Result<(), Self::Error> {
        if self.room.is_some_and(|room| room == 0 && len > 0) { Err("no room at all") } else { Ok(()) }
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.bytes.extend(bytes);
        if self.room.is_some_and(|room| room < self.bytes.len()) { Err("no room") } else { Ok(()) }
    }

    async fn finish(&mut self) -> Result<(), Self::Error> {
        self.finished = true;
        Ok(())
    }
}

#[test]
fn a_read_goes_on_with_the_port_that_answers() {
    let (bytes, report) = get(
        "tsize=0 blksize=512",
        "0.000 5000 > S:69 RRQ config.txt octet tsize=0 blksize=512
         0.010 S:1001 > 5000 OACK tsize=600 blksize=512
         0.010 5000 > S:1001 ACK 0
         0.020 S:1001 > 5000 DATA 1 @0 +512
         0.020 5000 > S:1001 ACK 1
         0.030 S:1001 > 5000 DATA 2 @512 +88
         0.030 5000 > S:1001 ACK 2",
    );
    assert_eq!(bytes, Some(content(0..600)));
    assert_eq!(report.outcome, Outcome::Complete { bytes: 600 });
    assert_eq!((report.peer.port(), report.bytes, report.resent), (1001, 600, 0));
    assert_eq!((report.direction, report.block_size, report.window_size), (Direction::Read, 512, 1));
}

#[test]
fn a_read_without_options_takes_the_first_block_for_the_answer() {
    let (bytes, _) = get(
        "",
        "0.000 5000 > S:69 RRQ config.txt octet
         0.010 S:1001 > 5000 DATA 1 @0 +100
         0.010 5000 > S:1001 ACK 1",
    );
    assert_eq!(bytes, Some(content(0..100)));
}

#[test]
fn strangers_get_error_5_and_the_read_goes_on() {
    let (bytes, _) = get(
        "",
        "0.000 5000 > S:69 RRQ config.txt octet
         0.001 B > 5000 DATA 1 @100 +100
         0.001 5000 > B ERROR 5 unknown transfer ID
         0.002 B > 5000 ERROR 1 file not found
         0.003 B > 5000 HEX 00 09
         0.010 S:1001 > 5000 DATA 1 @0 +512
         0.010 5000 > S:1001 ACK 1
         0.011 S:1002 > 5000 DATA 1 @0 +512 // the request was doubled on its way
         0.011 5000 > S:1002 ERROR 5 unknown transfer ID
         0.012 S:1002 > 5000 ERROR 0 never mind
         0.013 S:69 > 5000 ERROR 0 server busy
         0.020 S:1001 > 5000 DATA 2 @512 +88
         0.020 5000 > S:1001 ACK 2",
    );
    assert_eq!(bytes, Some(content(0..600)));
}

#[test]
fn the_servers_error_is_an_outcome() {
    let (bytes, report) = get(
        "tsize=0",
        "0.000 5000 > S:69 RRQ config.txt octet tsize=0
         0.010 S:69 > 5000 ERROR 1 file not found",
    );
    assert_eq!((bytes, report.outcome), (None, Outcome::PeerError(ErrorCode::FILE_NOT_FOUND)));
}

#[test]
fn silence_is_an_outcome() {
    let (_, report) = get(
        "",
        "0.000 5000 > S:69 RRQ config.txt octet
         1.000 5000 > S:69 RRQ config.txt octet
         3.000 5000 > S:69 RRQ config.txt octet
         7.000 5000 > S:69 RRQ config.txt octet
        15.000 5000 > S:69 RRQ config.txt octet
        23.000 5000 > S:69 RRQ config.txt octet
        31.000 .",
    );
    assert_eq!(report.outcome, Outcome::TimedOut);
}

#[test]
fn the_ack_is_repeated_to_the_port_that_answered() {
    let (bytes, report) = get(
        "",
        "0.000 5000 > S:69 RRQ config.txt octet
         0.010 S:1001 > 5000 DATA 1 @0 +512
         0.010 5000 > S:1001 ACK 1
         1.010 5000 > S:1001 ACK 1
         1.020 S:1001 > 5000 DATA 2 @512 +1
         1.020 5000 > S:1001 ACK 2",
    );
    assert_eq!((bytes.map(|bytes| bytes.len()), report.resent), (Some(513), 1));
}

#[test]
fn an_oack_that_lies_and_nonsense_end_it() {
    let (_, report) = get(
        "blksize=1024",
        "0.000 5000 > S:69 RRQ config.txt octet blksize=1024
         0.010 S:1001 > 5000 OACK blksize=1468
         0.010 5000 > S:1001 ERROR 8 options refused",
    );
    assert_eq!(report.outcome, Outcome::Aborted(ErrorCode::OPTIONS_REFUSED));
    // Taken for no answer, blocks of 4 bytes would end a file of 512-byte blocks at once.
    let (_, report) = get(
        "blksize=1024",
        "0.000 5000 > S:69 RRQ config.txt octet blksize=1024
         0.010 S:1001 > 5000 OACK blksize=4
         0.010 5000 > S:1001 ERROR 8 options refused",
    );
    assert_eq!(report.outcome, Outcome::Aborted(ErrorCode::OPTIONS_REFUSED));
    let (_, report) = get(
        "",
        "0.000 5000 > S:69 RRQ config.txt octet
         0.010 S:1001 > 5000 DATA 1 @0 +512
         0.010 5000 > S:1001 ACK 1
         0.020 S:1001 > 5000 HEX 00 09
         0.020 5000 > S:1001 ERROR 4 illegal TFTP operation",
    );
    assert_eq!(report.outcome, Outcome::Aborted(ErrorCode::ILLEGAL_OPERATION));
}

#[test]
fn nonsense_before_the_first_answer_is_passed_over() {
    let (bytes, _) = get(
        "",
        "0.000 5000 > S:69 RRQ config.txt octet
         0.001 S:53 > 5000 HEX 00 09
         0.010 S:1001 > 5000 DATA 1 @0 +100
         0.010 5000 > S:1001 ACK 1",
    );
    assert_eq!(bytes, Some(content(0..100)));
}

#[test]
fn bytes_that_cannot_be_kept_end_it_with_error_3() {
    let request = Request::octet(b"config.txt", options("tsize=0"));
    let mut none = Kept { room: Some(0), ..Kept::default() };
    let report = play_client(
        "0.000 5000 > S:69 RRQ config.txt octet tsize=0
         0.010 S:1001 > 5000 OACK tsize=600
         0.010 5000 > S:1001 ERROR 3 disk full or allocation exceeded",
        async |client| client.get(&request, &mut none).await,
    );
    assert_eq!(report.expect("an end").outcome, Outcome::Aborted(ErrorCode::DISK_FULL));
    let mut some = Kept { room: Some(599), ..Kept::default() };
    let report = play_client(
        "0.000 5000 > S:69 RRQ config.txt octet tsize=0
         0.010 S:1001 > 5000 OACK tsize=600
         0.010 5000 > S:1001 ACK 0
         0.020 S:1001 > 5000 DATA 1 @0 +512
         0.020 5000 > S:1001 ACK 1
         0.030 S:1001 > 5000 DATA 2 @512 +88
         0.030 5000 > S:1001 ERROR 3 disk full or allocation exceeded",
        async |client| client.get(&request, &mut some).await,
    );
    assert_eq!(report.expect("an end").outcome, Outcome::Aborted(ErrorCode::DISK_FULL));
    assert!(!some.finished);
}

#[test]
fn netascii_is_decoded_by_a_wrapping() {
    let mut kept = Kept::default();
    let request = Request::new(b"config.txt", Mode::Netascii, Options::default());
    let report = play_client(
        r#"0.000 5000 > S:69 RRQ config.txt netascii
           0.010 S:1001 > 5000 DATA 1 "arm_boost=1\r\n"
           0.010 5000 > S:1001 ACK 1"#,
        async |client| client.get(&request, &mut Decoded::new(&mut kept)).await,
    );
    assert_eq!(report.expect("an end").outcome, Outcome::Complete { bytes: 13 });
    assert_eq!(kept.bytes, b"arm_boost=1\n");
}

#[test]
fn a_write_goes_on_with_the_port_that_answers() {
    let report = put(
        "tsize=0 blksize=512",
        "0.000 5000 > S:69 WRQ log.txt octet tsize=600 blksize=512
         0.001 B > 5000 ACK 0
         0.001 5000 > B ERROR 5 unknown transfer ID
         0.010 S:1001 > 5000 OACK tsize=600 blksize=512
         0.010 5000 > S:1001 DATA 1 @0 +512
         0.020 S:1001 > 5000 ACK 1
         0.020 5000 > S:1001 DATA 2 @512 +88
         0.030 S:1001 > 5000 ACK 2",
    );
    assert_eq!(report.outcome, Outcome::Complete { bytes: 600 });
    assert_eq!((report.direction, report.bytes), (Direction::Write, 600));
}

#[test]
fn a_write_may_be_refused() {
    let report = put(
        "",
        "0.000 5000 > S:69 WRQ log.txt octet
         0.010 S:69 > 5000 ERROR 2 access denied",
    );
    assert_eq!(report.outcome, Outcome::PeerError(ErrorCode::ACCESS_VIOLATION));
}

#[test]
fn a_probe_asks_and_takes_no_byte() {
    let found = probe(
        "0.000 5000 > S:69 RRQ config.txt octet tsize=0 blksize=1468
         0.001 B > 5000 OACK tsize=1
         0.010 S:1001 > 5000 OACK tsize=600 blksize=1468
         0.010 5000 > S:1001 ERROR 0 Early terminate",
    );
    assert_eq!(found, Probe::Found(Some(600)));
    let found = probe(
        "0.000 5000 > S:69 RRQ config.txt octet tsize=0 blksize=1468
         1.000 5000 > S:69 RRQ config.txt octet tsize=0 blksize=1468
         1.010 S:1001 > 5000 DATA 1 @0 +512
         1.010 5000 > S:1001 ERROR 0 Early terminate",
    );
    assert_eq!(found, Probe::Found(None));
}

#[test]
fn what_a_probe_does_not_find_is_missing() {
    let missing = probe(
        "0.000 5000 > S:69 RRQ config.txt octet tsize=0 blksize=1468
         0.010 S:69 > 5000 ERROR 1 file not found",
    );
    assert_eq!(missing, Probe::Missing(Outcome::PeerError(ErrorCode::FILE_NOT_FOUND)));
    for (answer, code) in [("ACK 0", 4), ("OACK tsize=600 windowsize=4", 8), ("DATA 1 @0 +1468", 4)] {
        let text = if code == 4 { "illegal TFTP operation" } else { "options refused" };
        let missing = probe(&format!(
            "0.000 5000 > S:69 RRQ config.txt octet tsize=0 blksize=1468
             0.010 S:1001 > 5000 {answer}
             0.010 5000 > S:1001 ERROR {code} {text}"
        ));
        assert_eq!(missing, Probe::Missing(Outcome::Aborted(ErrorCode(code))), "{answer}");
    }
}
