//! What observers of the server are lent and told: the context of each transfer, ticks, the client's and the storage's
//! own words. The lab itself holds every event of every script to the context of its client.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod common;

use core::time::Duration;

use common::{Lab, Memory};
use pinetboot_core::tftp::Outcome;
use pinetboot_core::{Event, Instant, Observer, OpenError};

fn lab() -> Lab {
    Lab::new(Memory::default().with("config.txt", 600).with("kernel.img", 3000)).observed()
}

/// Keeps the file's name with each transfer, and how often it was lent that.
#[derive(Default)]
struct Names {
    ended: Vec<(String, usize, bool)>,
    without: Vec<String>,
}

impl Observer for Names {
    type Transfer = (String, usize);

    fn observe(&mut self, _: Instant, event: &Event<'_>, transfer: Option<&mut (String, usize)>) {
        let Some((name, times)) = transfer else {
            self.without.extend(format!("{event:?}").split('(').next().map(str::to_owned));
            return;
        };
        *times += 1;
        match event {
            Event::Requested(requested) => name.push_str(core::str::from_utf8(requested.filename).unwrap()),
            Event::Finished(report) => {
                let complete = matches!(report.outcome, Outcome::Complete { .. });
                self.ended.push((name.clone(), *times, complete));
            }
            _ => {}
        }
    }
}

#[test]
fn each_transfer_has_a_context_from_its_request_to_its_end() {
    let mut names = Names::default();
    let left = lab().play_to(
        &mut names,
        "0.000 A > 69 RRQ config.txt octet blksize=1468
         0.000 * A: Read config.txt
         0.000 * A: Read begins, 600 bytes by 1468 x 1
         0.000 1001 > A OACK blksize=1468
         0.001 B > 69 RRQ kernel.img octet blksize=1468
         0.001 * B: Read kernel.img
         0.001 * B: Read begins, 3000 bytes by 1468 x 1
         0.001 1002 > B OACK blksize=1468
         0.002 C > 69 RRQ missing octet
         0.002 * C: Read missing, no options
         0.002 * C: Read missing refused, 1 file not found
         0.002 69 > C ERROR 1 file not found
         0.003 C > 1001 ACK 1
         0.003 * C: rejected, UnknownTransfer
         0.003 1001 > C ERROR 5 unknown transfer ID
         0.004 A > 69 RRQ config.txt octet blksize=1468
         0.004 * A: repeated
         0.005 B > 69 RRQ config.txt octet
         0.005 * B: Read config.txt, no options
         0.005 * B: Read superseded; 0 bytes passed, 0 resent
         0.005 * B: Read begins, 600 bytes by 512 x 1
         0.005 1002 > B DATA 1 @0 +512
         0.006 A > 1001 ACK 0
         0.006 1001 > A DATA 1 @0 +600
         0.007 A > 1001 ACK 1
         0.007 * A: Read complete, 600 bytes; 600 bytes passed, 0 resent
         0.008 B > 1002 ERROR 3 card full
         0.008 * B: ends it, 3 card full
         0.008 * B: Read peer's error 3; 0 bytes passed, 0 resent",
    );
    assert_eq!(left, 0);
    assert_eq!(
        names.ended,
        [
            ("kernel.img".into(), 3, false), // its place was taken by ..
            ("config.txt".into(), 4, true),
            ("config.txt".into(), 4, false), // .. this one
        ]
    );
    assert_eq!(names.without, ["Rejected"]);
}

#[test]
fn a_request_that_gets_no_port_has_its_context() {
    let mut names = Names::default();
    let lab = Lab { ports: 1, ..lab() };
    lab.play_to(
        &mut names,
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.001 B > 69 RRQ kernel.img octet
         0.001 * B: Read kernel.img, no options
         0.001 * B: rejected, NoPort",
    );
    assert_eq!(names.without, [""; 0]);
}

