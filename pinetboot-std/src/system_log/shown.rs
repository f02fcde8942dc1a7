//! The log for people and programs: failed units and errors first, then the last lines.

use core::time::Duration;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::{Boot, FailedUnit, Line, Options, SystemLog};
use crate::exit::Failed;
use crate::output::Output;
use crate::text::{line, lines};
use crate::time;

/// A log for `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown<'a> {
    pi: String,
    image: &'a str,
    source: &'a str,
    boots: &'a [Boot],
    /// As journalctl counts: 0 is the last one.
    boot: i64,
    failed_units: Vec<&'a FailedUnit>,
    errors: Vec<&'a Line>,
    /// The last lines, errors among them.
    lines: &'a [Line],
    notes: &'a [String],
}

impl SystemLog {
    /// The last lines.
    fn last(&self, count: usize) -> &[Line] {
        self.lines.get(self.lines.len().saturating_sub(count)..).unwrap_or_default()
    }

    /// The number of the boot, as journalctl counts from the last one.
    pub(crate) fn number(&self) -> i64 {
        self.chosen as i64 + 1 - self.boots.len() as i64
    }

    /// The times of the boot's first and last line.
    pub(crate) fn span(&self) -> Option<String> {
        let boot = self.boots.get(self.chosen)?;
        Some(format!("{} to {}", local(boot.from?), local(boot.to?)))
    }
}

/// Prints the log of a Pi's root on an image.
///
/// # Errors
///
/// If standard output fails.
pub(crate) fn print(
    log: &SystemLog,
    pi: &str,
    image: &str,
    options: &Options,
    out: &mut Output,
) -> Result<(), Failed> {
    if options.json {
        return out.json(&Shown {
            pi: pi.to_owned(),
            image,
            source: &log.source,
            boots: &log.boots,
            boot: log.number(),
            failed_units: log.failed_units(),
            errors: log.errors().collect(),
            lines: log.last(options.lines),
            notes: &log.notes,
        });
    }
    let span = log.span().map(|span| format!(", {span}")).unwrap_or_default();
    let (boot, others) = (log.number(), log.boots.len() - 1);
    writeln!(out, "{pi} on {image}, {}: boot {boot} of {}{span}", log.source, others + 1)?;
    for note in &log.notes {
        writeln!(out, "Note: {}", line(note))?;
    }
    let units = log.failed_units();
    if !units.is_empty() {
        writeln!(out, "\nFailed units:")?;
        for FailedUnit { unit, result } in &units {
            writeln!(out, "  {} ({})", line(unit), line(result))?;
        }
    }
    let errors: Vec<&Line> = log.errors().collect();
    if !errors.is_empty() {
        writeln!(out, "\nErrors:")?;
        for error in errors.iter().take(MOST_ERRORS) {
            print_line(error, out)?;
        }
        if let more @ 1.. = errors.len().saturating_sub(MOST_ERRORS) {
            writeln!(out, "  and {more} more; --json prints all")?;
        }
    } else if log.lines.iter().any(|line| line.priority.is_some()) {
        writeln!(out, "\nNo errors.")?;
    }
    let last = log.last(options.lines);
    if !last.is_empty() {
        writeln!(out, "\nLast lines ({} of {}):", last.len(), log.lines.len())?;
    }
    last.iter().try_for_each(|line| print_line(line, out))
}

/// A line; the further lines of a message are indented, as by journalctl.
fn print_line(found: &Line, out: &mut Output) -> Result<(), Failed> {
    let time = found.time.map(|time| format!("{} ", local(time))).unwrap_or_default();
    let mut rows = found.message.split('\n');
    let program = found.program.as_ref().map(|program| format!("{}: ", line(program))).unwrap_or_default();
    writeln!(out, "  {time}{program}{}", line(rows.next().unwrap_or_default()))?;
    rows.try_for_each(|row| writeln!(out, "      {}", lines(row)))
}

fn local(micros: u64) -> String {
    time::of(at(micros)).map_or_else(|| "-".into(), |time| time::local(&time))
}

/// RFC 3339, UTC.
pub(super) fn time<S: Serializer>(micros: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    micros.and_then(|micros| time::of(at(micros))).serialize(to)
}

fn at(micros: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Errors that are printed.
const MOST_ERRORS: usize = 100;
