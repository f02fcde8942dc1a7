//! `pinetboot serve`: starts the bus and the services in order, and ends them in reverse when the supervisor says so.

pub(crate) mod bind;
mod checks;
mod confine;
mod dhcp;
#[cfg(feature = "disk")]
mod disks;
mod findings;
mod following;
mod leases;
mod lines;
mod nfs;
mod others;
mod overhear;
#[cfg(feature = "import")]
mod ports;
mod reloading;
mod roots;
mod seen;
mod service;
mod sources;
mod waiting;
mod workers;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pinetboot_core::pi::boot::Hearing;
use tracing::Level;

use crate::bus::Bus;
use crate::config::{Config, Settings};
use crate::descriptors::{self, Holders, TooLow};
use crate::events::{self, Listener, Transfers};
use crate::exit::{Exit, Failed};
use crate::handed::Handed;
#[cfg(feature = "web")]
use crate::hooks::Hooks;
use crate::log::Log;
use crate::logging;
use crate::net::{Changes, Control, Links, LinuxNet};
use crate::notify::{Notify, watchdog_period};
use crate::observe::watch;
use crate::output;
#[cfg(feature = "web")]
use crate::roots::configured;
use crate::storage::{Budget, Pool, UploadQuota};
use crate::supervisor::Supervisor;
#[cfg(feature = "web")]
use crate::web::Shown;
use findings::Told;
use following::{Change, Follow, Used};
use nfs::Nfsd;
use overhear::{Asks, Captures};
#[cfg(feature = "import")]
pub(crate) use ports::try_ports;
use seen::Seen;
use service::Services;
use sources::{Served, notices, open, remove_leftovers, report, settings};
use waiting::Chosen;
use workers::Workers;

/// Options of `serve`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Read settings from this TOML file; its keys are named like the options. Command-line options override the file.
    /// Relative paths in it start at the working directory [default: no file]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Check the configuration and all that it names, name every fault, and exit: 0 if it is valid, else 2
    #[arg(long)]
    pub check: bool,

    /// Run the clock that tells a stuck boot this many times as fast: for tests
    #[arg(long, value_name = "N", hide = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub boot_clock: u32,

    /// Settings of the command line.
    #[command(flatten)]
    pub settings: Settings,
}

/// Serves until a signal stops the process.
///
/// # Errors
///
/// The obstacle and the remedy.
pub fn run(options: &Args, level: Level) -> Result<Exit, Failed> {
    run_with(options, level, Vec::new())
}

/// Checks settings as `--check` does.
///
/// # Errors
///
/// All faults.
pub fn check(settings: Settings) -> Result<Exit, Failed> {
    report(&settings.resolve()?)
}