#[test]
fn the_context_of_an_upload_outlasts_its_last_block() {
    let mut names = Names::default();
    let storage = Memory { room: Some(1000), ..Memory::default() };
    Lab::new(storage).observed().play_to(
        &mut names,
        "0.000 A > 69 WRQ log octet
         0.000 * A: Write log, no options
         0.000 * A: Write begins, unknown bytes by 512 x 1
         0.000 = create log
         0.000 1001 > A ACK 0
         0.001 A > 1001 DATA 1 @0 +100
         0.001 = finish log, 100 bytes
         0.001 1001 > A ACK 1
         0.001 * A: Write complete, 100 bytes; 100 bytes passed, 0 resent
         0.002 A > 69 WRQ log octet
         0.002 * A: repeated
         0.003 A > 1001 ERROR 0 too late",
    );
    assert_eq!(names.ended, [("log".into(), 3, true)], "and not told once more");
}

/// As a Pi does whose server knows no `tsize`, or that has seen enough.
#[test]
fn a_client_may_say_that_it_only_asked_after_data_too() {
    lab().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.001 A > 1001 ACK 1
         0.001 1001 > A DATA 2 @512 +88
         0.002 A > 1001 ERROR 0 Early terminate
         0.002 * A: ends it, 0 Early terminate
         0.002 * A: Read peer's error 0, a probe; 512 bytes passed, 0 resent
         0.003 A > 69 RRQ config.txt octet
         0.003 * A: Read config.txt, no options
         0.003 * A: Read begins, 600 bytes by 512 x 1
         0.003 1001 > A DATA 1 @0 +512
         0.004 A > 1001 ACK 1
         0.004 1001 > A DATA 2 @512 +88
         0.005 A > 1001 ERROR 3 Early terminate
         0.005 * A: ends it, 3 Early terminate
         0.005 * A: Read peer's error 3; 512 bytes passed, 0 resent",
    );
}

#[test]
fn the_clients_words_come_as_they_were_sent() {
    lab().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.001 A > 1001 HEX 00 05 00 07 0a 1b ff 00
         0.001 * A: ends it, 7 \\n\\x1b\\xff
         0.001 * A: Read peer's error 7; 0 bytes passed, 0 resent",
    );
}

/// Writes down whose refusals it is told of.
#[derive(Default)]
struct Causes(Vec<Option<(OpenError, String, String)>>);

impl Observer for Causes {
    type Transfer = ();

    fn observe(&mut self, _: Instant, event: &Event<'_>, _: Option<&mut ()>) {
        let Event::Refused(refused) = event else { return };
        self.0.push(refused.cause.map(|cause| {
            let reason = cause.reason().map(ToString::to_string).unwrap_or_default();
            (cause.error(), cause.place().unwrap_or_default().to_owned(), reason)
        }));
    }
}

#[test]
fn a_refusal_comes_with_the_storages_own_words() {
    let mut causes = Causes::default();
    lab().play_to(
        &mut causes,
        "0.000 A > 69 RRQ pi/missing octet
         0.000 * A: Read pi/missing, no options
         0.000 * A: Read pi/missing refused, 1 file not found
         0.000 69 > A ERROR 1 file not found
         0.001 A > 69 RRQ ../up octet
         0.001 * A: Read ../up, no options
         0.001 * A: Read ../up refused, 2 the name holds '..'
         0.001 69 > A ERROR 2 the name holds '..'
         0.002 A > 69 WRQ log octet
         0.002 * A: Write log, no options
         0.002 * A: Write log refused, 2 access denied
         0.002 69 > A ERROR 2 access denied",
    );
    let why = "the map has no such key".to_owned();
    assert_eq!(
        causes.0,
        [
            Some((OpenError::NotFound, "memory:pi/missing".into(), why)),
            None, // the storage was not asked
            Some((OpenError::Denied, String::new(), String::new())),
        ]
    );
}

/// Wants to be told every so often, and writes down when it was.
struct Clock {
    next: Instant,
    every: Duration,
    told: Vec<Instant>,
}

impl Clock {
    fn every(millis: u64) -> Self {
        Self { next: Instant::from_millis(millis), every: Duration::from_millis(millis), told: Vec::new() }
    }
}

impl Observer for Clock {
    type Transfer = u8;

    fn observe(&mut self, now: Instant, event: &Event<'_>, transfer: Option<&mut u8>) {
        if let Event::Tick = event {
            assert_eq!(transfer, None);
            self.told.push(now);
            if self.next <= now {
                self.next = now + self.every;
            }
        }
    }

    fn wake_at(&self) -> Instant {
        self.next
    }
}

fn millis(times: &[Instant]) -> Vec<u64> {
    times.iter().map(|time| time.as_micros() / 1000).collect()
}

