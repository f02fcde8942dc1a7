//! The bytes that a name gets: the Pi's rules, the tree's borders, one version of a file.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use pinetboot_core::tftp::{Options, Outcome};

use crate::common::fetch::refused;
use crate::common::{Folder, Peer, Serving, content, difference, fetch};

#[test]
fn every_length_comes_whole_under_all_terms() {
    let lengths = [0, 1, 7, 8, 9, 511, 512, 513, 1467, 1468, 1469, 65463, 65464, 65465, 300_000];
    let files: Vec<_> = lengths.iter().map(|len| (len.to_string(), content("x", *len))).collect();
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
    let tree = Folder::tree(&files);
    for mode in [&[][..], &["--single-port"]] {
        let serving = Serving::start(&tree, mode);
        for (name, content) in &files {
            for (block_size, window_size) in [
                (None, None),
                (Some(8), Some(64)),
                (Some(512), None),
                (Some(1468), Some(1)),
                (Some(1468), Some(16)),
                (Some(65464), None),
            ] {
                if block_size == Some(8) && content.len() > 10_000 {
                    continue;
                }
                let mut options = Options::default();
                (options.block_size, options.window_size) = (block_size, window_size);
                let got = fetch(serving.address(), name, options).unwrap();
                assert_eq!(difference(&got, content), None, "{name} by {options}");
            }
        }
        serving.stop();
    }
}

/// 65535 blocks and one more byte: the block after number 65535 is number 0.
#[test]
fn block_numbers_roll_over() {
    let expected = content("long", 65535 * 8 + 1);
    let tree = Folder::tree(&[("long", &expected)]);
    let serving = Serving::start(&tree, &[]);
    let options = Options::default().with_block_size(8).with_window_size(16);
    let got = fetch(serving.address(), "long", options).unwrap();
    assert_eq!(difference(&got, &expected), None);
    serving.stop();
}

/// The names of the tree are in both forms; the client's are in Latin-1.
#[test]
fn a_name_in_latin_1_is_served_and_logged_escaped() {
    let tree = Folder::tree(&[("Klänge/config", b"utf-8"), ("config.txt", b"")]);
    fs::write(tree.path().join(OsStr::from_bytes(b"\xd6l")), "latin-1").unwrap();
    let serving = Serving::start(&tree, &["-v"]);
    for (name, content) in [(&b"Kl\xe4nge/config"[..], &b"utf-8"[..]), (b"\\\xd6l\xff", b"latin-1")] {
        let mut peer = Peer::of(serving.address());
        peer.send(&[&[0, 1], name, b"\0octet\0"].concat(), serving.address());
        assert_eq!(peer.hear_data(1), content);
        peer.say("ACK 1");
    }
    for name in [&b"..\xe4/../x"[..], b"\xe4/\\..\\\xe4", &[0xe4; 300]] {
        let mut peer = Peer::of(serving.address());
        peer.send(&[&[0, 1], name, b"\0octet\0"].concat(), serving.address());
        assert_eq!(peer.hear_data_or_error(1), Err(2), "{}", name.escape_ascii());
    }
    let log = serving.stop();
    assert!(log.contains(r"Kl\xe4nge/config"), "{log}");
}

