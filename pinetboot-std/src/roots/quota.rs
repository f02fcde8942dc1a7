//! The limit of a layer as a project quota of its file system, where that has them.

use std::io;
use std::path::Path;

use super::layer;

/// Limits a layer's directories to this many bytes. Returns whether the file system enforces the limit; if not, the server counts.
#[cfg(feature = "nfs")]
pub(super) fn limit(upper: &Path, work: &Path, bytes: Option<u64>) -> bool {
    pinetboot_nfs::project::limit(upper, work, bytes).unwrap_or(false)
}

#[cfg(not(feature = "nfs"))]
pub(super) fn limit(_: &Path, _: &Path, _: Option<u64>) -> bool {
    false
}

/// Whether the file system of a state directory enforces limits of new layers.
///
/// # Errors
///
/// The system's.
pub(super) fn is_there(state: &Path) -> io::Result<bool> {
    let place = tempfile::Builder::new().prefix(layer::TRIED).rand_bytes(6).tempdir_in(state)?;
    let _not_a_leftover = layer::lock_directory(place.path())?;
    let [upper, work] = ["upper", "work"].map(|part| place.path().join(part));
    for part in [&upper, &work] {
        std::fs::create_dir(part)?;
    }
    let is_there = limit(&upper, &work, Some(TRIED));
    limit(&upper, &work, None);
    Ok(is_there)
}

/// Bytes of a limit that is tried: less than any file system has.
const TRIED: u64 = 1 << 20;
