//! Emulated machines live from `pinetboot serve` alone: address, boot files and root.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod machine;
mod namespace;

mod guest {
    mod chain;
    mod debian;
    mod ganesha;
    mod killed;
    mod loads;
    mod posix;
    mod shell;
    mod work;
    mod world;
}
