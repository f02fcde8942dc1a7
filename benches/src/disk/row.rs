//! The rows, in the order in which they are measured: each row needs what the rows before it wrote.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::load::{Area, Load};
use crate::Failed;
use crate::rows;

/// One row of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) run: fn(&mut Load<'_>) -> Result<Done, Failed>,
}

/// The unit of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Mebibytes,
    Requests,
    /// Less is better.
    Kibibytes,
}

/// The work of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) requests: u64,
    /// Bytes, or requests.
    pub(super) count: u64,
    pub(super) time: Duration,
}

/// The sizes and counts of the rows.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Size {
    /// Bytes of each of the image's areas, of which there are three.
    pub(super) area: u64,
    /// Requests of 4 KiB, one by one and many at once.
    pub(super) small: (u64, u64),
    /// Flushes.
    pub(super) flushes: u64,
}

/// The rows, in their order.
pub(super) const ALL: &[Row] = &[
    row("read the image, 1 MiB x 4", Unit::Mebibytes, |load| load.read_all(Area::Image, 4)),
    row("read the image, 4 KiB x 1", Unit::Requests, |load| load.read_some(Area::Image, 1)),
    row("read the image, 4 KiB x 16", Unit::Requests, |load| load.read_some(Area::Image, 16)),
    row("write new, 1 MiB x 4, flush", Unit::Mebibytes, |load| load.write_all(Area::Sequential, 4)),
    row("write again, 1 MiB x 4, flush", Unit::Mebibytes, |load| load.write_all(Area::Sequential, 4)),
    row("read written, 1 MiB x 4", Unit::Mebibytes, |load| load.read_all(Area::Sequential, 4)),
    row("read written, 4 KiB x 1", Unit::Requests, |load| load.read_some(Area::Sequential, 1)),
    row("read written, 4 KiB x 16", Unit::Requests, |load| load.read_some(Area::Sequential, 16)),
    row("write new, 4 KiB x 1", Unit::Requests, |load| load.write_new(1)),
    row("write new, 4 KiB x 16", Unit::Requests, |load| load.write_new(16)),
    row("write again, 4 KiB x 1", Unit::Requests, |load| load.write_some(1)),
    row("write again, 4 KiB x 16", Unit::Requests, |load| load.write_some(16)),
    row("write again 4 KiB, flush, x 1", Unit::Requests, |load| load.write_and_flush(false)),
    row("write new 4 KiB, flush, x 1", Unit::Requests, |load| load.write_and_flush(true)),
    row("flush, nothing new, x 1", Unit::Requests, |load| load.flushes()),
    row("100 disks, read 4 KiB x 1 each", Unit::Requests, |load| load.hundred(false)),
    row("100 disks, write 4 KiB x 1 each", Unit::Requests, |load| load.hundred(true)),
    row("memory of one of 100 idle disks", Unit::Kibibytes, |load| load.idle()),
];

const fn row(name: &'static str, unit: Unit, run: fn(&mut Load<'_>) -> Result<Done, Failed>) -> Row {
    Row { name, unit, run }
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
            Unit::Mebibytes | Unit::Kibibytes => format!("{rate:.0}"),
            Unit::Requests if rate < 10_000.0 => format!("{rate:.0}"),
            Unit::Requests => format!("{:.1} k", rate / 1e3),
        }
    }

    fn has_cpu(&self) -> bool {
        self.unit != Unit::Kibibytes
    }
}

impl Unit {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Mebibytes => "MiB/s",
            Self::Requests => "requests/s",
            Self::Kibibytes => "KiB",
        }
    }
}

impl Done {
    /// In this unit, per second.
    pub(super) fn rate(self, unit: Unit) -> f64 {
        match unit {
            Unit::Mebibytes => self.count as f64 / f64::from(1 << 20) / self.time.as_secs_f64(),
            Unit::Requests => self.count as f64 / self.time.as_secs_f64(),
            Unit::Kibibytes => self.count as f64 / 1024.0,
        }
    }
}

impl Size {
    pub(super) const THOROUGH: Self = Self { area: 128 << 20, small: (5000, 30_000), flushes: 200 };
    pub(super) const QUICK: Self = Self { area: 32 << 20, small: (1500, 8000), flushes: 50 };
}
