//! `pinetboot serve`: starts the bus, the services and the loops in order, and ends them in reverse.

mod bind;
mod dhcp;
mod leases;
mod loops;
#[cfg(feature = "nfs")]
mod nfs;
mod others;
mod roots;
mod sources;

use std::io::{self, Write};
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::Level;

use crate::bus::Bus;
use crate::cli;
use crate::config::Config;
use crate::events;
use crate::exit::{Exit, Failed};
use crate::log::Log;
use crate::net::{Interface, LinuxNet, Ports};
use crate::observe::watch;
use crate::storage::Budget;
use crate::{logging, signals};
use loops::Loops;
use sources::{configure, notices, open};

/// Serves until told to stop.
///
/// # Errors
///
/// What keeps it from serving, and what to do about it.
pub fn run(options: &cli::Serve, level: Level) -> Result<Exit, Failed> {
    let config = configure(options)?;
    logging::start(config.log_format, level);
    let bus = Bus::new(vec![Box::new(Log)]);
    bus.set_inventory(Arc::new(config.inventory.clone()));
    let roots = roots::prepare(&config, &bus)?;
    let budget = Budget::default();
    let storage = open(&config, roots.clone(), &bus, &budget)?;
    notices(&storage.trees).for_each(|notice| bus.emit(None, notice));
    allow_descriptors(config.max_transfers, &bus);

    let mut nets = LinuxNet::listen_together(&config.listen, &config.net, config.threads)
        .map_err(|error| bind::cannot_bind(&error, "choose another port with --tftp-port"))?;
    nets.iter_mut().for_each(|net| net.set_watch(&watch(&bus)));
    let cuts_windows = nets.first().is_some_and(LinuxNet::cuts_windows);
    let listeners = nets.first().map_or(Ok(Vec::new()), LinuxNet::listeners);
    let listeners = listeners.map_err(|error| Failed::new(Exit::Bind, error))?;
    let controls: Vec<_> = nets.iter().map(LinuxNet::control).collect();
    signals::watch(controls.clone()).map_err(|error| Failed::new(Exit::Failure, error))?;
    let _clock = bus.start_clock().map_err(|error| Failed::new(Exit::Failure, error))?;

    // Before any client is told to come here.
    #[cfg(feature = "nfs")]
    let nfs = roots.clone().map(|roots| nfs::start(&config, roots, &bus)).transpose()?;
    let dhcp = start_dhcp(&config, &bus)?;
    let ports = match config.net.ports {
        Ports::PerTransfer => "a port for each transfer",
        Ports::Single => "single port",
    };
    let fallback = if cuts_windows { "" } else { ", no segmentation offload" };
    let dhcp_addresses = dhcp.as_ref().map(|dhcp| format!(" dhcp {}", dhcp.addresses.join(" ")));
    #[cfg(feature = "nfs")]
    let nfs_addresses = nfs.as_ref().map(|nfs| format!(" nfs {}", nfs.addresses.join(" ")));
    #[cfg(not(feature = "nfs"))]
    let nfs_addresses = None::<String>;
    let ready = format!(
        "ready tftp {} ({ports}{fallback}){}{} serving {}",
        listeners.join(" "),
        dhcp_addresses.unwrap_or_default(),
        nfs_addresses.unwrap_or_default(),
        config.serving().display()
    );
    let all = Loops { options, config: &config, roots, bus: &bus, budget: &budget, controls: &controls };
    let served = all.run(nets, storage, || {
        bus.emit(None, events::Server::Ready { serving: config.serving().display().to_string() });
        writeln!(io::stdout(), "{ready}")
            .and_then(|()| io::stdout().flush())
            .map_err(|error| Failed::new(Exit::Failure, format!("cannot write to standard output: {error}")))
    })?;
    bus.emit(None, events::Server::Stopped(served));
    drop(dhcp);
    #[cfg(feature = "nfs")]
    drop(nfs);
    Ok(Exit::Success)
}

/// Every transfer has, at most, a file of its own; NFS has some open too.
fn allow_descriptors(transfers: usize, bus: &Bus) {
    let wanted = 2 * transfers as u64 + 64;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < wanted {
        let allowed = wanted.min(hard);
        if setrlimit(Resource::RLIMIT_NOFILE, allowed, hard).is_err() || allowed < wanted {
            bus.emit(None, events::Server::FewDescriptors { allowed, transfers });
        }
    }
}

/// Begins to answer DHCP, if it is to.
fn start_dhcp(config: &Config, bus: &Bus) -> Result<Option<dhcp::Running>, Failed> {
    let Some(dhcp) = &config.dhcp else {
        bus.emit(None, events::Server::DhcpOff);
        return Ok(None);
    };
    let interfaces =
        Interface::choose(&config.net.interfaces).map_err(|message| Failed::new(Exit::Usage, message))?;
    dhcp::start(dhcp, &interfaces, bus).map(Some)
}
