//! Requests of clients that wait for a disk.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use pinetboot_core::OpenRequest;

use super::later::{Later, TimedOut};

/// The last request of each client, and its answer when it comes.
#[derive(Debug)]
pub(super) struct Pending<T> {
    by_client: HashMap<SocketAddrV4, (Asked, Later<T>)>,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    path: String,
    address: Option<Ipv4Addr>,
    len: Option<u64>,
    whole: bool,
}

/// The state of a request.
#[derive(Debug)]
pub(super) enum Answer<T> {
    /// It is new.
    None,
    Later,
    Here(Result<T, TimedOut>),
}

impl<T> Pending<T> {
    pub(super) fn new() -> Self {
        Self { by_client: HashMap::new() }
    }

    /// The answer to a request.
    pub(super) fn answer(&mut self, request: &OpenRequest<'_>) -> Answer<T> {
        if self.by_client.is_empty() {
            return Answer::None;
        }
        let Some((_, later)) =
            self.by_client.get(&request.peer).filter(|(asked, _)| *asked == Asked::new(request))
        else {
            return Answer::None;
        };
        let Some(result) = later.poll(request.peer) else { return Answer::Later };
        self.by_client.remove(&request.peer);
        Answer::Here(result)
    }

    /// Keeps a request until its answer is asked for. Returns the answers for which no request comes any more.
    pub(super) fn add(&mut self, request: &OpenRequest<'_>, later: Later<T>) -> Vec<Later<T>> {
        later.announce(request.peer);
        let mut forgotten = Vec::new();
        if self.by_client.len() >= MOST {
            let over = self.by_client.extract_if(|_, (_, later)| later.is_over());
            forgotten.extend(over.map(|(_, (_, later))| later));
        }
        let replaced = self.by_client.insert(request.peer, (Asked::new(request), later));
        forgotten.extend(replaced.map(|(_, later)| later));
        forgotten
    }

    /// Whether no more requests are to be added.
    pub(super) fn is_full(&self) -> bool {
        self.by_client.len() >= MOST && !self.by_client.values().any(|(_, later)| later.is_over())
    }
}

impl Asked {
    fn new(request: &OpenRequest<'_>) -> Self {
        let OpenRequest { path, asked, len, whole, .. } = *request;
        Self { path: path.to_string(), address: asked, len, whole }
    }
}

/// Waiting clients; as many as tasks may wait.
const MOST: usize = 1024;