#[test]
fn a_pi_gets_its_own_files_or_the_shared_ones() {
    let tree = Folder::tree(&[
        ("kernel8.img", b"shared kernel"),
        ("7bf18f79/config.txt", b"of 7bf18f79"),
        ("DC-A6-32-01-36-C2/config.txt", b"of dc-a6-32-01-36-c2"),
    ]);
    let serving = Serving::start(&tree, &[]);
    let get = |name| fetch(serving.address(), name, Options::RASPBERRY_PI);
    assert_eq!(get("7bf18f79/config.txt").unwrap(), b"of 7bf18f79");
    assert_eq!(get("7bf18f79//config.txt").unwrap(), b"of 7bf18f79");
    assert_eq!(get("7BF18F79/config.txt").unwrap(), b"of 7bf18f79");
    assert_eq!(get("dc-a6-32-01-36-c2/config.txt").unwrap(), b"of dc-a6-32-01-36-c2");
    assert_eq!(get("7bf18f79/kernel8.img"), Err(refused(1)), "one that has a directory gets nothing else");
    assert_eq!(get("0badcafe/kernel8.img").unwrap(), b"shared kernel");
    assert_eq!(get("/kernel8.img").unwrap(), b"shared kernel");
    assert_eq!(get("./kernel8.img").unwrap(), b"shared kernel");
    // A directory that comes while serving counts too.
    tree.write("0badcafe/kernel8.img", b"kernel of its own");
    assert_eq!(get("0badcafe/kernel8.img").unwrap(), b"kernel of its own");
    serving.stop();
}

#[test]
fn no_name_leads_out_of_the_tree() {
    let around = Folder::tree(&[("secret", b"secret"), ("tree/inside", b"inside"), ("tree/config.txt", b"")]);
    let links = [
        ("absolute", around.join("secret").to_str().unwrap().to_owned()),
        ("relative", "../secret".into()),
        ("directory", "..".into()),
        ("root", "/".into()),
        ("7bf18f79", "..".into()),
        ("process", "/proc/self/cwd".into()),
        ("loop", "loop".into()),
        ("stays", "inside".into()),
        ("here", ".".into()),
    ];
    for (name, target) in &links {
        symlink(target, around.join("tree").join(name)).unwrap();
    }
    for mode in [&[][..], &["--single-port"]] {
        let serving = Serving::start(around.join("tree"), mode);
        for name in [
            "../secret",
            "..",
            "./../secret",
            "a/../../secret",
            "/../secret",
            "..\\secret",
            "..\\..\\secret",
            "absolute",
            "relative",
            "directory/secret",
            "root/etc/passwd",
            "loop",
            "process/secret",
            "here/../secret",
            "here/here/relative",
        ] {
            assert_eq!(fetch(serving.address(), name, Options::default()), Err(refused(2)), "{name}");
        }
        // Beneath the root `/etc/passwd` is an ordinary name, a NUL ends a name, and %2e does not stand for a dot.
        for name in [
            "C:\\secret",
            "/etc/passwd",
            "etc/passwd",
            "%2e%2e/secret",
            "secret",
            "inside/.",
            "inside/x",
            "here",
        ] {
            let got = fetch(serving.address(), name, Options::default());
            let allowed = if name == "inside/." { Ok(b"inside".to_vec()) } else { Err(refused(1)) };
            assert_eq!(got, allowed, "{name}");
        }
        // A link to where all Pis' directories would be does not make the way out a Pi's own directory, and does not give the Pi the
        // files of the others.
        for name in ["7bf18f79/secret", "7bf18f79/inside"] {
            assert_eq!(fetch(serving.address(), name, Options::default()), Err(refused(2)), "{name}");
        }
        for name in ["stays", "here/inside", "here/here/stays"] {
            assert_eq!(fetch(serving.address(), name, Options::default()).unwrap(), b"inside", "{name}");
        }
        let mut peer = Peer::of(serving.address());
        peer.send(b"\0\x01\xff\xfe\0octet\0", serving.address());
        assert_eq!(peer.hear(), "ERROR 2 the name is not UTF-8");
        peer.send(b"\0\x01in\nside\0octet\0", serving.address());
        assert_eq!(peer.hear(), "ERROR 2 the name holds a control character");
        serving.stop();
    }
}

