//! Packs the first program of Pis with a disk: PINETBOOT_INIT names the file, compressed or not; without it the program has none, and
//! says so when one is needed.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=PINETBOOT_INIT");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let init = env::var_os("PINETBOOT_INIT").filter(|file| !file.is_empty());
    let bytes = init.as_ref().map(|file| {
        println!("cargo::rerun-if-changed={}", Path::new(file).display());
        fs::read(file).unwrap_or_else(|error| panic!("PINETBOOT_INIT={}: {error}", Path::new(file).display()))
    });
    fs::write(Path::new(&out).join("init"), bytes.unwrap_or_default()).expect("OUT_DIR is writable");
}
