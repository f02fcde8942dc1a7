//! A layer as one file: a tar archive with extended attributes, whiteouts, hard links and holes.
//!
//! ```text
//! layer.toml      the Pi, the image, and the content of the base image
//! identity/..     machine-id and SSH host keys
//! upper/..        the changes, in overlayfs's format, without records of inodes
//! end             an empty file: the archive is whole
//! ```
//!
//! The format is that of `tar --xattrs --sparse --format=posix` (POSIX.1-2017, pax; the keys of GNU tar and star): other programs read it.

mod pax;
mod read;
mod write;

use std::path::PathBuf;

use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use super::base_image::Content;

pub(super) use read::import;
pub(super) use write::export;

/// The first file of an archive.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Head {
    /// The version of the format.
    version: u32,
    /// The Pi, by the name of its directory.
    pi: String,
    /// The image.
    image: String,
    /// The boot files' directory, relative to the root.
    boot: PathBuf,
    /// The content of the base image.
    #[serde(flatten)]
    content: Content,
}

/// The target of an import.
#[derive(Debug, Clone, Default)]
pub(super) struct Target {
    /// Another Pi than the archive's.
    pub(super) pi: Option<Prefix>,
    /// Another image than the archive's.
    pub(super) image: Option<String>,
}

/// Whether an attribute of overlayfs decides about content, and so belongs into an archive. Attributes of other owners all do.
fn is_carried(name: &str) -> bool {
    let of_overlayfs = name.strip_prefix("trusted.overlay.");
    of_overlayfs.is_none_or(|name| ["opaque", "redirect"].contains(&name)) && name != super::adopt::MARK
}

