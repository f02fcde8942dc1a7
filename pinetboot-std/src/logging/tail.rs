//! The last lines of the log, for the page: a bounded copy beside what standard error gets.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::time::Zone;

/// The last lines; clones are the same one. The default one keeps none.
#[derive(Debug, Clone, Default)]
pub struct Tail(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    zone: Zone,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Lines so far.
    number: u64,
    lines: VecDeque<LogLine>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LogLine {
    /// Lines since the start, this one included.
    pub number: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The local time of day.
    pub time: String,
    /// error, warn, info, debug, trace.
    pub level: String,
    /// The message, with the remedy; cut after 500 characters. Other machines chose parts of it.
    pub text: String,
}

impl Tail {
    /// Keeps the last lines.
    pub fn keep() -> Self {
        Self(Some(Arc::new(Shared { zone: Zone::of_machine(), kept: Mutex::default() })))
    }

    /// The kept lines with a number above this one, the oldest first.
    pub fn after(&self, number: u64) -> Vec<LogLine> {
        let Some(shared) = &self.0 else { return Vec::new() };
        let kept = shared.kept();
        let first = kept.lines.partition_point(|line| line.number <= number);
        kept.lines.range(first..).cloned().collect()
    }

    fn push(&self, level: Level, text: String) {
        let Some(shared) = &self.0 else { return };
        let at = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let (time, level) = (shared.zone.time_of_day(), level.as_str().to_lowercase());
        let mut kept = shared.kept();
        kept.number += 1;
        if kept.lines.len() >= MOST {
            kept.lines.pop_front();
        }
        let number = kept.number;
        kept.lines.push_back(LogLine { number, at_ms, time, level, text });
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Tail {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.0.is_some() {
            let mut text = Text::default();
            event.record(&mut text);
            self.push(*event.metadata().level(), text.text);
        }
    }
}

/// The message of an event, with its remedy; not longer than [`LONGEST`] characters, whatever is in it.
#[derive(Debug)]
struct Text {
    text: String,
    left: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { text: String::new(), left: LONGEST }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for char in part.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(char);
        }
        Ok(())
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // An error is the end of the room.
        let _cut = match field.name() {
            "message" => write!(self, "{value:?}"),
            "remedy" => write!(self, ". Do: {value:?}"),
            _ => Ok(()),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _cut = match field.name() {
            "remedy" => write!(self, ". Do: {value}"),
            "message" => self.write_str(value),
            _ => Ok(()),
        };
    }
}

/// Lines that are kept.
const MOST: usize = 200;
/// Characters of a line.
const LONGEST: usize = 500;

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_cut() {
        let tail = Tail::keep();
        let _of_this_thread =
            tracing::subscriber::set_default(tracing_subscriber::registry().with(tail.clone()));
        tracing::warn!(client = "10.0.0.5", remedy = "Close the door", "kitchen {} stuck", "!");
        for number in 0..300 {
            tracing::info!("{number} {}", "x".repeat(1000));
        }
        let lines = tail.after(0);
        assert_eq!((lines.len(), lines[0].number, lines[199].number), (MOST, 102, 301));
        assert!(lines.iter().all(|line| line.text.chars().count() == LONGEST && line.level == "info"));
        assert_eq!(tail.after(300).len(), 1);
        assert!(tail.after(301).is_empty() && tail.after(u64::MAX).is_empty());
    }

    #[test]
    fn a_remedy_follows_its_message() {
        let tail = Tail::keep();
        let _of_this_thread =
            tracing::subscriber::set_default(tracing_subscriber::registry().with(tail.clone()));
        tracing::warn!(client = "10.0.0.5", remedy = "Close the door", "kitchen {} stuck", "!");
        let lines = tail.after(0);
        assert_eq!(
            (lines[0].level.as_str(), lines[0].text.as_str()),
            ("warn", "kitchen ! stuck. Do: Close the door")
        );
        assert!(Tail::default().after(0).is_empty());
    }
}
