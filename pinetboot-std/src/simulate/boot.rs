//! A boot under way: the board, its prefix and options, and the results so far.

use std::io;

use pinetboot_core::pi::rules::{self, Rule};
use pinetboot_core::pi::{Prefix, Profile, Requests, Stage};
use pinetboot_core::tftp::{ErrorCode, Options};

use super::checks;
use super::config_txt::ConfigTxt;
use super::fetch::{Answer, Fetch, Reply, Taken};
use super::filter::Board;
use super::root::RootCheck;
use super::timeline::{Grouped, Line, Miss, Timeline};
use super::verdict::Summary;
use crate::exit::Failed;
use crate::finding::Finding;
use crate::output;

/// A simulated boot under way.
pub(super) struct SimulatedBoot<'a> {
    pub(super) board: Board,
    /// The options of the current boot code's requests.
    options: Options,
    /// Whether the current boot code requests a file's size before the file.
    pub(super) looks_first: bool,
    pub(super) summary: Summary,
    /// `bd989ae1/`, or empty.
    prefix: String,
    fetch: &'a mut dyn Fetch,
    pub(super) timeline: Timeline<'a>,
}

/// The reason for the end of a boot.
#[derive(Debug)]
pub(super) enum Over {
    /// A real Pi would stop here too; the findings have the cause.
    Ended,
    /// The simulation cannot continue.
    Failed(Failed),
}

impl From<Failed> for Over {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        Self::Failed(output::failed(error))
    }
}

impl<'a> SimulatedBoot<'a> {
    pub(super) fn new(board: Board, fetch: &'a mut dyn Fetch, timeline: Timeline<'a>) -> Self {
        Self {
            board,
            options: Options::default(),
            looks_first: false,
            summary: Summary::default(),
            prefix: String::new(),
            fetch,
            timeline,
        }
    }

