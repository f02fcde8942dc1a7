//! The version of a state directory: its file `version`.
//!
//! | version | layout |
//! |---|---|
//! | 1 | no file; `layer.toml` has an absolute path and a fingerprint of inodes |
//! | 2 | `layer.toml` has a path relative to the state, and a fingerprint of the content |
//!
//! A server reads every earlier version: a layer of version 1 is brought up to date when it is mounted.

use std::fs;
use std::io;
use std::path::Path;

use crate::durable;

/// Checks that this program knows the version.
///
/// # Errors
///
/// The reason and the remedy.
pub(super) fn check(state: &Path) -> io::Result<u32> {
    let file = state.join(FILE);
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(1),
        text => text?,
    };
    match text.trim().parse() {
        Ok(version @ 1..=VERSION) => Ok(version),
        Ok(version) => Err(io::Error::other(format!(
            "a newer pinetboot wrote it: its layout has version {version}, and this pinetboot knows {VERSION}. Upgrade \
             pinetboot"
        ))),
        Err(_) => Err(io::Error::other(format!("{} holds no number", file.display()))),
    }
}

/// Brings a state directory to this program's version.
///
/// # Errors
///
/// If a newer program wrote the directory, or the system's.
pub(super) fn upgrade(state: &Path) -> io::Result<()> {
    if check(state)? == VERSION {
        return Ok(());
    }
    durable::replace(&state.join(FILE), format!("{VERSION}\n").as_bytes(), 0o644)
}

const FILE: &str = "version";
const VERSION: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_states_are_upgraded_and_newer_ones_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check(dir.path()).unwrap(), 1);
        upgrade(dir.path()).unwrap();
        upgrade(dir.path()).unwrap();
        assert_eq!(check(dir.path()).unwrap(), VERSION);
        fs::write(dir.path().join(FILE), "3\n").unwrap();
        let why = upgrade(dir.path()).unwrap_err().to_string();
        assert!(why.contains("version 3") && why.contains("Upgrade pinetboot"), "{why}");
        fs::write(dir.path().join(FILE), "new").unwrap();
        assert!(upgrade(dir.path()).unwrap_err().to_string().contains("holds no number"));
    }
}
