//! `pinetboot nfsd`: serves the roots by NFS, for a `pinetboot serve` that starts it.
//!
//! ```text
//! pinetboot serve                       pinetboot nfsd                pinetboot mounter
//! TFTP, DHCP, registry, log  <- asks -  NFS, layers, identities  -> mounts
//!                             - asks ->
//! ```
//!
//! Standard input is the socket of facts and questions, standard output that of requests (`roots::messages`); if the second one closes, the
//! process ends. Each may be in the hands of an attacker: the server believes facts about roots, NFS and its use alone, and this process serves
//! layers by the names of a Pi and an image.

mod usage;

use std::io::{self, BufReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
use pinetboot_nfs::{CallCounts, Handles, NfsConfig, Opened, Portmap, Running, StartError};
use rustix::net::Shutdown;
use rustix::thread::{CapabilitySet, set_name};

use crate::config::{Config, NfsMode, RootLimits};
use crate::descriptors::{self, Holders, TooLow};
use crate::exit::{Exit, Failed};
use crate::net::{BindError, holder_of};
use crate::observe::NfsObserver;
use crate::roots::configured::{self, cannot_serve};
use crate::roots::lines::read_line;
use crate::roots::messages::{LONGEST, Message, NFS_STOPS_WITHIN, NFSD, Ready, Report, Setup};
use crate::roots::packets;
use crate::roots::{Mounts, Registry, RootExports, Roots};
use crate::sandbox::{self, Calls, Missing, Remains};
use crate::serve::bind;
use crate::supervisor;
use crate::web_token::WebToken;

/// Serves until standard output closes.
///
/// # Errors
///
/// If another process than `pinetboot serve` starts this one.
pub fn run() -> Result<Exit, Failed> {
    let failed = |error: io::Error| Failed::new(Exit::Failure, format!("{NFSD}: {error}"));
    // Else "exe", in ps(1) and in messages about the holder of a port.
    set_name(c"pinetboot-nfsd").map_err(|errno| failed(errno.into()))?;
    // A signal to all processes is the server's, which ends this one.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().map_err(|errno| failed(errno.into()))?;
    let messages = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let requests = io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
    let mut messages = BufReader::new(UnixStream::from(messages));
    let setup = read_line(&mut messages, LONGEST).map_err(failed)?;
    let setup: Setup = setup.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
    let registry = Registry::of_process(messages);
    let sockets = (0..setup.sockets).map(|_| packets::receive::<()>(&requests));
    let sockets = sockets.filter_map(|received| received.map(|socket| socket?.1).transpose());
    let sockets = sockets.collect::<io::Result<Vec<_>>>().map_err(failed)?;
    match Server::start(setup, sockets, &registry) {
        Ok(server) => server.run(requests, &registry),
        Err(failed) => {
            registry.send(&Message::Failed(failed));
            Ok(Exit::Failure)
        }
    }
}

struct Server {
    /// The token of the page, by which an operator may act.
    token: Option<WebToken>,
    roots: Arc<Roots>,
    running: Arc<Running>,
    ready: Ready,
    counts: Arc<CallCounts>,
    turns: Option<Duration>,
}

impl Server {
    /// Listens, and gives up all rights but those of a file server.
    fn start(setup: Setup, sockets: Vec<OwnedFd>, registry: &Registry) -> Result<Self, Failed> {
        let config = setup.settings.resolve()?;
        #[cfg(feature = "web")]
        let token = config.web.token.as_deref().map(WebToken::read).transpose()?;
        #[cfg(not(feature = "web"))]
        let token = None;
        become_root();
        let roots = Arc::new(roots(&config, registry)?);
        let exports = RootExports::new(roots.clone(), registry.clone(), config.root.nfs_sync);
        let exports = exports.map_err(|why| {
            Failed::new(Exit::Tree, format!("{why}. Serve boot files only with --nfs-mode off"))
        })?;
        let state = roots.state().dir();
        let handles = Handles::load(state).map_err(|error| {
            let message = format!("cannot store the file-handle key in {}: {error}", state.display());
            Failed::new(Exit::Failure, message)
        })?;
        let reports = registry.clone();
        let on_thread_end: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(move |thread| {
            reports.emit(None, Report::ThreadEnded { thread: thread.to_owned(), why: "ended".into() });
        });
        let observer = Arc::new(NfsObserver::new(registry.clone(), exports.clone()));
        let counts = Arc::<CallCounts>::default();
        let nfs = NfsConfig {
            counts: counts.clone(),
            listen: config.listen_addresses(),
            interfaces: config.net.interfaces.clone(),
            port: config.root.nfs_port,
            portmap: config.root.portmap_port.map_or(Portmap::System, Portmap::Port),
            insecure: config.root.nfs_insecure,
            udp: config.root.nfs_udp,
            most_connections: most_connections(&config),
            observer,
            on_thread_end,
            ..NfsConfig::new(handles)
        };
        let opened = Opened::with_sockets(nfs, sockets).map_err(cannot_start)?;
        let missing = confine(&config)?;
        let missing = missing.into_iter().map(|Missing { part, why }| (part.to_owned(), why)).collect();
        let ready = Ready { port: opened.port(), portmapper: opened.portmap_port(), missing };
        let running = Arc::new(opened.start(Arc::new(exports)).map_err(cannot_start)?);
        Ok(Self { token, roots, running, ready, counts, turns: setup.turns })
    }

    /// Serves until the socket of requests closes.
    fn run(self, requests: OwnedFd, registry: &Registry) -> Result<Exit, Failed> {
        let failed = |error: io::Error| Failed::new(Exit::Failure, error);
        let Self { token, roots, running, ready, counts, turns } = self;
        let reports = registry.clone();
        let ended = move || {
            reports.emit(None, Report::ThreadEnded { thread: "mounter".into(), why: "ended".into() });
        };
        roots.mounts().watch(ended).map_err(failed)?;
        if let Some(every) = turns {
            let (turns, registry) = (running.turns(), registry.clone());
            let tell = move || loop {
                turns.ask();
                thread::sleep(every);
                while !turns.has_turned() {
                    thread::sleep(every);
                }
                registry.send(&Message::Turn);
            };
            thread::Builder::new().name("turns".into()).spawn(tell).map_err(failed)?;
        }
        let reports = registry.clone();
        thread::Builder::new()
            .name("calls".into())
            .spawn(move || usage::calls(&counts, &reports))
            .map_err(failed)?;
        if roots.mode() == NfsMode::Overlay {
            let (state, reports) = (roots.state().clone(), registry.clone());
            let layers = move || usage::layers(&state, &reports);
            thread::Builder::new().name("layers".into()).spawn(layers).map_err(failed)?;
        }
        let (answers, server) = (requests.try_clone().map_err(failed)?, Arc::downgrade(&running));
        let answer = move || {
            let bind_again =
                |interface: &str| server.upgrade().map_or(Ok(()), |server| server.bind_again(interface));
            let _ended = roots.serve_requests(&answers, token.as_ref(), bind_again);
            let _closed = rustix::net::shutdown(&answers, Shutdown::Both);
        };
        thread::Builder::new().name("boots".into()).spawn(answer).map_err(failed)?;
        registry.send(&Message::Ready(ready));
        // No event but the end, which is told in any case.
        let mut end = [PollFd::new(requests.as_fd(), PollFlags::empty())];
        while poll(&mut end, PollTimeout::NONE) == Err(Errno::EINTR) {}
        if has_ended(io::stdin().as_fd()) {
            // Killed: no time for calls under way, for the next server needs the ports.
            supervisor::end(Exit::Failure);
        }
        stop(running, registry)
    }
}

/// Whether the server has ended, instead of asking for an end: it then closes this socket as well.
fn has_ended(facts: BorrowedFd<'_>) -> bool {
    let mut end = [PollFd::new(facts, PollFlags::empty())];
    poll(&mut end, PollTimeout::from(CLOSES_WITHIN_MS)) == Ok(1)
}

/// Ends the process, whatever its threads wait for.
fn stop(running: Arc<Running>, registry: &Registry) -> ! {
    let late = || {
        thread::sleep(NFS_STOPS_WITHIN + TELL_WITHIN);
        supervisor::end(Exit::StopOverdue);
    };
    let _without_it = thread::Builder::new().name("stop".into()).spawn(late);
    if Arc::into_inner(running).is_some_and(|server| !server.stop(NFS_STOPS_WITHIN)) {
        registry.emit(None, Report::StopOverdue { within: NFS_STOPS_WITHIN });
    }
    supervisor::end(Exit::Success)
}

fn roots(config: &Config, registry: &Registry) -> Result<Roots, Failed> {
    let mode = config.root.mode;
    let no_images = || Failed::new(Exit::Tree, "the base images have gone");
    let base_images = configured::base_images(config)?.ok_or_else(no_images)?;
    let all = base_images.all().map_err(|error| Failed::new(Exit::Tree, error))?;
    let first = all.first().ok_or_else(no_images)?;
    let state = configured::state(config);
    let place = state.dir().display().to_string();
    let limits = RootLimits { max_pis: allow_descriptors(config, registry), ..config.root.limits };
    let roots = Roots::new(mode, base_images, state, limits, registry.clone()).map_err(|error| {
        let why = format!("cannot keep state in {place}: {error}. Name another directory with --state DIR");
        cannot_serve(mode, &why)
    })?;
    let roots = roots.with_short_numbers(config.root.nfs_short_numbers);
    if mode != NfsMode::Overlay {
        return Ok(roots);
    }
    roots.try_overlay(first).map_err(|error| cannot_serve(mode, &error.to_string()))?;
    if config.root.limits.max_root_size.is_some() {
        roots.try_quota();
    }
    let mounts = Mounts::start(roots.state(), roots.base_images());
    let mounts = mounts
        .map_err(|error| cannot_serve(mode, &format!("cannot start the process that mounts: {error}")))?;
    Ok(roots.with_mounts(mounts))
}

/// Raises the limit of open files; the number of Pis with a layer that it allows.
fn allow_descriptors(config: &Config, registry: &Registry) -> usize {
    let max_pis = config.root.limits.max_pis;
    if config.root.mode != NfsMode::Overlay {
        // For connections and open files of trees, of which each keeps to a quarter of what there is.
        let _as_far_as_allowed = descriptors::allow(Holders::Connections, most_connections(config));
        return max_pis;
    }
    match descriptors::allow(Holders::Layers, max_pis) {
        Err(TooLow { allowed, fit: pis }) => {
            registry.emit(None, Report::FewForLayers { allowed, pis });
            pis
        }
        Ok(()) => max_pis,
    }
}

/// Two for each Pi: one with its root, and one of a mount or from before a power cut.
fn most_connections(config: &Config) -> usize {
    (2 * config.root.limits.max_pis).max(1024)
}

/// Becomes root, if another user with these capabilities started the server. Files of root are root's, and with the file system uid
/// of a client the kernel takes the capabilities for files away (capabilities(7), "Effect of user ID changes on capabilities").
fn become_root() {
    let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
    if !geteuid().is_root() {
        // Without the right it stays the user, who cannot open files by handle: the start fails for that reason.
        let _fails_below = setgroups(&[]).and_then(|()| setresgid(group, group, group));
        let _fails_below = setresuid(root, root, root);
    }
}

/// Gives up all rights but those for the files of roots: call this while the process has one thread.
fn confine(config: &Config) -> Result<Vec<Missing>, Failed> {
    let capabilities = capabilities(config.root.mode, !config.net.interfaces.is_empty());
    let remains = Remains { account: None, capabilities, paths: None, calls: Calls::Files };
    sandbox::enter(&remains)
        .map_err(|error| Failed::new(Exit::Failure, format!("cannot give up privileges: {error}")))
}

/// The capabilities for files that belong to users of the Pis.
fn capabilities(mode: NfsMode, on_interfaces: bool) -> CapabilitySet {
    let mut files = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::MKNOD
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID;
    // To bind a listening socket to an interface again: the kernel asks for it where a socket leaves an interface, and a new socket
    // could not have the ports below 1024. The filter leaves no new socket.
    files.set(CapabilitySet::NET_RAW, on_interfaces);
    match mode {
        // overlayfs reads its trusted.* attributes with the rights of the caller when it opens a file by handle
        // (fs/overlayfs/export.c), and without CAP_SYS_ADMIN finds none: ESTALE. The filter allows no mount.
        NfsMode::Overlay => files | CapabilitySet::SYS_ADMIN,
        _ => files,
    }
}

fn cannot_start(error: StartError) -> Failed {
    let message = error.to_string();
    match error {
        StartError::Bind { address, error } => {
            let way_out = match address.port() {
                111 => "choose another port with --portmap-port (Debian's initramfs looks on port 111 only)",
                _ => "choose another port with --nfs-port, or serve boot files only with --nfs-mode off",
            };
            let advice = bind::advice(&BindError { address, error }, way_out);
            Failed::new(Exit::Bind, format!("{message}: {advice}"))
        }
        StartError::Register(_) => {
            let holder =
                holder_of(111).map_or_else(String::new, |holder| format!(". {holder} holds port 111"));
            Failed::new(Exit::Failure, format!("{message}{holder}"))
        }
        _ => Failed::new(Exit::Failure, message),
    }
}

/// The kernel closes all sockets of a process that ended within microseconds.
const CLOSES_WITHIN_MS: u8 = 10;
/// The time for the last facts.
const TELL_WITHIN: Duration = Duration::from_millis(300);
