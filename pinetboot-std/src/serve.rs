//! `pinetboot serve`: starts the bus and the services in order, and ends them in reverse when the supervisor says so.

mod bind;
mod confine;
mod descriptors;
mod dhcp;
mod leases;
#[cfg(feature = "nfs")]
mod nfs;
mod others;
mod reloading;
mod roots;
mod seen;
mod service;
mod sources;
mod workers;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;

use crate::bus::Bus;
use crate::config::Settings;
use crate::events::{self, Transfers};
use crate::exit::{Exit, Failed};
use crate::log::Log;
use crate::logging;
use crate::net::{Control, Interface, LinuxNet};
use crate::notify::{Notify, watchdog_period};
use crate::observe::watch;
use crate::storage::{Budget, Pool, UploadQuota};
use crate::supervisor::Supervisor;
use seen::Seen;
use service::Services;
use sources::{configure, notices, open, remove_leftovers};
use workers::Workers;

/// Options of `serve`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Read settings from this TOML file; its keys are named like the options. Command-line options override the file.
    /// Relative paths in it start at the working directory [default: no file]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

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
    let config = configure(options)?;
    logging::start(config.log_format, level);
    let failure = |error: io::Error| Failed::new(Exit::Failure, error);
    let (notify, no_notify) = match Notify::from_environment() {
        Ok(notify) => (notify, None),
        Err(error) => (Notify::default(), Some(error)),
    };
    let supervisor = Supervisor::new().map_err(failure)?;
    let seen = Seen::default();
    let bus = Bus::new(vec![
        // Before the log, whose reader may hang.
        Box::new(supervisor.clone()),
        Box::new(Log::default()),
        Box::new(seen.clone()),
        Box::new(notify.clone()),
    ]);
    if let Some(error) = no_notify {
        bus.emit(None, events::Server::NoNotify { error: error.to_string() });
    }
    bus.set_inventory(Arc::new(config.inventory.clone()));
    let fitting = descriptors::allow(&config, &bus);
    let roots = roots::prepare(&config, fitting.max_pis, &bus)?;
    let (budget, quota) = (Budget::default(), UploadQuota::default());
    let storage = open(&config, roots.clone(), &bus, &budget, &quota)?;
    remove_leftovers(&storage, &config, &bus);
    notices(&config, storage.trees()).for_each(|notice| bus.emit(None, notice));
    drop(storage);

    let mut nets = LinuxNet::listen_together(&config.listen, &config.net, config.threads)
        .map_err(|error| bind::cannot_bind(&error, "choose another port with --tftp-port"))?;
    nets.iter_mut().for_each(|net| net.set_watch(&watch(&bus)));
    let local = Interface::addresses().unwrap_or_default();
    nets.iter_mut().for_each(|net| net.open_ports(&local));
    let dhcp = dhcp::bind(&config, &bus)?;
    let leases = dhcp.as_ref().and_then(dhcp::Bound::leases);
    let paths = confine::confine(&config, options.config.as_deref(), leases, roots.is_some(), &bus)?;
    let controls: Vec<_> = nets.iter().map(LinuxNet::control).collect();
    let reload = move || controls.iter().for_each(Control::reload);
    supervisor.start(&bus, notify, watchdog_period(), reload).map_err(failure)?;
    let clock = bus.clone();
    supervisor
        .spawn(&bus, "clock", move || {
            clock.keep_time();
            Ok(())
        })
        .map_err(failure)?;
    supervisor.watch("clock", bus.clone());
    if let Some(roots) = &roots {
        let bus = bus.clone();
        let ended = move || {
            bus.emit(None, events::Server::ThreadEnded { thread: "mounter".into(), why: "ended".into() })
        };
        roots.mounts().watch(ended).map_err(failure)?;
    }

    // Dropped in any case: an error below stops what has started, within the time of a stop.
    let mut services = Services::new(supervisor.clone());
    // NFS before DHCP: DHCP sends clients to this server.
    #[cfg(feature = "nfs")]
    services.add(nfs::start(&config, roots.clone(), &bus)?);
    services.add(dhcp.map(|dhcp| dhcp.start(&config, &bus, &seen, &supervisor)).transpose()?);
    // Its threads start when they are needed, in the namespace and the sandbox of the workers.
    let pool = Pool::new(bus.clone());
    let served = Arc::new(Mutex::new(Transfers::default()));
    let serving = config.serving().display().to_string();
    let tftp = workers::Shared {
        options: options.clone(),
        transfers: fitting.transfers,
        config,
        roots,
        bus: bus.clone(),
        budget,
        pool: pool.clone(),
        quota,
        paths,
        served: served.clone(),
    };
    services.add(Some(Workers::start(nets, &tftp, &supervisor)?));
    if supervisor.serve() {
        bus.emit(None, events::Server::Ready { serving: serving.clone() });
        let all: Vec<_> = services.describe().collect();
        writeln!(io::stdout(), "ready {} serving {serving}", all.join(" "))
            .and_then(|()| io::stdout().flush())
            .map_err(|error| {
                Failed::new(Exit::Failure, format!("cannot write to standard output: {error}"))
            })?;
    }
    supervisor.wait();
    drop(services);
    pool.settle(); // what uploads leave is removed
    let served = *served.lock().unwrap_or_else(PoisonError::into_inner);
    bus.emit(None, events::Server::Stopped(served));
    Ok(supervisor.exit())
}

const EXAMPLES: &str = "\
Examples:
  sudo pinetboot serve /srv/tftp                      the router names this server in option 66
  sudo pinetboot serve --dhcp proxy /srv/tftp         beside a router that cannot be configured
  sudo pinetboot serve --dhcp lease --interface eth1 /srv/tftp
                                                      on a network without a DHCP server
  sudo pinetboot serve /srv/pi                        imported images, and a root for each Pi
  sudo pinetboot serve --nfs /srv/root                a root for each Pi, from an existing tree
  pinetboot serve --tftp-port 6969 /srv/tftp          without privileges, as a trial
  pinetboot serve --single-port /srv/tftp             behind NAT or in a container
  pinetboot serve --config /etc/pinetboot.toml        a file like:  tree = \"/srv/tftp\"
                                                                    interface = \"eth0\"

A Pi may mount only its own root. Evidence that a client is that Pi, strongest first: 'address' in the inventory, \
a root in use, the MAC address of an earlier mount, DHCP, fetched boot files. 'pinetboot roots' shows what each Pi \
has changed.

SIGHUP reloads the configuration; SIGTERM and ctrl-C end all transfers and stop the server.";