/// As editors, package managers and `cp --remove-destination` do it.
#[test]
fn a_file_replaced_by_another_goes_on_as_it_was() {
    let (old, new) = (content("old", 500_000), content("new", 400_000));
    let tree = Folder::tree(&[("kernel8.img", &old), ("new", &new)]);
    let serving = Serving::start(&tree, &[]);
    let mut transfer = Transfer::begin(&serving, "kernel8.img");
    transfer.take(100);
    fs::rename(tree.join("new"), tree.join("kernel8.img")).unwrap();
    assert_eq!(difference(&fetch(serving.address(), "kernel8.img", Options::default()).unwrap(), &new), None);
    assert_eq!(transfer.finish(), Ok(()));
    assert_eq!(difference(&transfer.got, &old), None);
    fs::remove_file(tree.join("kernel8.img")).unwrap();
    assert_eq!(fetch(serving.address(), "kernel8.img", Options::default()), Err(refused(1)));
    serving.stop();
}

/// As `cp` over it does it, and `dd`, and a build that writes where the last one did.
#[test]
fn a_file_changed_in_place_is_never_sent_in_part() {
    let (old, new) = (content("old", 500_000), content("new", 500_000));
    let longer = content("longer", 600_000);
    for (change, after) in [
        (&(|mut file: File| file.write_all(&new).unwrap()) as &dyn Fn(File), &new),
        // In its last bytes only, which no one has read yet.
        (
            &|mut file: File| {
                file.seek(SeekFrom::Start(499_999)).unwrap();
                file.write_all(b"!").unwrap();
            },
            &[&old[..499_999], b"!"].concat(),
        ),
        (&|file: File| file.set_len(1000).unwrap(), &old[..1000].to_vec()),
        (&|mut file: File| file.write_all(&longer).unwrap(), &longer),
    ] {
        let tree = Folder::tree(&[("kernel8.img", &old)]);
        // Not in the same tick of the kernel's clock, in which a change would not show in the file's times.
        let earlier = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(tree.join("kernel8.img")).unwrap().set_modified(earlier).unwrap();
        let serving = Serving::start(&tree, &[]);
        let mut transfer = Transfer::begin(&serving, "kernel8.img");
        transfer.take(100);
        change(OpenOptions::new().write(true).open(tree.join("kernel8.img")).unwrap());
        // A new request gets the new version, although transfers of the old version are open.
        let got = fetch(serving.address(), "kernel8.img", Options::default()).unwrap();
        assert_eq!(difference(&got, after), None);
        let end = transfer.finish();
        assert!(end == Ok(()) || end == Err(refused(0)), "{end:?}");
        assert_eq!(
            difference(&transfer.got, &old[..transfer.got.len()]),
            None,
            "old bytes as far as it went"
        );
        assert!(end.is_err() || transfer.got.len() == old.len());
        let log = serving.stop();
        assert!(end.is_ok() || log.contains("kernel8.img"), "{log}");
    }
}

/// A transfer taken a few blocks at a time.
struct Transfer {
    peer: Peer,
    got: Vec<u8>,
    block: u16,
}

impl Transfer {
    fn begin(serving: &Serving, name: &str) -> Self {
        let mut peer = Peer::of(serving.address());
        peer.exchange(&format!("RRQ {name} octet blksize=1000"), "OACK blksize=1000");
        Self { peer, got: Vec::new(), block: 0 }
    }

    fn take(&mut self, blocks: usize) {
        for _ in 0..blocks {
            assert_eq!(self.next(), Ok(false));
        }
    }

    fn finish(&mut self) -> Result<(), Outcome> {
        while !self.next()? {}
        Ok(())
    }

    /// Takes a block: whether it was the last.
    fn next(&mut self) -> Result<bool, Outcome> {
        self.peer.say(&format!("ACK {}", self.block));
        self.block += 1;
        let last = match self.peer.hear_data_or_error(self.block) {
            Ok(payload) => {
                self.got.extend_from_slice(&payload);
                payload.len() < 1000
            }
            Err(code) => return Err(refused(code)),
        };
        if last {
            self.peer.say(&format!("ACK {}", self.block));
        }
        Ok(last)
    }
}
