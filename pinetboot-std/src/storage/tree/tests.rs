//! Trees of files made for each test.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn read(tree: &BootTree, name: &str) -> Result<String, OpenError> {
    let path = BootPath::parse(name.as_bytes()).unwrap();
    let on_disk = tree.read(&path, 100, Reach::Disk).map(Option::unwrap).map_err(|miss| miss.error);
    // Now in the kernel's memory, unless the file system is one that has none.
    match tree.read(&path, 100, Reach::Memory) {
        Err(miss) if miss.error == OpenError::Later => {}
        in_memory => {
            assert_eq!(in_memory.map(Option::unwrap).map_err(|miss| miss.error), on_disk, "{name}");
        }
    }
    on_disk.map(|content| String::from_utf8(content.to_vec()).unwrap())
}

fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, BootTree) {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let tree = BootTree::open_at(directory.path()).unwrap();
    (directory, tree)
}

#[test]
fn a_file_in_memory_is_watched() {
    let (directory, tree) = tree(&[("config.txt", "before")]);
    let place = directory.path().join("config.txt");
    let age = |path: &Path| {
        let ago = SystemTime::now() - std::time::Duration::from_secs(60);
        File::options().write(true).open(path).unwrap().set_modified(ago).unwrap();
    };
    assert_eq!(read(&tree, "config.txt").unwrap(), "before");
    let version = Version::of(&fs::metadata(&place).unwrap());
    // As if the file had been kept, which takes seconds.
    tree.recent.keep(version, &b"kept"[..].into());
    let path = BootPath::parse(b"config.txt").unwrap();
    let now = |tree: &BootTree| tree.read(&path, 100, Reach::Memory).ok().flatten();
    if let Some(kept) = now(&tree) {
        assert_eq!(&*kept, b"kept");
    }
    // The same length and time of modification: the inode's time tells.
    fs::write(&place, "after!").unwrap();
    age(&place);
    assert_eq!(read(&tree, "config.txt").unwrap(), "after!");
    tree.recent.keep(Version::of(&fs::metadata(&place).unwrap()), &b"kept"[..].into());
    fs::set_permissions(&place, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(read(&tree, "config.txt"), Err(OpenError::Denied));
    fs::remove_file(&place).unwrap();
    assert_eq!(read(&tree, "config.txt"), Err(OpenError::NotFound));
}

#[test]
fn a_pi_with_a_directory_of_its_own_gets_nothing_else() {
    let (_directory, tree) = tree(&[
        ("config.txt", "shared"),
        ("kernel8.img", "kernel"),
        ("7bf18f79/config.txt", "own"),
        ("DC-A6-32-01-36-C2/config.txt", "by mac"),
    ]);
    assert_eq!(read(&tree, "7bf18f79//config.txt").unwrap(), "own");
    assert_eq!(read(&tree, "7BF18F79/config.txt").unwrap(), "own");
    assert_eq!(read(&tree, "7bf18f79/kernel8.img"), Err(OpenError::NotFound));
    assert_eq!(read(&tree, "dc-a6-32-01-36-c2/config.txt").unwrap(), "by mac");
    assert_eq!(read(&tree, "0badcafe/config.txt").unwrap(), "shared");
    assert_eq!(read(&tree, "/config.txt").unwrap(), "shared");
    assert_eq!(read(&tree, "0badcafe"), Err(OpenError::NotFound));
}

#[test]
fn links_are_followed_only_within_the_tree() {
    let (directory, tree) = tree(&[("os/kernel8.img", "kernel"), ("config.txt", "")]);
    symlink("os", directory.path().join("7bf18f79")).unwrap();
    symlink("os/kernel8.img", directory.path().join("kernel8.img")).unwrap();
    symlink("/etc/passwd", directory.path().join("absolute")).unwrap();
    symlink("../../../../../../etc/passwd", directory.path().join("relative")).unwrap();
    symlink("loop", directory.path().join("loop")).unwrap();
    assert_eq!(read(&tree, "7bf18f79/kernel8.img").unwrap(), "kernel");
    assert_eq!(read(&tree, "kernel8.img").unwrap(), "kernel");
    for escape in ["absolute", "relative", "loop"] {
        assert_eq!(read(&tree, escape), Err(OpenError::Denied), "{escape}");
    }
}

/// A Pi whose directory is a link must not get the system of the others instead.
#[test]
fn a_pis_directory_may_be_a_link_in_the_tree_and_is_never_absent() {
    let (directory, tree) = tree(&[("config.txt", "shared"), ("os/config.txt", "own"), ("11223366", "file")]);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("config.txt"), "outside").unwrap();
    let top = directory.path();
    symlink(top.join("os"), top.join("11223344")).unwrap();
    symlink(top.join("os/config.txt"), top.join("os/link.txt")).unwrap();
    symlink(outside.path(), top.join("aabbccdd")).unwrap();
    symlink(top.join("missing"), top.join("aabbccee")).unwrap();
    symlink("missing", top.join("aabbccff")).unwrap();
    symlink("aabbcc00", top.join("aabbcc00")).unwrap();
    assert_eq!(read(&tree, "11223344/config.txt").unwrap(), "own", "absolute, and in the tree");
    assert_eq!(read(&tree, "11223344/link.txt").unwrap(), "own");
    assert_eq!(read(&tree, "11223344/kernel8.img"), Err(OpenError::NotFound));
    assert_eq!(read(&tree, "11223366/config.txt").unwrap(), "shared", "a file is no directory");
    for name in ["aabbccdd", "AABBCCDD", "aabbccee", "aabbccff", "aabbcc00"] {
        let asked = format!("{name}/config.txt");
        assert_eq!(read(&tree, &asked), Err(OpenError::Denied), "{name}");
        let miss = tree.open(&BootPath::parse(asked.as_bytes()).unwrap(), Reach::Disk).unwrap_err();
        let place = top.join(name.to_lowercase()).display().to_string();
        assert_eq!(miss.place, Some(place), "{:?}", miss.reason);
    }
}

