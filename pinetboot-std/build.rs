//! Packs files into the program: the first program of Pis with a disk, and the firmware of boot appliances. A variable names each file;
//! without it the program has none, and says so when one is needed.

use std::path::Path;
use std::{env, fs};

fn main() {
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    for (variable, name) in FILES {
        println!("cargo::rerun-if-env-changed={variable}");
        let file = env::var_os(variable).filter(|file| !file.is_empty());
        let bytes = file.as_ref().map(|file| {
            println!("cargo::rerun-if-changed={}", Path::new(file).display());
            fs::read(file).unwrap_or_else(|error| panic!("{variable}={}: {error}", Path::new(file).display()))
        });
        fs::write(Path::new(&out).join(name), bytes.unwrap_or_default()).expect("OUT_DIR is writable");
    }
}

/// The first two are ELF files, compressed or not; the others are ELF files compressed by zlib.
const FILES: [(&str, &str); 4] = [
    ("PINETBOOT_INIT", "init"),
    ("PINETBOOT_INIT_ARMHF", "init-armhf"),
    ("PINETBOOT_RP2040", "rp2040"),
    ("PINETBOOT_RP2350", "rp2350"),
];
