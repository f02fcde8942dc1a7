//! Facts about DHCP, from the core's responder loop.

use pinetboot_core::dhcp::{Message, MessageType, NoReply, Reply};
use pinetboot_core::{Event, Instant, Observer};

use crate::bus::Bus;
use crate::events::Dhcp;

/// Emits the events of one DHCP responder as facts.
#[derive(Debug, Clone)]
pub struct DhcpObserver {
    bus: Bus,
}

impl DhcpObserver {
    /// An observer for this bus.
    pub const fn new(bus: Bus) -> Self {
        Self { bus }
    }

    fn message(&self, request: &Message<'_>, answer: Result<Reply, NoReply>) {
        let hardware = request.header.hardware;
        let (kind, xid) = (request.kind(), request.header.xid);
        self.bus.emit(None, Dhcp::Asked { hardware, kind, xid, identity: request.pi() });
        let (client, fact) = match (answer, request.requested_address()) {
            (Ok(Reply { kind: MessageType::Ack, address, .. }), _) if !address.is_unspecified() => {
                (Some(address), Dhcp::Leased { hardware, address })
            }
            (Ok(Reply { kind, to, address, .. }), _) => {
                (None, Dhcp::Answered { hardware, kind, address, to })
            }
            // The REQUEST shows the address that another server leased.
            (Err(NoReply::ForAnother), Some(address)) => {
                (Some(address), Dhcp::TookOther { hardware, address })
            }
            (Err(why), _) => (None, Dhcp::Unanswered { hardware, why }),
        };
        self.bus.emit(client, fact);
    }
}

impl Observer for DhcpObserver {
    type Transfer = ();

    fn observe(&mut self, _: Instant, event: &Event<'_>, _: Option<&mut ()>) {
        match event {
            Event::Dhcp(dhcp) => self.message(dhcp.request, dhcp.answer),
            Event::Rejected(rejected) => {
                let (peer, why) = (rejected.peer, rejected.why.to_string());
                self.bus.emit(None, Dhcp::Malformed { peer, why });
            }
            _ => {}
        }
    }
}
