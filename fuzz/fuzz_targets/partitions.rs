//! Any bytes are a partition table, or none; its extents lie within countable numbers, and a layout is found or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinetboot_image::{Choice, Layout, Partitions};

fuzz_target!(|bytes: &[u8]| {
    let Ok(partitions) = Partitions::read(&bytes) else { return };
    let _ = Layout::find(&bytes, &partitions, Choice::default());
    for extent in partitions.all().iter().map(|partition| partition.extent) {
        assert!(extent.start >= 512 && extent.len > 0);
        assert!(extent.start.checked_add(extent.len) == Some(extent.end()));
    }
});
