//! Whose place a new client gets in a full table, one rule at a time.

mod common;

use core::ops::RangeInclusive;

use common::{Lab, Memory};

fn lab(places: usize) -> Lab {
    let storage = Memory::default().with("config.txt", 600).with("kernel.img", 3000).with("long.img", 20_000);
    Lab { places, ports: 16, ..Lab::new(storage) }
}

/// A Pi repeats its request, and ends the boot at an ERROR.
#[test]
fn a_full_table_is_silent() {
    let left = lab(1).observed().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.010 B > 69 RRQ config.txt octet
         0.010 * B: Read config.txt, no options
         0.010 * B: rejected, TableFull
         0.015 A > 69 RRQ kernel.img octet // A's own place is free for A
         0.015 * A: Read kernel.img, no options
         0.015 * A: Read superseded; 0 bytes passed, 0 resent
         0.015 * A: Read begins, 3000 bytes by 512 x 1
         0.015 1001 > A DATA 1 @0 +512
         0.030 A > 1001 ERROR 0 enough
         0.030 * A: ends it, 0 enough
         0.030 * A: Read peer's error 0, a probe; 0 bytes passed, 0 resent
         2.010 B > 69 RRQ config.txt octet
         2.010 * B: Read config.txt, no options
         2.010 * B: Read begins, 600 bytes by 512 x 1
         2.010 1001 > B DATA 1 @0 +512",
    );
    assert_eq!(left, 1);
}

#[test]
fn without_places_no_request_is_answered() {
    let left = lab(0).observed().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: rejected, TableFull
         9.000 .",
    );
    assert_eq!(left, 0);
}

/// An address may be forged, and may ask for a long timeout. Its place is kept for as long as a Pi takes to answer.
#[test]
fn an_unanswered_transfer_makes_room_at_once() {
    let left = lab(1).observed().play(
        "0.000 A > 69 RRQ kernel.img octet timeout=60
         0.000 * A: Read kernel.img
         0.000 * A: Read begins, 3000 bytes by 512 x 1
         0.000 1001 > A OACK timeout=60
         0.019 B > 69 RRQ config.txt octet
         0.019 * B: Read config.txt, no options
         0.019 * B: rejected, TableFull
         0.020 B > 69 RRQ config.txt octet
         0.020 * B: Read config.txt, no options
         0.020 * A: Read displaced; 0 bytes passed, 0 resent
         0.020 * B: Read begins, 600 bytes by 512 x 1
         0.020 1001 > B DATA 1 @0 +512
         0.030 B > 1001 ACK 1
         0.030 1001 > B DATA 2 @512 +88",
    );
    assert_eq!(left, 1);
}

#[test]
fn the_oldest_unanswered_transfer_makes_room_first() {
    let left = lab(4).play(
        "0.000 A > 69 RRQ kernel.img octet
         0.000 1001 > A DATA 1 @0 +512
         0.001 B > 69 RRQ kernel.img octet
         0.001 1002 > B DATA 1 @0 +512
         0.002 C > 69 RRQ kernel.img octet
         0.002 1003 > C DATA 1 @0 +512
         0.003 D > 69 RRQ kernel.img octet
         0.003 1004 > D DATA 1 @0 +512
         0.004 A > 1001 ACK 1
         0.004 1001 > A DATA 2 @512 +512
         0.005 C > 1003 ERROR 0 enough
         0.006 E > 69 RRQ kernel.img octet
         0.006 1003 > E DATA 1 @0 +512
         0.300 F > 69 RRQ kernel.img octet // B's
         0.300 1002 > F DATA 1 @0 +512
         0.301 G > 69 RRQ kernel.img octet // D's
         0.301 1004 > G DATA 1 @0 +512
         0.302 H > 69 RRQ kernel.img octet // E's
         0.302 1003 > H DATA 1 @0 +512
         0.303 I > 69 RRQ kernel.img octet // F and the others have time to answer
         0.325 I > 69 RRQ kernel.img octet
         0.325 1002 > I DATA 1 @0 +512
         0.326 A > 1001 ACK 2
         0.326 1001 > A DATA 3 @1024 +512",
    );
    assert_eq!(left, 4);
}

/// `A` begins as many transfers and answers each once; the other places belong to `B` and others.
fn occupied(of_a: RangeInclusive<u16>, others: &str) -> String {
    let peers = of_a.map(|port| format!("A:{port}")).chain(others.chars().map(String::from));
    peers
        .zip(1001..)
        .map(|(peer, port)| {
            format!(
                "0.000 {peer} > 69 RRQ kernel.img octet
                 0.000 {port} > {peer} DATA 1 @0 +512
                 0.000 {peer} > {port} ACK 1
                 0.000 {port} > {peer} DATA 2 @512 +512\n"
            )
        })
        .collect()
}

