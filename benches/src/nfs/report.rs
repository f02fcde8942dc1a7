//! The results as JSON and as a table.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::peer::{GANESHA, OVERLAY, PINETBOOT, SYNC_OFF};
use super::row::{self, Row, Unit};
use super::{Results, Sample};
use crate::Failed;
use crate::results::Spread;

/// Writes `nfs.json` and `nfs.md`.
pub(super) fn write(results: &Results, out: &Path) -> Result<(), Failed> {
    let failed = |error: &dyn core::fmt::Display| format!("cannot write to {}: {error}", out.display());
    let json = serde_json::to_string_pretty(results).map_err(|error| failed(&error))?;
    fs::write(out.join("nfs.json"), json).map_err(|error| failed(&error))?;
    let table = markdown(results);
    fs::write(out.join("nfs.md"), table).map_err(|error| failed(&error))?;
    Ok(())
}

impl Results {
    fn spread(&self, row: &Row, server: &str, value: fn(&Sample) -> f64) -> Option<Spread> {
        let here = self.samples.iter().filter(|sample| sample.row == row.name && sample.server == server);
        Spread::of(here.map(value))
    }

    pub(super) fn cpu(&self, row: &Row, server: &str) -> Option<f64> {
        self.spread(row, server, |sample| sample.cpu).map(|spread| spread.median)
    }

    fn median(&self, row: &Row, server: &str) -> Option<f64> {
        self.spread(row, server, |sample| sample.rate).map(|spread| spread.median)
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
    let _ = write!(
        text,
        " CREATE and REMOVE are on stable storage when answered by {PINETBOOT} and {OVERLAY} (--nfs-sync on), and answered from memory by \
         {SYNC_OFF} and {GANESHA}; the ratio is of these two."
    );
    text += "\n\n| median (lowest to highest) | |";
    servers.iter().for_each(|name| _ = write!(text, " {name} |"));
    text += " ratio |";
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
        let ratio = results.median(row, SYNC_OFF).zip(results.median(row, GANESHA));
        let _ = write!(
            text,
            " {} |",
            ratio.map_or(String::new(), |(ours, theirs)| format!("{:.2}", ours / theirs))
        );
        for name in &servers {
            let cpu = results.spread(row, name, |sample| sample.cpu);
            let _ = write!(text, " {} |", cpu.map_or(String::new(), |cpu| format!("{:.1}", cpu.median)));
        }
        text.push('\n');
    }
    text
}

fn show(rate: Spread, unit: Unit) -> String {
    let one = |value: f64| match unit {
        Unit::Mebibytes => format!("{value:.0}"),
        Unit::Calls | Unit::Entries => format!("{:.1} k", value / 1e3),
    };
    format!("{} ({} to {})", one(rate.median), one(rate.min), one(rate.max))
}
