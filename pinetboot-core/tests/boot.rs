//! The boot machine on a virtual clock: healthy boots of all kinds, of which none gets a verdict, and one staged failure for each
//! rule that events can show.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "boot/cases.rs"]
mod cases;
#[path = "boot/healthy.rs"]
mod healthy;
#[path = "boot/late.rs"]
mod late;
#[path = "boot/script.rs"]
mod script;
#[path = "boot/staged.rs"]
mod staged;

use pinetboot_core::pi::boot::{Boot, State, Verdict};

/// A registry holds one for each Pi.
#[test]
fn a_machine_is_small() {
    assert!(size_of::<Boot>() <= 256, "{}", size_of::<Boot>());
    assert!(size_of::<Verdict>() <= 32, "{}", size_of::<Verdict>());
}

#[test]
fn states_are_in_the_order_of_a_boot() {
    assert!(State::ALL.is_sorted());
    assert_eq!(State::KernelSent.to_string(), "kernel sent");
}
