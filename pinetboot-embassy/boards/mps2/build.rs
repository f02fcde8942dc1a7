//! Gives the linker the board's memory map.

use std::env;
use std::fs;
use std::path::PathBuf;

fn main() {
    // A copy: a build is kept when its sources have moved elsewhere.
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::copy("memory.x", out.join("memory.x")).expect("the map exists and the directory can be written to");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
}
