//! `pinetboot serve`: wires the network, the tree, the core's loop and the log together.

use std::io::{self, Write};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pinetboot_core::tftp::Limits;
use pinetboot_core::{Server, block_on};
use tracing::{Level, debug, error, info, warn};

use crate::cli;
use crate::config::{Config, MOST_TRANSFERS, Settings};
use crate::exit::{Exit, Failed};
use crate::net::{BindError, Interrupt, LinuxNet, Ports, holder_of};
use crate::observe::Log;
use crate::storage::{BootStorage, Inbox, Tree};
use crate::{logging, signals};

/// Serves until told to stop.
///
/// # Errors
///
/// What keeps it from serving, and what to do about it.
pub fn run(options: &cli::Serve, level: Level) -> Result<Exit, Failed> {
    let config = configure(options)?;
    logging::start(config.log_format, level);
    let storage = open(&config)?;
    allow_descriptors(config.max_transfers);

    let net = LinuxNet::listen(&config.listen, config.net.clone()).map_err(|error| cannot_bind(&error))?;
    let addresses = net.addresses().map_err(|error| Failed::new(Exit::Bind, error))?;
    let control = net.control();
    signals::watch(control).map_err(|error| Failed::new(Exit::Failure, error))?;

    let log = Log::new(storage.tree.clone());
    let mut places: Vec<_> = (0..config.max_transfers).map(|_| None).collect();
    let mut server = Server::<_, _, _, TABLE>::new(net, storage, log, Limits::default(), &mut places);

    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let ports = match config.net.ports {
        Ports::PerTransfer => "a port for each transfer",
        Ports::Single => "single port",
    };
    let ready = format!("ready tftp {} ({ports}) serving {}", addresses.join(" "), config.tree.display());
    writeln!(io::stdout(), "{ready}")
        .and_then(|()| io::stdout().flush())
        .map_err(|error| Failed::new(Exit::Failure, format!("cannot write to standard output: {error}")))?;

    let mut running = config;
    loop {
        match block_on(server.run()) {
            Ok(never) => match never {},
            Err(Interrupt::Stop) => break,
            Err(Interrupt::Reload) => {
                match configure(options).and_then(|config| Ok((open(&config)?, config))) {
                    Ok((storage, config)) => {
                        server.observer_mut().set_tree(storage.tree.clone());
                        *server.storage_mut() = storage;
                        if needs_restart(&running, &config) {
                            warn!(
                                "what was changed about addresses, ports, transfers or the log takes a restart"
                            );
                        }
                        info!("serving {} from here on", config.tree.display());
                        running = Config { tree: config.tree, ..running };
                    }
                    Err(error) => error!("nothing changes: {error}"),
                }
            }
            Err(Interrupt::Failed(error)) => {
                return Err(Failed::new(Exit::Failure, format!("the network failed: {error}")));
            }
        }
    }
    match server.transfers() {
        0 => info!("stopped"),
        transfers => info!("stopped, ending {transfers} transfers"),
    }
    debug!("{} datagrams were no part of any transfer", server.observer_mut().rejected());
    // Whether the farewells went out changes nothing any more.
    let _sent = block_on(server.stop());
    Ok(Exit::Success)
}

fn configure(options: &cli::Serve) -> Result<Config, Failed> {
    let written = options.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    options.settings.clone().or(written).resolve()
}

fn open(config: &Config) -> Result<BootStorage, Failed> {
    let tree = Tree::open_at(&config.tree).map_err(|error| Failed::new(Exit::Tree, error))?;
    if !tree.has_config() {
        let tree = config.tree.display();
        warn!("there is no config.txt in {tree} nor in a directory of it: a Pi 5 will not boot from here");
    }
    let inbox = config.allow_upload.as_deref().map(|path| {
        Inbox::open_at(path, config.overwrite).map_err(|error| {
            Failed::new(Exit::Tree, format!("cannot take files into {}: {error}", path.display()))
        })
    });
    Ok(BootStorage { tree: Rc::new(tree), inbox: inbox.transpose()? })
}

fn needs_restart(running: &Config, new: &Config) -> bool {
    (&running.listen, &running.net, running.max_transfers, running.log_format)
        != (&new.listen, &new.net, new.max_transfers, new.log_format)
}

/// Every transfer has a socket and, at most, a file of its own.
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

fn cannot_bind(failure: &BindError) -> Failed {
    let BindError { address, error } = failure;
    let port = address.port();
    let errno = error.raw_os_error().map(Errno::from_raw);
    let advice = match errno {
        Some(Errno::EADDRINUSE) => {
            let holder = holder_of(port).unwrap_or_else(|| "another process".into());
            format!("{holder} holds the port. Stop it, or choose another port with --tftp-port")
        }
        Some(Errno::EACCES) => format!(
            "port {port} takes a privilege. Run it with sudo, or give the program the privilege once with 'sudo setcap \
             cap_net_bind_service=+ep {}', or choose a port above 1023 with --tftp-port",
            std::env::current_exe().unwrap_or_default().display(),
        ),
        Some(Errno::EADDRNOTAVAIL) => {
            "no interface of this machine has that address; 'ip addr' lists them".into()
        }
        Some(Errno::ENODEV) => "there is no interface of that name; 'ip link' lists them".into(),
        Some(Errno::EPERM) => "choosing an interface takes a privilege: run it with sudo".into(),
        _ => "see 'pinetboot serve --help' for --listen, --tftp-port and --interface".into(),
    };
    Failed::new(Exit::Bind, format!("{failure}: {advice}"))
}

/// Twice the most transfers: the table slows down when nearly full.
const TABLE: usize = 2 * MOST_TRANSFERS;