/// The same as [`run`], with more listeners on the bus.
///
/// # Errors
///
/// The obstacle and the remedy.
pub fn run_with(options: &Args, level: Level, more: Vec<Box<dyn Listener>>) -> Result<Exit, Failed> {
    let settings = settings(options)?;
    let config = settings.clone().resolve()?;
    if options.check {
        return report(&config);
    }
    let tail = tail(&config);
    logging::start(config.log_format, level, tail.clone());
    let failure = |error: io::Error| Failed::new(Exit::Failure, error);
    let (notify, no_notify) = match Notify::from_environment() {
        Ok(notify) => (notify, None),
        Err(error) => (Notify::default(), Some(error)),
    };
    let supervisor = Supervisor::new().map_err(failure)?;
    let mut handed = Handed::from_environment();
    let (seen, asks) = (Seen::default(), Asks::default());
    let mut listeners: Vec<Box<dyn Listener>> = vec![
        // Before the log, whose disk may hang.
        Box::new(supervisor.clone()),
        Box::new(Log::default()),
        Box::new(seen.clone()),
        Box::new(asks.clone()),
        Box::new(notify.clone()),
    ];
    listeners.extend(more);
    #[cfg(feature = "web")]
    let live = crate::live::Live::default();
    #[cfg(feature = "web")]
    if config.web.is_on() {
        listeners.push(Box::new(live.clone()));
    }
    #[cfg(feature = "web")]
    let hooks = Hooks::start(&config)?;
    #[cfg(feature = "web")]
    listeners.extend(hooks.clone().map(|hooks| Box::new(hooks) as Box<dyn Listener>));
    let bus = Bus::new(listeners);
    notify.count(bus.pis());
    if let Some(error) = no_notify {
        bus.emit(None, events::Server::NoNotify { error: error.to_string() });
    }
    let (links, changes) = (Links::default(), Changes::listen().map_err(failure)?);
    let Some(Chosen { interfaces, by_route }) = waiting::wait(&config, (&links, &changes), &notify, &bus)?
    else {
        bus.emit(None, events::Server::Stopped(Transfers::default()));
        return Ok(Exit::Success);
    };
    bus.set_inventory(Arc::new(config.inventory.clone()));
    let transfers = allow_descriptors(&config, &bus);
    let base_images = roots::prepare(&config, &bus)?;
    let captures = Captures::open(&config, &interfaces, &links, &bus);
    let serves_roots = base_images.is_some() || !config.disk_images().is_empty();
    bus.set_watch(hearing(&config, serves_roots, &captures), options.boot_clock);
    // The process of NFS starts with the rights of this one, which gives them up below.
    let nfsd = base_images
        .map(|base_images| Nfsd::start(&config, settings, base_images, watchdog_period(), &mut handed, &bus));
    let nfsd = nfsd.transpose()?;
    let roots = nfsd.as_ref().map(|nfsd| nfsd.roots().clone());
    let (budget, quota) = (Budget::default(), UploadQuota::default());
    #[cfg(feature = "disk")]
    let disks = disks::prepare(&config, &mut handed, captures.any(), &bus)?;
    let beside = Served {
        roots: roots.clone(),
        #[cfg(feature = "disk")]
        disks: disks.as_ref().map(|disks| disks.disks().clone()),
    };
    let storage = open(&config, &beside, &bus, &budget, &quota)?;
    remove_leftovers(&storage, &config, &bus);
    notices(&config, storage.trees()).for_each(|notice| bus.emit(None, notice));
    let told = Arc::new(Told::default());
    told.check(&config, storage.trees(), &bus);
    drop(storage);

    let mut nets = LinuxNet::listen_together(&config.listen, &config.net, config.threads, &mut handed)
        .map_err(|error| bind::cannot_bind_tftp(&error))?;
    nets.iter_mut().for_each(|net| net.set_watch(&watch(&bus)));
    nets.iter_mut().for_each(|net| net.open_ports(&links.addresses()));
    let route = interfaces.first().filter(|_| by_route).map(|interface| interface.name.clone());
    let dhcp = dhcp::bind(&config, interfaces, &links, &mut handed, &bus)?;
    if !handed.is_empty() {
        bus.emit(None, events::Server::NoEffect { setting: "LISTEN_FDS", why: NOT_SERVED });
    }
    drop(handed);
    #[cfg(feature = "web")]
    let web = crate::web::Bound::bind(&config.web, &bus)?;
    let (used, mut follow) = followed(&config, &nets, dhcp.as_ref(), route);
    let hears = captures.controls();
    follow.push(Box::new(move |change| {
        if let Change::Back(_) = change {
            hears.iter().for_each(Control::bind_again);
        }
    }));
    let leases = dhcp.as_ref().and_then(dhcp::Bound::leases);
    let lacks = nfsd.as_ref().map(Nfsd::missing).unwrap_or_default();
    #[cfg(feature = "disk")]
    let with_disks = disks.as_ref();
    #[cfg(not(feature = "disk"))]
    let with_disks = None;
    let file = options.config.as_deref();
    let paths = confine::confine(&config, file, leases, roots.as_deref(), with_disks, lacks, &bus)?;
    #[cfg(feature = "disk")]
    if let Some(disks) = &disks {
        disks.configure(&config, &bus)?;
    }
    let controls: Vec<_> = nets.iter().map(LinuxNet::control).collect();
    let reload = move || controls.iter().for_each(Control::reload);
    supervisor.start(&bus, notify, watchdog_period(), reload).map_err(failure)?;
    #[cfg(feature = "web")]
    if let Some(hooks) = &hooks {
        hooks.follow(&bus);
    }
    let clock = bus.clone();
    supervisor
        .spawn(&bus, "clock", move || {
            clock.keep_time();
            Ok(())
        })
        .map_err(failure)?;
    supervisor.watch("clock", bus.clone());

    // Dropped in any case: an error below stops what has started, within the time of a stop.
    let mut services = Services::new(supervisor.clone());
    #[cfg(feature = "web")]
    {
        let (images, place) = (configured::images(&config)?, config.serving().to_owned());
        let shown = Shown { live, tail, images, place, roots: roots.clone() };
        services.add(web.start(shown, bus.pis().clone(), &bus, &supervisor)?);
    }
    // DHCP comes last: it sends clients to this server.
    if let Some(nfsd) = nfsd {
        follow.push(nfs::follow_interfaces(nfsd.roots(), &supervisor, &bus));
        services.add(Some(nfsd.follow(&supervisor, &bus)?));
    }
    #[cfg(feature = "disk")]
    if let Some(disks) = disks {
        let disks = disks.start(&supervisor, &bus)?;
        follow.push(disks.follow_interfaces(&supervisor));
        services.add(Some(disks));
    }
    // Its threads start when they are needed, in the namespace and the sandbox of the workers.
    let pool = Pool::new(bus.clone());
    let served = Arc::new(Mutex::new(Transfers::default()));
    let serving = config.serving().display().to_string();
    let tftp = workers::Shared {
        options: options.clone(),
        transfers,
        config: config.clone(),
        served_beside: beside,
        bus: bus.clone(),
        budget,
        pool: pool.clone(),
        quota,
        paths,
        told,
        served: served.clone(),
    };
    services.add(Some(Workers::start(nets, &tftp, &supervisor)?));
    services.add(Some(captures.start(&config, &asks, &links, &bus, &supervisor)?));
    services.add(Some(following::start((links.clone(), changes), used, follow, &bus, &supervisor)?));
    let all: Vec<_> = services.describe().chain(dhcp.as_ref().map(dhcp::Bound::describe)).collect();
    let (teller, failing) = (bus.clone(), supervisor.clone());
    let ready = move || {
        teller.emit(None, events::Server::Ready { serving: serving.clone() });
        let out = &mut output::stdout();
        if let Err(why) =
            writeln!(out, "ready {} serving {serving}", all.join(" ")).and_then(|()| out.finish())
        {
            failing.give_up(why);
        }
    };
    if supervisor.serve() {
        match dhcp {
            Some(dhcp) => {
                services.add(Some(dhcp.start(&config.inventory, &links, &bus, &seen, &supervisor, ready)?));
            }
            None => ready(),
        }
    }
    supervisor.wait();
    drop(services);
    pool.settle(); // what uploads leave is removed
    let served = *served.lock().unwrap_or_else(PoisonError::into_inner);
    bus.emit(None, events::Server::Stopped(served));
    supervisor.given_up().map_or_else(|| Ok(supervisor.exit()), Err)
}

