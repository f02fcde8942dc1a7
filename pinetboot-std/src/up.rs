//! `pinetboot up`: from an image to a Pi with its root, with a question for each choice.
//!
//! ```text
//! file, flags, answers -> Choices -> import -> configuration file -> serve, with a timeline
//! ```
//!
//! Each step looks first whether it is done: a second run takes the choices from the configuration file, and imports nothing
//! that exists. Nothing is written before the last question is answered.

mod ask;
mod configuration;
mod image;
mod network;
mod service;
mod timeline;

use std::path::PathBuf;

use tracing::Level;

use crate::config::{DhcpMode, Settings};
use crate::exit::{Exit, Failed};
use crate::firewall::{self, Firewall};
use crate::import::{self, Bars, Stop, catalogue};
use crate::output::{self, Output};
use crate::{net, serve, service as services, signals};
use ask::Ask;
use configuration::ConfigFile;
use network::Network;
use timeline::Timeline;

/// Options of `up`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Image to import, as in `pinetboot import` [default: the current image of --to, else raspios-lite, of Raspberry Pi Imager's
    /// list]
    pub image: Option<PathBuf>,

    /// Take the default of each question that no option answers; needs no terminal
    #[arg(short, long)]
    pub yes: bool,

    /// Directory of images and roots [default: that of --config, else /srv/pi]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,

    /// Write the settings of the server to this TOML file; settings that it has are kept
    #[arg(long, value_name = "FILE", default_value = "/etc/pinetboot.toml")]
    pub config: PathBuf,

    /// Network interface of the Pis [default: ask; the interface of the default route, else the only one that is up]
    #[arg(short, long, value_name = "NAME")]
    pub interface: Option<String>,

    /// Name this server to Pis by DHCP [default: ask; proxy beside a router that leases addresses, lease without one]
    #[arg(long, value_name = "MODE")]
    pub dhcp: Option<DhcpMode>,

    /// Create this user on the Pis and enable SSH; 'none' creates no user [default: ask; the user of sudo]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Let the user log in with the public SSH keys in this file [default: ask; that of the user of sudo, else a password]
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Option<PathBuf>,

    /// Read the user's password from the first line of this file [default: ask, unless --ssh-key is given]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Address of the list of images by name
    #[arg(long, value_name = "URL", default_value = catalogue::LIST, hide_default_value = true)]
    pub list_url: String,

    /// Install and start the server as a service of systemd, as 'pinetboot service install' does [default: ask; no]
    #[arg(long, conflicts_with = "no_service")]
    pub service: bool,

    /// Serve until ctrl-C, and install no service
    #[arg(long)]
    pub no_service: bool,
}

/// Asks, imports, configures and serves.
///
/// # Errors
///
/// The obstacle and the remedy. Steps that are done stay done: the next run begins behind them.
pub fn run(options: &Args, level: Level, quiet: bool) -> Result<Exit, Failed> {
    if !nix::unistd::geteuid().is_root() {
        let why = "up imports files of all owners and opens ports below 1024: run it with sudo";
        return Err(Failed::new(Exit::Usage, why));
    }
    let out = &mut output::stdout();
    let ask = Ask::new(options.yes);
    let file = ConfigFile::read(&options.config)?;
    let to = file.directory(options.to.as_deref())?;
    let network = Network::choose(options, &file, ask, out)?;
    let request = image::choose(options, &to, ask, out)?;
    let is_service = service::choose(options, ask, out)?;

    let chosen = Settings { tree: Some(to), ..network.settings() };
    let completed = file.completed(&chosen)?;
    completed.as_ref().map_or(Ok(()), |_| file.try_place())?;
    let settings = chosen.or(file.settings.clone())?;
    let config = settings.clone().resolve()?;
    let running = net::holder_of(PORT).filter(|holder| holder.starts_with("pinetboot "));
    if running.is_none() {
        serve::try_ports(&config)?;
    }
    let serving = if is_service { SERVICE } else { FOREGROUND };
    ask.confirm(&plan(request.as_ref(), completed.as_deref(), &options.config, serving), out)?;

    if let Some(request) = &request {
        let stop = Stop::default();
        let (stopping, bars) = (stop.clone(), Bars::new(quiet));
        let done = signals::during(move || stopping.stop(), || import::import(request, &stop, &bars));
        match done.map_err(|error| Failed::new(Exit::Failure, error))? {
            Err(_) if stop.is_stopped() => {
                return Err(Failed::new(Exit::Interrupted, "up was interrupted; no image was written"));
            }
            Ok(Exit::Success) => {}
            done => return done,
        }
    }
    serve::check(settings)?;
    if let Some(text) = &completed {
        file.write(text)?;
    }
    if let Firewall::Closed(closed) = Firewall::read(&firewall::ports(&config)) {
        writeln!(out, "\n{closed} As root:")?;
        for command in &closed.commands {
            writeln!(out, "  {command}")?;
        }
    }
    if is_service {
        out.finish()?;
        let done = services::install()?;
        let unit = services::active().unwrap_or("pinetboot-roots.service");
        writeln!(out, "\n{BOOTLOADER}Each phase of a boot is a line of: journalctl --follow --unit {unit}")?;
        return Ok(done);
    }
    if let Some(holder) = running {
        let after_a_change = match services::active() {
            Some(unit) => {
                format!("sudo systemctl restart {unit}. Its log: journalctl --follow --unit {unit}")
            }
            None => "end it with ctrl-C in its terminal, and run up again".into(),
        };
        writeln!(out, "{holder} serves already; after a change: {after_a_change}")?;
        return Ok(Exit::Success);
    }
    out.finish()?;
    let timeline =
        Timeline::new(request.and_then(|request| request.wishes.account).map(|account| account.name));
    let options = serve::Args {
        config: Some(options.config.clone()),
        check: false,
        boot_clock: 1,
        settings: Settings::default(),
    };
    serve::run_with(&options, level, vec![Box::new(timeline)])
}

/// What is about to be done, a line each.
fn plan(
    request: Option<&import::Request>,
    completed: Option<&str>,
    config: &std::path::Path,
    serving: &str,
) -> String {
    let import = request.map(|request| {
        let user = request.wishes.account.as_ref().map(|account| format!(", with the user {}", account.name));
        format!(
            "import {} as {}/images/{}{}\n",
            request.source,
            request.to.display(),
            request.name,
            user.unwrap_or_default()
        )
    });
    let write = completed.map(|_| format!("write {}\n", config.display()));
    format!("{}{}{serving}\n", import.unwrap_or_default(), write.unwrap_or_default())
}

/// Writes a line for each choice, in one form.
fn told(out: &mut Output, name: &str, value: &str, why: &str) -> Result<(), Failed> {
    writeln!(out, "{name:<10} {value}  ({why})")
}

const FOREGROUND: &str = "serve; ctrl-C stops the server";
const SERVICE: &str = "install and start the service, now and at each boot of this machine";

const BOOTLOADER: &str = "\
A Pi that never booted from the network has to be told once: in Raspberry Pi Imager choose Misc utility images,
Bootloader, Network boot, and start the Pi with that card. No line within a minute: pinetboot probe says why.\n";

const PORT: u16 = pinetboot_core::tftp::PORT;

const EXAMPLES: &str = "\
Examples:
  sudo pinetboot up                                   Raspberry Pi OS Lite; asks for the rest
  sudo pinetboot up raspios-trixie.img.xz --user ada --ssh-key ~/.ssh/id_ed25519.pub
  sudo pinetboot up raspios-lite --yes                defaults, for scripts
  sudo pinetboot up raspios-lite --yes --service      the same, and serve from each start of this machine";
