//! Disk space: sizes in settings, the server's reserve, and a cheap question before each write.
//!
//! The server's own state (leases, the registry, identities) goes to the same disk as the files that clients write. Clients may fill the
//! disk down to the reserve only, so that the server's state always fits.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{Statvfs, fstatvfs};
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

/// A size in a setting: a number of bytes, or one with a unit, as in `500M` (10^6) or `2GiB` (2^30).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "u64")]
pub struct Size(u64);

/// A size in TOML.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Bytes(u64),
    Text(String),
}

/// The reserve of a file system, kept free for the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserve(Option<Size>);

/// The file system of a directory, as far as clients may fill it.
#[derive(Debug)]
pub struct Space {
    directory: OwnedFd,
    reserve: Reserve,
    credit: Credit,
}

/// The space of a file system at one moment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Size of the file system.
    pub total: u64,
    /// Free bytes for users other than root, as `df` shows them.
    pub available: u64,
    /// Bytes that clients may still write: `available` without the reserve.
    pub for_clients: u64,
}

/// Bytes that may be written before the next measurement: writers share them without a lock.
#[derive(Debug)]
pub struct Credit {
    left: AtomicI64,
    /// The time of the measurement, in milliseconds; 0 before the first one.
    measured: AtomicU64,
    /// Milliseconds for which a measurement holds.
    valid: u64,
    /// Held during a measurement.
    measuring: Mutex<()>,
}

impl Size {
    /// 1 GiB.
    pub const GIB: Self = Self(1 << 30);

    /// This number of bytes, at most 2^63 - 1.
    pub(crate) const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// This number of bytes; the largest size is 2^63 - 1.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Size {
    type Error = String;

    fn try_from(bytes: u64) -> Result<Self, String> {
        // The largest integer of TOML, and the largest file.
        i64::try_from(bytes).map(|_| Self(bytes)).map_err(|_| format!("{bytes} bytes are more than 2^63 - 1"))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("expected bytes, or a number with a unit as in 500M or 2GiB, not {text:?}");
        text.parse::<ByteSize>().map_err(wrong)?.as_u64().try_into()
    }
}

impl TryFrom<Written> for Size {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Bytes(bytes) => bytes.try_into(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Size> for u64 {
    fn from(size: Size) -> Self {
        size.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        indicatif::BinaryBytes(self.0).fmt(f)
    }
}

impl Reserve {
    /// A reserve of this size; `None`: the default.
    pub const fn new(size: Option<Size>) -> Self {
        Self(size)
    }

    /// The reserve of a file system of `total` bytes: by default a twentieth, at most 1 GiB.
    pub fn of(self, total: u64) -> u64 {
        self.0.map_or_else(|| (total / 20).min(1 << 30), Size::bytes)
    }

    /// Files that the file system must still be able to make. A disk without free inodes is full, too.
    fn files_of(self, total: u64) -> u64 {
        if self.0 == Some(Size(0)) { 1 } else { (total / 20).min(10_000) }
    }
}

impl Space {
    /// The space of the file system of an open directory.
    pub fn new(directory: OwnedFd, reserve: Reserve) -> Self {
        // Other processes write to the disk, too.
        Self { directory, reserve, credit: Credit::new(Duration::from_secs(1)) }
    }

    /// The space of the file system of `directory`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn of(directory: &Path, reserve: Reserve) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self::new(open(directory, flags, Mode::empty())?, reserve))
    }

    /// The directory.
    pub const fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// The space now.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn measure(&self) -> io::Result<Free> {
        Ok(Free::of(&fstatvfs(&self.directory)?, self.reserve))
    }

    /// Takes `bytes` for a client; false if they would touch the reserve. The system is asked once a second, and near the reserve for
    /// each call.
    pub fn take(&self, bytes: u64) -> bool {
        // A file system that cannot be asked refuses the write itself.
        self.credit.take(bytes, || Some(self.measure().map_or(u64::MAX, |free| free.for_clients)))
    }
}

impl Free {
    fn of(system: &Statvfs, reserve: Reserve) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(system.fragment_size());
        let (total, available) = (bytes(system.blocks()), bytes(system.blocks_available()));
        // btrfs has no fixed number of inodes, and says 0.
        let no_files = system.files() > 0 && system.files_available() < reserve.files_of(system.files());
        let for_clients = if no_files { 0 } else { available.saturating_sub(reserve.of(total)) };
        Self { total, available, for_clients }
    }

    /// Used parts of a hundred, of the space that clients may fill.
    pub fn percent_used(&self) -> u64 {
        let reserve = self.available.saturating_sub(self.for_clients);
        let all = u128::from(self.total.saturating_sub(reserve)).max(1);
        100 - u64::try_from(u128::from(self.for_clients) * 100 / all).unwrap_or(100).min(100)
    }
}

