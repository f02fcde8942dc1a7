//! A boot under way: who asks, with which prefix and options, and what has come of it so far.

use std::io::{self, Write};

use pinetboot_core::pi::{Prefix, Stage};
use pinetboot_core::tftp::{ErrorCode, Options};

use super::checks;
use super::config_txt::Config;
use super::fetch::{Answer, Fetch, Reply, Taken};
use super::filter::Board;
use super::timeline::{Grouped, Line, Miss, Timeline};
use super::verdict::{Findings, Problem, name};
use crate::exit::{Exit, Failed};

/// A Pi on its way through its files.
pub(super) struct Boot<'a> {
    pub(super) board: Board,
    /// What the boot code that runs now asks for with each file.
    pub(super) options: Options,
    /// Whether it asks for a file's size before it takes the file.
    pub(super) looks_first: bool,
    pub(super) findings: Findings,
    /// `bd989ae1/`, or empty.
    prefix: String,
    fetch: &'a mut dyn Fetch,
    timeline: Timeline<'a>,
}

/// Why a boot goes no further.
#[derive(Debug)]
pub(super) enum Over {
    /// A real Pi would stop here, too; the findings say why.
    Ended,
    /// Nothing more can be found out.
    Failed(Failed),
}

impl From<Failed> for Over {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        Self::Failed(cannot_write(&error))
    }
}

impl<'a> Boot<'a> {
    pub(super) fn new(board: Board, fetch: &'a mut dyn Fetch, out: &'a mut dyn Write) -> Self {
        Self {
            board,
            options: Options::default(),
            looks_first: false,
            findings: Findings::default(),
            prefix: String::new(),
            fetch,
            timeline: Timeline(out),
        }
    }

    /// From here on the Pi asks in its own directory.
    pub(super) fn use_prefix(&mut self) {
        self.prefix = format!("{}/", Prefix::Serial(self.board.serial));
    }

    /// From here on the Pi asks in the directory of all: it has found none of its own.
    pub(super) fn drop_prefix(&mut self) {
        self.prefix.clear();
    }

    /// Asks whether a file is there, and ends the transfer before a byte of it has come.
    pub(super) fn there(&mut self, stage: Stage, path: &str, miss: Miss) -> Result<bool, Over> {
        let name = format!("{}{path}", self.prefix);
        let reply = self.fetch.probe(&name, self.options)?;
        self.heard(stage, &name, &reply, miss)?;
        Ok(matches!(reply.answer, Answer::There(_) | Answer::Taken(_)))
    }

    /// Takes a file; `None` if it cannot be had.
    pub(super) fn take(&mut self, stage: Stage, path: &str, miss: Miss) -> Result<Option<Taken>, Over> {
        if self.looks_first && !self.there(stage, path, miss)? {
            return Ok(None);
        }
        let name = format!("{}{path}", self.prefix);
        let reply = self.fetch.get(&name, self.options, KEEP)?;
        self.heard(stage, &name, &reply, miss)?;
        let Answer::Taken(taken) = reply.answer else { return Ok(None) };
        self.findings.totals.bytes += taken.bytes;
        self.findings.totals.blocks += taken.blocks();
        checks::transfer(&mut self.findings, self.board.model, &name, &taken, !self.options.is_empty());
        let counts = !matches!(stage, Stage::Config | Stage::CommandLine | Stage::SelfUpdate);
        if taken.bytes == 0 && counts {
            self.problem(
                path,
                "it is there, but empty. The Pi takes it for good, and what needs it fails.",
                "copy it again; a file that is only meant to be absent has to be absent.",
            );
        }
        Ok(Some(taken))
    }

    /// Takes a file that config.txt asks for by name. Without it the Pi does not boot as it is meant to.
    pub(super) fn take_named(
        &mut self,
        stage: Stage,
        path: &str,
        setting: &str,
    ) -> Result<Option<Taken>, Over> {
        let taken = self.take(stage, path, Miss::Bad)?;
        if taken.is_none() {
            self.problem(
                path,
                &format!("not found, and config.txt asks for it: {setting}."),
                "copy it to that place, or correct the name: upper and lower case differ, unlike on a Pi's card.",
            );
        }
        Ok(taken)
    }