#[test]
fn a_tick_comes_when_nothing_else_does() {
    let mut clock = Clock::every(300);
    lab().play_to(&mut clock, "0.300 * tick\n0.600 * tick\n0.900 * tick\n1.000 .");
    assert_eq!(millis(&clock.told), [300, 600, 900]);
}

#[test]
fn a_tick_is_a_deadline_like_any_other() {
    let mut clock = Clock::every(800);
    lab().play_to(
        &mut clock,
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.800 * tick
         1.000 1001 > A DATA 1 @0 +512
         1.600 * tick
         2.000 A > 1001 ACK 1
         2.000 1001 > A DATA 2 @512 +88
         2.400 * tick
         3.000 1001 > A DATA 2 @512 +88",
    );
}

/// The loop does not wait for a pause between datagrams: the tick comes after the first that is late enough.
#[test]
fn a_tick_comes_under_load() {
    let mut clock = Clock::every(50);
    let mut script = String::new();
    for millis in 0..200 {
        let mut lines = |text: &str| script.push_str(&format!("0.{millis:03} {text}\n"));
        for first in [true, false] {
            lines("A > 69 ERROR 0 never mind");
            lines("* A: rejected, UnknownTransfer");
            if first && millis > 0 && millis % 50 == 0 {
                lines("* tick");
            }
        }
    }
    lab().play_to(&mut clock, &script);
    assert_eq!(millis(&clock.told), [50, 100, 150]);
}

#[test]
fn an_observer_that_wants_none_is_told_none() {
    let mut clock = Clock { next: Instant::MAX, every: Duration::ZERO, told: Vec::new() };
    lab().play_to(
        &mut clock,
        "0.000 A > 69 ERROR 0 never mind
         0.000 * A: rejected, UnknownTransfer
         9.000 .",
    );
    assert_eq!(clock.told, []);
}

#[test]
fn of_two_observers_each_is_told_everything() {
    let mut clocks = (Clock::every(300), (Names::default(), Clock::every(400)));
    let left = lab().play_to(
        &mut clocks,
        "0.000 A > 69 RRQ config.txt octet tsize=0
         0.000 * A: Read config.txt
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A OACK tsize=600
         0.001 A > 1001 ERROR 0 Early terminate
         0.001 * A: ends it, 0 Early terminate
         0.001 * A: Read peer's error 0, a probe; 0 bytes passed, 0 resent
         0.300 * tick
         0.400 * tick
         0.600 * tick
         0.800 * tick
         0.850 .",
    );
    assert_eq!(left, 0);
    let (first, (names, second)) = clocks;
    assert_eq!(millis(&first.told), [300, 400, 600, 800]);
    assert_eq!(first.told, second.told);
    assert_eq!(names.ended, [("config.txt".into(), 4, false)]);
    assert_eq!(names.without, ["Tick"; 4]);
}

/// Never content.
#[derive(Default)]
struct Eager(Vec<Instant>);

impl Observer for Eager {
    type Transfer = ();

    fn observe(&mut self, now: Instant, event: &Event<'_>, _: Option<&mut ()>) {
        if let Event::Tick = event {
            self.0.push(now);
        }
    }

    fn wake_at(&self) -> Instant {
        Instant::ZERO
    }
}

#[test]
fn an_observer_whose_moment_stays_in_the_past_stops_nothing() {
    let mut eager = Eager::default();
    // The lab itself fails a loop that waits for the past again and again.
    let lab = Lab::new(Memory::default().with("config.txt", 600));
    let left = lab.play_to(
        &mut eager,
        "0.000 A > 69 RRQ config.txt octet
         0.000 1001 > A DATA 1 @0 +512
         0.015 B > 69 RRQ config.txt octet
         0.015 1002 > B DATA 1 @0 +512
         1.000 1001 > A DATA 1 @0 +512
         1.015 1002 > B DATA 1 @0 +512
         1.017 A > 1001 ACK 1
         1.017 1001 > A DATA 2 @512 +88
         1.018 A > 1001 ACK 2
         2.000 .",
    );
    assert_eq!(left, 1);
    let pauses = eager.0.windows(2).map(|two| two[1] - two[0]);
    assert_eq!(pauses.min(), Some(Duration::from_millis(10)));
    assert_eq!(eager.0.len(), 201, "a hundred a second");
}
