//! Work on a file system whose server is killed meanwhile.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::namespace::content;

pub(crate) const ROUNDS: u32 = 60;

/// Writes, renames, links and removes, says `[ROUND]` after each round, and then compares everything. Any error fails.
pub(crate) fn run(root: &Path) {
    let home = root.join("home");
    let bytes = content(300_000);
    let mut old = File::open(root.join("srv/data/file")).unwrap();
    let mut unlinked =
        File::options().read(true).write(true).create_new(true).open(home.join("gone")).unwrap();
    unlinked.write_all(b"unlinked").unwrap();
    fs::remove_file(home.join("gone")).unwrap();
    let big = File::create(home.join("big")).unwrap();
    for round in 0..ROUNDS {
        let directory = home.join(format!("d{round}"));
        repeated(fs::create_dir(&directory), ErrorKind::AlreadyExists);
        let (new, path) = (directory.join("new"), directory.join("file"));
        fs::write(&new, &bytes[..len_in(round)]).unwrap();
        fs::write(&path, "is replaced").unwrap();
        repeated(fs::rename(&new, &path), ErrorKind::NotFound);
        repeated(fs::hard_link(&path, directory.join("link")), ErrorKind::AlreadyExists);
        fs::write(directory.join("short"), "lived").unwrap();
        repeated(fs::remove_file(directory.join("short")), ErrorKind::NotFound);
        big.write_all_at(&bytes, u64::from(round) * bytes.len() as u64).unwrap();
        if round % 8 == 0 {
            big.sync_all().unwrap();
        }
        println!("[{round}]");
    }
    big.sync_all().unwrap();
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap(); // what follows is what the server has

    let mut said = String::new();
    old.read_to_string(&mut said).unwrap();
    unlinked.seek(SeekFrom::Start(0)).unwrap();
    unlinked.read_to_string(&mut said).unwrap();
    assert_eq!(said, "content\nunlinked", "what was open before is so still");
    let big = File::open(home.join("big")).unwrap();
    let mut part = vec![0; bytes.len()];
    for round in 0..ROUNDS {
        big.read_exact_at(&mut part, u64::from(round) * bytes.len() as u64).unwrap();
        assert!(part == bytes, "round {round}");
        let directory = home.join(format!("d{round}"));
        assert!(fs::read(directory.join("link")).unwrap() == bytes[..len_in(round)], "round {round}");
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["file", "link"]);
    }
    println!("all files of {ROUNDS} rounds are right");
}

const fn len_in(round: u32) -> usize {
    (1000 + round * 331) as usize
}

/// The outcome of a call that must not run twice. The client repeats a call whose answer died with the server, and may then
/// be told that the work is done already: RFC 1813, section 4.5.
fn repeated(result: Result<()>, done_already: ErrorKind) {
    if let Err(error) = result {
        assert_eq!(error.kind(), done_already, "{error}");
    }
}
