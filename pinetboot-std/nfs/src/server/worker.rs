//! A worker: a thread that carries out calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;

use super::crew::Duty;
use super::{Endpoint, Shared, TURN};
use crate::connection::{Connection, NextCall};
use crate::datagrams::{Datagrams, Sender};
use crate::message::{Message, Transport};
use crate::observe::{Closing, Trouble};
use crate::record::Record;
use crate::reply::Reply;

/// The state of a worker.
pub(super) struct Worker<'a> {
    shared: &'a Shared,
    duty: Duty,
    record: Record,
    reply: Reply,
    datagram: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Shared, duty: Duty) -> Self {
        Self { shared, duty, record: Record::default(), reply: Reply::new(), datagram: Vec::new() }
    }

    /// Works until the server stops; returns true if the worker is one too many.
    pub(super) fn run(mut self) -> bool {
        let (shared, mut events) = (self.shared, Vec::with_capacity(1));
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
            None if token == TURN => {
                if let Some((token, connection)) = self.shared.next_turn() {
                    self.attend(token, &connection);
                }
            }
            None => {}
        }
    }

    fn attend(&mut self, token: u64, connection: &Connection) {
        let (shared, client) = (self.shared, &connection.client);
        if let Err(why) = connection.flush() {
            return shared.close(token, why);
        }
        while connection.begin(token) {
            let next = connection.take(&mut self.record);
            if let NextCall::Call = next {
                // From here on another worker may handle the next event.
                shared.arm_connection(token, connection);
                let answered = self.answer(connection);
                connection.done();
                client.end();
                let others_wait = shared.wake_waiting(client);
                if let Err(why) = answered {
                    return shared.close(token, why);
                }
                if connection.count_memory() > 0 {
                    shared.shed(client);
                }
                if connection.backlog() > 0 {
                    shared.arm_connection(token, connection);
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

    fn attend_datagrams(&mut self, token: u64, datagrams: &Datagrams) {
        self.datagram.resize(MOST_DATAGRAM, 0);
        let received = datagrams.receive(&mut self.datagram);
        if datagrams.begin() {
            self.shared.arm(token, datagrams, EventFlags::IN);
        }
        if let Some((len, sender)) = received {
            self.answer_datagram(datagrams, len, sender);
        }
        if datagrams.end() {
            self.shared.arm(token, datagrams, EventFlags::IN);
        }
    }

    fn answer_datagram(&mut self, datagrams: &Datagrams, len: usize, sender: Sender) {
        let client = self.shared.clients.at(*sender.peer.ip());
        if !client.begin_datagram() {
            return;
        }
        let message = Message {
            client: sender.peer,
            share: &client,
            transport: Transport::Udp,
            programs: datagrams.programs,
            bytes: self.datagram.get(..len).unwrap_or_default(),
        };
        let answered = answer(self.shared, message, &mut self.reply);
        client.end_datagram();
        self.shared.wake_waiting(&client);
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
