//! What came of the boot: whether it would go through, what is missing and why, and what to do about it.

use std::io::{self, Write};
use std::time::Duration;

use pinetboot_core::pi::Model;

use super::timeline::{Grouped, wrap};

/// What was found on the way.
#[derive(Debug, Default)]
pub(super) struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<String>,
    notes: Vec<String>,
    pub(super) totals: Totals,
    pub(super) loaded: Loaded,
}

/// What keeps the Pi from booting.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// The file.
    pub(super) file: String,
    /// What is wrong with it, and what the Pi makes of that.
    pub(super) why: String,
    /// What to do.
    pub(super) remedy: String,
}

/// What all requests came to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) requests: u32,
    pub(super) missing: u32,
    pub(super) bytes: u64,
    pub(super) blocks: u64,
    pub(super) time: Duration,
}

/// What the Pi has in its memory at the end.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Kernel, device tree, initramfs and what else there is one of.
    pub(super) files: Vec<String>,
    pub(super) overlays: usize,
}

impl Findings {
    /// Of each file the first problem counts.
    pub(super) fn problem(&mut self, problem: Problem) {
        if self.problems.iter().all(|known| known.file != problem.file) {
            self.problems.push(problem);
        }
    }

    /// Something that a real Pi might stumble over.
    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        add(&mut self.warnings, warning.into());
    }

    /// Something worth knowing.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        add(&mut self.notes, note.into());
    }

    pub(super) fn would_boot(&self) -> bool {
        self.problems.is_empty()
    }

    #[cfg(test)]
    pub(super) fn said(&self) -> (Vec<&str>, &[String], &[String]) {
        (self.problems.iter().map(|problem| problem.file.as_str()).collect(), &self.warnings, &self.notes)
    }

    pub(super) fn print(&self, model: Model, out: &mut dyn Write) -> io::Result<()> {
        let Totals { requests, missing, bytes, blocks, time } = self.totals;
        let mut print = |text: &str| writeln!(out, "{}", wrap(text, WIDTH, "  "));
        print("")?;
        if self.would_boot() {
            print(&format!("Would boot: {}.", self.loaded.list()))?;
        } else {
            let files: Vec<_> = self.problems.iter().map(|problem| problem.file.as_str()).collect();
            print(&format!("Would not boot, because of {}.", files.join(", ")))?;
        }
        let plural = if requests == 1 { "" } else { "s" };
        print(&format!("{requests} request{plural}, {missing} of them for files that are not there."))?;
        if self.would_boot() {
            let real = (blocks as f64 * BLOCK.as_secs_f64()).max(1.0);
            print(&format!(
                "{} bytes in {:.1} s; a real {} takes about {real:.0} s for so many.",
                Grouped(bytes),
                time.as_secs_f64(),
                name(model),
            ))?;
        }
        for Problem { file, why, remedy } in &self.problems {
            print("")?;
            print(&format!("{file}: {why}\nTo do: {remedy}"))?;
        }
        for (heading, texts) in [("Warning", &self.warnings), ("Note", &self.notes)] {
            for text in texts {
                print("")?;
                print(&format!("{heading}: {text}"))?;
            }
        }
        Ok(())
    }
}

impl Loaded {
    fn list(&self) -> String {
        let mut files = self.files.clone();
        match self.overlays {
            0 => {}
            1 => files.push("1 overlay".into()),
            more => files.push(format!("{more} overlays")),
        }
        match files.pop() {
            None => "nothing".into(),
            Some(last) if files.is_empty() => last,
            Some(last) => format!("{} and {last}", files.join(", ")),
        }
    }
}

fn add(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}

/// What people call it.
pub(super) fn name(model: Model) -> &'static str {
    match model {
        Model::Pi3 => "Raspberry Pi 3",
        Model::Pi4 => "Raspberry Pi 4",
        _ => "Raspberry Pi 5",
    }
}

/// What a Pi itself takes for a block, whatever the server: 43 MB in blocks of 1468 bytes took a CM5 13 s (reported,
/// raspberrypi/rpi-eeprom issue 857).
pub(super) const BLOCK: Duration = Duration::from_micros(440);

/// Columns of text that is meant to be read.
pub(super) const WIDTH: usize = 98;
