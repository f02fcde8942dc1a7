//! The lease file, which keeps leases over a restart.
//!
//! ```text
//! # hardware address, IPv4 address, end in seconds since 1970, unseen, reserved
//! e4:5f:01:09:02:f7 192.168.7.130 1795900000
//! 02:00:00:00:00:01 192.168.7.131 1795856900 unseen
//! ```
//!
//! `unseen`: the client fetched no file and mounted no root from its address yet. `reserved`: the inventory reserves the address
//! for the client.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pinetboot_core::Instant;
use pinetboot_core::dhcp::{HardwareAddress, Lease, LeaseServer, LeaseSlot, LeaseState};

use crate::bus::Bus;
use crate::durable;
use crate::events::Dhcp;

/// A file of leases, a line each.
#[derive(Debug)]
pub(super) struct LeaseFile {
    path: PathBuf,
    /// The origin of the responder's clock.
    start: SystemTime,
    bus: Bus,
}

/// A line of the file.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    mac: [u8; 6],
    address: Ipv4Addr,
    until: SystemTime,
    seen: bool,
    reserved: bool,
}

impl LeaseFile {
    /// A lease file; call this when the responder's clock is at its origin.
    pub(super) fn new(path: PathBuf, bus: Bus) -> Self {
        Self { path, start: SystemTime::now(), bus }
    }

    /// Restores the leases of the file in the server. A line without a valid lease is reported and passed over; the file is
    /// then copied to `FILE.bad`, since the next lease overwrites the file. Removes what interrupted writes left beside it.
    pub(super) fn restore(&self, server: &mut LeaseServer<'_, Vec<LeaseSlot>>) {
        if let Err(error) = self.remove_leftovers() {
            self.failed("look for leftovers of", &error);
        }
        let path = self.path.display().to_string();
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.failed("read", &error),
        };
        let longest = Instant::ZERO + server.network().lease_time;
        let (mut restored, mut lost, mut unreadable) = (0, 0, Vec::new());
        for (line, number) in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).zip(1..) {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let Some(line) = std::str::from_utf8(line).ok().and_then(Line::parse) else {
                unreadable.push(number);
                continue;
            };
            // A clock that was set back, or a wrong digit, prolongs no lease.
            let until = self.instant(line.until).min(longest);
            if server.restore(line.lease(until)) { restored += 1 } else { lost += 1 }
        }
        if !unreadable.is_empty() {
            self.keep_aside(unreadable);
        }
        self.bus.emit(None, Dhcp::LeasesRestored { path, restored, lost });
    }

    /// Writes the leases atomically.
    pub(super) fn write(&self, server: &LeaseServer<'_, Vec<LeaseSlot>>) {
        let mut text = String::from(HEADER);
        let mut leases = 0;
        for lease in server.leases().filter(|lease| lease.state == LeaseState::Bound) {
            if let Some([a, b, c, d, e, f]) = lease.hardware.mac() {
                let until = self.seconds(lease.until);
                let address = lease.address;
                let unseen = if lease.seen { "" } else { " unseen" };
                let reserved = if lease.reserved { " reserved" } else { "" };
                leases += 1;
                let _infallible = writeln!(
                    text,
                    "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} {address} {until}{unseen}{reserved}"
                );
            }
        }
        match self.replace(&text) {
            Ok(()) => {
                let path = self.path.display().to_string();
                self.bus.emit(None, Dhcp::LeasesWritten { path, leases });
            }
            Err(error) => self.failed("write", &error),
        }
    }

    fn keep_aside(&self, lines: Vec<usize>) {
        let mut copy = self.path.clone().into_os_string();
        copy.push(".bad");
        if let Err(error) = fs::copy(&self.path, &copy) {
            self.failed("copy", &error);
        }
        let (path, copy) = (self.path.display().to_string(), Path::new(&copy).display().to_string());
        self.bus.emit(None, Dhcp::LeaseLinesUnreadable { path, lines, copy });
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(&self.part_prefix())
            .suffix(PART_SUFFIX)
            .tempfile_in(self.directory())?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_data()?;
        file.persist(&self.path)?;
        durable::sync(self.directory())
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.directory())? {
            let entry = entry?;
            let is_ours = match entry.file_name().to_str() {
                Some(name) if name.starts_with(&self.part_prefix()) => name.ends_with(PART_SUFFIX),
                // The name that earlier versions gave is any program's.
                Some(name) if name.starts_with(".tmp") => begins_as_lease_file(&entry.path()),
                _ => false,
            };
            if is_ours && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// The beginning of the names of files that are being written.
    fn part_prefix(&self) -> String {
        format!(".{}.", self.path.file_name().unwrap_or(OsStr::new("leases")).to_string_lossy())
    }

    fn failed(&self, operation: &'static str, error: &io::Error) {
        let (path, error) = (self.path.display().to_string(), error.to_string());
        self.bus.emit(None, Dhcp::LeaseFileFailed { path, operation, error });
    }

    fn instant(&self, until: SystemTime) -> Instant {
        Instant::ZERO + until.duration_since(self.start).unwrap_or_default()
    }

    fn seconds(&self, until: Instant) -> u64 {
        let until = self.start.checked_add(until.since(Instant::ZERO)).unwrap_or(self.start);
        until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (hardware, address, until) = (words.next()?, words.next()?, words.next()?);
        let mut mac = [0; 6];
        let mut digits = hardware.split(':');
        for byte in &mut mac {
            *byte = u8::from_str_radix(digits.next()?, 16).ok()?;
        }
        if digits.next().is_some() {
            return None;
        }
        let until = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(until.parse().ok()?))?;
        let mut line = Self { mac, address: address.parse().ok()?, until, seen: true, reserved: false };
        for word in words {
            match word {
                "unseen" => line.seen = false,
                "reserved" => line.reserved = true,
                _ => return None,
            }
        }
        Some(line)
    }

    fn lease(&self, until: Instant) -> Lease {
        let hardware = HardwareAddress::ethernet(self.mac);
        let mut lease = Lease::new(hardware, self.address, LeaseState::Bound, until);
        (lease.seen, lease.reserved) = (self.seen, self.reserved);
        lease
    }
}

