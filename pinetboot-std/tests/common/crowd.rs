//! Many clients at once, in one thread.

use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pinetboot_core::tftp::Outcome;

use super::Fetch;

pub(crate) struct Crowd<'a> {
    epoll: Epoll,
    clients: Vec<Option<Fetch<'a>>>,
    report: Report,
}

/// The result of a crowd.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) complete: usize,
    pub(crate) failed: Vec<Outcome>,
    /// Packets that the clients sent again.
    pub(crate) resent: u32,
    pub(crate) took: Duration,
}

impl<'a> Crowd<'a> {
    pub(crate) fn new(clients: impl IntoIterator<Item = Fetch<'a>>) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let mut all = Vec::new();
        for client in clients {
            epoll.add(&client, EpollEvent::new(EpollFlags::EPOLLIN, all.len() as u64)).unwrap();
            all.push(Some(client));
        }
        Self { epoll, clients: all, report: Report::default() }
    }

    /// Fetches all files. No client takes its first byte before the server has answered every one: it has them all
    /// under way at once.
    pub(crate) fn run(mut self) -> Report {
        let began = Instant::now();
        for number in 0..self.clients.len() {
            self.advance(number);
        }
        let answered = |client: &Option<Fetch<'_>>| client.as_ref().is_none_or(Fetch::answered);
        while !self.clients.iter().all(answered) {
            for number in self.take_in() {
                if !answered(&self.clients[number]) {
                    self.advance(number);
                }
            }
        }
        for number in 0..self.clients.len() {
            self.advance(number);
        }
        while self.clients.iter().any(Option::is_some) {
            for number in self.take_in() {
                self.advance(number);
            }
        }
        self.report.took = began.elapsed();
        self.report
    }

    /// Receives the waiting datagrams, and returns their clients. All clients if none came for a while: some may ask again.
    fn take_in(&mut self) -> Vec<usize> {
        let mut events = [EpollEvent::empty(); 256];
        let count = self.epoll.wait(&mut events, EpollTimeout::from(100u8)).unwrap();
        if count == 0 {
            return (0..self.clients.len()).collect();
        }
        let numbers: Vec<_> = events[..count].iter().map(|event| event.data() as usize).collect();
        for number in &numbers {
            if let Some(client) = &mut self.clients[*number] {
                client.take_in();
            }
        }
        numbers
    }

    fn advance(&mut self, number: usize) {
        let Some(client) = &mut self.clients[number] else { return };
        let Err(outcome) = client.advance() else { return };
        self.report.resent += client.resent();
        self.clients[number] = None;
        match outcome {
            Outcome::Complete { .. } => self.report.complete += 1,
            other => self.report.failed.push(other),
        }
    }
}

/// Raises this process's limit of open files to this number, if the system allows.
pub(crate) fn allow_files(wanted: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).unwrap();
    }
}