/// The size on the disk in bytes of a directory with its content, as `du` counts: a file with several names counts once.
pub fn used_by(directory: &Path) -> u64 {
    let mut linked = HashSet::new();
    let entries = WalkDir::new(directory).follow_links(false).into_iter().flatten();
    let files = entries.filter_map(|entry| entry.metadata().ok());
    let files =
        files.filter(|file| file.is_dir() || file.nlink() == 1 || linked.insert((file.dev(), file.ino())));
    files.map(|file| file.blocks() * 512).sum()
}

impl Credit {
    /// No credit before the first measurement, which then holds for this time.
    pub fn new(valid: Duration) -> Self {
        let valid = u64::try_from(valid.as_millis()).unwrap_or(u64::MAX);
        Self { left: AtomicI64::new(0), measured: AtomicU64::new(0), valid, measuring: Mutex::default() }
    }

    /// Takes `bytes`; asks `measure` for the bytes that are left if the credit is void or too small. `None` from `measure` leaves the
    /// credit as it is.
    pub fn take(&self, bytes: u64, measure: impl FnOnce() -> Option<u64>) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let begun = now();
        if self.is_valid(begun) && self.spend(bytes) {
            return true;
        }
        let _one_at_a_time = self.measuring.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have measured meanwhile.
        if self.measured.load(Ordering::Acquire) > begun && self.spend(bytes) {
            return true;
        }
        if let Some(left) = measure() {
            self.set(left);
        }
        self.spend(bytes)
    }

    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        u64::try_from(self.left.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Records a measurement.
    pub fn set(&self, left: u64) {
        self.left.store(i64::try_from(left).unwrap_or(i64::MAX), Ordering::Release);
        self.measured.store(now(), Ordering::Release);
    }

    fn is_valid(&self, now: u64) -> bool {
        let measured = self.measured.load(Ordering::Acquire);
        measured > 0 && now.saturating_sub(measured) < self.valid
    }

    fn spend(&self, bytes: i64) -> bool {
        let spent = |left: i64| left.checked_sub(bytes).filter(|left| *left >= 0);
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, spent).is_ok()
    }
}

/// Milliseconds since the first question, from 1 on.
fn now() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let elapsed = BEGAN.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn sizes_have_units_of_ten_and_of_two() {
        for (text, bytes) in
            [("0", 0), ("1500000", 1_500_000), ("500M", 500_000_000), ("2GiB", 2 << 30), ("1.5 kB", 1500)]
        {
            assert_eq!(text.parse::<Size>().unwrap().bytes(), bytes, "{text}");
        }
        for text in ["", "-1", "1 apple", "18446744073709551615", "99EiB"] {
            let error = text.parse::<Size>();
            assert!(error.is_err(), "{text}: {error:?}");
        }
        fn read(text: &str) -> Result<BTreeMap<String, Size>, toml::de::Error> {
            toml::from_str(text)
        }
        let table = read("a = '2GiB'\nb = 7").unwrap();
        assert_eq!(table.values().map(|size| size.bytes()).collect::<Vec<_>>(), [2 << 30, 7]);
        assert_eq!(read(&toml::to_string(&table).unwrap()).unwrap(), table, "nothing is rounded");
        assert!(read("a = -1").is_err());
    }

    #[test]
    fn the_default_reserve_is_a_twentieth_and_at_most_a_gibibyte() {
        let default = Reserve::default();
        assert_eq!((default.of(2000), default.of(1 << 50)), (100, 1 << 30));
        assert_eq!(Reserve::new(Some(Size(7))).of(2000), 7);
    }

    #[test]
    fn credit_is_measured_once_and_again_when_it_is_spent() {
        let credit = Credit::new(Duration::MAX);
        let asked = Cell::new(0);
        let measure = |left| {
            let asked = &asked;
            move || {
                asked.set(asked.get() + 1);
                left
            }
        };
        for _ in 0..10 {
            assert!(credit.take(10, measure(Some(100))));
        }
        assert_eq!(asked.get(), 1);
        assert!(!credit.take(1, measure(None)), "all is spent");
        assert!(credit.take(1, measure(Some(1))) && !credit.take(1, measure(Some(0))));
        assert!(!credit.take(u64::MAX, measure(Some(5))) && credit.take(5, measure(None)));
    }

    #[test]
    fn credit_is_void_after_its_time() {
        let credit = Credit::new(Duration::ZERO);
        assert!(credit.take(1, || Some(1)) && credit.take(1, || Some(1)) && !credit.take(1, || Some(0)));
    }

    #[test]
    fn a_reserve_larger_than_the_disk_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let all = Space::of(directory.path(), Reserve::new(Some(Size(0)))).unwrap();
        let free = all.measure().unwrap();
        assert_eq!(free.for_clients, free.available);
        assert!(all.take(1));
        let none = Space::of(directory.path(), Reserve::new(Some(Size(1 << 60)))).unwrap();
        assert_eq!(none.measure().unwrap().for_clients, 0);
        assert!(!none.take(1) && none.take(0));
        assert_eq!(none.measure().unwrap().percent_used(), 100);
    }
}
