//! The log that a Pi's system wrote on its root: the journal of systemd in `/var/log/journal`, else `/var/log/syslog` or
//! `/var/log/messages`.
//!
//! ```text
//! a layer's directory, the ext4 of a disk -> Files -> journals: boots, entries of one boot  \
//!                                                  -> texts: the lines since a kernel's start -> SystemLog -> text or JSON; doctor
//! ```
//!
//! The files are the Pi's, and hostile: links stay within the root, and bytes, lines and time are bounded; what was left out is said
//! ([`SystemLog::notes`]). Not done: the journal in memory of a running Pi (`/run/log/journal`), which no file on the server has.

mod files;
mod journals;
mod shown;
mod texts;

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::exit::{Exit, Failed};
pub(crate) use files::{Directory, Files};
pub(crate) use shown::print;

/// Options of `roots log` and `disks log`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Show this boot, as journalctl counts: 0 is the last one, -1 the one before, 1 the first one in the journal
    #[arg(short, long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub boot: i32,

    /// Print the last N lines of the boot, after its errors
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub lines: usize,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The log of one boot.
#[derive(Debug, Default)]
pub(crate) struct SystemLog {
    /// The directory or file on the Pi.
    pub(crate) source: String,
    /// All boots in the log, the first one first.
    pub(crate) boots: Vec<Boot>,
    /// The index of the boot that was read, in `boots`.
    pub(crate) chosen: usize,
    /// The lines of the boot, the first one first.
    pub(crate) lines: Vec<Line>,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
}

/// A boot of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Boot {
    /// The boot's ID; `None` in a text.
    pub(crate) id: Option<String>,
    /// The time of its first line, in microseconds since 1970: of the Pi's clock, which may be wrong before the network is up.
    #[serde(serialize_with = "shown::time")]
    pub(crate) from: Option<u64>,
    /// The time of its last line.
    #[serde(serialize_with = "shown::time")]
    pub(crate) to: Option<u64>,
}

/// A line of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Line {
    /// Microseconds since 1970.
    #[serde(serialize_with = "shown::time")]
    pub(crate) time: Option<u64>,
    /// Of syslog: 0 emergency to 7 debug; `None` in a text.
    pub(crate) priority: Option<u8>,
    /// The program with its process: `systemd[1]`.
    pub(crate) program: Option<String>,
    /// The message; a whole line of a text.
    pub(crate) message: String,
    /// The unit that failed, if the line says so, and its result.
    pub(crate) failed: Option<FailedUnit>,
}

/// A unit of systemd that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FailedUnit {
    /// `ssh.service`.
    pub(crate) unit: String,
    /// `exit-code`, `timeout`, `dependency`.
    pub(crate) result: String,
}

impl SystemLog {
    /// Reads the log of a boot, as [`Options::boot`] counts.
    ///
    /// # Errors
    ///
    /// If the system left no log, with the way to have one; if the boot is not in the log; if the files cannot be read.
    pub(crate) fn read(files: &dyn Files, boot: i32) -> Result<Self, Failed> {
        let end = Instant::now() + MOST_TIME;
        match journals::read(files, boot, end)? {
            Some(log) => Ok(log),
            None => texts::read(files, boot)?.ok_or_else(|| Failed::new(Exit::Failure, NO_LOG)),
        }
    }

    /// The lines with an error: priority 3 and worse.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.priority.is_some_and(|priority| priority <= ERROR))
    }

    /// The units that failed, each once, in the order of their first failure.
    pub(crate) fn failed_units(&self) -> Vec<&FailedUnit> {
        let mut units: Vec<&FailedUnit> = Vec::new();
        for failed in self.lines.iter().filter_map(|line| line.failed.as_ref()) {
            match units.iter_mut().find(|known| known.unit == failed.unit) {
                // systemd says the exact result first, and then that the job failed.
                Some(known) if known.result == "failed" => *known = failed,
                Some(_) => {}
                None => units.push(failed),
            }
        }
        units
    }

    /// The index of a boot as journalctl counts.
    ///
    /// # Errors
    ///
    /// The boots that there are.
    fn choose(boots: usize, boot: i32) -> Result<usize, Failed> {
        let index = match usize::try_from(boot) {
            Ok(0) | Err(_) => boots.checked_sub(1 + boot.unsigned_abs() as usize),
            Ok(from_first) => Some(from_first - 1).filter(|index| *index < boots),
        };
        index.ok_or_else(|| {
            let last = boots.saturating_sub(1);
            let others =
                if last == 0 { "it has one boot: 0".to_owned() } else { format!("it has 0 to -{last}") };
            Failed::new(Exit::Usage, format!("boot {boot} is not in the log: {others}"))
        })
    }
}

#[cfg(feature = "web")] // `doctor` of one Pi alone
impl Line {
    /// The line as a log has it: `systemd[1]: Failed to start ..`.
    pub(crate) fn text(&self) -> String {
        match &self.program {
            Some(program) => format!("{program}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

/// A drop-in of the distribution may say volatile, so that the directory alone would not do (journald.conf(5)); the last name wins.
const NO_LOG: &str = "\
the system left no log: its root has no journal in /var/log/journal, no /var/log/syslog and no /var/log/messages. The journal was in memory, and is \
gone with it. Make the journal persistent on the Pi: write the lines [Journal] and Storage=persistent to \
/etc/systemd/journald.conf.d/90-persistent.conf, and run 'systemctl restart systemd-journald'";
/// syslog's LOG_ERR.
const ERROR: u8 = 3;
/// The time after which the rest is left out.
const MOST_TIME: Duration = Duration::from_secs(30);
