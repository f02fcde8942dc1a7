//! Any bytes are a partition table, or none; its extents lie within countable numbers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinetboot_image::Partitions;

fuzz_target!(|bytes: &[u8]| {
    let Ok(partitions) = Partitions::read(&bytes) else { return };
    for extent in [partitions.boot, partitions.root].into_iter().flatten() {
        assert!(extent.start >= 512 && extent.len > 0);
        assert!(extent.start.checked_add(extent.len) == Some(extent.end()));
    }
});