#[test]
fn a_name_in_latin_1_and_its_utf_8_form_are_one_file() {
    let (directory, tree) = tree(&[("Klänge/ÿ", "utf-8"), ("config.txt", "")]);
    let old = directory.path().join(std::ffi::OsStr::from_bytes(b"7bf18f79/\xd6l"));
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join(std::ffi::OsStr::from_bytes(b"\x80")), "latin-1").unwrap();
    let mut room = [0; 64];
    for (asked, content) in [
        (&b"Kl\xe4nge/\xff\xff"[..], Ok("utf-8")),
        (b"7bf18f79/\xd6l/\x80", Ok("latin-1")),
        ("7bf18f79/Öl/\u{80}".as_bytes(), Ok("latin-1")),
        (b"Kl\xe4nge/missing", Err(OpenError::NotFound)),
        (b"7bf18f79/Kl\xe4nge", Err(OpenError::NotFound)),
    ] {
        let path = BootPath::parse_text(asked, &mut room).unwrap();
        assert_eq!(read(&tree, path.as_requested()), content.map(str::to_owned), "{path}");
    }
}

#[test]
fn only_files_are_files() {
    let (directory, tree) = tree(&[("overlays/README", "")]);
    nix::unistd::mkfifo(&directory.path().join("fifo"), Mode::S_IRWXU).unwrap();
    assert_eq!(read(&tree, "overlays"), Err(OpenError::NotFound));
    assert_eq!(read(&tree, "overlays/README/x"), Err(OpenError::NotFound));
    assert_eq!(read(&tree, "fifo"), Err(OpenError::NotFound));
}

#[test]
fn a_file_that_others_may_not_read_is_refused() {
    let (directory, tree) = tree(&[("config.txt", "all"), ("7bf18f79/key", "secret"), ("key", "shared")]);
    for (mode, name) in [(0o600, "7bf18f79/key"), (0o640, "7bf18f79/key"), (0o770, "key")] {
        fs::set_permissions(directory.path().join(name), Permissions::from_mode(mode)).unwrap();
        let miss = tree.open(&BootPath::parse(name.as_bytes()).unwrap(), Reach::Disk).unwrap_err();
        assert_eq!(miss.error, OpenError::Denied);
        assert_eq!(miss.place, Some(directory.path().join(name).display().to_string()));
        assert_eq!(miss.reason.unwrap().to_string(), "not readable by others (chmod o+r)");
    }
    fs::set_permissions(directory.path().join("key"), Permissions::from_mode(0o604)).unwrap();
    assert_eq!(read(&tree, "key").unwrap(), "shared");
    symlink("7bf18f79/key", directory.path().join("link")).unwrap();
    assert_eq!(read(&tree, "link"), Err(OpenError::Denied), "the file counts, not the link");
}

#[test]
fn says_what_is_wrong_with_a_tree() {
    let directory = tempfile::tempdir().unwrap();
    let empty = BootTree::open_at(directory.path()).unwrap_err().to_string();
    assert!(empty.contains("is empty") && empty.contains("config.txt"), "{empty}");
    let missing = BootTree::open_at(&directory.path().join("missing")).unwrap_err().to_string();
    assert!(missing.contains("No such file"), "{missing}");
    fs::write(directory.path().join("file"), "").unwrap();
    assert!(BootTree::open_at(&directory.path().join("file")).is_err());
}

#[test]
fn images_and_the_state_of_pis_are_no_tree() {
    for inside in ["images/one/image.toml", "state/pis/bd989ae1/identity/key", "nfs-handle.key"] {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join(inside);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "").unwrap();
        fs::write(directory.path().join("config.txt"), "").unwrap();
        let path = directory.path().display().to_string();
        let error = BootTree::open_at(directory.path()).unwrap_err().to_string();
        let name = inside.split('/').next().unwrap();
        for part in [name, &format!("pinetboot images {path}"), "serve another directory"] {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }
}

#[cfg(feature = "nfs")]
#[test]
fn the_key_of_nfs_handles_is_known_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    pinetboot_nfs::Handles::load(directory.path()).unwrap();
    assert!(BootTree::open_at(directory.path()).is_err());
}
