//! pinetboot
fn main() {}