const HEAD: &str = "layer.toml";
const UPPER: &str = "upper";
const END: &str = "end";
const IDENTITY: &str = "identity";
const VERSION: u32 = 1;
/// Bytes of the head, of a file of an identity, and of a file's records at most.
const MOST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::super::layer::Layer;
    use super::super::{BaseImage, State};
    use super::*;

    const PI: Prefix = Prefix::Serial(0xbd98_9ae1);

    struct World {
        dir: tempfile::TempDir,
        state: State,
        layer: Layer,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("root/etc")).unwrap();
            let state = State::at(&dir.path().join("state"));
            let base_image = BaseImage::at(&dir.path().join("root")).unwrap();
            let layer = state.make_layer(PI, &base_image, 2).unwrap();
            Self { dir, state, layer }
        }

        fn export(&self) -> Vec<u8> {
            let mut file = Vec::new();
            export(&self.state, &self.layer, &mut file).unwrap();
            file
        }

        fn import(&self, file: &[u8]) -> std::io::Result<Layer> {
            import(&self.state, file, &Target { pi: Some(Prefix::Serial(7)), image: None })
        }
    }

    /// A file, by its header and data.
    fn file(name: &str, kind: tar::EntryType, link: &str, data: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        let ids = fs::metadata("/proc/self").unwrap();
        header.set_uid(ids.uid().into());
        header.set_gid(ids.gid().into());
        header.set_mtime(0);
        header.set_cksum();
        let padding = data.len().next_multiple_of(512) - data.len();
        [header.as_bytes().as_slice(), data, &vec![0; padding]].concat()
    }

    fn head(world: &World) -> Vec<u8> {
        world.export().into_iter().take(1024).collect()
    }

    #[test]
    fn a_layer_comes_back_as_it_was() {
        let world = World::new();
        let upper = world.layer.upper();
        let long = "n".repeat(200);
        fs::create_dir_all(upper.join("etc").join(&long).join(&long)).unwrap();
        fs::write(upper.join("etc/one"), "one").unwrap();
        fs::set_permissions(upper.join("etc/one"), PermissionsExt::from_mode(0o640)).unwrap();
        fs::hard_link(upper.join("etc/one"), upper.join("etc").join(&long).join("two")).unwrap();
        symlink(format!("../{long}"), upper.join("etc/link")).unwrap();
        let holes = File::create(upper.join("holes")).unwrap();
        holes.set_len(64 << 20).unwrap();
        holes.write_all_at(b"middle", 32 << 20).unwrap();
        xattr::set(upper.join("etc/one"), "user.lines", b"a\nb=\0c").unwrap();
        fs::create_dir_all(world.state.pi_dir(PI).join(IDENTITY)).unwrap();
        fs::write(world.state.pi_dir(PI).join("identity/machine-id"), "id\n").unwrap();

        let file = world.export();
        assert!(file.len() < 1 << 20, "{} bytes, and holes take none", file.len());
        let layer = world.import(&file).unwrap();
        assert_eq!(layer.facts.content, world.layer.facts.content);
        assert_ne!(layer.facts.export, world.layer.facts.export);
        let upper = layer.upper();
        let [one, two] = [upper.join("etc/one"), upper.join("etc").join(&long).join("two")];
        assert_eq!(fs::read(&two).unwrap(), b"one");
        let of = |path: &Path| fs::metadata(path).unwrap();
        assert_eq!((of(&one).ino(), of(&one).mode() & 0o7777), (of(&two).ino(), 0o640));
        let before = of(&world.layer.upper().join("etc/one"));
        assert_eq!((of(&one).mtime(), of(&one).mtime_nsec()), (before.mtime(), before.mtime_nsec()));
        let before = of(&world.layer.upper().join("etc"));
        assert_eq!(
            (of(&upper.join("etc")).mtime_nsec(), of(&upper.join("etc")).mode()),
            (before.mtime_nsec(), before.mode())
        );
        assert_eq!(xattr::get(&one, "user.lines").unwrap().unwrap(), b"a\nb=\0c");
        assert_eq!(fs::read_link(upper.join("etc/link")).unwrap(), Path::new(&format!("../{long}")));
        let holes = of(&upper.join("holes"));
        assert!(holes.len() == 64 << 20 && holes.blocks() < 1000, "{holes:?}");
        let mut middle = [0; 8];
        File::open(upper.join("holes")).unwrap().read_exact_at(&mut middle, (32 << 20) - 1).unwrap();
        assert_eq!(&middle, b"\0middle\0");
        let identity = world.state.pi_dir(Prefix::Serial(7)).join("identity/machine-id");
        assert_eq!(fs::read_to_string(identity).unwrap(), "id\n");
        assert!(world.import(&file).unwrap_err().to_string().contains("has a layer"));
    }

    #[test]
    fn what_is_no_archive_is_named() {
        let world = World::new();
        for bytes in [&b"x\n"[..], &[7; 2048], b"\x1f\x8b\x08 compressed"] {
            let why = world.import(bytes).unwrap_err().to_string();
            assert!(why.contains("it is no tar archive, or one"), "{why}");
        }
        assert!(world.import(b"").unwrap_err().to_string().contains("it is cut off"));
    }

    #[test]
    fn no_archive_reaches_files_outside_of_its_layer() {
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        let world = World::new();
        let outside = world.dir.path().join("outside");
        fs::write(&outside, "mine").unwrap();
        let place = outside.to_str().unwrap();
        let top = file("upper", Directory, "", b"");
        for hostile in [
            vec![file("upper/../../x", Regular, "", b"x")],
            vec![file("/upper/x", Regular, "", b"x")],
            vec![file("work/x", Regular, "", b"x")],
            vec![file("identity/../x", Regular, "", b"x")],
            vec![file("identity/x", Symlink, place, b"")],
            vec![file("upper/l", Symlink, "/tmp", b""), file("upper/l/x", Regular, "", b"x")],
            vec![file("upper/l", Symlink, place, b""), file("upper/l", Regular, "", b"x")],
            vec![file("upper/h", Link, place, b"")],
            vec![file("upper/h", Link, "upper/../layer.toml", b"")],
            vec![file("upper/l", Symlink, "..", b""), file("upper/h", Link, "upper/l/layer.toml", b"")],
            vec![file("upper/x", tar::EntryType::GNULongName, "", b"x")],
            vec![file("upper/x", tar::EntryType::XHeader, "", b"9999999 path=a\n")],
            vec![file("upper/x", tar::EntryType::XHeader, "", &vec![b'x'; 2 << 20])],
        ] {
            let archive = [head(&world), top.clone(), hostile.concat(), vec![0; 1024]].concat();
            let error = world.import(&archive).unwrap_err();
            assert!(world.state.layers_of(Prefix::Serial(7)).is_empty(), "{error}");
            assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
        }
        let left = fs::read_dir(world.state.pi_dir(Prefix::Serial(7))).unwrap().count();
        assert_eq!(left, 0, "nothing is left behind");
    }

    #[test]
    fn a_damaged_archive_makes_no_layer() {
        let world = World::new();
        fs::write(world.layer.upper().join("file"), vec![7; 3000]).unwrap();
        let archive = world.export();
        // Two blocks of zeros follow the last file.
        for len in (0..archive.len() - 1024).step_by(256) {
            assert!(world.import(&archive[..len]).is_err(), "cut at {len}");
        }
        for at in (0..archive.len()).step_by(37) {
            let mut damaged = archive.clone();
            damaged[at] ^= 0x11;
            let _refused_or_not = world.import(&damaged);
            let _ = fs::remove_dir_all(world.state.pi_dir(Prefix::Serial(7)));
        }
        assert!(world.import(b"no archive").is_err());
    }
}
