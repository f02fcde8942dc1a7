//! What a network answers to a DISCOVER in a Pi's place, in words and for the boot machine.

use std::net::Ipv4Addr;

use pinetboot_core::dhcp::{Message, NoBoot, Offer, Shortfall};
use pinetboot_core::pi::Model;
use pinetboot_core::pi::boot::Survey;

use super::{ProbeClient, survey};

/// The answers, each with the address that it came from, as messages that can be parsed; and what each server offers.
pub(crate) fn judge(model: Model, heard: &[(Ipv4Addr, Vec<u8>)]) -> (Survey, Vec<String>) {
    let parsed = |(from, bytes): &'_ (Ipv4Addr, Vec<u8>)| Some((*from, Message::parse(bytes).ok()?.kind()));
    debug_assert!(heard.iter().all(|answer| parsed(answer).is_some()));
    let offers: Vec<Offer<'_>> = heard
        .iter()
        .filter_map(|(from, bytes)| Some(Offer::new(*from, Message::parse(bytes).ok()?)))
        .collect();
    let rules = ProbeClient::Pi(model).rules();
    let said = offers.iter().take(MOST_NAMED).map(|offer| {
        let server = offer.message.server_id().unwrap_or(offer.from);
        let address = offer.message.header.yiaddr;
        match rules.choose(&[*offer]) {
            _ if address.is_unspecified() => format!("{server} offers no address"),
            Ok(choice) => format!("{server} offers {address} and the boot server {}", choice.server),
            Err(NoBoot::KeepsAsking { shortfall, .. } | NoBoot::GivesUp { shortfall, .. }) => {
                format!("{server} offers {address} without a boot server ({})", lack(shortfall))
            }
            Err(why) => format!("{server} offers {address}, but {why}"),
        }
    });
    let said: Vec<_> = match offers.is_empty() {
        true => vec!["no other DHCP server answers".to_owned()],
        false => said.collect(),
    };
    let survey = match rules.choose(&offers) {
        Ok(choice) if survey::within_reach(&offers, &choice) => Survey::Complete,
        Ok(_) | Err(NoBoot::Relayed | NoBoot::OtherNetwork) => Survey::BootServerSilent,
        Err(NoBoot::NoOffer | NoBoot::NoAddress) => Survey::NoAddress,
        Err(NoBoot::KeepsAsking { shortfall, .. } | NoBoot::GivesUp { shortfall, .. })
            if shortfall == Shortfall::NoMenu =>
        {
            Survey::PcMenu
        }
        Err(_) => Survey::NoBootServer,
    };
    (survey, said)
}

fn lack(shortfall: Shortfall) -> String {
    match shortfall {
        Shortfall::Nothing => "no option 66, no menu in 43".to_owned(),
        shortfall => shortfall.to_string(),
    }
}

/// Servers in a line.
const MOST_NAMED: usize = 3;
