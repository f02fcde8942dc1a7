//! The server without a network, for fuzzing and for other transports.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::clients::Clients;
use super::export::Exports;
use super::message::{Message, Programs, Transport};
use super::portmap::Mappings;
use super::record::{Next, Record, Records};
use super::reply::Reply;
use super::service::{MOST_MESSAGE, Service};
use super::{NfsConfig, PORTMAP_PORT};

/// Answers messages of any transport.
#[derive(Debug)]
pub struct Offline {
    service: Service,
    clients: Clients,
}

impl Offline {
    /// A server of these exports. The portmapper reports the configured port; the address has no effect.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn new(config: NfsConfig, exports: Arc<dyn Exports>) -> std::io::Result<Self> {
        let mappings = Mappings::of_programs(config.port, config.udp).with_portmap(PORTMAP_PORT);
        Ok(Self { service: Service::new(config, exports, mappings)?, clients: Clients::default() })
    }

    /// The answer of NFS and MOUNT to a datagram; `None` for no answer.
    #[must_use]
    pub fn datagram(&self, client: SocketAddrV4, bytes: &[u8]) -> Option<Vec<u8>> {
        self.answer(client, Transport::Udp, Programs::Files, bytes)
    }

    /// The answer of the portmapper to a datagram; `None` for no answer.
    #[must_use]
    pub fn portmap_datagram(&self, client: SocketAddrV4, bytes: &[u8]) -> Option<Vec<u8>> {
        self.answer(client, Transport::Udp, Programs::Portmap, bytes)
    }

    /// The answers of NFS and MOUNT to a stream that arrives in these pieces; `None` if the stream would be closed.
    #[must_use]
    pub fn stream(&self, client: SocketAddrV4, pieces: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
        let (mut records, mut record, mut answers) =
            (Records::new(MOST_MESSAGE), Record::default(), Vec::new());
        let (has_read, has_changed) = (AtomicBool::new(false), AtomicBool::new(false));
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                let copy = |room: &mut [u8]| {
                    let len = room.len().min(piece.len());
                    room.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
                    Ok(len)
                };
                let taken = records.fill(copy).ok()?;
                piece = piece.get(taken..).unwrap_or_default();
                loop {
                    match records.next(&mut record) {
                        Next::Record => {
                            let transport = Transport::Tcp { has_read: &has_read, has_changed: &has_changed };
                            let bytes = record.message();
                            answers.extend(self.answer(client, transport, Programs::Files, bytes));
                        }
                        Next::NotYet => break,
                        Next::TooLong => return None,
                    }
                }
            }
        }
        Some(answers)
    }

    fn answer(
        &self,
        client: SocketAddrV4,
        transport: Transport<'_>,
        programs: Programs,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let (share, mut reply) = (self.clients.at(*client.ip()), Reply::new());
        let message = Message { client, share: &share, transport, programs, bytes };
        self.service.answer(message, &mut reply).then(|| reply.message().to_vec())
    }
}
