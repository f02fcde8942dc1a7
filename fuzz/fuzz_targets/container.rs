//! Any bytes are a container that is unpacked to its end, or an error.
#![no_main]

use std::io::{self, Cursor};

use libfuzzer_sys::fuzz_target;
use pinetboot_image::Container;

fuzz_target!(|bytes: &[u8]| {
    let mut file = Cursor::new(bytes);
    let container = Container::recognise(&mut file).expect("memory can be read");
    let mut unpacked = 0;
    let result = container.unpack(&mut file, &mut |piece| {
        assert!(!piece.is_empty() && piece.len() <= 256 << 10);
        unpacked += piece.len();
        if unpacked > MOST { Err(io::Error::other("enough")) } else { Ok(()) }
    });
    if container == Container::Raw {
        assert!(result.is_ok() && unpacked == bytes.len());
    }
});

/// A few bytes unpack to gigabytes.
const MOST: usize = 4 << 20;
