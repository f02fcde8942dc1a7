//! The rows of `nfs` and `disk`: servers are measured row by row, in turn, and the results are written as JSON and as a table.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::compare;
use crate::results::{Facts, Spread};

/// All results of a comparison.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results<S> {
    pub(crate) facts: Facts,
    /// The size of the load.
    pub(crate) size: S,
    samples: Vec<Sample>,
}

/// One row of one server in one round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    row: String,
    server: String,
    round: u32,
    /// In the row's unit.
    rate: f64,
    /// The server's processor time for each call, request or entry, in microseconds.
    cpu: f64,
}

/// A row of the table.
pub(crate) trait Row {
    /// The name.
    fn name(&self) -> &'static str;

    /// The unit of its rate.
    fn unit(&self) -> &'static str;

    /// A rate, without the unit.
    fn show(&self, rate: f64) -> String;

    /// Whether the processor time of a call means something.
    fn has_cpu(&self) -> bool {
        true
    }
}

/// A server to measure.
pub(crate) trait Server {
    /// The name.
    fn name(&self) -> &str;

    /// The version, as the server says it.
    fn version(&self) -> &str;
}

/// The wanted servers of those that were found, or all of them.
pub(crate) fn wanted<P: Server>(mut found: Vec<P>, wanted: &[String]) -> Result<Vec<P>, Failed> {
    if let Some(unknown) = wanted.iter().find(|name| found.iter().all(|server| server.name() != **name)) {
        let names: Vec<_> = found.iter().map(Server::name).collect();
        return Err(format!("no server {unknown} here; known: {}", names.join(", ")).into());
    }
    found.retain(|server| wanted.is_empty() || wanted.iter().any(|name| name == server.name()));
    Ok(found)
}

/// What takes a row's rate and processor time.
pub(crate) type Measured<'a, R> = &'a mut dyn FnMut(&R, f64, f64);

impl<S: Serialize> Results<S> {
    /// No results yet of these servers.
    pub(crate) fn of<P: Server>(servers: &[P], absent: Vec<String>, size: S) -> Self {
        let servers = servers.iter().map(|server| (server.name().to_owned(), server.version().to_owned()));
        let facts = Facts { servers: servers.collect(), absent, ..compare::facts() };
        for absent in &facts.absent {
            eprintln!("not installed: {absent}");
        }
        Self { facts, size, samples: Vec::new() }
    }

    /// Measures all rows of each server in each round; after a round, `save` has the results so far.
    pub(crate) fn measure<P: Server, R: Row>(
        &mut self,
        servers: &[P],
        rounds: u32,
        mut measure: impl FnMut(&P, Measured<'_, R>) -> Result<(), Failed>,
        mut save: impl FnMut(&Self) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        for round in 1..=rounds {
            // The first server in one round is the last in another.
            for turn in 0..servers.len() {
                let server = &servers[(turn + round as usize) % servers.len()];
                eprintln!("{} (round {round} of {rounds})", server.name());
                let measured = measure(server, &mut |row, rate, cpu| {
                    eprintln!("  {:<34} {rate:>9.0} {:<10} {cpu:>7.1} us of CPU", row.name(), row.unit());
                    let (row, server) = (row.name().to_owned(), server.name().to_owned());
                    self.samples.push(Sample { row, server, round, rate, cpu });
                });
                measured.map_err(|failed| format!("{}: {failed}", server.name()))?;
            }
            save(self)?;
        }
        Ok(())
    }

    /// Writes `NAME.json`, and the text as `NAME.md`.
    pub(crate) fn write(&self, out: &Path, name: &str, text: &str) -> Result<(), Failed> {
        let failed = |error: &dyn core::fmt::Display| format!("cannot write to {}: {error}", out.display());
        fs::create_dir_all(out).map_err(|error| failed(&error))?;
        let json = serde_json::to_string_pretty(self).map_err(|error| failed(&error))?;
        fs::write(out.join(name).with_extension("json"), json).map_err(|error| failed(&error))?;
        fs::write(out.join(name).with_extension("md"), text).map_err(|error| failed(&error))?;
        Ok(())
    }
}

impl<S> Results<S> {
    pub(crate) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The median rate of a server in a row.
    pub(crate) fn rate(&self, row: &impl Row, server: &str) -> Option<f64> {
        self.spread(row, server, |sample| sample.rate).map(|spread| spread.median)
    }

    /// The median processor time of a server in a row.
    pub(crate) fn cpu(&self, row: &impl Row, server: &str) -> Option<f64> {
        self.spread(row, server, |sample| sample.cpu).map(|spread| spread.median)
    }

    fn spread(&self, row: &impl Row, server: &str, value: fn(&Sample) -> f64) -> Option<Spread> {
        let here = self.samples.iter().filter(|sample| sample.row == row.name() && sample.server == server);
        Spread::of(here.map(value))
    }

    /// The table of all rows, with a column for a ratio.
    pub(crate) fn table<R: Row>(
        &self,
        rows: &[R],
        remark: &str,
        (ratio_of, ratio): (&str, impl Fn(&R) -> Option<f64>),
    ) -> String {
        let facts = &self.facts;
        let servers: Vec<_> = facts.servers.iter().map(|(name, _)| name.as_str()).collect();
        let rounds = self.samples.iter().map(|sample| sample.round).max().unwrap_or_default();
        let mut text =
            format!("Commit {}, {}, {}. {rounds} rounds.", facts.commit, facts.machine, facts.kernel);
        for (name, version) in &facts.servers {
            let _ = write!(text, " {name}: {version}.");
        }
        text += remark;
        text += "\n\n| median (lowest to highest) | |";
        servers.iter().for_each(|name| _ = write!(text, " {name} |"));
        let _ = write!(text, " {ratio_of} |");
        servers.iter().for_each(|name| _ = write!(text, " {name}, us of CPU |"));
        text += "\n|---|---|";
        text += &"---:|".repeat(2 * servers.len() + 1);
        text.push('\n');
        for row in rows {
            let _ = write!(text, "| {} | {} |", row.name(), row.unit());
            for name in &servers {
                let rate = self.spread(row, name, |sample| sample.rate).map(
                    |Spread { median, min, max, .. }| {
                        format!("{} ({} to {})", row.show(median), row.show(min), row.show(max))
                    },
                );
                let _ = write!(text, " {} |", rate.unwrap_or_default());
            }
            let ratio = ratio(row).map(|ratio| format!("{ratio:.2}"));
            let _ = write!(text, " {} |", ratio.unwrap_or_default());
            for name in &servers {
                let cpu = self.cpu(row, name).filter(|_| row.has_cpu()).map(|cpu| format!("{cpu:.1}"));
                let _ = write!(text, " {} |", cpu.unwrap_or_default());
            }
            text.push('\n');
        }
        text
    }
}
