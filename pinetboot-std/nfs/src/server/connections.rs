//! The connections of a server: accepted, closed, and chosen to make room.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;

use super::{Endpoint, MAINTAIN_EVERY, Shared, Turn};
use crate::clients::Client;
use crate::connection::Connection;
use crate::message::Programs;
use crate::observe::{Closing, Connected, Disconnected, Event, Trouble, Unacknowledged};
use crate::tcp_info::is_unacknowledged;
use crate::tree;

impl Shared {
    /// Lets the next worker wait for the next event of a connection.
    pub(super) fn arm_connection(&self, token: u64, connection: &Connection) {
        connection.arm(|interest| {
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, interest.read);
            flags.set(EventFlags::OUT, interest.write);
            self.arm(token, connection, flags);
        });
    }

    /// Lets a worker look at the connection that waits longest for a place of this client; false if none waits.
    pub(super) fn wake_waiting(&self, client: &Client) -> bool {
        while let Some(token) = client.next_waiting() {
            // A closed connection has no turn; one that closes before its turn passes that on.
            if self.find(token).is_some() {
                self.give_turn(Turn::Connection(token));
                return true;
            }
        }
        false
    }

    /// Wakes a worker for [`next_turn`](Self::next_turn).
    pub(super) fn give_turn(&self, turn: Turn) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).push_back(turn);
        self.wake_for_turn();
    }

    pub(super) fn wake_for_turn(&self) {
        let _never_full = rustix::io::write(&self.turn, &1u64.to_ne_bytes());
    }

    /// The next turn. Not an event of the connection itself: it may be neither readable nor writable, although calls were received.
    pub(super) fn next_turn(&self) -> Option<Turn> {
        rustix::io::read(&self.turn, &mut [0; 8]).ok()?;
        self.asked.store(false, Ordering::SeqCst);
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The connection of this token, whose turn has come.
    pub(super) fn begin_turn(&self, token: u64) -> Option<Arc<Connection>> {
        match self.find(token) {
            Some(Endpoint::Connection(connection)) => {
                connection.stop_waiting();
                Some(connection)
            }
            _ => None,
        }
    }

    /// Ends a call of a connection. Whether other connections of the client wait; `None` if the connection was closed.
    pub(super) fn end_call(
        &self,
        token: u64,
        connection: &Connection,
        answered: Result<(), Closing>,
    ) -> Option<bool> {
        let client = &connection.client;
        connection.done();
        client.end();
        let others_wait = self.wake_waiting(client);
        if let Err(why) = answered {
            self.close(token, why);
            return None;
        }
        if connection.count_memory() > 0 {
            self.shed(client);
        }
        if connection.backlog() > 0 {
            self.arm_connection(token, connection);
        }
        Some(others_wait)
    }

    pub(super) fn close(&self, token: u64, why: Closing) {
        let removed = self.sources.write().unwrap_or_else(PoisonError::into_inner).remove(&token);
        if let Some(Endpoint::Connection(connection)) = removed {
            let _ended = epoll::delete(&self.epoll, &*connection);
            connection.shut_down();
            // Its turn passes to the next connection.
            self.wake_waiting(&connection.client);
            let (open_for, calls) = (connection.age(), connection.calls());
            let disconnected = Disconnected { peer: connection.peer, why, open_for, calls };
            self.service.tell(&Event::Disconnected(disconnected));
        }
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = (u64, Arc<Connection>)> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let connections = sources.iter().filter_map(|(&token, source)| match source {
            Endpoint::Connection(connection) => Some((token, connection.clone())),
            _ => None,
        });
        connections.collect::<Vec<_>>().into_iter()
    }

    /// The number of connections, without a list of them: a fleet connects at once.
    fn count(&self) -> usize {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.values().filter(|source| matches!(source, Endpoint::Connection(_))).count()
    }

    pub(super) fn accept(&self, listener: &TcpListener, programs: Programs) {
        for _ in 0..ACCEPT_AT_ONCE {
            match listener.accept() {
                Ok((stream, SocketAddr::V4(peer))) => {
                    if let Err(error) = self.admit(stream, peer, programs) {
                        self.tell(Trouble::Serve { peer, error: &error });
                    }
                }
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // No descriptor is left: the files of a tree make room, or an idle connection does.
                Err(error) if is_full(&error) && tree::make_room() => {}
                Err(error) => {
                    self.close_idlest();
                    self.tell(Trouble::Accept(&error));
                    return;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddrV4, programs: Programs) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // A client that lost its power sends no FIN.
        setsockopt(&stream, sockopt::KeepAlive, &true)?;
        setsockopt(&stream, sockopt::TcpKeepIdle, &60)?;
        setsockopt(&stream, sockopt::TcpKeepInterval, &10)?;
        setsockopt(&stream, sockopt::TcpKeepCount, &6)?;
        // Files need descriptors too.
        if self.count() >= self.most_connections.min(tree::quarter()) {
            self.close_idlest();
        }
        let connection = Connection::new(stream, peer, self.clients.at(*peer.ip()), programs);
        // Emitted before a worker can emit the connection's end.
        self.service.tell(&Event::Connected(Connected { peer }));
        self.add(Endpoint::Connection(Arc::new(connection)))?;
        Ok(())
    }

    /// Closes the idlest connection of the client with most connections; of all clients, if none has more than usual.
    fn close_idlest(&self) {
        let idlest = self.connections().max_by_key(|(_, connection)| {
            (connection.client.connections().max(USUAL_CONNECTIONS), connection.is_quiet(), connection.idle())
        });
        if let Some((token, _)) = idlest {
            self.close(token, Closing::MadeRoom);
        }
    }

    /// Closes connections if this client, or all together, hold too much memory: of the client that holds the most, the connection that
    /// does.
    pub(super) fn shed(&self, client: &Arc<Client>) {
        if client.held() < MOST_HELD_BY_CLIENT && self.clients.held() < MOST_HELD {
            return;
        }
        let _one_at_a_time = self.shedding.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, connection) in self.connections() {
            if connection.is_quiet() {
                connection.trim();
            }
        }
        loop {
            let all = self.clients.held() >= MOST_HELD;
            if !all && client.held() < MOST_HELD_BY_CLIENT {
                return;
            }
            let candidates =
                self.connections().filter(|(_, other)| all || Arc::ptr_eq(&other.client, client));
            let largest = candidates.max_by_key(|(_, other)| (other.client.held(), other.held()));
            let Some((token, largest)) = largest else { return };
            let held = largest.client.held();
            self.tell(Trouble::Memory { peer: largest.peer, held });
            self.close(token, Closing::Memory);
        }
    }

    /// Tells once that a client acknowledges nothing.
    fn look_for_silence(&self, connection: &Connection) {
        let is_silent = is_unacknowledged(connection);
        if is_silent && !connection.is_told.swap(true, Ordering::Relaxed) {
            self.service.tell(&Event::Unacknowledged(Unacknowledged { peer: connection.peer }));
        } else if !is_silent {
            connection.is_told.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn maintain_connections(&self) {
        for (token, connection) in self.connections() {
            let (idle, backlog) = (connection.idle(), connection.backlog());
            if idle > MOST_STUCK && backlog > 0 {
                self.close(token, Closing::Stuck);
            } else if idle > MOST_IDLE && connection.is_quiet() {
                self.close(token, Closing::Idle);
            } else if idle > MAINTAIN_EVERY.as_secs() {
                connection.trim();
                self.look_for_silence(&connection);
            }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

const ACCEPT_AT_ONCE: usize = 64;

/// Connections of a client that are no reason to close one of them first: a Pi has one or two, and up to 16 with `nconnect`.
const USUAL_CONNECTIONS: usize = 16;
/// Most bytes that all connections hold together.
const MOST_HELD: usize = 256 * 1024 * 1024;
/// Most bytes that the connections of one client hold.
const MOST_HELD_BY_CLIENT: usize = MOST_HELD / 4;

/// Most idle seconds of a connection; Linux clients close an unused connection after five minutes.
const MOST_IDLE: u64 = 6 * 60;
/// Most seconds without progress of a connection with unsent answers.
const MOST_STUCK: u64 = 60;
