//! The rows, in the order in which they are measured: each row needs the files that the rows before it left.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::load::Load;
use crate::Failed;
use crate::rows;

/// One row of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) run: fn(&mut Load) -> Result<Done, Failed>,
    /// The server is restarted before the row: its caches are empty.
    pub(super) anew: bool,
    /// The processor time is so much below the other server's that no noise explains it: checked on any machine.
    pub(super) cheaper: bool,
}

/// The unit of a row's rate, per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Mebibytes,
    Calls,
    Entries,
}

/// The work of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) calls: u64,
    /// Bytes, calls or entries.
    pub(super) count: u64,
    pub(super) time: Duration,
}

/// The sizes and counts of the rows.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Size {
    /// The size in bytes of the file that is written and read.
    pub(super) file: u64,
    /// The number of pieces of 4 KiB, one by one and many at once.
    pub(super) small: (u64, u64),
    /// The number of created files, one by one and many at once.
    pub(super) files: (u64, u64),
}

/// The rows, in their order.
pub(super) const ALL: &[Row] = &[
    row("write 1 MiB x 4, COMMIT", Unit::Mebibytes, |load| load.write_all(4)),
    row("read 1 MiB x 4", Unit::Mebibytes, |load| load.read_all(1 << 20, 4)),
    row("read 128 KiB x 4", Unit::Mebibytes, |load| load.read_all(128 << 10, 4)),
    row("random read 4 KiB x 1", Unit::Calls, |load| load.read_some(load.size.small.0, 1)),
    cheaper("random read 4 KiB x 16", Unit::Calls, |load| load.read_some(load.size.small.1, 16)),
    row("random write 4 KiB x 1", Unit::Calls, |load| load.write_some(load.size.small.0, 1)),
    row("random write 4 KiB x 16", Unit::Calls, |load| load.write_some(load.size.small.1, 16)),
    row("CREATE x 1", Unit::Calls, |load| load.create(load.size.files.0, 1)),
    row("LOOKUP x 1", Unit::Calls, |load| load.look_up(1)),
    row("GETATTR x 1", Unit::Calls, |load| load.stat(1)),
    row("REMOVE x 1", Unit::Calls, |load| load.remove(1)),
    row("CREATE x 8", Unit::Calls, |load| load.create(load.size.files.1, 8)),
    row("LOOKUP x 8", Unit::Calls, |load| load.look_up(8)),
    row("GETATTR x 8", Unit::Calls, |load| load.stat(8)),
    row("READDIRPLUS of all", Unit::Entries, Load::list),
    Row { anew: true, ..row("READDIRPLUS, just started", Unit::Entries, Load::list) },
    cheaper("REMOVE x 8", Unit::Calls, |load| load.remove(8)),
];

const fn row(name: &'static str, unit: Unit, run: fn(&mut Load) -> Result<Done, Failed>) -> Row {
    Row { name, unit, run, anew: false, cheaper: false }
}

const fn cheaper(name: &'static str, unit: Unit, run: fn(&mut Load) -> Result<Done, Failed>) -> Row {
    Row { cheaper: true, ..row(name, unit, run) }
}

impl rows::Row for Row {
    fn name(&self) -> &'static str {
        self.name
    }

    fn unit(&self) -> &'static str {
        self.unit.name()
    }

    fn show(&self, rate: f64) -> String {
        match self.unit {
            Unit::Mebibytes => format!("{rate:.0}"),
            Unit::Calls | Unit::Entries => format!("{:.1} k", rate / 1e3),
        }
    }
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mebibytes => "MiB/s",
            Self::Calls => "calls/s",
            Self::Entries => "entries/s",
        }
    }
}

impl Done {
    /// In this unit, per second.
    pub(super) fn rate(self, unit: Unit) -> f64 {
        let count = match unit {
            Unit::Mebibytes => self.count as f64 / f64::from(1 << 20),
            Unit::Calls | Unit::Entries => self.count as f64,
        };
        count / self.time.as_secs_f64()
    }
}

impl Size {
    pub(super) const THOROUGH: Self = Self { file: 128 << 20, small: (5000, 30_000), files: (2000, 10_000) };
    pub(super) const QUICK: Self = Self { file: 32 << 20, small: (1000, 5000), files: (500, 2000) };
}
