//! A boot under way: who asks, with which prefix and options, and what has come of it so far.

use std::io::{self, Write};

use pinetboot_core::pi::rules::{self, Rule};
use pinetboot_core::pi::{Prefix, Profile, Requests, Stage};
use pinetboot_core::tftp::{ErrorCode, Options};

use super::checks;
use super::config_txt::Config;
use super::fetch::{Answer, Fetch, Reply, Taken};
use super::filter::Board;
use super::timeline::{Grouped, Line, Miss, Timeline};
use super::verdict::Summary;
use crate::exit::{Exit, Failed};
use crate::finding::Finding;

/// A Pi on its way through its files.
pub(super) struct Boot<'a> {
    pub(super) board: Board,
    /// What the boot code that runs now asks for with each file.
    options: Options,
    /// Whether it asks for a file's size before it takes the file.
    pub(super) looks_first: bool,
    pub(super) summary: Summary,
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
            summary: Summary::default(),
            prefix: String::new(),
            fetch,
            timeline: Timeline(out),
        }
    }

    /// What sets its model apart.
    pub(super) const fn profile(&self) -> &'static Profile {
        self.board.profile()
    }

    /// From here on other boot code asks.
    pub(super) fn hand_over(&mut self, requests: Requests) {
        self.options = requests.options;
        self.looks_first = requests.size_first;
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
        self.summary.totals.bytes += taken.bytes;
        self.summary.totals.blocks += taken.blocks();
        let asked_options = !self.options.is_empty();
        checks::transfer(&mut self.summary.findings, self.board.profile(), &name, &taken, asked_options);
        let counts = !matches!(stage, Stage::Config | Stage::CommandLine | Stage::SelfUpdate);
        if taken.bytes == 0 && counts {
            let finding = Finding::problem("it is empty. The Pi takes it for good, and what needs it fails.");
            self.problem(
                path,
                finding.remedy("Copy it again; a file that is meant to be absent has to be absent."),
            );
        }
        Ok(Some(taken))
    }

    /// Takes a file that config.txt asks for by name. Without it the Pi does not boot as it is meant to, by that rule if
    /// there is one.
    pub(super) fn take_named(
        &mut self,
        stage: Stage,
        path: &str,
        setting: &str,
        rule: Option<&'static Rule>,
    ) -> Result<Option<Taken>, Over> {
        let taken = self.take(stage, path, Miss::Bad)?;
        if taken.is_none() {
            let finding = Finding::problem(format!("not found, and config.txt asks for it: {setting}."));
            self.problem(
                path,
                finding.rule(rule).remedy(
                    "Copy it to that place, or correct the name: upper and lower case differ, unlike on a Pi's card.",
                ),
            );
        }
        Ok(taken)
    }

    /// Takes config.txt and reads it as the bootloader does, which knows no `include`.
    pub(super) fn early_config(&mut self, miss: Miss) -> Result<Option<Config>, Over> {
        let Some(taken) = self.take(Stage::Config, "config.txt", miss)? else { return Ok(None) };
        checks::config_len(&mut self.summary.findings, self.board.profile(), taken.bytes);
        Ok(Some(Config::parse(&taken.kept, self.board)))
    }

    /// The Pi looks for a newer bootloader for itself.
    pub(super) fn self_update(&mut self) -> Result<(), Over> {
        if self.take(Stage::SelfUpdate, "pieeprom.sig", Miss::Normal("no self-update"))?.is_some() {
            let finding =
                Finding::note("pieeprom.sig is there.").rule(rules::SELF_UPDATE.on(self.board.model));
            self.add(
                finding
                    .evidence(
                        "A Pi whose bootloader is another one takes pieeprom.upd as well, writes it to its EEPROM and \
                         starts again.",
                    )
                    .remedy("Remove both files when all Pis are up to date."),
            );
        }
        Ok(())
    }

    /// The Pi takes everything else out of `boot.img`.
    pub(super) fn boot_image(&mut self) -> Result<(), Over> {
        let rule = rules::NO_BOOT_IMAGE.on(self.board.model);
        if self.take_named(Stage::BootImage, "boot.img", "boot_ramdisk=1", rule)?.is_some() {
            self.loaded("boot.img");
            self.add(Finding::note(
                "boot_ramdisk=1: all other files come out of boot.img, whose content was not looked at.",
            ));
        }
        Ok(())
    }

    /// Keeps a finding.
    pub(super) fn add(&mut self, finding: Finding) {
        self.summary.findings.add(finding);
    }

    /// Keeps a finding about this file.
    pub(super) fn problem(&mut self, file: &str, finding: Finding) {
        self.add(finding.file(file.trim_start_matches('/')));
    }

    /// Keeps a finding about this file, and ends the boot.
    pub(super) fn end(&mut self, file: &str, finding: Finding) -> Over {
        self.problem(file, finding);
        Over::Ended
    }

    /// Notes a file that the system starts with.
    pub(super) fn loaded(&mut self, path: &str) {
        self.summary.loaded.files.push(path.trim_start_matches('/').to_owned());
    }

    /// The Pi's name.
    pub(super) const fn pi(&self) -> &'static str {
        self.profile().name
    }

    /// Tells what was answered, and counts it.
    fn heard(&mut self, stage: Stage, name: &str, reply: &Reply, miss: Miss) -> Result<(), Over> {
        self.timeline.line(&Line { stage, name, reply, miss })?;
        let totals = &mut self.summary.totals;
        totals.requests += 1;
        totals.time = reply.at + reply.took;
        match &reply.answer {
            Answer::There(_) | Answer::Taken(_) => {}
            Answer::Refused(ErrorCode::FILE_NOT_FOUND) => totals.missing += 1,
            Answer::Refused(code) => self.add(
                Finding::warning(format!("{name} was refused with {code}."))
                    .evidence("To the Pi the file is not there, but it may well exist.")
                    .remedy("See whether the server may read it, and its log."),
            ),
            Answer::Silent => self.add(
                Finding::warning(format!("{name} was not answered, whereas others were."))
                    .rule(&rules::UNANSWERED_PROBE)
                    .evidence(format!(
                        "A file that is not there is to be answered with an ERROR: the Pi waits {:.0} s for one that is \
                         not.",
                        reply.took.as_secs_f64()
                    )),
            ),
            // A Pi 5 was seen to stop with a black screen (reported, raspberrypi/rpi-eeprom issue 687).
            Answer::Broken { bytes, why, late } => {
                let file = name.strip_prefix(&self.prefix).unwrap_or(name);
                let rule = rules::FILE_TIMEOUT.on(self.board.model).filter(|_| *late);
                let finding = Finding::problem(format!("only {} bytes of it came: {why}.", Grouped(*bytes)));
                return Err(self.end(
                    file,
                    finding.rule(rule).remedy(
                        "See the server's log, and the network between; 'pinetboot get' shows how fast it is.",
                    ),
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
