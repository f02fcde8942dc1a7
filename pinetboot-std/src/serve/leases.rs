//! The lease file, which keeps leases over a restart.
//!
//! ```text
//! # hardware address, IPv4 address, end in seconds since 1970, unseen, reserved, declined
//! e4:5f:01:09:02:f7 192.168.7.130 1795900000
//! 02:00:00:00:00:01 192.168.7.131 1795856900 unseen
//! ```
//!
//! `unseen`: the client fetched no file and mounted no root from its address yet. `reserved`: the inventory reserves the address
//! for the client. `declined`: the client found another host at the address.
//!
//! A changed lease is appended: of the lines with one hardware address, or with one IPv4 address, the last one counts. The file
//! is written whole, a line for each lease, at the start, at the end, and when it has doubled.
//!
//! One file has the leases of all networks, with those of networks that are not served now: the latter until they end.

mod journal;
mod line;
mod place;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as Clock, SystemTime};

use pinetboot_core::Instant;
use pinetboot_core::dhcp::Lease;

use crate::bus::Bus;
use crate::events::Dhcp;
use journal::Journal;
use line::Line;
pub(super) use place::LeasePlace;

/// The leases of all networks.
pub(super) trait Leases {
    /// All of them.
    fn all(&self) -> impl Iterator<Item = &Lease>;

    /// The lease of this address.
    fn at(&self, address: Ipv4Addr) -> Option<&Lease>;
}

/// A file of leases, a line each.
#[derive(Debug)]
pub(super) struct LeaseFile {
    /// The path in messages.
    path: PathBuf,
    journal: Journal,
    /// The origin of the responder's clock.
    start: SystemTime,
    /// After a failure: the time of the next attempt.
    retry_at: Instant,
    bus: Bus,
}

impl LeaseFile {
    /// The lease file at a place, for leases whose times count from `start`.
    pub(super) fn new(place: &LeasePlace, start: Clock, bus: Bus) -> Self {
        let start = SystemTime::now().checked_sub(start.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
        Self {
            path: place.file().to_owned(),
            journal: Journal::new(place.at()),
            start,
            retry_at: Instant::ZERO,
            bus,
        }
    }

    /// The leases of the file, some of which ended. A line without a valid lease is reported and passed over; `FILE.bad` is then a
    /// copy of the file. Removes what interrupted writings left beside it.
    pub(super) fn read(&mut self) -> Vec<Lease> {
        if let Err(error) = self.journal.remove_leftovers() {
            self.failed("look for leftovers of", &error);
        }
        let bytes = match fs::read(self.journal.at()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            // The file is overwritten.
            Err(error) => {
                self.failed("read", &error);
                Vec::new()
            }
        };
        let (mut latest, mut unreadable) = (Latest::default(), Vec::new());
        for (line, number) in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).zip(1..) {
            match Line::parse(line) {
                Some(line) => latest.put(line),
                None if line.is_empty() || line.starts_with(b"#") => {}
                None => unreadable.push(number),
            }
        }
        if !unreadable.is_empty() {
            self.keep_aside(unreadable);
        }
        latest.lines.values().map(|line| line.lease(self.instant(line.until))).collect()
    }

    /// Stores the leases of these addresses, after they have changed. With `more` to come soon, a power cut may lose them until
    /// then.
    pub(super) fn save(
        &mut self,
        now: Instant,
        server: &impl Leases,
        changed: impl Iterator<Item = Ipv4Addr>,
        more: bool,
    ) {
        let leases = changed.filter_map(|address| server.at(address));
        let lines: String = leases.filter_map(|lease| self.line(lease)).collect();
        let is_due = self.journal.is_due() && !lines.is_empty() && now >= self.retry_at;
        if is_due && self.write(now, server) || !self.journal.is_open() {
            return;
        }
        let mut done = if lines.is_empty() { Ok(()) } else { self.journal.append(&lines) };
        if done.is_ok() && (!more || self.journal.unsynced() >= MOST_UNSYNCED) {
            done = self.journal.sync();
        }
        if let Err(error) = done {
            self.write_failed(now, &error);
        }
    }

    /// Writes the file anew if lines were appended, or leases were forgotten.
    pub(super) fn close(mut self, now: Instant, server: &impl Leases, forgot: bool) {
        if forgot || self.journal.has_grown() {
            self.write(now, server);
        }
    }

    /// Writes the file whole; false after a failure.
    pub(super) fn write(&mut self, now: Instant, leases: &impl Leases) -> bool {
        let lines = leases.all().filter_map(|lease| self.line(lease));
        let (text, leases) =
            lines.fold((HEADER.to_owned(), 0), |(text, count), line| (text + &line, count + 1));
        match self.journal.replace(&text) {
            Ok(()) => {
                self.bus.emit(None, Dhcp::LeasesWritten { path: self.path(), leases });
                true
            }
            Err(error) => {
                self.write_failed(now, &error);
                false
            }
        }
    }

    fn write_failed(&mut self, now: Instant, error: &io::Error) {
        self.retry_at = now + RETRY;
        self.failed("write", error);
    }

