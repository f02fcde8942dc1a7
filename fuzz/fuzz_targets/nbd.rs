//! Any bytes of an NBD client are answered or end the connection, within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let sent = pinetboot_disk::testing::answer(bytes);
    assert_eq!(&sent[..16], b"NBDMAGICIHAVEOPT", "the greeting comes first");
    // Each request of 28 bytes may read the whole disk of 1 MiB, and each option list some names.
    assert!(sent.len() <= 1024 + (bytes.len() / 28 + 1) * ((1 << 20) + 1024), "{}", sent.len());
});
