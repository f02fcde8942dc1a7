//! `pinetboot watch`: the Pis of a running server, live.
//!
//! In a terminal the rows are drawn again at each change; elsewhere each change of a Pi's state or verdict is a line. Plain escape
//! sequences draw the rows: a library for that would be larger than this program's whole page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;

use rustix::termios::tcgetwinsize;

use crate::control::Answer;
use crate::exit::{Exit, Failed};
use crate::live::{PiStatus, Status};
use crate::output::{self, Output};
use crate::status::{parsed, row, stuck};

/// Options of `watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Ask the server at this Unix socket [default: pinetboot/control in $XDG_RUNTIME_DIR, else /run/pinetboot/control]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

/// Shows changes until the server ends.
///
/// # Errors
///
/// If no server runs, or the server has ended.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let mut out = output::stdout();
    let is_terminal = std::io::stdout().is_terminal() && output::has_escapes();
    let mut told = BTreeMap::new();
    loop {
        let mut answer = Answer::to(options.control.as_deref(), "/api/v1/events")?;
        // The server ends a stream after some minutes.
        while let Some(document) = answer.event()? {
            let status: Status = parsed(&document)?;
            if is_terminal {
                draw(&mut out, &status)?;
            } else {
                tell(&mut out, &status, &mut told)?;
            }
            out.finish()?;
            if out.is_closed() {
                return Ok(Exit::Success);
            }
        }
    }
}

/// Draws the rows from the top of the terminal.
fn draw(out: &mut Output, status: &Status) -> Result<(), Failed> {
    let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_row > 2 && size.ws_col > 0);
    let (rows, columns) = size.map_or((24, 80), |size| (usize::from(size.ws_row), usize::from(size.ws_col)));
    let mut shown: Vec<&PiStatus> = status.pis.iter().collect();
    // What needs a look comes first, then what moves.
    shown.sort_by_key(|pi| (pi.verdict.is_none(), pi.transfer.is_none(), pi.state_ms.is_none(), pi.state_ms));
    let width = shown.iter().map(|pi| pi.name.chars().count()).max().unwrap_or(0).min(32);
    let mut lines = Vec::new();
    for pi in shown {
        lines.push(row(pi, width));
        if let Some(verdict) = &pi.verdict {
            lines.extend(stuck(verdict).lines().map(str::to_owned));
        }
    }
    let left_out = lines.len().saturating_sub(rows - 2);
    lines.truncate(rows - 2);
    let mut text = String::from("\x1b[H");
    for line in &lines {
        let line: String = line.chars().take(columns).collect();
        let _written = write!(text, "{line}\x1b[K\r\n");
    }
    let more = if left_out > 0 { format!(", {left_out} lines more") } else { String::new() };
    let number = status.pis.len();
    let _written = write!(text, "Pis: {number}{more}. Ctrl-C ends\x1b[K\x1b[J");
    out.write_fmt(format_args!("{text}"))
}

/// Writes a line for each Pi whose state or verdict changed.
fn tell(
    out: &mut Output,
    status: &Status,
    told: &mut BTreeMap<String, (String, Option<Vec<u8>>)>,
) -> Result<(), Failed> {
    for pi in &status.pis {
        let now = (pi.state.clone(), pi.verdict.as_ref().map(|verdict| verdict.rules.clone()));
        if told.get(&pi.id) == Some(&now) {
            continue;
        }
        writeln!(out, "{}", row(pi, 0))?;
        if let Some(verdict) = &pi.verdict {
            out.write_fmt(format_args!("{}", stuck(verdict)))?;
        }
        told.insert(pi.id.clone(), now);
    }
    Ok(())
}

const EXAMPLES: &str = "\
Examples:
  pinetboot watch                     the Pis that are stuck first, then those that boot
  pinetboot watch | ts                a line for each change";
