//! A DHCP server, and the upkeep of a lease, within the loop of other firmware: the machines have no socket, no clock and no memory of
//! their own, so that the loop calls them when a datagram came or a time has passed.

use core::net::{Ipv4Addr, SocketAddrV4};

use pinetboot_core::Instant;
use pinetboot_core::dhcp::{
    Arrival, Clients, LeaseServer, LeaseSlot, Message, Network, Port, Renewal, RenewalStep, Respond,
    SERVER_PORT,
};

/// A server for the upper half of 192.168.4.0/24 and any client.
pub fn server() -> Option<LeaseServer<'static, [LeaseSlot; 8]>> {
    let own = Ipv4Addr::new(192, 168, 4, 1);
    let (first, last) = Network::upper_half(own, 24);
    let mut network = Network::new(own, 24, first, last).ok()?;
    network.clients = Clients::All;
    Some(LeaseServer::new(network, [LeaseSlot::EMPTY; 8]))
}

/// A datagram came to port 67: writes the answer into `out`. Its destination and length; `None`: no answer.
pub fn answer(
    server: &mut impl Respond,
    now: Instant,
    from: SocketAddrV4,
    datagram: &[u8],
    out: &mut [u8],
) -> Option<(SocketAddrV4, usize)> {
    let request = Message::parse(datagram).ok()?;
    let reply = server.respond(&Arrival::new(now, Port::Server, from), &request, out).ok()?;
    Some((reply.to, reply.len.into()))
}

/// What the loop does next for the board's own lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send so many bytes of `out` from port 68 to this address.
    Send(SocketAddrV4, usize),
    /// Call again at this time, or after a datagram for port 68.
    Wait(Instant),
    /// Stop using the address, and ask for a new one.
    Lost,
}

/// Keeps the board's own lease; with the datagram that came to port 68, if one did.
pub fn keep(lease: &mut Renewal, now: Instant, datagram: Option<&[u8]>, out: &mut [u8]) -> Next {
    if let Some(Ok(message)) = datagram.map(Message::parse) {
        lease.handle(now, &message);
    }
    match lease.poll(now) {
        RenewalStep::Send { to } => {
            Next::Send(SocketAddrV4::new(to, SERVER_PORT), lease.emit(now, out).unwrap_or_default())
        }
        RenewalStep::Wait { until } => Next::Wait(until),
        RenewalStep::Lost => Next::Lost,
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use pinetboot_core::dhcp::{Client, MAX_LEN, Outcome, Profile, Step};

    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// A client and the server of this file, without a network between them.
    #[test]
    fn a_lease_is_given_and_kept_and_lost_when_the_server_is_gone() {
        let (mut server, mut out, mut reply) = (server().unwrap(), [0; MAX_LEN], [0; MAX_LEN]);
        let mut client = Client::new(Profile::Plain, MAC, 7);
        let mut now = Instant::from_millis(1000);
        let unbound = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let outcome = loop {
            match client.poll(now) {
                Step::Send(kind) => {
                    let len = client.emit(now, kind, &mut out).unwrap();
                    let (_, len) = answer(&mut server, now, unbound, &out[..len], &mut reply).unwrap();
                    let own = server.network().address();
                    client.handle(now, own, &Message::parse(&reply[..len]).unwrap());
                }
                Step::Wait { until } => now = until,
                Step::Done(outcome) => break outcome,
            }
        };
        let Outcome::Bound { lease_secs: Some(secs), .. } = outcome else { panic!("{outcome:?}") };
        let mut lease = Renewal::of(&outcome, MAC, 8, now).unwrap();
        let bound = SocketAddrV4::new(lease.address(), 68);
        // A month with the server, and then none.
        let gone = now + Duration::from_secs(30 * 86_400);
        let mut renewed = 0;
        let lost = loop {
            match keep(&mut lease, now, None, &mut out) {
                Next::Send(_, len) if now < gone => {
                    let (to, len) = answer(&mut server, now, bound, &out[..len], &mut reply).unwrap();
                    assert_eq!(to, bound);
                    renewed += 1;
                    let next = keep(&mut lease, now, Some(&reply[..len]), &mut out);
                    assert!(matches!(next, Next::Wait(_)), "{next:?}");
                }
                Next::Send(..) => {}
                Next::Wait(until) => now = until,
                Next::Lost => break now,
            }
        };
        assert!(renewed as u64 >= 30 * 86_400 / u64::from(secs), "{renewed}");
        assert!(lost > gone && lost <= gone + Duration::from_secs(secs.into()));
    }
}
