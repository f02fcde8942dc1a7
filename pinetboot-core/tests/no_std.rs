//! That the core needs neither the standard library nor an allocator, proven by linking it where there is neither.
//!
//! `tests/no-std` is a static library with its own panic handler and no allocator. It is built here with the core's
//! features that a host can link, and twice more with `alloc` or `std` let in through a dependency, to show that the
//! compiler does refuse them. (`defmt` needs a logger at link time: the bare-metal builds of `.ci/run` cover it.)
#![cfg(not(miri))] // which can start no compiler
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

#[test]
fn links_without_std_or_alloc() {
    let built = Firmware::new("plain").build("");
    assert!(built.succeeded, "{}", built.stderr);
}

#[test]
fn links_without_std_or_alloc_with_smoltcp_and_log() {
    let built = Firmware::new("features").build("smoltcp,log");
    assert!(built.succeeded, "{}", built.stderr);
}

#[test]
fn an_allocator_creeping_in_is_noticed() {
    let built = Firmware::new("alloc").build("alloc-creeps-in");
    assert!(!built.succeeded, "`alloc` went unnoticed");
    assert!(built.stderr.contains("no global memory allocator found"), "{}", built.stderr);
}

#[test]
fn std_creeping_in_is_noticed() {
    let built = Firmware::new("std").build("std-creeps-in");
    assert!(!built.succeeded, "`std` went unnoticed");
    assert!(built.stderr.contains("found duplicate lang item `panic_impl`"), "{}", built.stderr);
}

/// A copy of `tests/no-std` beneath the target directory, so that a test writes nothing among the sources and several
/// can build at the same time.
struct Firmware {
    dir: PathBuf,
}

struct Built {
    succeeded: bool,
    stderr: String,
}

impl Firmware {
    fn new(name: &str) -> Self {
        let core = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = core.join("tests/no-std");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-std").join(name);
        fs::create_dir_all(dir.join("src")).unwrap();

        let manifest = fs::read_to_string(source.join("Cargo.toml")).unwrap();
        let manifest = manifest.replace(r#"path = "../..""#, &format!("path = {core:?}"));
        fs::write(dir.join("Cargo.toml"), manifest).unwrap();
        fs::copy(source.join("src/lib.rs"), dir.join("src/lib.rs")).unwrap();
        // The workspace's own choice of versions: those are on this machine already, so that no network is needed.
        if let Ok(lock) = fs::read(core.join("../Cargo.lock")) {
            fs::write(dir.join("Cargo.lock"), lock).unwrap();
        }
        Self { dir }
    }

    fn build(&self, features: &str) -> Built {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--quiet", "--color=never", "--features", features])
            .arg("--target-dir")
            .arg(self.dir.join("target"))
            .current_dir(&self.dir)
            .output()
            .unwrap();
        Built {
            succeeded: output.status.success(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
