//! Any value of option 97 is a Pi's or not, and a Pi's is emitted as the value that came in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinetboot_core::pi::{PiIdentity, Prefix, Revision};

fuzz_target!(|value: &[u8]| {
    if let Ok(code) = value.try_into().map(u32::from_le_bytes) {
        read(Revision::from_code(code));
    }
    let Some(pi) = PiIdentity::parse(value) else { return };
    assert_eq!(pi.emit(), value);
    assert!(!pi.to_string().is_empty());
    assert_eq!(pi.prefix(), pi.serial().map(Prefix::Serial));
    if let Some(prefix) = pi.prefix() {
        assert_eq!(Prefix::parse(&prefix.to_string()), Some(prefix), "a Pi's directory is not known as one");
    }
    if let Some(revision) = pi.revision() {
        read(revision);
        assert!(pi.model().is_some() || revision.model().is_none());
    }
    match (pi.fourcc(), pi.revision(), pi.serial()) {
        (Some(fourcc), Some(revision), Some(serial)) => {
            let [a, b, c, d] = pi.mac_tail().unwrap_or_default();
            assert_eq!(PiIdentity::new(fourcc, revision, [0, 0, a, b, c, d], serial), Some(pi));
        }
        (None, None, Some(serial)) => assert_eq!(PiIdentity::repeated(serial), Some(pi)),
        _ => assert_eq!(pi, PiIdentity::BOOT_ROM),
    }
});

/// Reads every field of a revision code.
fn read(revision: Revision) {
    let _ = (revision.board(), revision.processor(), revision.memory_mib(), revision.manufacturer());
    let _ = (revision.board_revision(), revision.model());
    assert!(!revision.to_string().is_empty());
}
