//! The lease file, which keeps leases over a restart.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pinetboot_core::Instant;
use pinetboot_core::dhcp::{HardwareAddress, Lease, LeaseServer, LeaseState};
use tempfile::NamedTempFile;

use crate::bus::Bus;
use crate::events::Dhcp;

/// A file of leases: a line each, of hardware address, IPv4 address and the end in seconds since 1970.
#[derive(Debug)]
pub(super) struct LeaseFile {
    path: PathBuf,
    /// The origin of the responder's clock.
    start: SystemTime,
    bus: Bus,
}

impl LeaseFile {
    /// A lease file; call this when the responder's clock is at its origin.
    pub(super) fn new(path: PathBuf, bus: Bus) -> Self {
        Self { path, start: SystemTime::now(), bus }
    }

    /// Restores the leases of the file in the server.
    pub(super) fn restore<const N: usize>(&self, server: &mut LeaseServer<'_, N>) {
        let path = self.path.display().to_string();
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.failed("read", &error),
        };
        let (mut restored, mut lost) = (0, 0);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match parse(line) {
                Some((mac, address, until)) => {
                    let hardware = HardwareAddress::ethernet(mac);
                    let lease = Lease::new(hardware, address, LeaseState::Bound, self.instant(until));
                    if server.restore(lease) { restored += 1 } else { lost += 1 }
                }
                None => lost += 1,
            }
        }
        self.bus.emit(None, Dhcp::LeasesRestored { path, restored, lost });
    }

    /// Writes the leases atomically.
    pub(super) fn write<const N: usize>(&self, server: &LeaseServer<'_, N>) {
        let mut text = String::from("# hardware address, IPv4 address, end in seconds since 1970\n");
        let mut leases = 0;
        for lease in server.leases().filter(|lease| lease.state == LeaseState::Bound) {
            if let Some([a, b, c, d, e, f]) = lease.hardware.mac() {
                let until = self.seconds(lease.until);
                let address = lease.address;
                leases += 1;
                let _infallible =
                    writeln!(text, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} {address} {until}");
            }
        }
        match replace(&self.path, &text) {
            Ok(()) => {
                let path = self.path.display().to_string();
                self.bus.emit(None, Dhcp::LeasesWritten { path, leases });
            }
            Err(error) => self.failed("write", &error),
        }
    }

    fn failed(&self, operation: &'static str, error: &io::Error) {
        let (path, error) = (self.path.display().to_string(), error.to_string());
        self.bus.emit(None, Dhcp::LeaseFileFailed { path, operation, error });
    }

    fn instant(&self, seconds: u64) -> Instant {
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Instant::ZERO + until.duration_since(self.start).unwrap_or_default()
    }

    fn seconds(&self, until: Instant) -> u64 {
        let until = self.start + until.since(Instant::ZERO);
        until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_data()?;
    file.persist(path)?;
    Ok(())
}

fn parse(line: &str) -> Option<([u8; 6], Ipv4Addr, u64)> {
    let mut words = line.split_whitespace();
    let (hardware, address, until) = (words.next()?, words.next()?, words.next()?);
    let mut mac = [0; 6];
    let mut digits = hardware.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(digits.next()?, 16).ok()?;
    }
    let over = digits.next().is_none() && words.next().is_none();
    over.then_some((mac, address.parse().ok()?, until.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use pinetboot_core::dhcp::Network;

    use super::*;

    fn server() -> LeaseServer<'static, 4> {
        let ip = |last| Ipv4Addr::new(10, 77, 0, last);
        LeaseServer::new(Network::new(ip(1), 24, ip(100), ip(199)).unwrap())
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
        assert!(restored[0].until.since(Instant::ZERO) > Duration::from_secs(3590));
    }

    #[test]
    fn a_line_that_is_no_lease_is_passed_over() {
        assert_eq!(parse("02:00:00:00:00:01 10.0.0.1 5").unwrap().2, 5);
        for wrong in
            ["", "02:00 10.0.0.1 5", "02:00:00:00:00:01:02 10.0.0.1 5", "02:00:00:00:00:01 x 5", "a b c d"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
