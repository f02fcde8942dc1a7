//! Any bytes are a journal that is read to its end, or refused: each entry from within the file, and no value longer than the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinetboot_image::journal::{Journal, LONGEST_VALUE};

fuzz_target!(|bytes: &[u8]| {
    let Ok(journal) = Journal::open(bytes, bytes.len() as u64, &["MESSAGE", "PRIORITY", "_PID"]) else {
        return;
    };
    let mut sound = 0;
    for entry in journal.entries().flatten() {
        let Ok(fields) = journal.fields(&entry) else { continue };
        assert_eq!(fields.len(), 3);
        assert!(fields.iter().flatten().all(|value| value.len() <= LONGEST_VALUE));
        sound += 1;
    }
    assert!(sound <= bytes.len() / 4, "each entry takes a place in an array");
});
