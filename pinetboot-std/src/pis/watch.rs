//! The clock of the boot machines: their deadlines, and what this server hears.

use std::collections::BTreeSet;
use std::time::Duration;

use pinetboot_core::Instant;
use pinetboot_core::pi::boot::Hearing;

use super::Subject;

/// The deadlines of all machines, the earliest first: a thread waits for that one alone.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Duration, Subject)>);

/// What a server hears, and how fast the machines' clock runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    pub(super) hearing: Hearing,
    /// The machines' seconds in a second: more than 1 in tests.
    pub(super) rate: u32,
}

impl Default for Watch {
    fn default() -> Self {
        Self { hearing: Hearing::ALL, rate: 1 }
    }
}

impl Watch {
    pub(super) fn instant(self, now: Duration) -> Instant {
        Instant::ZERO + now.saturating_mul(self.rate)
    }

    pub(super) fn duration(self, instant: Instant) -> Option<Duration> {
        let micros = instant.as_micros().div_ceil(self.rate.max(1).into());
        (instant != Instant::MAX).then(|| Duration::from_micros(micros))
    }
}

impl Deadlines {
    pub(super) fn earliest(&self) -> Duration {
        self.0.first().map_or(Duration::MAX, |(deadline, _)| *deadline)
    }

    /// The Pis whose deadline has passed.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Subject> {
        let mut due = Vec::new();
        while let Some((_, subject)) = self.0.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.0.pop_first();
            due.push(subject);
        }
        due
    }

    pub(super) fn schedule(
        &mut self,
        subject: Subject,
        before: &mut Option<Duration>,
        deadline: Option<Duration>,
    ) {
        // A later deadline is scheduled when the earlier one has passed: each message of a Pi makes its deadline later.
        if *before == deadline || matches!((*before, deadline), (Some(before), Some(new)) if before < new) {
            return;
        }
        if let Some(before) = before.take() {
            self.0.remove(&(before, subject));
        }
        // Rows that the registry dropped leave theirs behind; each of them passes within minutes.
        if let Some(deadline) = deadline.filter(|_| self.0.len() < MOST_DEADLINES) {
            self.0.insert((deadline, subject));
            *before = Some(deadline);
        }
    }
}

/// Twice the Pis that the registry holds.
const MOST_DEADLINES: usize = 8192;
