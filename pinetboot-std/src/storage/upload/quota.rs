//! The number of uploads: open ones and those of an hour, for each client and in all.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts the uploads of all workers.
///
/// Only an upload of which bytes came counts: a request alone may have a forged address, and holds no file.
#[derive(Debug, Clone, Default)]
pub struct UploadQuota(Arc<Mutex<Uploads>>);

#[derive(Debug, Default)]
struct Uploads {
    of_all: Count,
    /// Clients with an upload within the hour: at most [`OF_ALL`]`.in_an_hour` new ones an hour.
    of_client: HashMap<Ipv4Addr, Count>,
}

#[derive(Debug, Default)]
struct Count {
    open: u32,
    /// Begun since `since`.
    begun: u32,
    since: Option<Instant>,
}

struct Most {
    open: u32,
    in_an_hour: u32,
}

/// An open upload; dropping it ends the upload.
#[derive(Debug)]
pub(super) struct Place {
    quota: UploadQuota,
    client: Ipv4Addr,
}

impl UploadQuota {
    /// Whether a client may begin an upload.
    ///
    /// # Errors
    ///
    /// The limit that is reached.
    pub(super) fn check(&self, client: Ipv4Addr, now: Instant) -> Result<(), String> {
        let uploads = self.lock();
        uploads.of_all.check(&OF_ALL, now, "all clients")?;
        uploads.of_client.get(&client).map_or(Ok(()), |count| count.check(&OF_CLIENT, now, "this client"))
    }

    /// Begins an upload.
    ///
    /// # Errors
    ///
    /// As for [`check`](Self::check).
    pub(super) fn begin(&self, client: Ipv4Addr, now: Instant) -> Result<Place, String> {
        self.check(client, now)?;
        let mut uploads = self.lock();
        uploads.of_client.retain(|_, count| count.open > 0 || count.is_recent(now));
        uploads.of_all.begin(now);
        uploads.of_client.entry(client).or_default().begin(now);
        Ok(Place { quota: self.clone(), client })
    }

    fn lock(&self) -> MutexGuard<'_, Uploads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut uploads = self.quota.lock();
        uploads.of_all.open -= 1;
        if let Some(count) = uploads.of_client.get_mut(&self.client) {
            count.open -= 1;
        }
    }
}

impl Count {
    fn is_recent(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < HOUR)
    }

    fn check(&self, most: &Most, now: Instant, of: &str) -> Result<(), String> {
        if self.open >= most.open {
            return Err(format!("{} uploads of {of} are open, the limit", most.open));
        }
        if self.is_recent(now) && self.begun >= most.in_an_hour {
            return Err(format!("{} uploads of {of} began within an hour, the limit", most.in_an_hour));
        }
        Ok(())
    }

    fn begin(&mut self, now: Instant) {
        if !self.is_recent(now) {
            (self.since, self.begun) = (Some(now), 0);
        }
        self.begun += 1;
        self.open += 1;
    }
}

/// A Pi or a switch sends one file at a time, some files a day.
const OF_CLIENT: Most = Most { open: 16, in_an_hour: 256 };
/// A thousand clients that send eight files each.
const OF_ALL: Most = Most { open: 256, in_an_hour: 8192 };
const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn other(number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(ONE) + 1 + number)
    }

    #[test]
    fn a_client_has_some_open_uploads_and_others_have_theirs() {
        let (quota, now) = (UploadQuota::default(), Instant::now());
        let mut open: Vec<_> = (0..OF_CLIENT.open).map(|_| quota.begin(ONE, now).unwrap()).collect();
        assert!(quota.check(ONE, now).unwrap_err().contains("16 uploads of this client are open"));
        quota.begin(other(0), now).unwrap();
        open.pop();
        quota.begin(ONE, now).unwrap();
    }

    #[test]
    fn uploads_of_an_hour_are_bounded() {
        let (quota, now) = (UploadQuota::default(), Instant::now());
        for _ in 0..OF_CLIENT.in_an_hour {
            quota.begin(ONE, now).unwrap();
        }
        assert!(quota.begin(ONE, now + HOUR / 2).unwrap_err().contains("within an hour"));
        quota.begin(ONE, now + HOUR).unwrap();
        let most = OF_ALL.in_an_hour;
        let begun = (0..2 * most).filter(|number| quota.begin(other(*number), now).is_ok()).count();
        assert!(u32::try_from(begun).unwrap() <= most);
        assert!(quota.lock().of_client.len() <= 1 + most as usize);
        quota.begin(other(7), now + 3 * HOUR).unwrap();
        assert_eq!(quota.lock().of_client.len(), 1, "clients are forgotten");
    }

    #[test]
    fn open_uploads_of_all_are_bounded() {
        let (quota, now) = (UploadQuota::default(), Instant::now());
        let open: Vec<_> = (0..1000).filter_map(|number| quota.begin(other(number), now).ok()).collect();
        assert_eq!(open.len(), OF_ALL.open as usize);
        drop(open);
        quota.begin(ONE, now).unwrap();
    }
}
