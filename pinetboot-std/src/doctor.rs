//! `pinetboot doctor`: all that keeps Pis from booting, in one report.
//!
//! ```text
//! configuration -> machine (ports, firewall, bridges, disks, clock)  \
//!               -> network (probe)                                    \
//!               -> files (check)                                       -> Part (facts, Findings) -> text or JSON
//! control socket -> server (each Pi with its verdict), or one Pi      /
//! --log, --listen -> text (lines, EEPROM settings, packets)          /
//! ```
//!
//! Every part looks without an effect; only the network gets packets, those of `probe`, unless `--no-send` is given.

mod files;
mod listen;
mod machine;
mod network;
#[cfg(all(feature = "import", feature = "web"))]
mod own;
mod report;
#[cfg(feature = "web")]
mod server;
mod text;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::{Config, Settings};
use crate::exit::{Exit, Failed};
use crate::finding::Finding;
use crate::output;
use crate::service::CONFIGURATION;
use report::{Part, Report};
use text::Judge;

/// Options of `doctor`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Compare the last boots of this Pi, and check its files: name, serial number, MAC or IPv4 address [default: all, and this machine]
    #[cfg(feature = "web")]
    #[arg(value_name = "PI", conflicts_with_all = ["log", "listen"])]
    pub pi: Option<String>,

    /// Read the configuration of `serve` from this TOML file [default: /etc/pinetboot.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Probe the network on this interface; repeatable [default: those of the configuration; else that of the default route, or the only
    /// one that is up]
    #[arg(short, long, value_name = "NAME")]
    pub interface: Vec<String>,

    /// Send no packet [default: with CAP_NET_RAW, a DHCP DISCOVER and the requests of 'pinetboot probe' on each interface]
    #[arg(long)]
    pub no_send: bool,

    /// Ask the server at this Unix socket [default: that of the configuration; else pinetboot/control in $XDG_RUNTIME_DIR, else
    /// /run/pinetboot/control]
    #[cfg(feature = "web")]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,

    /// Judge a pasted text instead: a bootloader's UART log, a kernel's console or journal, the output of rpi-eeprom-config, or packets
    /// as tcpdump prints them; - reads standard input. At most 16 MiB [default: none]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "interface", "no_send", "listen"])]
    pub log: Option<PathBuf>,

    /// Print and judge the lines that bootloaders and kernels send by NETCONSOLE, until ctrl-C
    #[arg(long, conflicts_with_all = ["config", "no_send", "json"])]
    pub listen: bool,

    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Looks, and prints the report.
///
/// # Errors
///
/// If a named configuration does not exist, the server does not know the Pi, or standard output fails.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let mut report = Report::default();
    if options.listen {
        return listen::run(&options.interface);
    }
    if let Some(file) = &options.log {
        report.add(pasted(file)?);
        return finish(&report, options.json);
    }
    let config = configuration(options.config.as_deref(), &mut report)?;
    #[cfg(feature = "web")]
    if let Some(pi) = &options.pi {
        server::one(pi, options, config.as_ref(), &mut report)?;
        return finish(&report, options.json);
    }
    report.add(machine::look(config.as_ref()));
    network::look(options, config.as_ref(), &mut report);
    if let Some(config) = &config {
        files::look(config, &mut report);
    }
    #[cfg(feature = "web")]
    server::all(options, config.as_ref(), &mut report);
    finish(&report, options.json)
}

/// Judges a text.
fn pasted(file: &Path) -> Result<Part, Failed> {
    let (name, bytes) = match file.to_str() {
        Some("-") => ("standard input".into(), read(io::stdin().lock())),
        _ => (file.display().to_string(), File::open(file).and_then(read)),
    };
    let bytes = bytes.map_err(|error| Failed::new(Exit::Usage, format!("{name}: {error}")))?;
    let is_cut = bytes.len() as u64 > LONGEST_TEXT;
    let mut judge = Judge::default();
    for line in String::from_utf8_lossy(&bytes).lines() {
        let _told_at_the_end = judge.line(line);
    }
    let mut part = Part::new("log", format!("{name}, {} lines", judge.lines()));
    part.facts.extend(is_cut.then(|| "the text is longer than 16 MiB, and the rest was not read".to_owned()));
    part.findings = judge.findings();
    Ok(part)
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LONGEST_TEXT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn finish(report: &Report, json: bool) -> Result<Exit, Failed> {
    let out = &mut output::stdout();
    if json { out.json(report) } else { report.print(out) }?;
    Ok(report.exit())
}

/// The configuration. A fault in it is a finding: the rest is looked at all the same.
fn configuration(named: Option<&Path>, report: &mut Report) -> Result<Option<Config>, Failed> {
    let place = named.unwrap_or(Path::new(CONFIGURATION));
    let mut part = Part::new("configuration", place.display().to_string());
    if !place.try_exists().unwrap_or(true) {
        if named.is_some() {
            return Err(Failed::new(Exit::Usage, format!("{}: no such file", place.display())));
        }
        part.about += " does not exist: checks assume the settings of 'pinetboot serve' without options";
        report.add(part);
        return Ok(None);
    }
    let config = Settings::read(place).and_then(Settings::resolve);
    match &config {
        Ok(config) => {
            for (setting, why) in &config.without_effect {
                let finding = Finding::note(format!("{setting} has no effect: {why}."));
                part.findings.add(finding.remedy(format!("Remove {setting}.")));
            }
        }
        Err(failed) => {
            let finding = Finding::problem(format!("The configuration cannot be used: {failed}."));
            part.findings.add(finding.remedy(format!(
                "Correct it; 'pinetboot serve --check --config {}' checks it.",
                place.display()
            )));
        }
    }
    report.add(part);
    Ok(config.ok())
}

/// Bytes of a pasted text.
const LONGEST_TEXT: u64 = 16 << 20;

const EXAMPLES: &str = "\
Examples:
  sudo pinetboot doctor                         this machine, its network and files, and all Pis
  sudo pinetboot doctor --no-send --json        the same without a packet, for a script
  pinetboot doctor kitchen                      the last boots of one Pi, and its files
  pinetboot doctor --log uart.txt               what a pasted log shows
  ssh pi@kitchen rpi-eeprom-config | pinetboot doctor --log -
  sudo pinetboot doctor --listen                NETCONSOLE of bootloaders and kernels";
