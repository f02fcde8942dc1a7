//! The results, written to and read from JSON; and their medians.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Failed;

/// All results of a comparison.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) facts: Facts,
    pub(crate) samples: Vec<Sample>,
}

/// The machine and the servers of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) commit: String,
    pub(crate) machine: String,
    pub(crate) kernel: String,
    /// Each server's name and version.
    pub(crate) servers: Vec<(String, String)>,
    /// The names of the servers that were not installed.
    pub(crate) absent: Vec<String>,
}

/// One run of one server at one point; or of the limits, which are named like servers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) point: String,
    pub(crate) server: String,
    pub(crate) round: u32,
    /// In the point's unit.
    pub(crate) rate: f64,
    /// The server's processor time for each block or request, in microseconds.
    pub(crate) cpu: Option<f64>,
    /// The time of the server's whole core for each block, in microseconds; on the test bed only.
    pub(crate) core: Option<f64>,
    /// The load of the server's processes and of the clients' thread, of one core each.
    pub(crate) server_busy: Option<f64>,
    pub(crate) clients_busy: f64,
    /// The load of all other processes on the two cores, time that the host took away included.
    pub(crate) others_busy: f64,
    /// KiB, before the first request and with all transfers under way.
    pub(crate) memory_idle: Option<u64>,
    pub(crate) memory: Option<u64>,
    /// Clients that were not served, or badly; and those of them whose file had wrong bytes.
    pub(crate) failed: u64,
    pub(crate) wrong: u64,
    /// Packets that the clients sent again, and blocks that came twice.
    pub(crate) retried: u64,
    pub(crate) duplicates: u64,
    /// Milliseconds until the first answer to a request, for all but one in a hundred.
    pub(crate) first_answer: Option<f64>,
    /// The same for new requests while all transfers run.
    pub(crate) new_request: Option<f64>,
    /// How many times as long as the median transfer the slowest one takes.
    pub(crate) slowest: Option<f64>,
    /// DATA received for each block of the file.
    pub(crate) data_per_block: Option<f64>,
    /// The window that the server agreed to.
    pub(crate) window: Option<u16>,
    /// The error that ended the whole run.
    pub(crate) error: Option<String>,
}

/// One figure of a sample.
pub(crate) type Value = fn(&Sample) -> Option<f64>;

impl Results {
    pub(crate) fn read(path: &Path) -> Result<Self, Failed> {
        let failed =
            |error: &dyn std::fmt::Display| Failed::from(format!("cannot read {}: {error}", path.display()));
        let file = File::open(path).map_err(|error| failed(&error))?;
        serde_json::from_reader(BufReader::new(file)).map_err(|error| failed(&error))
    }

    /// Writes it whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failed> {
        let failed =
            |error: std::io::Error| Failed::from(format!("cannot write {}: {error}", path.display()));
        let new = path.with_extension("json.new");
        let mut file = BufWriter::new(File::create(&new).map_err(failed)?);
        serde_json::to_writer_pretty(&mut file, self).map_err(|error| failed(error.into()))?;
        file.flush().map_err(failed)?;
        fs::rename(&new, path).map_err(failed)
    }

    /// Adds the results of another run.
    pub(crate) fn merge(&mut self, other: Self) -> Result<(), Failed> {
        if self.samples.is_empty() {
            self.facts = other.facts;
        } else if (&self.facts.commit, &self.facts.machine, &self.facts.kernel)
            != (&other.facts.commit, &other.facts.machine, &other.facts.kernel)
        {
            return Err(
                "these results are of different commits or machines: they cannot stand side by side".into()
            );
        } else {
            for server in other.facts.servers {
                if !self.facts.servers.contains(&server) {
                    self.facts.servers.push(server);
                }
            }
        }
        self.samples.extend(other.samples);
        Ok(())
    }

    /// The runs of one server at one point.
    pub(crate) fn at(&self, point: &str, server: &str) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.point == point && sample.server == server).collect()
    }
}

/// A median with the lowest and the highest value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` without values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Some(Self { min, median, max })
    }
}

/// The names of the limits among the servers.
pub(crate) const PING_PONG: &str = "ping-pong";
pub(crate) const NULL: &str = "null responder";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
    }

    #[test]
    fn results_of_two_commits_do_not_mix() {
        let of = |commit: &str| Results {
            facts: Facts { commit: commit.into(), ..Facts::default() },
            samples: vec![Sample::default()],
        };
        let mut results = Results::default();
        assert!(results.merge(of("a")).is_ok());
        assert!(results.merge(of("a")).is_ok());
        assert!(results.merge(of("b")).is_err());
        assert_eq!(results.samples.len(), 2);
    }
}