fn begins_as_lease_file(path: &Path) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    let mut begin = [0; HEADER_BEGIN.len()];
    is_file
        && fs::File::open(path).and_then(|mut file| file.read_exact(&mut begin)).is_ok()
        && begin == *HEADER_BEGIN
}

const HEADER: &str = "# hardware address, IPv4 address, end in seconds since 1970, unseen, reserved\n";

/// The header of all versions begins so.
const HEADER_BEGIN: &[u8; 32] = b"# hardware address, IPv4 address";

const PART_SUFFIX: &str = ".part";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use pinetboot_core::dhcp::Network;

    use super::*;
    use crate::events::{Event, Fact, Listener};

    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<Fact>>>);

    impl Listener for Told {
        fn listen(&self, event: &Event) {
            self.0.lock().unwrap().push(event.fact.clone());
        }
    }

    fn server() -> LeaseServer<'static, Vec<LeaseSlot>> {
        let ip = |last| Ipv4Addr::new(10, 77, 0, last);
        LeaseServer::new(Network::new(ip(1), 24, ip(100), ip(199)).unwrap(), vec![LeaseSlot::EMPTY; 8])
    }

    #[test]
    fn what_is_written_is_restored() {
        let directory = tempfile::tempdir().unwrap();
        let file = LeaseFile::new(directory.path().join("leases"), Bus::silent());
        let mut first = server();
        file.restore(&mut first);
        let lease = Lease::new(
            HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]),
            Ipv4Addr::new(10, 77, 0, 150),
            LeaseState::Bound,
            Instant::from_millis(3_600_000),
        );
        assert!(first.restore(lease));
        file.write(&first);
        let mut second = server();
        LeaseFile::new(directory.path().join("leases"), Bus::silent()).restore(&mut second);
        let restored: Vec<_> = second.leases().collect();
        assert_eq!(restored.len(), 1);
        assert_eq!((restored[0].hardware, restored[0].address), (lease.hardware, lease.address));
        assert!(!restored[0].seen);
        assert!(restored[0].until.since(Instant::ZERO) > Duration::from_secs(3590));

        second.confirm(Instant::ZERO, lease.address);
        file.write(&second);
        let mut third = server();
        file.restore(&mut third);
        assert!(third.leases().next().unwrap().seen);
    }

    #[test]
    fn a_line_that_is_no_lease_is_passed_over() {
        let line = Line::parse("02:00:00:00:00:01 10.0.0.1 5").unwrap();
        assert_eq!(line.until, SystemTime::UNIX_EPOCH + Duration::from_secs(5));
        assert!(line.seen && !line.reserved, "as an earlier version writes it");
        let line = Line::parse("02:00:00:00:00:01 10.0.0.1 5 unseen reserved").unwrap();
        assert!(!line.seen && line.reserved);
        for wrong in [
            "",
            "02:00 10.0.0.1 5",
            "02:00:00:00:00:01:02 10.0.0.1 5",
            "02:00:00:00:00:01 x 5",
            "a b c d",
            "02:00:00:00:00:01 10.0.0.1 18446744073709551615",
            "02:00:00:00:00:01 10.0.0.1 18446744073709551616",
            "02:00:00:00:00:01 10.0.0.1 -1",
            "02:00:00:00:00:01 10.0.0.1 5 seen",
        ] {
            assert_eq!(Line::parse(wrong), None, "{wrong}");
        }
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
        let file = LeaseFile::new(path.clone(), Bus::new(vec![Box::new(told.clone())]));
        let mut server = server();
        file.restore(&mut server);
        let mut restored: Vec<_> = server.leases().map(|lease| lease.address.octets()[3]).collect();
        restored.sort_unstable();
        assert_eq!(restored, [100, 103]);
        assert!(server.leases().all(|lease| lease.until <= Instant::ZERO + Duration::from_secs(12 * 3600)));
        let copy = directory.path().join("leases.bad");
        assert_eq!(fs::read(&copy).unwrap(), bad);
        let (path, copy) = (path.display().to_string(), copy.display().to_string());
        assert_eq!(
            *told.0.lock().unwrap(),
            [
                Dhcp::LeaseLinesUnreadable { path: path.clone(), lines: vec![3, 4, 7, 8], copy }.into(),
                Dhcp::LeasesRestored { path, restored: 2, lost: 1 }.into(),
            ]
        );
        file.write(&server);
        assert_eq!(fs::read(directory.path().join("leases.bad")).unwrap(), bad);
    }

    #[test]
    fn leftovers_are_removed_and_foreign_files_stay() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        put(".leases.Ab12Cd.part", "");
        put(".tmpAb12Cd", "# hardware address, IPv4 address, end in seconds since 1970\n02:00");
        for (name, text) in [
            (".tmpOther1", ""),
            (".tmpOther2", "text of another program, of some length"),
            (".other.x.part", ""),
        ] {
            put(name, text);
        }
        LeaseFile::new(directory.path().join("leases"), Bus::silent()).restore(&mut server());
        let mut left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, [".other.x.part", ".tmpOther1", ".tmpOther2"]);
    }
}
