//! tar archives with one image, also a sparse one in GNU's format. Not read: sparse files in pax format, which are refused by name.

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
    let (mut found, mut link) = (false, None);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        is_system(&name)?;
        let kind = entry.header().entry_type();
        if !kind.is_file() && !kind.is_gnu_sparse() {
            if (kind.is_symlink() || kind.is_hard_link()) && name.ends_with(".img") {
                link.get_or_insert(name);
            }
            continue;
        }
        let is_image =
            image_among([name.as_str()].into_iter(), "tar archive").is_ok() && name.ends_with(".img");
        if is_image {
            is_whole(&mut entry)?;
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
    match link {
        _ if found => Ok(()),
        Some(link) => Err(io::Error::other(format!(
            "{link} in the tar archive is a link, without the image itself. Pack the file that it leads to: tar --dereference"
        ))),
        None => image_among(std::iter::empty(), "tar archive").map(drop),
    }
}

/// Refuses a file whose holes are described in pax records (GNU tar, "Storing Sparse Files"): its bytes here are not its content.
fn is_whole(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
    let Some(records) = entry.pax_extensions()? else { return Ok(()) };
    for record in records {
        if record?.key_bytes().starts_with(b"GNU.sparse.") {
            let why =
                "the image is a sparse file in pax format in the tar archive. Unpack it first: tar -xf FILE";
            return Err(io::Error::other(why));
        }
    }
    Ok(())
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
