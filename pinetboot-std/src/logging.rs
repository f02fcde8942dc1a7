//! Log output on standard error: as text, the message alone; as JSON, every field.
//!
//! No thread waits for the reader of standard error (`unread`).
//!
//! The page has the last lines (`tail`).
//!
//! The journal of systemd gets a priority in front of each line; in text that replaces time and level, which the journal has.

mod tail;
mod unread;

use std::io::{self, Stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use tracing::field::Field;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;
use crate::output::{self, journal};
use crate::text::line;
use crate::time::Zone;
pub use tail::{LogLine, Tail};
use unread::Unread;

/// Starts logging to standard error, at `level` and above; `tail` keeps the last lines.
pub fn start(format: LogFormat, level: Level, tail: Tail) {
    let is_journal = journal::is_stderr();
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(Standard { is_journal })
        .with_target(false)
        .log_internal_errors(false); // by `eprintln!`, which panics
    let started = match format {
        LogFormat::Json => {
            IS_JSON.store(true, Ordering::Relaxed);
            builder.json().flatten_event(true).with_span_list(false).finish().with(tail).try_init()
        }
        LogFormat::Text if is_journal => {
            let builder = builder.fmt_fields(message_only()).with_ansi(false).with_level(false);
            builder.without_time().finish().with(tail).try_init()
        }
        LogFormat::Text => {
            let clock = Clock(Zone::of_machine());
            let builder =
                builder.fmt_fields(message_only()).with_timer(clock).with_ansi(output::has_escapes());
            builder.finish().with(tail).try_init()
        }
    };
    // Tests start logging twice in one process: the first subscriber stays.
    let _already_started = started;
}

/// Whether lines are JSON, which has what a reader of text needs not.
pub(crate) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// The number of lines that were dropped because standard error was not read, since [`report_dropped`] last reported it.
pub fn dropped() -> u64 {
    stderr().dropped()
}

/// Lets `report` log the number of dropped lines, until a line with it is written.
pub fn report_dropped(report: impl FnOnce(u64)) {
    let dropped = dropped();
    report(dropped);
    let mut stderr = stderr();
    if stderr.dropped() == dropped {
        stderr.reported(dropped);
    }
}

fn stderr() -> MutexGuard<'static, Unread<Stderr>> {
    static STDERR: LazyLock<Mutex<Unread<Stderr>>> = LazyLock::new(|| Mutex::new(Unread::new(io::stderr())));
    STDERR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The local time of day.
#[derive(Debug, Clone)]
struct Clock(Zone);

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        writer.write_str(&self.0.time_of_day())
    }
}

/// Standard error.
#[derive(Debug, Clone, Copy)]
struct Standard {
    is_journal: bool,
}

/// Standard error for the lines of one event.
struct Lines {
    /// The level, if the reader is the journal.
    level: Option<Level>,
}

impl MakeWriter<'_> for Standard {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        Lines { level: None }
    }

    fn make_writer_for(&self, event: &Metadata<'_>) -> Lines {
        Lines { level: self.is_journal.then_some(*event.level()) }
    }
}

/// Gets each event whole.
impl Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        match self.level {
            None => stderr().write(event)?,
            Some(level) => {
                stderr().write(journal::lines(level, String::from_utf8_lossy(event)).as_bytes())?
            }
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The message of a line, without its fields; other machines chose parts of it. A remedy follows in lines of its own.
pub(crate) fn message_only() -> impl for<'writer> FormatFields<'writer> + Clone {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug| match field.name() {
        "message" => write!(writer, "{}", line(&format!("{value:?}"))),
        "remedy" => {
            let text = format!("{value:?}");
            // A string is shown with quotes and escapes.
            let text = serde_json::from_str::<String>(&text).unwrap_or(text);
            text.lines().try_for_each(|remedy| write!(writer, "\n          do: {}", line(remedy)))
        }
        _ => Ok(()),
    })
}

/// The log level that `-v` and `-q` select.
pub fn level(verbose: u8, quiet: bool) -> Level {
    match (quiet, verbose) {
        (true, _) => Level::WARN,
        (false, 0) => Level::INFO,
        (false, 1) => Level::DEBUG,
        (false, _) => Level::TRACE,
    }
}
