//! `pinetboot serve`: wires the network, the tree, the core's loop and the log together.

mod dhcp;
mod leases;
mod loops;
#[cfg(feature = "nfs")]
mod nfs;
mod others;
mod roots;

use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{Level, debug, info, warn};

use crate::cli;
use crate::config::{Config, Settings};
use crate::exit::{Exit, Failed};
use crate::net::{BindError, Interface, LinuxNet, Ports, holder_of};
use crate::observe::DhcpLog;
use crate::pis::Pis;
use crate::roots::Roots;
use crate::storage::{BootStorage, Budget, Inbox, Sources, Trees};
use crate::{logging, signals};
use loops::Loops;

/// Serves until told to stop.
///
/// # Errors
///
/// What keeps it from serving, and what to do about it.
pub fn run(options: &cli::Serve, level: Level) -> Result<Exit, Failed> {
    let config = configure(options)?;
    logging::start(config.log_format, level);
    let pis = Pis::default();
    let roots = roots::prepare(&config, &pis)?;
    let budget = Budget::default();
    let storage = open(&config, roots.clone(), &pis, &budget)?;
    allow_descriptors(config.max_transfers);

    let nets = LinuxNet::listen_together(&config.listen, &config.net, config.threads)
        .map_err(|error| cannot_bind(&error))?;
    let cuts_windows = nets.first().is_some_and(LinuxNet::cuts_windows);
    let listeners = nets.first().map_or(Ok(Vec::new()), LinuxNet::listeners);
    let listeners = listeners.map_err(|error| Failed::new(Exit::Bind, error))?;
    let controls: Vec<_> = nets.iter().map(LinuxNet::control).collect();
    signals::watch(controls.clone()).map_err(|error| Failed::new(Exit::Failure, error))?;

    // Before anyone is told to come here.
    #[cfg(feature = "nfs")]
    let nfs = roots.clone().map(|roots| nfs::start(&config, roots, pis.clone())).transpose()?;
    let dhcp = start_dhcp(&config, pis.clone())?;
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
    let all = Loops { options, config: &config, roots, pis: &pis, budget: &budget, controls: &controls };
    let served = all.run(nets, storage, || {
        writeln!(io::stdout(), "{ready}")
            .and_then(|()| io::stdout().flush())
            .map_err(|error| Failed::new(Exit::Failure, format!("cannot write to standard output: {error}")))
    })?;
    match served.transfers {
        0 => info!("stopped"),
        transfers => info!("stopped, ending {transfers} transfers"),
    }
    debug!("{} datagrams were no part of any transfer", served.rejected);
    drop(dhcp);
    #[cfg(feature = "nfs")]
    drop(nfs);
    Ok(Exit::Success)
}

fn configure(options: &cli::Serve) -> Result<Config, Failed> {
    let written = options.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    options.settings.clone().or(written)?.resolve()
}

fn open(
    config: &Config,
    roots: Option<Arc<Roots>>,
    pis: &Pis,
    budget: &Budget,
) -> Result<BootStorage, Failed> {
    let sources = sources(config, roots, budget)?;
    pis.set_inventory(sources.inventory.clone());
    let trees = Trees::new(sources, pis.clone(), budget.clone());
    check(config, &trees)?;
    Ok(BootStorage { trees: Rc::new(trees), inbox: inbox(config)? })
}

/// Puts into effect what can be without a restart.
fn reload(new: &Config, running: &Config, trees: &Trees, pis: &Pis) -> Result<Option<Inbox>, Failed> {
    let roots = trees.roots();
    // Nothing changes unless all is right.
    let sources = sources(new, roots.clone(), &trees.budget())?;
    check(new, &Trees::new(sources.clone(), pis.clone(), trees.budget()))?;
    let inbox = inbox(new)?;
    let root_stays = new.root == running.root && (roots.is_none() || new.tree == running.tree);
    if !root_stays || needs_restart(running, new) {
        warn!("what was changed about addresses, ports, transfers, roots or the log takes a restart");
    }
    pis.set_inventory(sources.inventory.clone());
    if let Some(roots) = roots {
        roots.set_inventory(sources.inventory.clone());
    }
    if root_stays {
        trees.set_sources(sources);
    }
    Ok(inbox)
}

