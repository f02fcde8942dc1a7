//! Bounded connections: so many at once, so many of one host, so many bytes of a head, so much time. Each has one request.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use super::guard::{Came, Guard};
use super::reply::Reply;
use super::routes::Routes;

/// The listening sockets.
pub(super) struct Listeners {
    unix: Option<UnixListener>,
    tcp: Vec<TcpListener>,
}

/// The connections of each host.
#[derive(Debug, Clone, Default)]
struct Hosts(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A host's place for one connection.
struct Place(Hosts, IpAddr);

/// What all connections share.
#[derive(Clone)]
struct Shared {
    guard: Arc<Guard>,
    routes: Arc<Routes>,
}

impl Listeners {
    /// Takes sockets to this thread's runtime.
    pub(super) fn new(
        unix: Option<std::os::unix::net::UnixListener>,
        tcp: Vec<std::net::TcpListener>,
    ) -> io::Result<Self> {
        let unix = unix.map(UnixListener::from_std).transpose()?;
        let tcp = tcp.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?;
        Ok(Self { unix, tcp })
    }

    /// Serves without end.
    pub(super) async fn serve(self, guard: Guard, routes: Arc<Routes>) {
        let shared = Shared { guard: Arc::new(guard), routes };
        // The sockets have places of their own: a crowd at one keeps no client from the other.
        let places = Arc::new(Semaphore::new(MOST));
        let hosts = Hosts::default();
        for listener in self.tcp {
            tokio::spawn(accept_tcp(listener, shared.clone(), Arc::clone(&places), hosts.clone()));
        }
        match self.unix {
            Some(listener) => accept_unix(listener, shared).await,
            None => std::future::pending().await,
        }
    }
}

async fn accept_tcp(listener: TcpListener, shared: Shared, places: Arc<Semaphore>, hosts: Hosts) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A connection without a place ends at once.
                let Ok(permit) = Arc::clone(&places).try_acquire_owned() else { continue };
                let Some(place) = hosts.place(peer.ip()) else { continue };
                let here = stream.local_addr().map(|here| here.ip());
                let came = Came::Tcp { here: here.unwrap_or(peer.ip()) };
                tokio::spawn(shared.clone().connection(TokioIo::new(stream), came, (permit, Some(place))));
            }
            Err(_) => sleep(AFTER_ERROR).await,
        }
    }
}

async fn accept_unix(listener: UnixListener, shared: Shared) {
    let places = Arc::new(Semaphore::new(MOST_OF_CONTROL));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(permit) = Arc::clone(&places).try_acquire_owned() else { continue };
                tokio::spawn(shared.clone().connection(TokioIo::new(stream), Came::Control, (permit, None)));
            }
            // No descriptor is left, say.
            Err(_) => sleep(AFTER_ERROR).await,
        }
    }
}

impl Shared {
    async fn connection(
        self,
        stream: impl Read + Write + Unpin,
        came: Came,
        _place: (OwnedSemaphorePermit, Option<Place>),
    ) {
        let is_stream = Arc::new(AtomicBool::new(false));
        let Self { guard, routes } = self;
        let answer = |request: Request<Incoming>| {
            let (guard, routes, is_stream) =
                (Arc::clone(&guard), Arc::clone(&routes), Arc::clone(&is_stream));
            async move {
                let response: Response<Reply> = match guard.refuses(&request, came) {
                    Some(refusal) => refusal,
                    None if request.method() == Method::POST && request.uri().path() == "/actions" => {
                        routes.act(request, came, &guard).await
                    }
                    None => routes.answer(&request).await,
                };
                is_stream.store(response.body().is_stream(), Ordering::Relaxed);
                Ok::<_, Infallible>(response)
            }
        };
        let begins = Instant::now();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .keep_alive(false)
            .max_headers(MOST_HEADERS)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(stream, service_fn(answer));
        let mut connection = std::pin::pin!(connection);
        for within in [ANSWER_WITHIN, STREAM_WITHIN] {
            // A client that went away, or sent no HTTP.
            if timeout_at(begins + within, connection.as_mut()).await.is_ok()
                || !is_stream.load(Ordering::Relaxed)
            {
                return;
            }
        }
    }
}

impl Hosts {
    /// A place for a connection of this host; this machine's own programs share all.
    fn place(&self, host: IpAddr) -> Option<Place> {
        let most = if host.is_loopback() { MOST } else { MOST_OF_HOST };
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = hosts.entry(host).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place(self.clone(), host))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut hosts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = hosts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                hosts.remove(&self.1);
            }
        }
    }
}

/// Connections of the page; few, as each has a descriptor of those that transfers use, too.
const MOST: usize = 16;
/// Connections to the control socket.
const MOST_OF_CONTROL: usize = 8;
/// Connections of another machine: a browser opens six.
const MOST_OF_HOST: usize = 8;
const MOST_HEADERS: usize = 64;
/// Bytes; hyper's least.
const LONGEST_HEAD: usize = 8192;
const HEAD_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// A browser opens the next stream by itself.
const STREAM_WITHIN: Duration = Duration::from_secs(600);
const AFTER_ERROR: Duration = Duration::from_millis(100);
