//! The results as JSON and as a table.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::peer::NO_FLUSH;
use super::row::{self, Row, Unit};
use super::{Results, Sample};
use crate::Failed;
use crate::peer::PINETBOOT;
use crate::results::Spread;

/// Writes `disk.json` and `disk.md`.
pub(super) fn write(results: &Results, out: &Path) -> Result<(), Failed> {
    let failed = |error: &dyn core::fmt::Display| format!("cannot write to {}: {error}", out.display());
    let json = serde_json::to_string_pretty(results).map_err(|error| failed(&error))?;
    fs::write(out.join("disk.json"), json).map_err(|error| failed(&error))?;
    fs::write(out.join("disk.md"), markdown(results)).map_err(|error| failed(&error))?;
    Ok(())
}

impl Results {
    fn spread(&self, row: &Row, server: &str, value: fn(&Sample) -> f64) -> Option<Spread> {
        let here = self.samples.iter().filter(|sample| sample.row == row.name && sample.server == server);
        Spread::of(here.map(value))
    }

    /// How many times as good as the best other server; in rows that flush, as the best of those that wait for the storage device.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let median = |name: &str| self.spread(row, name, |sample| sample.rate).map(|spread| spread.median);
        let is_other =
            |name: &&String| *name != PINETBOOT && !(row.name.contains("flush") && *name == NO_FLUSH);
        let others = self.facts.servers.iter().map(|(name, _)| name).filter(is_other);
        let others = others.filter_map(|name| median(name));
        let ours = median(PINETBOOT)?;
        match row.unit {
            Unit::Kibibytes => others.reduce(f64::min).map(|best| best / ours),
            _ => others.reduce(f64::max).map(|best| ours / best),
        }
    }
}

pub(super) fn markdown(results: &Results) -> String {
    let facts = &results.facts;
    let servers: Vec<_> = facts.servers.iter().map(|(name, _)| name.as_str()).collect();
    let rounds = results.samples.iter().map(|sample| sample.round).max().unwrap_or_default();
    let mut text = format!("Commit {}, {}, {}. {rounds} rounds.", facts.commit, facts.machine, facts.kernel);
    for (name, version) in &facts.servers {
        let _ = write!(text, " {name}: {version}.");
    }
    text += "\n\n| median (lowest to highest) | |";
    servers.iter().for_each(|name| _ = write!(text, " {name} |"));
    text += " to the best other |";
    servers.iter().for_each(|name| _ = write!(text, " {name}, us of CPU |"));
    text += "\n|---|---|";
    text += &"---:|".repeat(2 * servers.len() + 1);
    text.push('\n');
    for row in row::ALL {
        let _ = write!(text, "| {} | {} |", row.name, row.unit.name());
        for name in &servers {
            let rate = results.spread(row, name, |sample| sample.rate);
            let _ = write!(text, " {} |", rate.map_or(String::new(), |rate| show(rate, row.unit)));
        }
        let _ =
            write!(text, " {} |", results.ratio(row).map_or(String::new(), |ratio| format!("{ratio:.2}")));
        for name in &servers {
            let cpu = results.spread(row, name, |sample| sample.cpu).filter(|_| row.unit != Unit::Kibibytes);
            let _ = write!(text, " {} |", cpu.map_or(String::new(), |cpu| format!("{:.1}", cpu.median)));
        }
        text.push('\n');
    }
    text
}

fn show(rate: Spread, unit: Unit) -> String {
    let one = |value: f64| match unit {
        Unit::Mebibytes | Unit::Kibibytes => format!("{value:.0}"),
        Unit::Requests if value < 10_000.0 => format!("{value:.0}"),
        Unit::Requests => format!("{:.1} k", value / 1e3),
    };
    format!("{} ({} to {})", one(rate.median), one(rate.min), one(rate.max))
}
