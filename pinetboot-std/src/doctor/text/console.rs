//! What several lines of a console show: a DHCP phase without an end, a root that does not answer, links that drop, and the kernel's
//! command line.

use pinetboot_core::pi::rules;

use super::Shown;
use crate::finding::{Finding, Findings, Severity};
use crate::inspect::command_line::{self, Circumstances};
use crate::inspect::initramfs::NfsClient;

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct Console {
    /// Answers of DHCP servers that the bootloader showed since it last had an address.
    offers: u32,
    /// The latest of them.
    offer: Option<(u64, String)>,
    /// The root does not answer since this line.
    silent: Option<(u64, String)>,
    /// The network was configured shortly before.
    configured_at: Option<u64>,
    /// The root fell silent after the network was configured.
    is_after_configuration: bool,
    /// Links that went down.
    drops: u32,
    drop: Option<(u64, String)>,
    kernel: Option<String>,
    serror: Option<(u64, String)>,
    /// U-Boot's requests for its own files.
    u_boot: u32,
    u_boot_line: Option<(u64, String)>,
    command_line: Option<(u64, String)>,
    has_initramfs: bool,
}

impl Console {
    pub(super) fn line(&mut self, number: u64, line: &str) {
        let kept = || Some((number, line.trim().to_owned()));
        // Lines of the bootloader (captured, raspberrypi/rpi-eeprom issues 559 and 720).
        if line.contains("DHCP src: ") {
            self.offers += 1;
            self.offer = kept();
        } else if (line.contains("NET ") && line.contains(" tftp ")) || line.contains("TFTP_GET: ") {
            self.offers = 0;
        }
        // net/sunrpc/clnt.c
        if line.contains("nfs: server") && line.contains("not responding") {
            if self.silent.is_none() {
                self.silent = kept();
                self.is_after_configuration =
                    self.configured_at.is_some_and(|at| number.saturating_sub(at) <= SHORTLY);
            }
        } else if line.contains("nfs: server") && line.trim_end().ends_with(" OK") {
            self.silent = None;
        }
        if CONFIGURES.iter().any(|program| line.contains(program)) {
            self.configured_at = Some(number);
        }
        // drivers/net/phy/phy.c, drivers/net/phy/phylink.c
        if line.contains("Link is Down") {
            self.drops += 1;
            self.drop = kept();
        }
        if let Some((_, version)) = line.split_once("Linux version ") {
            *self = Self { kernel: version.split(' ').next().map(str::to_owned), ..Self::default() };
        }
        if line.contains("SError") && self.serror.is_none() {
            self.serror = kept();
        }
        if line.contains("Retrieving file: pxelinux.cfg/") {
            self.u_boot += 1;
            self.u_boot_line = kept();
        }
        if let Some((_, text)) = line.split_once("Kernel command line: ") {
            self.command_line = Some((number, text.to_owned()));
        }
        // init/initramfs.c
        self.has_initramfs |=
            line.contains("unpack rootfs image as initramfs") || line.contains("Unpacking initramfs");
    }

    pub(super) fn shown(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        let mut show = |rule, at: &Option<(u64, String)>| {
            shown.extend(at.as_ref().map(|(line, text)| Shown::new(rule, *line, text.clone())));
        };
        if self.offers >= UNTAKEN {
            show(&rules::NO_BOOT_SERVER, &self.offer);
        }
        match () {
            () if self.drops >= FLAPS => show(&rules::ENERGY_EFFICIENT_ETHERNET, &self.drop),
            () if self.is_after_configuration => show(&rules::INTERFACE_RECONFIGURED, &self.silent),
            () => show(&rules::TRANSMIT_STALL, &self.silent),
        }
        if self.kernel.as_deref().is_some_and(|kernel| kernel.starts_with("6.12.81")) {
            show(&rules::CM5_KERNEL_SERROR, &self.serror);
        }
        if self.u_boot >= UNTAKEN {
            show(&rules::U_BOOT_PXE, &self.u_boot_line);
        }
        shown
    }

    /// The faults of the command line, of a log that begins with the kernel's first line: whether an initramfs runs is known then.
    pub(super) fn command_line(&self) -> Vec<(u64, Finding)> {
        let (Some(_), Some((number, text))) = (&self.kernel, &self.command_line) else { return Vec::new() };
        let circumstances = Circumstances {
            initramfs: self.has_initramfs.then_some(NfsClient::Unknown),
            ..Circumstances::default()
        };
        let mut findings = Findings::default();
        command_line::check(&mut findings, "The command line", text, circumstances);
        let line = |finding: &Finding| {
            let mut finding = finding.clone();
            finding.what = format!("Line {number}: {}", finding.what);
            (*number, finding)
        };
        findings.iter().filter(|finding| finding.severity != Severity::Note).map(line).collect()
    }
}

/// What configures an interface anew.
const CONFIGURES: [&str; 5] = [
    "NetworkManager[",
    "systemd-networkd[",
    "dhcpcd[",
    "Starting networking.service",
    "Raise network interfaces",
];
/// Lines between the configuration and the silence that it causes.
const SHORTLY: u64 = 30;
/// Answers that a bootloader shows without taking one: it asks every 4 s.
const UNTAKEN: u32 = 4;
/// A link drops once or twice in a healthy boot, when drivers reset it.
const FLAPS: u32 = 4;
