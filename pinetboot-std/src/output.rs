//! Standard output and standard error of the commands.
//!
//! `println!` and `eprintln!` panic if a write fails, so the crate denies them (clippy's `print_stdout` and `print_stderr`).
//!
//! * Standard output is [`Output`]: a closed pipe, as behind `| head`, discards the rest of the output; any other failed write,
//!   as on a full disk, ends the command with an error.
//! * A command changes its state before it prints: no output, or a failed one, leaves a change half done.
//! * Standard error is [`tell`], progress bars and the [log](crate::logging). Escape sequences are for terminals, and for those
//!   only where `NO_COLOR`, `CLICOLOR=0` and `TERM=dumb` are not set.

pub(crate) mod journal;

use std::fmt;
use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use indicatif::ProgressDrawTarget;
use serde::Serialize;
use tracing::Level;

use crate::exit::{Exit, Failed};
use crate::text::lines;

/// The standard output of a command.
///
/// After the reader has closed the pipe, writes succeed and are discarded: the command works to its end, and its exit code is
/// that of its work.
#[derive(Debug)]
pub struct Output<W = io::Stdout> {
    to: W,
    /// Whether the reader has closed the pipe.
    closed: bool,
}

/// The standard output.
pub fn stdout() -> Output {
    Output::new(io::stdout())
}

impl<W: Write> Output<W> {
    /// An output to this writer.
    pub const fn new(to: W) -> Self {
        Self { to, closed: false }
    }

    /// Whether the reader has closed the pipe. A command whose only effect is its output may end then.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes formatted text, as called by `write!` and `writeln!`.
    ///
    /// # Errors
    ///
    /// If a write fails, except for a closed pipe.
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> Result<(), Failed> {
        Write::write_fmt(self, text).map_err(failed)
    }

    /// Writes a value as one JSON document.
    ///
    /// # Errors
    ///
    /// If a write fails, except for a closed pipe.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failed> {
        let text = serde_json::to_string_pretty(value).map_err(|error| failed(error.into()))?;
        writeln!(self, "{text}")
    }

    /// Writes rows in columns; the first row is that of the names.
    ///
    /// # Errors
    ///
    /// If a write fails, except for a closed pipe.
    pub fn table<const N: usize>(&mut self, rows: &[[String; N]]) -> Result<(), Failed> {
        let chars = |cell: &String| cell.chars().count();
        let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(chars).max();
        let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
        for row in rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(self, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }

    /// Writes buffered text.
    ///
    /// # Errors
    ///
    /// If a write fails, except for a closed pipe.
    pub fn finish(&mut self) -> Result<(), Failed> {
        self.flush().map_err(failed)
    }

    fn unless_closed<T>(&mut self, done: io::Result<T>, discarded: T) -> io::Result<T> {
        match done {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(discarded)
            }
            done => done,
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let done = self.to.write(bytes);
        self.unless_closed(done, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let done = self.to.flush();
        self.unless_closed(done, ())
    }
}

/// The error of a command whose output cannot be written.
pub fn failed(error: io::Error) -> Failed {
    Failed::new(Exit::Failure, format!("cannot write to standard output: {error}"))
}

/// Writes a line to standard error, for the journal with the level's priority. A failed write is ignored: no channel is left to
/// report it.
pub fn tell(level: Level, line: impl fmt::Display) {
    let line = lines(&line.to_string()).to_string();
    let line = match journal::is_stderr() {
        true => journal::lines(level, line),
        false => format!("{line}\n"),
    };
    let _no_channel_left = io::stderr().write_all(line.as_bytes());
}

/// Whether standard error may get escape sequences: a terminal, unless the environment forbids them.
pub fn has_escapes() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never
}

/// The place of progress bars: standard error, or none if `quiet` or if standard error may get no escape sequences.
pub fn progress(quiet: bool) -> ProgressDrawTarget {
    if quiet || !has_escapes() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails each write with this error after the first bytes.
    struct Failing(usize, io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.min(bytes.len()) {
                0 => Err(self.1.into()),
                taken => {
                    self.0 -= taken;
                    Ok(taken)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            if self.0 == 0 { Err(self.1.into()) } else { Ok(()) }
        }
    }

    #[test]
    fn a_closed_pipe_discards_the_rest() {
        let mut out = Output::new(Failing(3, io::ErrorKind::BrokenPipe));
        writeln!(out, "a line").unwrap();
        assert!(out.is_closed());
        out.json(&[1, 2]).unwrap();
        out.finish().unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut out = Output::new(Failing(3, io::ErrorKind::StorageFull));
        let failed = writeln!(out, "a line").unwrap_err();
        assert_eq!(failed.exit, Exit::Failure);
        assert!(failed.message.starts_with("cannot write to standard output: "), "{failed}");
        assert!(out.finish().is_err());
        assert!(!out.is_closed());
    }
}