    /// The profile of the model.
    pub(super) const fn profile(&self) -> &'static Profile {
        self.board.profile()
    }

    /// Lets the next boot code make the requests.
    pub(super) fn hand_over(&mut self, requests: Requests) {
        self.options = requests.options;
        self.looks_first = requests.size_first;
    }

    /// Requests files in the Pi's own directory from now on.
    pub(super) fn use_prefix(&mut self) {
        self.prefix = format!("{}/", Prefix::Serial(self.board.serial));
    }

    /// Requests files in the shared directory from now on.
    pub(super) fn drop_prefix(&mut self) {
        self.prefix.clear();
    }

    /// Probes a file: requests it, and ends the transfer before the first byte.
    pub(super) fn there(&mut self, stage: Stage, path: &str, miss: Miss) -> Result<bool, Over> {
        let name = format!("{}{path}", self.prefix);
        let reply = self.fetch.probe(&name, self.options)?;
        self.heard(stage, &name, &reply, miss)?;
        Ok(matches!(reply.answer, Answer::There(_) | Answer::Taken(_)))
    }

    /// Fetches a file; `None` if the server refuses it.
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
            let finding = Finding::problem(
                "the file is empty. The Pi accepts it, and the boot step that needs the file fails.",
            );
            self.problem(
                path,
                finding.remedy("Copy the file again. A file that is meant to be absent must not exist."),
            );
        }
        Ok(Some(taken))
    }

    /// Fetches a file that config.txt names. A missing file is a problem, by `rule` if that is given.
    pub(super) fn take_named(
        &mut self,
        stage: Stage,
        path: &str,
        setting: &str,
        rule: Option<&'static Rule>,
    ) -> Result<Option<Taken>, Over> {
        let taken = self.take(stage, path, Miss::Bad)?;
        if taken.is_none() {
            let finding =
                Finding::problem(format!("not found, although config.txt names the file: {setting}."));
            self.problem(
                path,
                finding.rule(rule).remedy(
                    "Copy the file to that place, or correct the name: TFTP distinguishes upper and lower case, the FAT of a Pi's card does not.",
                ),
            );
        }
        Ok(taken)
    }

    /// Fetches config.txt and parses it as the bootloader does, which ignores `include`.
    pub(super) fn early_config(&mut self, miss: Miss) -> Result<Option<ConfigTxt>, Over> {
        let Some(taken) = self.take(Stage::Config, "config.txt", miss)? else { return Ok(None) };
        checks::config_len(&mut self.summary.findings, self.board.profile(), taken.bytes);
        Ok(Some(ConfigTxt::parse(&taken.kept, self.board)))
    }

    /// Looks for an update of the Pi's own bootloader.
    pub(super) fn self_update(&mut self) -> Result<(), Over> {
        if self.take(Stage::SelfUpdate, "pieeprom.sig", Miss::Normal("no self-update"))?.is_some() {
            let finding =
                Finding::note("the server has pieeprom.sig.").rule(rules::SELF_UPDATE.on(self.board.model));
            self.add(
                finding
                    .evidence(
                        "A Pi with another bootloader version fetches pieeprom.upd as well, writes it to its EEPROM and \
                         restarts.",
                    )
                    .remedy("Remove both files when all Pis are up to date."),
            );
        }
        Ok(())
    }

    /// Fetches `boot.img`, which holds all other files.
    pub(super) fn boot_image(&mut self) -> Result<(), Over> {
        let rule = rules::NO_BOOT_IMAGE.on(self.board.model);
        if self.take_named(Stage::BootImage, "boot.img", "boot_ramdisk=1", rule)?.is_some() {
            self.loaded("boot.img");
            let why = "all other files come from boot.img, whose content was not checked";
            self.summary.root = RootCheck::Skipped(why.into());
            self.add(Finding::note(
                "boot_ramdisk=1: all other files come from boot.img, whose content was not checked.",
            ));
        }
        Ok(())
    }

    /// Adds a finding.
    pub(super) fn add(&mut self, finding: Finding) {
        self.summary.findings.add(finding);
    }

    /// Adds a finding that is a fault for Linux alone.
    pub(super) fn add_for_linux(&mut self, finding: Finding) {
        self.summary.for_linux.push(finding.clone());
        self.add(finding);
    }

    /// Adds a finding about this file.
    pub(super) fn problem(&mut self, file: &str, finding: Finding) {
        self.add(finding.file(file.trim_start_matches('/')));
    }

    /// Adds a finding about this file, and ends the boot.
    pub(super) fn end(&mut self, file: &str, finding: Finding) -> Over {
        self.problem(file, finding);
        Over::Ended
    }

    /// Records a file that the system starts with.
    pub(super) fn loaded(&mut self, path: &str) {
        self.summary.loaded.files.push(path.trim_start_matches('/').to_owned());
    }

    /// The Pi's name.
    pub(super) const fn pi(&self) -> &'static str {
        self.profile().name
    }

    /// Prints an answer, counts it, and adds its findings.
    fn heard(&mut self, stage: Stage, name: &str, reply: &Reply, miss: Miss) -> Result<(), Over> {
        self.timeline.line(&Line { stage, name, reply, miss })?;
        let totals = &mut self.summary.totals;
        totals.requests += 1;
        totals.time = reply.at + reply.took;
        match &reply.answer {
            Answer::There(_) | Answer::Taken(_) => {}
            Answer::Refused(ErrorCode::FILE_NOT_FOUND) => totals.missing += 1,
            Answer::Refused(code) => self.add(
                Finding::warning(format!("the server refused {name} with {code}."))
                    .evidence("The Pi treats the file as missing, although it may exist.")
                    .remedy("Check that the server may read the file, and read its log."),
            ),
            Answer::Silent => self.add(
                Finding::warning(format!("the server did not answer the request for {name}, but answered others."))
                    .rule(&rules::UNANSWERED_PROBE)
                    .evidence(format!(
                        "A server has to answer with an ERROR for a missing file: without an answer the Pi waits {:.0} s.",
                        reply.took.as_secs_f64()
                    )),
            ),
            // A Pi 5 was seen to stop with a black screen (reported, raspberrypi/rpi-eeprom issue 687).
            Answer::Broken { bytes, why, late } => {
                let file = name.strip_prefix(&self.prefix).unwrap_or(name);
                let rule = rules::FILE_TIMEOUT.on(self.board.model).filter(|_| *late);
                let finding = Finding::problem(format!("the transfer ended after {} bytes: {why}.", Grouped(*bytes)));
                return Err(self.end(
                    file,
                    finding.rule(rule).remedy(
                        "Check the server's log, and the network; 'pinetboot get' measures the transfer rate.",
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// Bytes to keep of a file: enough for a whole configuration, overlay map or device tree.
const KEEP: usize = 128 << 10;