    fn keep_aside(&self, lines: Vec<usize>) {
        let copy_of = |path: &Path| path.with_added_extension("bad");
        if let Err(error) = fs::copy(self.journal.at(), copy_of(self.journal.at())) {
            self.failed("copy", &error);
        }
        let copy = copy_of(&self.path).display().to_string();
        self.bus.emit(None, Dhcp::LeaseLinesUnreadable { path: self.path(), lines, copy });
    }

    fn failed(&self, operation: &'static str, error: &io::Error) {
        let (path, error) = (self.path(), error.to_string());
        self.bus.emit(None, Dhcp::LeaseFileFailed { path, operation, error });
    }

    pub(super) fn path(&self) -> String {
        self.path.display().to_string()
    }

    fn line(&self, lease: &Lease) -> Option<String> {
        let until = self.start.checked_add(lease.until.since(Instant::ZERO)).unwrap_or(self.start);
        Line::of(lease, until).map(|line| line.to_string())
    }

    fn instant(&self, until: SystemTime) -> Instant {
        Instant::ZERO + until.duration_since(self.start).unwrap_or_default()
    }
}

/// The last line of each IPv4 address, without those of clients that have a later one.
#[derive(Debug, Default)]
struct Latest {
    lines: BTreeMap<Ipv4Addr, Line>,
    of_client: BTreeMap<[u8; 6], Ipv4Addr>,
}

impl Latest {
    fn put(&mut self, line: Line) {
        if let Some(before) = self.lines.insert(line.address, line)
            && !before.declined
        {
            self.of_client.remove(&before.mac);
        }
        // A declined address is no longer the client's.
        if !line.declined
            && let Some(before) = self.of_client.insert(line.mac, line.address)
        {
            self.lines.remove(&before);
        }
    }
}

const HEADER: &str = "\
# hardware address, IPv4 address, end in seconds since 1970, unseen, reserved, declined
# version 2: of the lines with one hardware address, or one IPv4 address, the last one counts
";

/// The time from a failed attempt to write to the next one.
const RETRY: Duration = Duration::from_secs(10);

