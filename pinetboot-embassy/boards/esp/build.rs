//! Gives the linker the memory map of the chip, which is esp-hal's.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Tlinkall.x");
}
