//! Any bytes are a frame: what is read of it lies within.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The program's own file, without the program: it needs no more than the core library.
#[allow(dead_code, reason = "the filter has the same constants")]
#[path = "../../pinetboot-std/src/net/frame.rs"]
mod frame;

use frame::Frame;

fuzz_target!(|bytes: &[u8]| {
    match Frame::parse(bytes) {
        Some(Frame::Dhcp { message: part, .. } | Frame::Console { text: part, .. }) => {
            let within = bytes.as_ptr_range();
            let part = part.as_ptr_range();
            assert!(within.start <= part.start && part.end <= within.end);
        }
        Some(Frame::Bpdu { forward_delay, .. }) => assert!(forward_delay <= 255),
        Some(Frame::Arp { .. }) | None => {}
    }
});
