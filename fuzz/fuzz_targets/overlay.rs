//! A hostile overlay file and log are refused, or their disk is used without a panic, in bounded time and memory.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Bytes that replace those of a sound header, by their offset in it.
    header: Vec<(u8, u8)>,
    /// Bytes of the file behind the header, from some offset on.
    tables: Vec<(u16, u64)>,
    log: Vec<u8>,
    operations: Vec<(u8, u64, u16)>,
}

fuzz_target!(|input: Input| {
    let mut file = pinetboot_disk::testing::overlay_file(1 << 20);
    for (at, byte) in &input.header {
        file[usize::from(*at)] = *byte;
    }
    let words = file.len() / 8;
    for (at, word) in &input.tables {
        // Entries that look like offsets are worth most.
        let word = if word % 4 == 0 { *word } else { ((word % 64) << 12) | (word & 1) | ((word & 2) << 62) };
        let at = usize::from(*at) % words * 8;
        file[at..at + 8].copy_from_slice(&word.to_be_bytes());
    }
    let operations = &input.operations[..input.operations.len().min(64)];
    // Offsets mostly on the disk.
    let operations: Vec<_> = operations
        .iter()
        .map(|&(kind, offset, len)| (kind, if offset % 8 == 0 { offset } else { offset % (1 << 20) }, len))
        .collect();
    let _refused = pinetboot_disk::testing::carry_out(&file, &input.log, &operations);
});
