//! Facts about DHCP, from the core's responder loop.

use pinetboot_core::dhcp::{Message, MessageType, NoReply, OptionCode, Reply, Value};
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
        self.bus.emit(None, asked(request));
        let (client, fact) = match (answer, request.requested_address()) {
            (Ok(Reply { kind: MessageType::Ack, address, .. }), _) if !address.is_unspecified() => {
                (Some(address), Dhcp::Leased { hardware, address })
            }
            (Ok(Reply { kind, to, address, .. }), _) => {
                (None, Dhcp::Answered { hardware, kind, address, to })
            }
            // The REQUEST shows the address that another server leased. A client that knows no proxy requests the 0.0.0.0 of its OFFER.
            (Err(NoReply::ForAnother), Some(address)) if !address.is_unspecified() => {
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

/// The fact of a client's message.
pub(crate) fn asked(request: &Message<'_>) -> Dhcp {
    Dhcp::Asked {
        hardware: request.header.hardware,
        kind: request.kind(),
        xid: request.header.xid,
        identity: request.pi(),
        relayed: !request.header.giaddr.is_unspecified(),
        has_duid: request.option(OptionCode::CLIENT_ID).is_some_and(|id| id.starts_with(&[DUID])),
        is_boot_code: is_boot_code(request),
    }
}

/// Whether boot code sent a message: UEFI and iPXE as PXE clients, U-Boot by its vendor class (`U-Boot.armv8`).
fn is_boot_code(request: &Message<'_>) -> bool {
    let is_u_boot = |class: Value<'_>| class.starts_with(b"U-Boot");
    request.is_pxe()
        || request.option(OptionCode::VENDOR_CLASS).is_some_and(is_u_boot)
        || request.option(OptionCode::USER_CLASS).is_some()
}

/// The type of a client identifier that is a DUID (RFC 4361, section 6.1).
const DUID: u8 = 255;
