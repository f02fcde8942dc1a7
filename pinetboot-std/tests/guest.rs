//! Emulated machines live from `pinetboot serve` alone: address, boot files and root.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[cfg(feature = "disk")]
#[path = "guest/cards.rs"]
mod cards;
#[path = "guest/work.rs"]
mod debian;
mod machine;
mod namespace;
#[path = "guest/shell.rs"]
mod shell;

mod guest {
    #[cfg(feature = "disk")]
    mod card;
    mod chain;
    mod debian;
    mod ganesha;
    mod killed;
    mod loads;
    mod posix;
    mod world;
}
