//! The verdict: whether the Pi would boot, the totals, and the findings with their remedies.

use std::io::{self, Write};
use std::time::Duration;

use pinetboot_core::pi::Profile;

use super::root::RootCheck;
use super::timeline::Grouped;
use crate::finding::{Finding, Findings, Severity};
use crate::inspect::command_line::{self, Circumstances};
use crate::inspect::initramfs::NfsClient;
use crate::text::wrap;

/// The result of a boot.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) findings: Findings,
    pub(super) totals: Totals,
    pub(super) loaded: Loaded,
    /// The kernel's command line with its file's name, if the Pi fetched one.
    pub(super) command_line: Option<(String, String)>,
    pub(super) root: RootCheck,
    /// Findings that are faults for Linux alone: the kernel, which comes last, shows whether the boot is Linux's.
    pub(super) for_linux: Vec<Finding>,
}

/// Totals of all requests.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) requests: u32,
    pub(super) missing: u32,
    pub(super) bytes: u64,
    pub(super) blocks: u64,
    pub(super) time: Duration,
}

/// The files in the Pi's memory at the end.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Kernel, device tree, initramfs and other single files.
    pub(super) files: Vec<String>,
    /// The initramfs among them; the last of several.
    pub(super) initramfs: Option<String>,
    pub(super) overlays: usize,
}

impl Summary {
    pub(super) fn would_boot(&self) -> bool {
        self.findings.of(Severity::Problem).next().is_none()
    }

    /// Makes notes of the findings for Linux: the kernel is another program.
    pub(super) fn is_no_linux(&mut self) {
        for finding in std::mem::take(&mut self.for_linux) {
            self.findings
                .lower(&finding, "The kernel is no Linux: U-Boot, UEFI and bare-metal programs do without.");
        }
    }

    /// Checks the command line; what the initramfs holds is not known here.
    pub(super) fn check_command_line(&mut self) {
        let Some((name, text)) = &self.command_line else { return };
        let initramfs = self.loaded.initramfs.as_ref().map(|_| NfsClient::Unknown);
        let circumstances = Circumstances { initramfs, ..Circumstances::default() };
        command_line::check(&mut self.findings, name, text, circumstances);
    }

    /// The files with problems, the warnings and the notes.
    #[cfg(test)]
    pub(super) fn said(&self) -> (Vec<&str>, Vec<String>, Vec<String>) {
        let texts = |severity| self.findings.of(severity).map(ToString::to_string).collect();
        (self.files(), texts(Severity::Warning), texts(Severity::Note))
    }

    pub(super) fn print(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
        let Totals { requests, missing, bytes, blocks, time } = self.totals;
        let mut print = |text: &str| writeln!(out, "{}", wrap(text, WIDTH, "  "));
        print("")?;
        let loaded = self.loaded.list();
        match &self.root {
            RootCheck::Mounted { source, init } if self.would_boot() => {
                print(&format!("Would boot: {loaded}, then {init} of {source}."))?;
            }
            RootCheck::Skipped(why) if self.would_boot() => {
                print(&format!("Would start the kernel: {loaded}."))?;
                print(&format!("The root was not checked: {why}."))?;
            }
            _ => print(&format!("Would not boot, because of {}.", self.files().join(", ")))?,
        }
        let plural = if requests == 1 { "" } else { "s" };
        print(&format!("{requests} request{plural}, {missing} of them for missing files."))?;
        if self.would_boot() {
            let real = (blocks as f64 * BLOCK.as_secs_f64()).max(1.0);
            print(&format!(
                "{} bytes in {:.1} s; a real {} takes about {real:.0} s.",
                Grouped(bytes),
                time.as_secs_f64(),
                profile.name,
            ))?;
        }
        for finding in self.findings.iter() {
            print("")?;
            print(&finding.to_string())?;
        }
        Ok(())
    }

    fn files(&self) -> Vec<&str> {
        self.findings.of(Severity::Problem).filter_map(|problem| problem.file.as_deref()).collect()
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

/// The time of a real Pi for a block, independent of the server: 43 MB in blocks of 1468 bytes took a CM5 13 s (reported,
/// raspberrypi/rpi-eeprom issue 857).
pub(super) const BLOCK: Duration = Duration::from_micros(440);

/// Columns of prose.
pub(super) const WIDTH: usize = 98;