/// The most lines that wait to be stored with those of the messages that arrived together: the network sends no more replies
/// before.
const MOST_UNSYNCED: usize = 32;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use pinetboot_core::dhcp::{HardwareAddress, LeaseServer, LeaseSlot, LeaseState, Network};

    use super::*;
    use crate::events::{Event, Fact, Listener};

    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<Fact>>>);

    impl Listener for Told {
        fn listen(&self, event: &Event) {
            self.0.lock().unwrap().push(event.fact.clone());
        }
    }

    type Server = LeaseServer<'static, Vec<LeaseSlot>>;

    impl Leases for Server {
        fn all(&self) -> impl Iterator<Item = &Lease> {
            self.leases()
        }

        fn at(&self, address: Ipv4Addr) -> Option<&Lease> {
            self.lease_at(address)
        }
    }

    impl LeaseFile {
        fn restore(&mut self, now: Instant, server: &mut Server) {
            for lease in self.read() {
                Server::restore(server, lease);
            }
            self.write(now, server);
        }
    }

    const NOW: Instant = Instant::ZERO;

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, last)
    }

    fn server() -> Server {
        LeaseServer::new(Network::new(ip(1), 24, ip(100), ip(199)).unwrap(), vec![LeaseSlot::EMPTY; 100])
    }

    fn file(path: &Path) -> LeaseFile {
        LeaseFile::new(&LeasePlace::named(path.into()), Clock::now(), Bus::silent())
    }

    fn lease(mac: u8, address: u8) -> Lease {
        let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, mac]);
        Lease::new(hardware, ip(address), LeaseState::Bound, Instant::from_millis(3_600_000))
    }

    /// Client and address of each lease, in order of the address.
    fn leases(server: &Server) -> Vec<(u8, u8)> {
        let mut leases: Vec<_> = server
            .leases()
            .map(|lease| (lease.hardware.mac().unwrap()[5], lease.address.octets()[3]))
            .collect();
        leases.sort_unstable_by_key(|(_, address)| *address);
        leases
    }

    #[test]
    fn what_is_saved_is_restored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases");
        let (mut first, mut one) = (server(), file(&path));
        one.restore(NOW, &mut first);
        assert!(Server::restore(&mut first, lease(1, 150)));
        one.save(NOW, &first, [ip(150)].into_iter(), false);
        let (mut second, mut two) = (server(), file(&path));
        two.restore(NOW, &mut second);
        assert_eq!(leases(&second), [(1, 150)]);
        let restored = *second.lease_at(ip(150)).unwrap();
        assert!(!restored.seen && restored.until.since(NOW) > Duration::from_secs(3590));

        second.confirm(NOW, ip(150));
        two.save(NOW, &second, [ip(150)].into_iter(), false);
        let mut third = server();
        file(&path).restore(NOW, &mut third);
        assert!(third.lease_at(ip(150)).unwrap().seen);
    }

    #[test]
    fn a_change_costs_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases");
        let (mut server, mut file) = (server(), file(&path));
        file.restore(NOW, &mut server);
        for number in 0..100 {
            assert!(Server::restore(&mut server, lease(number, 100 + number)));
        }
        let before = fs::metadata(&path).unwrap().len();
        for number in 0..100 {
            file.save(NOW, &server, [ip(100 + number)].into_iter(), false);
        }
        let line = "02:00:00:00:00:01 10.77.0.101 1700000000 unseen\n".len() as u64;
        assert_eq!(fs::metadata(&path).unwrap().len() - before, 100 * line);
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        file.close(NOW, &server, false);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2 + 100);
    }

    #[test]
    fn a_file_that_cannot_be_written_anew_is_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases");
        let (mut server, mut file) = (server(), file(&path));
        file.restore(NOW, &mut server);
        assert!(Server::restore(&mut server, lease(1, 101)));
        let mut saves = 0;
        while !file.journal.is_due() {
            file.save(NOW, &server, [ip(101)].into_iter(), false);
            saves += 1;
        }
        // As without a descriptor: the file is there, and no other one can be made beside it.
        let moved = directory.path().join("moved");
        fs::create_dir(&moved).unwrap();
        fs::rename(&path, moved.join("leases")).unwrap();
        file.journal.move_to(directory.path().join("missing/leases"));
        for _ in 0..3 {
            file.save(NOW, &server, [ip(101)].into_iter(), false);
        }
        assert_eq!(fs::read_to_string(moved.join("leases")).unwrap().lines().count(), 2 + saves + 3);
    }

    #[test]
    fn the_last_line_of_a_client_and_of_an_address_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases");
        let line = |mac: u8, address: u8, word: &str| {
            format!("02:00:00:00:00:{mac:02x} 10.77.0.{address} 4000000000{word}\n")
        };
        let text = [
            line(1, 101, ""),
            line(2, 102, ""),
            line(1, 103, ""), // leaves 101
            line(3, 102, ""), // takes 102 from the second client
            line(3, 102, " declined"),
            line(3, 104, ""),
            line(2, 101, ""),
        ];
        fs::write(&path, text.concat()).unwrap();
        let mut server = server();
        file(&path).restore(NOW, &mut server);
        assert_eq!(leases(&server), [(2, 101), (3, 102), (1, 103), (3, 104)]);
        assert_eq!(server.lease_at(ip(102)).unwrap().state, LeaseState::Declined);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_reported_at_the_start_and_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/leases");
        let told = Told::default();
        let mut file = LeaseFile::new(
            &LeasePlace::named(path.clone()),
            Clock::now(),
            Bus::new(vec![Box::new(told.clone())]),
        );
        let mut server = server();
        file.restore(NOW, &mut server);
        let failed =
            |fact: &Fact| matches!(fact, Fact::Dhcp(Dhcp::LeaseFileFailed { operation: "write", .. }));
        let failures = || told.0.lock().unwrap().iter().filter(|fact| failed(fact)).count();
        assert_eq!(failures(), 1);
        assert!(Server::restore(&mut server, lease(1, 101)));
        let mut save = |now, server: &Server| file.save(now, server, [ip(101)].into_iter(), false);
        save(Instant::from_millis(9_999), &server);
        assert_eq!(failures(), 1);
        save(Instant::from_millis(10_000), &server);
        assert_eq!(failures(), 2);
        fs::create_dir(directory.path().join("missing")).unwrap();
        assert!(Server::restore(&mut server, lease(2, 102)));
        save(Instant::from_millis(20_000), &server);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2 + 2);
    }

    #[test]
    fn one_bad_line_loses_that_line_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases");
        let bad = b"# old\n02:00:00:00:00:01 10.77.0.100 4000000000\n\
            02:00:00:00:00:02 10.77.0.101 18446744073709551615\n\
            02:00:00:00:00:03 10.77.0.1\xff2 4000000000\r\n\
            02:00:00:00:00:04 10.77.0.103 9223372036854775807\r\n\
            02:00:00:00:00:05 10.99.0.1 4000000000\n\0\0\0\n02:00:00:00:00:06 10.77";
        fs::write(&path, bad).unwrap();
        let told = Told::default();
        let mut file = LeaseFile::new(
            &LeasePlace::named(path.clone()),
            Clock::now(),
            Bus::new(vec![Box::new(told.clone())]),
        );
        let mut server = server();
        file.restore(NOW, &mut server);
        assert_eq!(leases(&server), [(1, 100), (4, 103)]);
        let copy = directory.path().join("leases.bad");
        assert_eq!(fs::read(&copy).unwrap(), bad);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2 + 2);
        let (path, copy) = (path.display().to_string(), copy.display().to_string());
        assert_eq!(
            *told.0.lock().unwrap(),
            [
                Dhcp::LeaseLinesUnreadable { path: path.clone(), lines: vec![3, 4, 7, 8], copy }.into(),
                Dhcp::LeasesWritten { path, leases: 2 }.into(),
            ]
        );
    }
}
