//! A line of the lease file.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use pinetboot_core::Instant;
use pinetboot_core::dhcp::{HardwareAddress, Lease, LeaseState};

/// A lease as the file has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    pub(super) mac: [u8; 6],
    pub(super) address: Ipv4Addr,
    pub(super) until: SystemTime,
    pub(super) seen: bool,
    pub(super) reserved: bool,
    pub(super) declined: bool,
}

impl Line {
    /// The line of a lease that ends at this time; `None` for an offer, and for a client without a MAC address.
    pub(super) fn of(lease: &Lease, until: SystemTime) -> Option<Self> {
        let Lease { address, seen, reserved, state, .. } = *lease;
        let declined = match state {
            LeaseState::Bound | LeaseState::Released => false,
            LeaseState::Declined => true,
            LeaseState::Offered => return None,
        };
        Some(Self { mac: lease.hardware.mac()?, address, until, seen, reserved, declined })
    }

    /// The lease, which ends at this time.
    pub(super) fn lease(&self, until: Instant) -> Lease {
        let hardware = HardwareAddress::ethernet(self.mac);
        let state = if self.declined { LeaseState::Declined } else { LeaseState::Bound };
        let mut lease = Lease::new(hardware, self.address, state, until);
        (lease.seen, lease.reserved) = (self.seen, self.reserved);
        lease
    }

    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
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
        let address = address.parse().ok()?;
        let mut line = Self { mac, address, until, seen: true, reserved: false, declined: false };
        for word in words {
            match word {
                "unseen" => line.seen = false,
                "reserved" => line.reserved = true,
                "declined" => line.declined = true,
                _ => return None,
            }
        }
        Some(line)
    }
}

/// With the line's end.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mac, address, until, seen, reserved, declined } = *self;
        let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        write!(f, "{} {address} {until}", HardwareAddress::ethernet(mac))?;
        for (is_so, word) in [(!seen, " unseen"), (reserved, " reserved"), (declined, " declined")] {
            if is_so {
                f.write_str(word)?;
            }
        }
        f.write_str("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_is_written() {
        for text in [
            "02:00:00:00:00:01 10.0.0.1 5\n",
            "02:00:00:00:00:01 10.0.0.1 5 unseen\n",
            "02:00:00:00:00:01 10.0.0.1 5 unseen reserved declined\n",
        ] {
            assert_eq!(Line::parse(text.as_bytes()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_line_without_a_lease_is_none() {
        let line = Line::parse(b"02:00:00:00:00:01 10.0.0.1 5").unwrap();
        assert_eq!(line.until, SystemTime::UNIX_EPOCH + Duration::from_secs(5));
        assert!(line.seen && !line.reserved, "as an earlier version writes it");
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
            assert_eq!(Line::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
