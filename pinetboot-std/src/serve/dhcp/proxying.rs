//! The proxy of an interface, with a boot file for each kind of client.

use std::net::Ipv4Addr;

use pinetboot_core::dhcp::{Arrival, Clients, Message, NoReply, ProxyDhcp, Reply, Respond};

use super::offers::{Named, Offers};
use super::run::Attend;
use crate::config::Admission;

/// A proxy for the clients of the settings.
pub(super) struct Proxying {
    pub(super) address: Ipv4Addr,
    pub(super) named: Named,
    pub(super) offers: Offers,
}

impl Respond for Proxying {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        let Self { address, named, offers } = self;
        offers.note(request);
        let clients = match offers.admission {
            Admission::Listed if offers.listed(request).is_none() => {
                offers.tell_not_listed(request);
                return Err(NoReply::NotServed);
            }
            // UEFI on a Pi names no serial number.
            Admission::Listed => Clients::Pxe,
            Admission::Of(Clients::Pi) if offers.is_of_a_pi(request) => Clients::Pxe,
            Admission::Of(clients) => clients,
        };
        let answer = offers.name(request, None, named, |next_server| {
            let proxy = ProxyDhcp::new(*address).with_next_server(*next_server).with_clients(clients);
            proxy.respond(arrival, request, out)
        });
        if answer == Err(NoReply::NothingToOffer) {
            offers.tell_without_file(request);
        }
        answer
    }
}

impl Attend for Proxying {}