fn sources(config: &Config, roots: Option<Arc<Roots>>, budget: &Budget) -> Result<Sources, Failed> {
    let base = roots::base(config, budget.clone())?;
    Ok(Sources {
        base,
        roots,
        inventory: Arc::new(config.inventory.clone()),
        templates: config.templates.clone(),
        rewrite: config.root.rewrite,
        server: config.dhcp.as_ref().and_then(|dhcp| dhcp.boot_server),
    })
}

/// Whether any Pi would find anything there.
fn check(config: &Config, trees: &Trees) -> Result<(), Failed> {
    let tree = trees.tree_for_anyone().map_err(|error| Failed::new(Exit::Tree, error))?;
    if !tree.has_config() {
        let tree = tree.path().display();
        warn!("there is no config.txt in {tree} nor in a directory of it: a Pi 5 will not boot from here");
    }
    for (pi, entry) in config.inventory.entries() {
        if let Some(tree) = entry.tree.as_ref().filter(|tree| !tree.is_dir()) {
            return Err(Failed::new(Exit::Tree, format!("[pi.{pi}]: {} is no directory", tree.display())));
        }
    }
    Ok(())
}

fn inbox(config: &Config) -> Result<Option<Inbox>, Failed> {
    let open = |path: &Path| {
        Inbox::open_at(path, config.overwrite).map_err(|error| {
            Failed::new(Exit::Tree, format!("cannot take files into {}: {error}", path.display()))
        })
    };
    config.allow_upload.as_deref().map(open).transpose()
}

fn needs_restart(running: &Config, new: &Config) -> bool {
    let fixed = |config: &Config| (config.max_transfers, config.threads, config.log_format);
    (&running.listen, &running.net, &running.dhcp, fixed(running))
        != (&new.listen, &new.net, &new.dhcp, fixed(new))
}

/// Every transfer has, at most, a file of its own; NFS has some open too.
fn allow_descriptors(transfers: usize) {
    let wanted = 2 * transfers as u64 + 64;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < wanted {
        let allowed = wanted.min(hard);
        if setrlimit(Resource::RLIMIT_NOFILE, allowed, hard).is_err() || allowed < wanted {
            warn!(
                "this process may open only {allowed} files at once, too few for {transfers} transfers: raise the limit \
                 (ulimit -n, LimitNOFILE=) or give a smaller --max-transfers"
            );
        }
    }
}

/// Begins to answer DHCP, if it is to, and says what it means for the Pis.
fn start_dhcp(config: &Config, pis: Pis) -> Result<Option<dhcp::Running>, Failed> {
    let Some(dhcp) = &config.dhcp else {
        info!(
            "DHCP is off: a Pi finds this server only if the network's DHCP server names it in option 66, or its own \
             bootloader does in TFTP_IP ('pinetboot router-config' shows how)"
        );
        return Ok(None);
    };
    let interfaces =
        Interface::choose(&config.net.interfaces).map_err(|message| Failed::new(Exit::Usage, message))?;
    dhcp::start(dhcp, &interfaces, &DhcpLog::new(pis)).map(Some)
}

fn cannot_bind(failure: &BindError) -> Failed {
    let advice = bind_advice(failure, "choose another port with --tftp-port");
    Failed::new(Exit::Bind, format!("{failure}: {advice}"))
}

/// Why an address cannot be had, and what to do about it; `way_out` is how to do without.
fn bind_advice(failure: &BindError, way_out: &str) -> String {
    let BindError { address, error } = failure;
    let port = address.port();
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::EADDRINUSE) => {
            let holder = holder_of(port).unwrap_or_else(|| "another process".into());
            format!("{holder} holds the port. Stop it, or {way_out}")
        }
        Some(Errno::EACCES) => format!(
            "port {port} takes a privilege. Run it with sudo, or give the program the privilege once with 'sudo setcap \
             cap_net_bind_service,cap_net_raw=+ep {}', or {way_out}",
            std::env::current_exe().unwrap_or_default().display(),
        ),
        Some(Errno::EADDRNOTAVAIL) => {
            "no interface of this machine has that address; 'ip addr' lists them".into()
        }
        Some(Errno::ENODEV) => "there is no interface of that name; 'ip link' lists them".into(),
        Some(Errno::EPERM) => "choosing an interface takes a privilege: run it with sudo".into(),
        _ => "see 'pinetboot serve --help' for --listen, --tftp-port and --interface".into(),
    }
}
