//! What systemd says of the units.

use std::fmt;
use std::io;
use std::process::Command;

use super::Unit;
use crate::exit::{Exit, Failed};
use crate::output;

/// Properties of a unit, as `systemctl show` prints them.
#[derive(Debug)]
pub(super) struct State(String);

impl State {
    /// Asks systemd.
    pub(super) fn of(unit: &str) -> io::Result<Self> {
        let asked = Command::new("systemctl").args(["show", PROPERTIES, unit]).output()?;
        if asked.status.success() {
            return Ok(Self(String::from_utf8_lossy(&asked.stdout).into_owned()));
        }
        Err(io::Error::other(String::from_utf8_lossy(&asked.stderr).trim().to_owned()))
    }

    /// The value of a property; empty if systemd has none.
    pub(super) fn value(&self, name: &str) -> &str {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    }
}

/// The state, and what the server reports.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [active, sub, text] = ["ActiveState", "SubState", "StatusText"].map(|name| self.value(name));
        let separator = if text.is_empty() { "" } else { ", " };
        write!(f, "{active} ({sub}){separator}{text}")
    }
}

/// Prints a line for each unit that systemd knows.
pub(super) fn print() -> Result<Exit, Failed> {
    let mut out = output::stdout();
    let mut states = Vec::new();
    for unit in Unit::ALL {
        let state = State::of(unit.name()).map_err(|error| {
            Failed::new(Exit::Failure, format!("cannot ask systemctl for {}: {error}", unit.name()))
        })?;
        if state.value("LoadState") == "loaded" {
            states.push((unit, state));
        }
    }
    for (unit, state) in &states {
        writeln!(out, "{}: {state}; at boot: {}", unit.name(), state.value("UnitFileState"))?;
    }
    if states.is_empty() {
        writeln!(out, "no unit is installed. To install one: sudo pinetboot service install")?;
    }
    let is_active = |state: &State| matches!(state.value("ActiveState"), "active" | "reloading");
    Ok(if states.iter().any(|(_, state)| is_active(state)) { Exit::Success } else { Exit::Failure })
}

const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,UnitFileState,StatusText,Job";