#[test]
fn an_address_beyond_its_share_makes_room_for_others() {
    let left = lab(12).play(
        &(occupied(2001..=2010, "BC")
            + "0.010 A:2001 > 1001 ACK 2
               0.010 1001 > A:2001 DATA 3 @1024 +512
               0.100 A:2011 > 69 RRQ kernel.img octet // not for itself
               0.100 D > 69 RRQ kernel.img octet // the slowest's, and not that of A:2001
               0.100 1002 > D DATA 1 @0 +512
               0.101 D > 1002 ACK 1
               0.101 1002 > D DATA 2 @512 +512
               0.102 E > 69 RRQ kernel.img octet
               0.102 1009 > E DATA 1 @0 +512
               0.103 E > 1009 ACK 1
               0.103 1009 > E DATA 2 @512 +512
               0.104 F > 69 RRQ kernel.img octet // eight places remain to A
               0.110 A:2001 > 1001 ACK 3
               0.110 1001 > A:2001 DATA 4 @1536 +512"),
    );
    assert_eq!(left, 12);
}

/// A rack behind one address (NAT) has a quarter of the places, and eight in any case.
#[test]
fn an_address_within_its_share_keeps_its_places() {
    let left = lab(8).play(
        &(occupied(2001..=2008, "")
            + "0.100 B > 69 RRQ kernel.img octet
               0.110 A:2001 > 1001 ACK 2
               0.110 1001 > A:2001 DATA 3 @1024 +512"),
    );
    assert_eq!(left, 8);
}

#[test]
fn a_transfer_that_passes_next_to_nothing_makes_room() {
    let blocks = |at: &str, blocks: RangeInclusive<u16>| -> String {
        let line = |block: u16| {
            let offset = u32::from(block - 1) * 1400;
            format!("{at} 1001 > A DATA {block} @{offset} +1400\n")
        };
        blocks.map(line).collect()
    };
    let left = lab(1).play(
        &("0.000 A > 69 RRQ long.img octet blksize=1400 windowsize=6
           0.000 1001 > A OACK blksize=1400 windowsize=6
           0.001 A > 1001 ACK 0\n"
            .to_owned()
            + &blocks("0.001", 1..=6)
            + "0.002 A > 1001 ACK 6\n"
            + &blocks("0.002", 7..=12)
            + &blocks("1.010", 7..=12)
            + &blocks("3.010", 7..=12)
            + "4.000 B > 69 RRQ config.txt octet // 8400 bytes of A in 4 s are enough
               4.100 B > 69 RRQ config.txt octet // and in 4.1 s too few
               4.100 1001 > B DATA 1 @0 +512"),
    );
    assert_eq!(left, 1);
}

#[test]
fn a_transfer_that_moves_on_keeps_its_place() {
    let left = lab(1).play(
        "0.000 A > 69 RRQ kernel.img octet
         0.000 1001 > A DATA 1 @0 +512
         0.100 A > 1001 ACK 1
         0.100 1001 > A DATA 2 @512 +512
         1.100 1001 > A DATA 2 @512 +512
         2.000 B > 69 RRQ config.txt octet
         2.100 A > 1001 ACK 2
         2.100 1001 > A DATA 3 @1024 +512",
    );
    assert_eq!(left, 1);
}

#[test]
fn a_transfer_that_lacks_only_the_last_ack_makes_room() {
    let left = lab(1).observed().play(
        "0.000 A > 69 RRQ config.txt octet
         0.000 * A: Read config.txt, no options
         0.000 * A: Read begins, 600 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.100 A > 1001 ACK 1
         0.100 1001 > A DATA 2 @512 +88
         0.500 B > 69 RRQ config.txt octet
         0.500 * B: Read config.txt, no options
         0.500 * B: rejected, TableFull
         1.100 1001 > A DATA 2 @512 +88
         1.200 B > 69 RRQ config.txt octet
         1.200 * B: Read config.txt, no options
         1.200 * A: Read displaced; 512 bytes passed, 1 resent
         1.200 * B: Read begins, 600 bytes by 512 x 1
         1.200 1001 > B DATA 1 @0 +512
         1.300 B > 1001 ERROR 0 enough
         1.300 * B: ends it, 0 enough
         1.300 * B: Read peer's error 0, a probe; 0 bytes passed, 0 resent",
    );
    assert_eq!(left, 0);
}

/// A request for a file that does not exist ends no transfer.
#[test]
fn a_refused_request_takes_no_place() {
    let left = lab(1).play(
        "0.000 A > 69 RRQ kernel.img octet
         0.000 1001 > A DATA 1 @0 +512
         0.500 B > 69 RRQ missing octet
         0.500 69 > B ERROR 1 file not found
         0.600 A > 1001 ACK 1
         0.600 1001 > A DATA 2 @512 +512",
    );
    assert_eq!(left, 1);
}
