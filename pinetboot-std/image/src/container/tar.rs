//! tar archives with one image.

use std::io::{self, Read};

use super::{image_among, pump};

/// Whether a file or stream begins with a tar archive's header: `ustar` of POSIX and of GNU (tar(5)).
pub(super) fn begins(start: &[u8]) -> bool {
    start.get(257..262) == Some(b"ustar")
}

/// Unpacks the only `.img` of an archive.
pub(super) fn unpack(from: impl Read, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut archive = tar::Archive::new(from);
    let mut names: Vec<String> = Vec::new();
    let mut found = false;
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            is_system(&String::from_utf8_lossy(&entry.path_bytes()))?;
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        is_system(&name)?;
        let is_image =
            image_among([name.as_str()].into_iter(), "tar archive").is_ok() && name.ends_with(".img");
        if is_image {
            names.push(name);
            image_among(names.iter().map(String::as_str), "tar archive")?;
            found = true;
            let (len, mut copied) = (entry.size(), 0);
            pump(&mut entry, &mut |piece| {
                copied += piece.len() as u64;
                sink(piece)
            })?;
            if copied < len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
    if found { Ok(()) } else { image_among(std::iter::empty(), "tar archive").map(drop) }
}

/// Refuses an archive of a root file system or of boot files at its first telling name, instead of at its end.
fn is_system(name: &str) -> io::Result<()> {
    let name = name.trim_start_matches("./").trim_end_matches('/');
    let refusal = match name {
        "bin" | "etc" | "usr" | "sbin" | "etc/os-release" | "usr/lib/os-release" => {
            "a tar archive of a root file system, not a disk image. Unpack it as root (mkdir ROOT; tar -xpf FILE -C ROOT \
             --numeric-owner --xattrs) and serve it: pinetboot serve --nfs ROOT"
        }
        "config.txt" | "boot/config.txt" | "bootcode.bin" | "boot/bootcode.bin" => {
            "a tar archive of boot files, not a disk image. Unpack it, and serve the directory: pinetboot serve DIR"
        }
        _ => return Ok(()),
    };
    Err(io::Error::other(refusal))
}
