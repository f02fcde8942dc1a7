//! Scripts: lines of a time in seconds, a mark and a text, compared as a whole.

use core::fmt;

use pinetboot_core::Instant;
use pinetboot_core::tftp::Outcome;

/// A line of a script or of what really happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) text: String,
}

impl Line {
    pub(crate) fn new(at: Instant, text: impl Into<String>) -> Self {
        Self { at, text: text.into() }
    }

    /// The text's first word and the rest.
    pub(crate) fn split(&self) -> (&str, &str) {
        self.text.split_once(' ').unwrap_or((&self.text, ""))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.at.as_micros() / 1000;
        write!(f, "{:>4}.{:03}  {}", millis / 1000, millis % 1000, self.text)
    }
}

/// The lines of a script; empty ones, and comments after ` // `, say nothing.
pub(crate) fn lines(script: &str) -> Vec<Line> {
    script
        .lines()
        .map(|line| line.split_once(" // ").map_or(line, |(line, _comment)| line))
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let mut words = line.split_whitespace();
            let at = words.next().and_then(time).unwrap_or_else(|| panic!("no time in {line:?}"));
            Line::new(at, words.collect::<Vec<_>>().join(" "))
        })
        .collect()
}

/// Panics if what happened is not what the script says, and shows both from the first difference on.
#[track_caller]
pub(crate) fn compare(expected: &[Line], happened: &[Line]) {
    if expected == happened {
        return;
    }
    let same = expected.iter().zip(happened).take_while(|(one, other)| one == other).count();
    let show = |lines: &[Line]| -> String {
        lines.iter().skip(same.saturating_sub(3)).take(20).map(|line| format!("{line}\n")).collect()
    };
    panic!("expected:\n{}\nhappened:\n{}", show(expected), show(happened));
}

pub(crate) fn show_outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Complete { bytes } => format!("complete, {bytes} bytes"),
        Outcome::PeerError(code) => format!("peer's error {}", code.0),
        Outcome::Aborted(code) => format!("aborted with error {}", code.0),
        Outcome::TimedOut => "timed out".into(),
        Outcome::Superseded => "superseded".into(),
        Outcome::Displaced => "displaced".into(),
        Outcome::Stopped => "stopped".into(),
    }
}

fn time(word: &str) -> Option<Instant> {
    let (seconds, millis) = word.split_once('.')?;
    Some(Instant::from_millis(seconds.parse::<u64>().ok()? * 1000 + millis.parse::<u64>().ok()?))
}
