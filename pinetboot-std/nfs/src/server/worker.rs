//! A worker: a thread that carries out calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;

use super::{Endpoint, MOST_HELD, Shared};
use crate::connection::{Connection, NextCall};
use crate::datagrams::Datagrams;
use crate::message::{Message, Transport};
use crate::observe::{Closing, Trouble};
use crate::record::Record;
use crate::reply::Reply;

/// The state of a worker.
pub(super) struct Worker<'a> {
    shared: &'a Shared,
    record: Record,
    reply: Reply,
    datagram: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, record: Record::default(), reply: Reply::new(), datagram: Vec::new() }
    }

    pub(super) fn run(mut self) {
        let mut events = Vec::with_capacity(1);
        while !self.shared.stopping.load(Ordering::SeqCst) {
            events.clear();
            match epoll::wait(&self.shared.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return self.shared.tell(Trouble::Wait(&error.into())),
            }
            for event in &events {
                let (token, flags) = (event.data.u64(), event.flags);
                match self.shared.find(token) {
                    // Both directions are closed: no answer can be sent.
                    Some(Endpoint::Connection(connection))
                        if flags.intersects(EventFlags::HUP | EventFlags::ERR) =>
                    {
                        self.shared.close(token, connection.ending());
                    }
                    Some(Endpoint::Connection(connection)) => self.attend(token, &connection),
                    Some(Endpoint::Datagrams(datagrams)) => self.attend_datagrams(token, &datagrams),
                    Some(Endpoint::Listener(listener, programs)) => {
                        self.shared.accept(&listener, programs);
                        self.shared.arm(token, &*listener, EventFlags::IN);
                    }
                    None => {}
                }
            }
        }
    }

    fn attend(&mut self, token: u64, connection: &Connection) {
        if let Err(why) = connection.flush() {
            return self.shared.close(token, why);
        }
        loop {
            match connection.take(&mut self.record) {
                NextCall::End(why) => return self.shared.close(token, why),
                NextCall::Nothing => return self.shared.arm_connection(token, connection, false),
                NextCall::Call => {}
            }
            // From here on another worker may handle the next event.
            let more = connection.has_more();
            self.shared.arm_connection(token, connection, more);
            let answered = self.answer(connection);
            let waited_for = connection.done();
            if let Err(why) = answered.and_then(|()| self.fit(connection)) {
                return self.shared.close(token, why);
            }
            if waited_for || connection.backlog() > 0 {
                self.shared.arm_connection(token, connection, false);
            }
            if !connection.has_more() {
                return;
            }
        }
    }

    /// Carries out the call in `record`.
    fn answer(&mut self, connection: &Connection) -> Result<(), Closing> {
        let message = Message {
            client: connection.peer,
            transport: Transport::Tcp { has_read: &connection.has_read },
            programs: connection.programs,
            bytes: self.record.message(),
        };
        match answer(self.shared, message, &mut self.reply) {
            Some(true) => connection.answer(&mut self.reply),
            Some(false) => Ok(()),
            None => Err(Closing::Panicked),
        }
    }

    /// Whether the memory limit allows this connection's memory.
    fn fit(&self, connection: &Connection) -> Result<(), Closing> {
        let growth = connection.growth();
        let held = self.shared.held.fetch_add(growth, Ordering::Relaxed) + growth;
        if held < MOST_HELD || growth <= 0 {
            return Ok(());
        }
        self.shared.tell(Trouble::Memory { peer: connection.peer, held: held.unsigned_abs() });
        Err(Closing::Memory)
    }

    fn attend_datagrams(&mut self, token: u64, datagrams: &Datagrams) {
        self.datagram.resize(MOST_DATAGRAM, 0);
        let received = datagrams.receive(&mut self.datagram);
        self.shared.arm(token, datagrams, EventFlags::IN);
        let Some((len, sender)) = received else { return };
        let message = Message {
            client: sender.peer,
            transport: Transport::Udp,
            programs: datagrams.programs,
            bytes: self.datagram.get(..len).unwrap_or_default(),
        };
        if answer(self.shared, message, &mut self.reply) == Some(true) {
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
