//! The timeline of a boot: a line per request, printed with its answer, in 100 columns.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use pinetboot_core::pi::Stage;
use pinetboot_core::tftp::ErrorCode;
use serde::Serialize;

use super::fetch::{Answer, Reply, Taken};
use crate::text::shown;

/// The output of the lines, and the steps so far.
pub(super) struct Timeline<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) steps: Vec<Step>,
}

/// A request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// Microseconds from the start of the boot to the request.
    at_us: u64,
    /// Microseconds from the request to the end of the answer.
    took_us: u64,
    /// The stage of the boot.
    stage: String,
    /// The file, or the message.
    request: String,
    /// For a file `size`, `taken`, `missing`, `refused`, `silent` or `broken`; else the answer as text.
    answer: String,
    /// Bytes of the file, as far as they came or were announced.
    bytes: Option<u64>,
}

impl<'a> Timeline<'a> {
    pub(super) const fn new(out: &'a mut dyn Write) -> Self {
        Self { out, steps: Vec::new() }
    }

    pub(super) fn begin(&mut self) -> io::Result<()> {
        writeln!(self.out, "   time  {:<12}  {:<NAME$}  answer", "stage", "request")
    }

    /// Prints a step without a file.
    pub(super) fn say(&mut self, at: Duration, stage: &str, what: &str, said: &str) -> io::Result<()> {
        let line = format!("{:>7.3}  {stage:<12}  {what:<NAME$}  {said}", at.as_secs_f64());
        self.steps.push(Step {
            at_us: micros(at),
            took_us: 0,
            stage: stage.to_owned(),
            request: what.to_owned(),
            answer: said.to_owned(),
            bytes: None,
        });
        writeln!(self.out, "{}", line.trim_end())?;
        self.out.flush()
    }

    pub(super) fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let Line { stage, name, reply, .. } = line;
        let (answer, bytes) = match &reply.answer {
            Answer::There(len) => ("size", *len),
            Answer::Taken(taken) => ("taken", Some(taken.bytes)),
            Answer::Refused(ErrorCode::FILE_NOT_FOUND) => ("missing", None),
            Answer::Refused(_) => ("refused", None),
            Answer::Silent => ("silent", None),
            Answer::Broken { bytes, .. } => ("broken", Some(*bytes)),
        };
        self.steps.push(Step {
            at_us: micros(reply.at),
            took_us: micros(reply.took),
            stage: stage.to_string(),
            request: (*name).to_owned(),
            answer: answer.to_owned(),
            bytes,
        });
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A request and its answer.
pub(super) struct Line<'a> {
    pub(super) stage: Stage,
    pub(super) name: &'a str,
    pub(super) reply: &'a Reply,
    /// The meaning of a missing file.
    pub(super) miss: Miss,
}

/// The meaning of a missing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// Normal, for this reason of at most 15 characters.
    Normal(&'static str),
    /// A fault.
    Bad,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, name, reply, miss } = self;
        let name = shown(name).to_string();
        write!(f, "{:>7.3}  {stage:<12}  {name:<NAME$}", reply.at.as_secs_f64())?;
        if name.chars().count() > NAME {
            write!(f, "\n{:INDENT$}", "")?;
        }
        f.write_str("  ")?;
        match (&reply.answer, miss) {
            (Answer::There(Some(len)), _) => write!(f, "{:>10} B  size only", Grouped(*len)),
            (Answer::There(None), _) => f.write_str("    exists, size unknown"),
            (Answer::Taken(taken), _) => write!(f, "{}", Transfer(taken, reply.took)),
            (Answer::Refused(ErrorCode::FILE_NOT_FOUND), Miss::Normal(why)) => {
                write!(f, "missing (normal: {why})")
            }
            (Answer::Refused(ErrorCode::FILE_NOT_FOUND), Miss::Bad) => f.write_str("MISSING"),
            (Answer::Refused(code), _) => write!(f, "REFUSED: {code}"),
            (Answer::Silent, _) => write!(f, "NO ANSWER for {:.0} s", reply.took.as_secs_f64()),
            (Answer::Broken { bytes, .. }, _) => write!(f, "{:>10} B  THEN STOPPED", Grouped(*bytes)),
        }
    }
}

struct Transfer<'a>(&'a Taken, Duration);

impl fmt::Display for Transfer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(taken, took) = self;
        let seconds = took.as_secs_f64();
        write!(f, "{:>10} B", Grouped(taken.bytes))?;
        match seconds {
            ..1.0 => write!(f, "{:>7.2} ms", seconds * 1e3)?,
            _ => write!(f, "{seconds:>7.2} s ")?,
        }
        // The rate of a few blocks has no meaning.
        if taken.bytes >= 1 << 16 {
            write!(f, "{:>6.1} MB/s", taken.bytes as f64 / seconds.max(1e-6) / 1e6)?;
        }
        Ok(())
    }
}

/// A number with commas: 9,698,043.
pub(super) struct Grouped(pub(super) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// Columns of a file name: `bd989ae1//overlays/vc4-kms-v3d-pi5.dtbo` fits.
const NAME: usize = 40;

/// Columns before the answer.
const INDENT: usize = 7 + 2 + 12 + 2 + NAME;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, answer: Answer, miss: Miss) -> String {
        let (at, took) = (Duration::from_micros(1_234_567), Duration::from_millis(142));
        let reply = Reply { at, took, answer };
        Line { stage: Stage::CommandLine, name, reply: &reply, miss }.to_string()
    }

    #[test]
    fn lines_fit_and_align() {
        let taken = |bytes| Answer::Taken(Taken { bytes, block_size: 1468, ..Taken::default() });
        let missing = || Answer::Refused(ErrorCode::FILE_NOT_FOUND);
        let lines = [
            line("7bf18f79/kernel_2712.img", taken(9_698_043), Miss::Bad),
            line("7bf18f79//overlays/vc4-kms-v3d-pi5.dtbo", taken(3_306), Miss::Bad),
            line("7bf18f79/kernel8.img", Answer::There(Some(9_285_745)), Miss::Bad),
            line("7bf18f79/pieeprom.sig", missing(), Miss::Normal("no self-update")),
            line("7bf18f79/bcm2712-rpi-5-b.dtb", missing(), Miss::Bad),
            line("x", Answer::Refused(ErrorCode::ACCESS_VIOLATION), Miss::Bad),
            line("x", Answer::Silent, Miss::Bad),
            line("7bf18f79/current/a-name-that-someone-made-quite-long.img", taken(1), Miss::Bad),
        ];
        assert_eq!(
            lines.join("\n"),
            "  1.235  command line  7bf18f79/kernel_2712.img                   9,698,043 B 142.00 ms  68.3 MB/s
  1.235  command line  7bf18f79//overlays/vc4-kms-v3d-pi5.dtbo        3,306 B 142.00 ms
  1.235  command line  7bf18f79/kernel8.img                       9,285,745 B  size only
  1.235  command line  7bf18f79/pieeprom.sig                     missing (normal: no self-update)
  1.235  command line  7bf18f79/bcm2712-rpi-5-b.dtb              MISSING
  1.235  command line  x                                         REFUSED: error 2, access violation
  1.235  command line  x                                         NO ANSWER for 0 s
  1.235  command line  7bf18f79/current/a-name-that-someone-made-quite-long.img
                                                                          1 B 142.00 ms"
        );
        assert!(lines.iter().flat_map(|line| line.lines()).all(|line| line.len() <= 100));
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (96_205_380, "96,205,380")] {
            assert_eq!(Grouped(number).to_string(), text);
        }
    }
}
