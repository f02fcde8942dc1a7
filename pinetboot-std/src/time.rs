//! Times as text: RFC 3339 in UTC for files and programs, local time with its zone for people.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The present time in RFC 3339, UTC, to the second: `2026-04-13T09:30:00Z`.
pub(crate) fn now() -> String {
    utc(Timestamp::now())
}

/// A time of the system in RFC 3339, UTC, to the second; `None` for a year beyond 9999.
pub(crate) fn of(time: SystemTime) -> Option<String> {
    Timestamp::try_from(time).ok().map(utc)
}

/// The time zone of this machine, read once: a sandbox may hide its file later.
#[derive(Debug, Clone)]
pub(crate) struct Zone(TimeZone);

impl Zone {
    /// That of this machine; UTC without one.
    pub(crate) fn of_machine() -> Self {
        Self(TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    /// The present time of day: `11:30:00`.
    pub(crate) fn time_of_day(&self) -> String {
        Timestamp::now().to_zoned_datetime(self.0.clone()).strftime("%H:%M:%S").to_string()
    }
}

fn utc(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time of RFC 3339 as local time with its zone: `2026-04-13 11:30:00 CEST`. A text that is no such time stays.
#[cfg(feature = "import")] // its commands alone show times
pub(crate) fn local(time: &str) -> String {
    at(time, TimeZone::try_system().unwrap_or(TimeZone::UTC))
}

#[cfg(any(feature = "import", test))]
fn at(time: &str, zone: TimeZone) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time.to_zoned_datetime(zone).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        Err(_) => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_their_local_time_with_its_zone() {
        let zone = || TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(at("2026-04-13T09:30:00Z", zone()), "2026-04-13 11:30:00 CEST");
        assert_eq!(at("2026-12-24T23:30:00Z", zone()), "2026-12-25 00:30:00 CET");
        assert_eq!(at("yesterday", zone()), "yesterday");
        assert_eq!(of(SystemTime::UNIX_EPOCH).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(at(&now(), TimeZone::UTC).len(), "2026-04-13 11:30:00 UTC".len());
    }
}
