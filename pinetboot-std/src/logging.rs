//! Log output: as text, the message alone; as JSON, every field.

use tracing::Level;
use tracing::field::Field;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::config::LogFormat;
use crate::text::line;

/// Starts logging to standard error, at `level` and above.
pub fn start(format: LogFormat, level: Level) {
    let builder =
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    let started = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.fmt_fields(message_only()).with_ansi(colours).try_init()
        }
    };
    // Tests start logging twice in one process: the first subscriber stays.
    let _already_started = started;
}

/// The message of a line, without its fields; other machines chose parts of it.
pub(crate) fn message_only() -> impl for<'writer> FormatFields<'writer> + Clone {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug| match field.name() {
        "message" => write!(writer, "{}", line(&format!("{value:?}"))),
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