/// The last lines of the log, for the page.
fn tail(config: &Config) -> logging::Tail {
    #[cfg(feature = "web")]
    if !config.web.listen.is_empty() {
        return logging::Tail::keep();
    }
    let _no_page = config;
    logging::Tail::default()
}

/// Raises the limit of open files; the number of transfers that it allows.
fn allow_descriptors(config: &Config, bus: &Bus) -> usize {
    // A connection to a disk, and the disk's files.
    let disks = if config.disk_images().is_empty() { 0 } else { OF_DISK * config.root.limits.max_pis };
    match descriptors::allow(Holders::Transfers, config.max_transfers + disks) {
        Ok(()) => config.max_transfers,
        Err(TooLow { fit, .. }) if fit.saturating_sub(disks) >= config.max_transfers => config.max_transfers,
        Err(TooLow { allowed, fit }) => {
            let transfers = (if disks > 0 { fit / 2 } else { fit }).clamp(1, config.max_transfers);
            bus.emit(None, events::Server::FewForTransfers { allowed, transfers });
            transfers
        }
    }
}

/// What this server hears of a Pi's boot.
fn hearing(config: &Config, nfs: bool, captures: &Captures) -> Hearing {
    Hearing {
        dhcp: config.dhcp.is_some(),
        tftp: config.dhcp.as_ref().is_none_or(|dhcp| dhcp.boot_server.is_none()),
        nfs,
        frames: captures.any(),
        ..Hearing::TFTP
    }
}

