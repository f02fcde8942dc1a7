//! The rights of a running server: those of the page docs/security.md, and no others.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod common;

#[path = "sandbox/hidden.rs"]
mod hidden;
#[path = "sandbox/inside.rs"]
mod inside;
#[path = "sandbox/neighbours.rs"]
mod neighbours;
#[path = "sandbox/page.rs"]
mod page;
#[path = "sandbox/units.rs"]
mod units;
