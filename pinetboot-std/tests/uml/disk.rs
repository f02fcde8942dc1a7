//! A disk that can lose its power at any mark: what was written and not flushed is then gone.
//!
//! The kernel's dm-log-writes records each write to a disk in memory, in the order in which the writes were flushed
//! (Linux, Documentation/admin-guide/device-mapper/log-writes.rst). What the record holds before a mark is what a disk
//! with a cache surely has when the power goes at that mark.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};

use crate::namespace::SOON;

/// A file system on a disk that is recorded.
pub(crate) struct Recorded {
    place: &'static Path,
    /// The disk before the file system was mounted.
    image: Vec<u8>,
    marks: u32,
}

impl Recorded {
    /// Makes the file system, and mounts it at the place.
    pub(crate) fn mount(place: &'static Path) -> Self {
        run("modprobe", &["--dirname", "/mnt", "brd", "rd_nr=3", &format!("rd_size={}", LOG_LEN >> 10)]);
        // Nothing writes to the disk by itself: no table is filled in later, and no journal is committed because time passes.
        let at_once = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        run("mke2fs", &["-q", "-t", "ext4", "-E", at_once, "-J", "size=4", DISK, &format!("{}k", LEN >> 10)]);
        let mut image = Vec::new();
        File::open(DISK).unwrap().take(LEN).read_to_end(&mut image).unwrap();
        let table = format!("0 {} log-writes {DISK} {LOG}", LEN / 512);
        run("dmsetup", &["create", "--noudevsync", NAME, "--table", &table]);
        std::fs::create_dir(place).unwrap();
        // Nor does ext4 help where fsync(2) was forgotten: ext4(5), `auto_da_alloc`.
        let options = Some("commit=9999,noauto_da_alloc");
        mount(Some("/dev/dm-0"), place, Some("ext4"), MsFlags::MS_NOATIME, options).unwrap();
        Self { place, image, marks: 0 }
    }

    /// Marks a moment, at which the power may go.
    pub(crate) fn mark(&mut self) {
        self.marks += 1;
        run("dmsetup", &["message", NAME, "0", "mark", &self.marks.to_string()]);
    }

    /// Ends the record.
    pub(crate) fn finish(self) -> Replay {
        // The processes of a killed server end by themselves, and their mount namespace with them.
        let begun = Instant::now();
        while umount(self.place) == Err(Errno::EBUSY) {
            assert!(begun.elapsed() < SOON, "{} stays busy", self.place.display());
            thread::sleep(Duration::from_millis(20));
        }
        run("dmsetup", &["remove", "--noudevsync", "--retry", NAME]); // the kernel may still end a killed server's mounts
        let mut log = File::open(LOG).unwrap();
        let head = sector(&mut log);
        assert_eq!(number(&head, 0), MAGIC, "a record of dm-log-writes");
        assert_eq!(u64::from(u32::from_le_bytes(head[24..28].try_into().unwrap())), SECTOR);
        Replay { place: self.place, image: self.image, log }
    }
}

/// The disk again, as it was at one mark after the other.
pub(crate) struct Replay {
    place: &'static Path,
    image: Vec<u8>,
    log: File,
}

impl Replay {
    /// Goes on to the next mark, and mounts the disk at the same place for `look`.
    pub(crate) fn after_next_cut<T>(&mut self, look: impl FnOnce() -> T) -> T {
        while !self.apply_one() {}
        let mut disk = File::options().write(true).open(AFTER).unwrap();
        disk.write_all(&self.image).unwrap();
        drop(disk); // and with it what the kernel kept of the disk before
        mount(Some(AFTER), self.place, Some("ext4"), MsFlags::MS_NOATIME, None::<&str>).unwrap();
        let seen = look();
        umount(self.place).unwrap();
        seen
    }

    /// Applies the next entry, and returns whether it is a mark.
    fn apply_one(&mut self) -> bool {
        // struct log_write_entry: sector, number of sectors, flags, length of data in the entry itself.
        let entry = sector(&mut self.log);
        let [at, sectors, flags] = [0, 8, 16].map(|offset| number(&entry, offset));
        assert_eq!(flags & DISCARD, 0, "nothing discards");
        let start = usize::try_from(at * SECTOR).unwrap();
        let len = usize::try_from(sectors * SECTOR).unwrap();
        self.log.read_exact(&mut self.image[start..start + len]).unwrap();
        flags & MARK != 0
    }
}

/// The next sector of the record.
fn sector(log: &mut File) -> [u8; SECTOR as usize] {
    let mut sector = [0; SECTOR as usize];
    log.read_exact(&mut sector).unwrap();
    sector
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Runs a program, which has to succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

const DISK: &str = "/dev/ram0";
const LOG: &str = "/dev/ram1";
const AFTER: &str = "/dev/ram2";
const NAME: &str = "recorded";
/// Bytes of the disk.
const LEN: u64 = 32 << 20;
/// Bytes at most of the record.
const LOG_LEN: u64 = 192 << 20;

// Linux, drivers/md/dm-log-writes.c
const MAGIC: u64 = 0x6a_7366_7773_6872;
const SECTOR: u64 = 512;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;