    /// Takes config.txt and reads it as the bootloader does, which knows no `include`.
    pub(super) fn early_config(&mut self, miss: Miss) -> Result<Option<Config>, Over> {
        let Some(taken) = self.take(Stage::Config, "config.txt", miss)? else { return Ok(None) };
        checks::config_len(&mut self.findings, self.board.model, taken.bytes);
        Ok(Some(Config::parse(&taken.kept, self.board)))
    }

    /// The Pi looks for a newer bootloader for itself.
    pub(super) fn self_update(&mut self) -> Result<(), Over> {
        if self.take(Stage::SelfUpdate, "pieeprom.sig", Miss::Normal("no self-update"))?.is_some() {
            self.findings.note(
                "pieeprom.sig is there: a Pi whose bootloader is another one takes pieeprom.upd as well, writes it \
                 to its EEPROM and starts again. Take both away when all Pis are up to date.",
            );
        }
        Ok(())
    }

    /// The Pi takes everything else out of `boot.img`.
    pub(super) fn boot_image(&mut self) -> Result<(), Over> {
        if self.take_named(Stage::BootImage, "boot.img", "boot_ramdisk=1")?.is_some() {
            self.loaded("boot.img");
            self.findings.note(
                "boot_ramdisk=1: everything else comes out of boot.img. What is in there was not looked at.",
            );
        }
        Ok(())
    }

    /// Notes a file that is needed and is not there.
    pub(super) fn problem(&mut self, file: &str, why: &str, remedy: &str) {
        let file = file.trim_start_matches('/').to_owned();
        self.findings.problem(Problem { file, why: why.into(), remedy: remedy.into() });
    }

    /// Notes a file that is needed and is not there, and ends the boot.
    pub(super) fn end(&mut self, file: &str, why: &str, remedy: &str) -> Over {
        self.problem(file, why, remedy);
        Over::Ended
    }

    /// Notes a file that the system starts with.
    pub(super) fn loaded(&mut self, path: &str) {
        self.findings.loaded.files.push(path.trim_start_matches('/').to_owned());
    }

    /// What people call the Pi.
    pub(super) fn pi(&self) -> &'static str {
        name(self.board.model)
    }

    /// Tells what was answered, and counts it.
    fn heard(&mut self, stage: Stage, name: &str, reply: &Reply, miss: Miss) -> Result<(), Over> {
        self.timeline.line(&Line { stage, name, reply, miss })?;
        let findings = &mut self.findings;
        findings.totals.requests += 1;
        findings.totals.time = reply.at + reply.took;
        match &reply.answer {
            Answer::There(_) | Answer::Taken(_) => {}
            Answer::Refused(ErrorCode::FILE_NOT_FOUND) => findings.totals.missing += 1,
            Answer::Refused(code) => findings.warn(format!(
                "{name} was refused with {code}. To the Pi it is not there, but something may well be: see whether \
                 the server may read it, and its log."
            )),
            Answer::Silent => findings.warn(format!(
                "{name} was not answered, whereas others were. A file that is not there is to be answered with an \
                 ERROR: a Pi waits {:.0} s for one that is not.",
                reply.took.as_secs_f64()
            )),
            // A Pi 5 was seen to stop with a black screen (reported, raspberrypi/rpi-eeprom issue 687).
            Answer::Broken { bytes, why } => {
                let file = name.strip_prefix(&self.prefix).unwrap_or(name);
                return Err(self.end(
                    file,
                    &format!("only {} bytes of it came: {why}.", Grouped(*bytes)),
                    "see the server's log, and the network between; 'pinetboot get' shows how fast it is.",
                ));
            }
        }
        Ok(())
    }
}

/// Standard output is gone.
pub(super) fn cannot_write(error: &io::Error) -> Failed {
    Failed::new(Exit::Failure, format!("cannot write the timeline: {error}"))
}

/// What is kept of a file: all of any configuration, overlay map and device tree.
const KEEP: usize = 128 << 10;
