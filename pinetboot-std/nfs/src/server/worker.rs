//! A worker: a thread that carries out calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;

use super::crew::Duty;
use super::mounting::{Mount, Origin};
use super::{Endpoint, Shared, TURN, Turn};
use crate::clients::Client;
use crate::connection::{Connection, NextCall};
use crate::datagrams::{Datagrams, Sender};
use crate::message::{Message, Programs, Transport};
use crate::mount;
use crate::observe::{Closing, Trouble};
use crate::record::Record;
use crate::reply::Reply;
use crate::tree::kernel::{Turns, schedule};

/// The state of a worker.
pub(super) struct Worker<'a> {
    shared: &'a Shared,
    duty: Duty,
    record: Record,
    reply: Reply,
    datagram: Vec<u8>,
    /// Memory to receive with, of no connection.
    spare: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Shared, duty: Duty) -> Self {
        let (datagram, spare) = (Vec::new(), Vec::new());
        Self { shared, duty, record: Record::default(), reply: Reply::new(), datagram, spare }
    }

    /// Works until the server stops; returns true if the worker is one too many.
    pub(super) fn run(mut self) -> bool {
        let (shared, mut events) = (self.shared, Vec::with_capacity(1));
        // A container may forbid it.
        let _as_any_thread = schedule(Turns::Soon);
        while !shared.stopping.load(Ordering::SeqCst) {
            if !shared.crew.rest(&self.duty) {
                return true;
            }
            events.clear();
            let waited = epoll::wait(&shared.epoll, rustix::buffer::spare_capacity(&mut events), None);
            if shared.crew.work(&self.duty) {
                shared.ring();
            }
            match waited {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    shared.tell(Trouble::Wait(&error.into()));
                    return false;
                }
            }
            for event in &events {
                self.handle(event.data.u64(), event.flags);
            }
            shared.crew.done(&self.duty);
        }
        false
    }

    fn handle(&mut self, token: u64, flags: EventFlags) {
        match self.shared.find(token) {
            // Both directions are closed: no answer can be sent.
            Some(Endpoint::Connection(connection)) if flags.intersects(EventFlags::HUP | EventFlags::ERR) => {
                self.shared.close(token, connection.ending());
            }
            Some(Endpoint::Connection(connection)) => self.attend(token, &connection),
            Some(Endpoint::Datagrams(datagrams)) => self.attend_datagrams(token, &datagrams),
            Some(Endpoint::Listener(listener, programs)) => {
                self.shared.accept(&listener, programs);
                self.shared.arm(token, &*listener, EventFlags::IN);
            }
            None if token == TURN => match self.shared.next_turn() {
                Some(Turn::Connection(token)) => {
                    if let Some(connection) = self.shared.begin_turn(token) {
                        self.attend(token, &connection);
                    }
                }
                Some(Turn::Mount) => {
                    if let Some(mount) = self.shared.mounting.next() {
                        self.mount(mount);
                    }
                }
                None => {}
            },
            None => {}
        }
    }

    fn attend(&mut self, token: u64, connection: &Arc<Connection>) {
        let (shared, client) = (self.shared, &connection.client);
        if let Err(why) = connection.flush() {
            return shared.close(token, why);
        }
        while connection.begin(token) {
            let next = connection.take(&mut self.record, &mut self.spare);
            if let NextCall::Call = next {
                // From here on another worker may handle the next event.
                shared.arm_connection(token, connection);
                let message = self.record.message();
                let is_mount = connection.programs == Programs::Files && mount::is_mnt(message);
                let from = || Origin::Connection(token, connection.clone());
                let waits =
                    is_mount && shared.queue_mount(|| Mount { from: from(), message: message.into() });
                let mut others_wait = false;
                if !waits {
                    let answered = self.answer(connection);
                    if is_mount {
                        shared.leave_mounting();
                    }
                    match shared.end_call(token, connection, answered) {
                        Some(others) => others_wait = others,
                        None => return,
                    }
                }
                // The connection is armed: other connections of the client, and other clients, have their turn.
                if others_wait || shared.crew.is_busy() || !connection.has_more() {
                    return;
                }
            } else {
                client.end();
                shared.wake_waiting(client);
                return match next {
                    NextCall::End(why) => shared.close(token, why),
                    _ => shared.arm_connection(token, connection),
                };
            }
        }
        shared.arm_connection(token, connection);
        if !connection.is_waiting() {
            // Its client takes no answers: its turn passes to the next connection.
            shared.wake_waiting(client);
        }
    }

    /// Carries out an MNT whose turn it is.
    fn mount(&mut self, mount: Mount) {
        let shared = self.shared;
        match &mount.from {
            Origin::Connection(token, connection) => {
                self.record.set(&mount.message);
                // A client that is gone asks again.
                let answered = match shared.find(*token) {
                    Some(_) => self.answer(connection),
                    None => Ok(()),
                };
                shared.leave_mounting();
                shared.end_call(*token, connection, answered);
            }
            Origin::Datagrams(token, datagrams, sender, client) => {
                self.datagram.clear();
                self.datagram.extend_from_slice(&mount.message);
                self.answer_datagram(datagrams, mount.message.len(), *sender, client);
                shared.leave_mounting();
                self.end_datagrams(*token, datagrams);
            }
        }
    }

    /// Carries out the call in `record`.
    fn answer(&mut self, connection: &Connection) -> Result<(), Closing> {
        let message = Message {
            client: connection.peer,
            share: &connection.client,
            transport: Transport::Tcp {
                has_read: &connection.has_read,
                has_changed: &connection.has_changed,
            },
            programs: connection.programs,
            bytes: self.record.message(),
        };
        match answer(self.shared, message, &mut self.reply) {
            Some(true) => connection.answer(&mut self.reply),
            Some(false) => Ok(()),
            None => Err(Closing::Panicked),
        }
    }

    fn attend_datagrams(&mut self, token: u64, datagrams: &Arc<Datagrams>) {
        let shared = self.shared;
        self.datagram.resize(MOST_DATAGRAM, 0);
        let received = datagrams.receive(&mut self.datagram);
        if datagrams.begin() {
            shared.arm(token, &**datagrams, EventFlags::IN);
        }
        if let Some((len, sender)) = received {
            let client = shared.clients.at(*sender.peer.ip());
            if client.begin_datagram() {
                let message = self.datagram.get(..len).unwrap_or_default();
                let is_mount = datagrams.programs == Programs::Files && mount::is_mnt(message);
                let from = || Origin::Datagrams(token, datagrams.clone(), sender, client.clone());
                if is_mount && shared.queue_mount(|| Mount { from: from(), message: message.into() }) {
                    return;
                }
                self.answer_datagram(datagrams, len, sender, &client);
                if is_mount {
                    shared.leave_mounting();
                }
            }
        }
        self.end_datagrams(token, datagrams);
    }

    fn end_datagrams(&self, token: u64, datagrams: &Datagrams) {
        if datagrams.end() {
            self.shared.arm(token, datagrams, EventFlags::IN);
        }
    }

    fn answer_datagram(&mut self, datagrams: &Datagrams, len: usize, sender: Sender, client: &Arc<Client>) {
        let message = Message {
            client: sender.peer,
            share: client,
            transport: Transport::Udp,
            programs: datagrams.programs,
            bytes: self.datagram.get(..len).unwrap_or_default(),
        };
        let answered = answer(self.shared, message, &mut self.reply);
        client.end_datagram();
        self.shared.wake_waiting(client);
        if answered == Some(true) {
            datagrams.send(self.reply.message(), sender);
        }
    }
}

/// Whether the call has an answer; `None` if the call panicked, which affects this call only.
fn answer(shared: &Shared, message: Message<'_>, reply: &mut Reply) -> Option<bool> {
    let answered = catch_unwind(AssertUnwindSafe(|| shared.service.answer(message, reply)));
    if answered.is_err() {
        shared.tell(Trouble::Panicked);
    }
    answered.ok()
}

const MOST_DATAGRAM: usize = 65_535;
