//! The control socket, the page and the metrics: HTTP/1.1 in a thread of its own.
//!
//! | file | holds |
//! |---|---|
//! | `connections` | bounded connections, each of one request |
//! | `guard` | which requests are answered: the token, the Host header |
//! | `routes` | an answer for a path |
//! | `reply` | answers, whole or as a stream of events |
//! | `metrics` | Prometheus' text format |
//! | `actions`, `aside` | what a form asks for; work that may wait |
//! | `page`, `html` | the frame of a page; markup around foreign text |
//! | `all`, `one`, `state`, `images`, `lines` | the parts of pages: all Pis, one Pi, what both say, images and disk, the log |
//!
//! The sockets are bound before the process gives up its rights. The thread reads copies ([`live`](crate::live)) and changes
//! nothing: actions are the process of NFS's.
//! hyper reads the requests: HTTP/1.1 alone, without axum, which would be 330 kB and 22 crates more for a handful of paths.

mod actions;
mod all;
mod aside;
mod connections;
mod guard;
mod html;
mod images;
mod lines;
mod metrics;
mod one;
mod page;
mod reply;
mod routes;
mod state;

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::sync::Notify;

use crate::bus::Bus;
use crate::config::{ControlPlace, WebConfig};
use crate::control;
use crate::events::Server;
use crate::exit::{Exit, Failed};
use crate::images::Images;
use crate::live::Live;
use crate::logging::Tail;
use crate::pis::Pis;
use crate::roots::BootRoots;
use crate::supervisor::{Supervisor, Turns};
use crate::web_token::WebToken;
use actions::Actions;
use connections::Listeners;
use guard::Guard;
use images::Disk;
use routes::Routes;

/// Bound sockets, before the process gives up its rights.
#[derive(Debug)]
pub(crate) struct Bound {
    unix: Option<UnixListener>,
    tcp: Vec<TcpListener>,
    token: Option<WebToken>,
    addresses: Vec<String>,
}

/// What is shown, the registry aside.
#[derive(Debug)]
pub(crate) struct Shown {
    /// What was heard of boots.
    pub(crate) live: Live,
    /// The log.
    pub(crate) tail: Tail,
    /// The images.
    pub(crate) images: Option<Images>,
    /// The served directory.
    pub(crate) place: PathBuf,
    /// The roots, for actions.
    pub(crate) roots: Option<Arc<BootRoots>>,
}

/// The running thread; dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Web {
    signals: Signals,
    thread: Option<JoinHandle<()>>,
    addresses: Vec<String>,
}

/// What the thread is asked for.
#[derive(Debug, Clone, Default)]
struct Signals(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    turn: AtomicBool,
    stop: AtomicBool,
    wake: Notify,
}

impl Bound {
    /// Binds what the configuration names.
    ///
    /// # Errors
    ///
    /// The address, the obstacle and the remedy. The default place of the control socket may be missing.
    pub(crate) fn bind(config: &WebConfig, bus: &Bus) -> Result<Self, Failed> {
        let token = config.token.as_deref().map(WebToken::read).transpose()?;
        let unix = match &config.control {
            ControlPlace::Off => None,
            ControlPlace::At(place) => Some(control_at(place).map_err(|error| {
                Failed::new(Exit::Bind, format!("cannot listen on --control {}: {error}", place.display()))
            })?),
            ControlPlace::Default => default_control(bus),
        };
        let mut tcp = Vec::new();
        for address in &config.listen {
            let failed =
                |error| Failed::new(Exit::Bind, format!("cannot listen on --web {address}: {error}"));
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            tcp.push(listener);
        }
        let addresses = tcp.iter().map(|listener| Ok(listener.local_addr()?.to_string()));
        let addresses =
            addresses.collect::<io::Result<_>>().map_err(|error| Failed::new(Exit::Bind, error))?;
        Ok(Self { unix, tcp, token, addresses })
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn start(
        self,
        shown: Shown,
        pis: Pis,
        bus: &Bus,
        supervisor: &Supervisor,
    ) -> Result<Option<Web>, Failed> {
        let Self { unix, tcp, token, addresses } = self;
        if unix.is_none() && tcp.is_empty() {
            return Ok(None);
        }
        let failure = |error: io::Error| Failed::new(Exit::Failure, error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(failure)?;
        let signals = Signals::default();
        supervisor.watch(NAME, signals.clone());
        let Shown { live, tail, images, place, roots } = shown;
        let serving = place.display().to_string();
        let form_key = token.as_ref().map(|token| token.form_key().to_owned());
        let actions = roots.zip(form_key).map(|(roots, key)| Actions::new(roots, key, bus.clone()));
        let disk = Disk::new(images, place);
        let routes = Arc::new(Routes::new((live, pis), serving, (tail, disk), actions));
        let (asked, guard) = (signals.clone(), Guard::new(token));
        let work = move || {
            runtime.block_on(async {
                let listeners = Listeners::new(unix, tcp).map_err(|error| error.to_string())?;
                tokio::select! {
                    () = asked.answer() => {}
                    () = routes.follow() => {}
                    () = listeners.serve(guard, Arc::clone(&routes)) => {}
                }
                Ok(())
            })
        };
        let thread = supervisor.spawn(bus, NAME, work).map_err(failure)?;
        Ok(Some(Web { signals, thread: Some(thread), addresses }))
    }
}

impl Web {
    /// The name of the thread.
    pub(crate) const fn name(&self) -> &'static str {
        NAME
    }

    /// The addresses of the page, for the `ready` line.
    pub(crate) fn describe(&self) -> Option<String> {
        (!self.addresses.is_empty()).then(|| format!("{NAME} {}", self.addresses.join(" ")))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.signals.0.stop.store(true, Ordering::Release);
        self.signals.0.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _reported = thread.join();
        }
    }
}

impl Signals {
    /// Shows each turn that is asked for, until the stop.
    async fn answer(&self) {
        while !self.0.stop.load(Ordering::Acquire) {
            self.0.wake.notified().await;
            self.0.turn.store(false, Ordering::Release);
        }
    }
}

impl Turns for Signals {
    fn ask(&self) {
        self.0.turn.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }

    fn has_turned(&self) -> bool {
        !self.0.turn.load(Ordering::Acquire)
    }
}

fn control_at(place: &Path) -> io::Result<UnixListener> {
    let listener = control::listen(place)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn default_control(bus: &Bus) -> Option<UnixListener> {
    let Some(place) = control::default_place() else {
        let error = "XDG_RUNTIME_DIR is not set".into();
        bus.emit(None, Server::NoControl { place: None, error });
        return None;
    };
    control_at(&place)
        .inspect_err(|error| {
            let error = match error.kind() {
                io::ErrorKind::AddrInUse => "another server listens there".into(),
                _ => error.to_string(),
            };
            bus.emit(None, Server::NoControl { place: Some(place.display().to_string()), error });
        })
        .ok()
}

const NAME: &str = "web";
