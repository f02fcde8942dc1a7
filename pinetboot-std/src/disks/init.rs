//! The first program of a Pi with a disk, `pinetboot-init`: that of a file, or the one in this program.

use std::fs;

use pinetboot_image::Container;

use crate::config::DiskConfig;

/// The first program.
///
/// # Errors
///
/// The reason why there is none, and the remedy.
pub(crate) fn init(config: &DiskConfig) -> Result<Vec<u8>, String> {
    let program = match &config.init {
        Some(file) => fs::read(file).map_err(|error| format!("--init {}: {error}", file.display()))?,
        None if BUILT_IN.is_empty() => return Err(LACKS.into()),
        None => {
            let mut program = Vec::new();
            let mut take = |piece: &[u8]| {
                program.extend(piece);
                Ok(())
            };
            let unpacked = Container::of(BUILT_IN).unpack_stream(BUILT_IN, &mut take);
            unpacked.map_err(|error| format!("the built-in pinetboot-init is damaged: {error}"))?;
            program
        }
    };
    if !program.starts_with(b"\x7fELF") {
        let file = config.init.as_deref().unwrap_or("pinetboot-init".as_ref()).display();
        return Err(format!("--init {file} is no program: build it as pinetboot-init's README says"));
    }
    Ok(program)
}

/// The program for arm64, packed; empty in a build without one (build.rs).
static BUILT_IN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

const LACKS: &str = "this build of pinetboot has no pinetboot-init, the first program of a Pi with a disk: name the file with --init FILE, \
                     or use a release. pinetboot-init's README says how to build it for arm64";
