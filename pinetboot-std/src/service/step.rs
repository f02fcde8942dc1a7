//! One step of a change to the system.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::status::State;
use crate::durable;
use crate::exit::{Exit, Failed};
use crate::output;

/// A step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Copies a program.
    Copy {
        /// The source.
        from: PathBuf,
        /// The target.
        to: PathBuf,
    },
    /// Writes a file for all to read.
    Write {
        /// The file.
        to: PathBuf,
        /// The text.
        text: String,
    },
    /// Removes a file.
    Remove(PathBuf),
    /// Runs a program, which has to succeed.
    Run(Vec<String>),
    /// Starts a unit, or lets a running one start again, and waits until the server serves or tells what it waits for.
    Start(&'static str),
    /// Nothing is done, for this reason.
    Note(String),
}

impl Step {
    pub(super) fn run(words: &[&str]) -> Self {
        Self::Run(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn perform(&self) -> io::Result<()> {
        match self {
            Self::Copy { from, to } => {
                create_parent(to)?;
                durable::replace(to, &fs::read(from)?, 0o755)
            }
            Self::Write { to, text } => {
                create_parent(to)?;
                durable::replace(to, text.as_bytes(), 0o644)
            }
            Self::Remove(path) => {
                fs::remove_file(path)?;
                // The directory of a drop-in, unless others have one there.
                if let Some(parent) =
                    path.parent().filter(|parent| parent.to_string_lossy().ends_with(".service.d"))
                {
                    let _may_have_more = fs::remove_dir(parent);
                }
                Ok(())
            }
            Self::Run(words) => run(words).map(drop),
            Self::Start(unit) => start(unit),
            Self::Note(_) => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy { from, to } => write!(f, "copy    {} to {}", from.display(), to.display()),
            Self::Write { to, .. } => write!(f, "write   {}", to.display()),
            Self::Remove(path) => write!(f, "remove  {}", path.display()),
            Self::Run(words) => write!(f, "run     {}", words.join(" ")),
            Self::Start(unit) => write!(f, "start   {unit}"),
            Self::Note(text) => write!(f, "note    {text}"),
        }
    }
}

/// Carries out the steps, and then prints those that are done; a dry run prints them only.
pub(super) fn all(steps: Vec<Step>, dry_run: bool) -> Result<Exit, Failed> {
    let mut lines = Vec::new();
    let done = steps.iter().try_for_each(|step| {
        if !dry_run {
            step.perform().map_err(|error| failed(step, &error))?;
        }
        lines.push(match step {
            Step::Start(unit) if !dry_run => {
                format!("{step}: {}", State::of(unit).map_err(|error| failed(step, &error))?)
            }
            step => step.to_string(),
        });
        Ok(())
    });
    let mut out = output::stdout();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.finish()?;
    done.map(|()| Exit::Success)
}

fn run(words: &[impl AsRef<str>]) -> io::Result<String> {
    let Some((program, arguments)) = words.split_first() else { return Ok(String::new()) };
    let arguments = arguments.iter().map(AsRef::as_ref);
    let ran = Command::new(program.as_ref()).args(arguments).stdin(Stdio::null()).output()?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    Err(io::Error::other(format!("{}: {}", ran.status, said.trim())))
}

/// A server that waits for an interface is still "activating", and systemd's own wait would not end.
fn start(unit: &str) -> io::Result<()> {
    run(&["systemctl", "restart", "--no-block", unit])?;
    let began = Instant::now();
    loop {
        let state = State::of(unit)?;
        let may_start = began.elapsed() < STARTS_WITHIN;
        match (state.value("ActiveState"), state.value("SubState")) {
            // The job of the restart may have to stop the server first.
            ("active", _) if state.value("Job").is_empty() => return Ok(()),
            _ if state.value("StatusText").starts_with("waiting") => return Ok(()),
            ("failed", _) | ("activating", "auto-restart") => {}
            _ if may_start => {
                thread::sleep(LOOK_EVERY);
                continue;
            }
            _ => {}
        }
        // What systemd says of the unit pushes out what the server said.
        let of = |more: &[&str]| {
            let words = ["journalctl", "--unit", unit, "--lines=5", "--no-pager", "--output=cat"];
            run(&[&words, more].concat()).unwrap_or_default()
        };
        let log = Some(of(&["--identifier=pinetboot"])).filter(|log| !log.trim().is_empty());
        let log = log.unwrap_or_else(|| of(&[]));
        return Err(io::Error::other(format!("{state}; the last lines of its log:\n{}", log.trim())));
    }
}

fn failed(step: &Step, error: &io::Error) -> Failed {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => ". Run pinetboot with sudo",
        io::ErrorKind::ReadOnlyFilesystem => ". The system's own tools write to this file system",
        _ => "",
    };
    // The words are in columns.
    let step = step.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Failed::new(Exit::Failure, format!("cannot {step}: {error}{remedy}"))
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| durable::create_dir_all(parent, 0o755))
}

/// A start takes less than a second, and 5 s with a look for another DHCP server; systemd's own limit is 90 s, and its word is clearer.
const STARTS_WITHIN: Duration = Duration::from_secs(100);
const LOOK_EVERY: Duration = Duration::from_millis(200);
