//! Emulated machines live from `pinetboot serve` alone: address, boot files and root.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod machine;
mod namespace;

mod guest {
    mod chain;
    mod killed;
    mod shell;
    mod world;
}