/// What the sockets are bound to, and how they follow changes of it.
fn followed(
    config: &Config,
    nets: &[LinuxNet],
    dhcp: Option<&dhcp::Bound<'_>>,
    default_route: Option<String>,
) -> (Used, Vec<Follow>) {
    let mut interfaces = config.net.interfaces.clone();
    interfaces.extend(dhcp.into_iter().flat_map(dhcp::Bound::interfaces));
    interfaces.sort_unstable();
    interfaces.dedup();
    let addresses = config.listen.iter().map(|address| *address.ip());
    let addresses = addresses.filter(|address| !address.is_unspecified()).collect();
    let tftp: Vec<_> = nets.iter().map(LinuxNet::control).collect();
    let dhcp = dhcp.map(dhcp::Bound::controls).unwrap_or_default();
    let follow = move |change: Change<'_>| match change {
        Change::Back(_) => tftp.iter().chain(&dhcp).for_each(Control::bind_again),
        Change::Addresses => dhcp.iter().for_each(Control::reload),
    };
    (Used { interfaces, addresses, default_route }, vec![Box::new(follow)])
}

/// Places of transfers, with two descriptors each, that a disk in use takes.
const OF_DISK: usize = 4;

/// A socket of the service manager that no service took.
const NOT_SERVED: &str = "a socket has an address that the configuration does not serve. In the unit of the sockets, name IPv4 addresses: \
                          ListenDatagram=0.0.0.0:69";

const EXAMPLES: &str = "\
Examples:
  sudo pinetboot serve /srv/tftp                      the router names this server in option 66
  sudo pinetboot serve --dhcp proxy /srv/tftp         beside a router that cannot be configured
  sudo pinetboot serve --dhcp lease --interface eth1 /srv/tftp
                                                      on a network without a DHCP server
  sudo pinetboot serve /srv/pi                        imported images, and a root for each Pi
  sudo pinetboot serve raspios-lite.img.xz            a card's image, unchanged, and a disk on it for each Pi
  sudo pinetboot serve --nfs /srv/root                a root for each Pi, from an existing tree
  pinetboot serve --tftp-port 6969 /srv/tftp          without privileges, as a trial
  pinetboot serve --single-port /srv/tftp             behind NAT or in a container
  pinetboot serve --config /etc/pinetboot.toml        a file like:  tree = \"/srv/tftp\"
                                                                    interface = \"eth0\"

A Pi may mount only its own root. Evidence that a client is that Pi, strongest first: 'address' in the inventory, \
a root in use, the MAC address of an earlier mount, DHCP, fetched boot files. 'pinetboot roots' shows what each Pi \
has changed.

SIGHUP reloads the configuration; SIGTERM and ctrl-C end all transfers and stop the server.";
