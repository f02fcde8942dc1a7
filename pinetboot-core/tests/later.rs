//! A storage that says "later": one client waits, and nothing else changes.

mod common;

use common::{Lab, Memory};

fn lab(storage: Memory) -> Lab {
    Lab::new(storage.with("config.txt", 600))
}

#[test]
fn a_request_waits_for_its_file_without_a_place() {
    let storage = Memory::default().with("kernel.img", 700).lost("kernel.img");
    let left = Lab { places: 1, ..lab(storage) }.observed().play(
        "0.000 A > 69 RRQ kernel.img octet
         0.000 * A: Read kernel.img, no options
         1.000 B > 69 RRQ config.txt octet
         1.000 * B: Read config.txt, no options
         1.000 * B: Read begins, 600 bytes by 512 x 1
         1.000 1001 > B DATA 1 @0 +512
         1.001 B > 1001 ACK 1
         1.001 1001 > B DATA 2 @512 +88
         1.002 B > 1001 ACK 2
         1.002 * B: Read complete, 600 bytes; 600 bytes passed, 0 resent
         2.000 A > 69 RRQ kernel.img octet // as a Pi repeats it
         2.000 * A: Read kernel.img, no options
         5.000 x kernel.img
         5.000 * A: Read kernel.img, no options
         5.000 * A: Read begins, 700 bytes by 512 x 1
         5.000 1001 > A DATA 1 @0 +512
         5.001 A > 1001 ACK 1
         5.001 1001 > A DATA 2 @512 +188",
    );
    assert_eq!(left, 1);
}

#[test]
fn a_file_that_does_not_exist_is_refused_when_that_is_known() {
    lab(Memory::default().lost("start.elf")).observed().play(
        "0.000 A > 69 RRQ start.elf octet
         0.000 * A: Read start.elf, no options
         3.000 x start.elf
         3.000 * A: Read start.elf, no options
         3.000 * A: Read start.elf refused, 1 file not found
         3.000 69 > A ERROR 1 file not found",
    );
}

/// The client may repeat its ACK meanwhile; nothing is sent to it, and no attempt of the retry policy is used up.
#[test]
fn a_transfer_waits_for_its_bytes() {
    let left = lab(Memory::default().with("kernel.img", 1200).late("kernel.img", 512)).observed().play(
        "0.000 A > 69 RRQ kernel.img octet
         0.000 * A: Read kernel.img, no options
         0.000 * A: Read begins, 1200 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.001 A > 1001 ACK 1
         2.001 A > 1001 ACK 1
         4.001 A > 1001 ACK 1
         60.000 x kernel.img
         60.000 1001 > A DATA 2 @512 +512
         61.000 1001 > A DATA 2 @512 +512
         61.001 A > 1001 ACK 2
         61.001 1001 > A DATA 3 @1024 +176
         61.002 A > 1001 ACK 3
         61.002 * A: Read complete, 1200 bytes; 1200 bytes passed, 1 resent",
    );
    assert_eq!(left, 0);
}

#[test]
fn a_window_goes_as_far_as_its_bytes() {
    lab(Memory::default().with("kernel.img", 3000).late("kernel.img", 1024)).play(
        "0.000 A > 69 RRQ kernel.img octet windowsize=4
         0.000 1001 > A OACK windowsize=4
         0.001 A > 1001 ACK 0
         0.001 1001 > A DATA 1 @0 +512
         0.001 1001 > A DATA 2 @512 +512
         0.500 A > 1001 ACK 2 // it waited for the rest
         9.000 x kernel.img
         9.000 1001 > A DATA 3 @1024 +512
         9.000 1001 > A DATA 4 @1536 +512
         9.000 1001 > A DATA 5 @2048 +512
         9.000 1001 > A DATA 6 @2560 +440",
    );
}

#[test]
fn a_block_that_was_lost_waits_as_one_that_is_new() {
    let left = lab(Memory::default().with("kernel.img", 3000).late("kernel.img", 1024)).observed().play(
        "0.000 A > 69 RRQ kernel.img octet windowsize=2
         0.000 * A: Read kernel.img
         0.000 * A: Read begins, 3000 bytes by 512 x 2
         0.000 1001 > A OACK windowsize=2
         0.001 A > 1001 ACK 0
         0.001 1001 > A DATA 1 @0 +512
         0.001 1001 > A DATA 2 @512 +512
         0.002 A > 1001 ACK 1
         0.002 1001 > A DATA 2 @512 +512
         0.003 A > 1001 ACK 2
         7.000 x kernel.img
         7.000 1001 > A DATA 3 @1024 +512
         7.000 1001 > A DATA 4 @1536 +512
         7.001 A > 1001 ERROR 0 enough
         7.001 * A: ends it, 0 enough
         7.001 * A: Read peer's error 0; 1024 bytes passed, 1 resent",
    );
    assert_eq!(left, 0);
}

#[test]
fn an_upload_is_acknowledged_when_it_is_kept() {
    let storage = || Memory { room: Some(1000), ..Memory::default().late("log", 600) };
    let script = |end: &str| {
        format!(
            "0.000 A > 69 WRQ log octet
             0.000 * A: Write log, no options
             0.000 * A: Write begins, unknown bytes by 512 x 1
             0.000 = create log
             0.000 1001 > A ACK 0
             0.001 A > 1001 DATA 1 @0 +512
             0.001 1001 > A ACK 1
             0.002 A > 1001 DATA 2 @512 +100
             1.002 A > 1001 DATA 2 @512 +100
             6.000 x log
             {end}"
        )
    };
    let left = lab(storage()).observed().play(&script(
        "6.000 1001 > A ACK 2
         6.000 * A: Write complete, 612 bytes; 612 bytes passed, 0 resent
         9.000 .",
    ));
    assert_eq!(left, 1, "to acknowledge the last block once more");
    let left = lab(Memory { finish_fails: true, ..storage() }).observed().play(&script(
        "6.000 1001 > A ERROR 3 disk full or allocation exceeded
         6.000 * A: Write aborted with error 3; 612 bytes passed, 0 resent",
    ));
    assert_eq!(left, 0);
}

#[test]
fn a_client_that_gives_up_is_forgotten() {
    let left = lab(Memory::default().with("kernel.img", 1200).late("kernel.img", 512)).observed().play(
        "0.000 A > 69 RRQ kernel.img octet
         0.000 * A: Read kernel.img, no options
         0.000 * A: Read begins, 1200 bytes by 512 x 1
         0.000 1001 > A DATA 1 @0 +512
         0.001 A > 1001 ACK 1
         1.000 A > 1001 ERROR 0 enough
         1.000 * A: ends it, 0 enough
         1.000 * A: Read peer's error 0; 512 bytes passed, 0 resent
         2.000 x kernel.img
         9.000 .",
    );
    assert_eq!(left, 0);
}
