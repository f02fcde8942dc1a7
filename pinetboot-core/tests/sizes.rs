//! What a transfer costs in memory: firmware has room for few bytes each.

use core::convert::Infallible;
use core::net::SocketAddrV4;

use pinetboot_core::tftp::{
    ErrorCode, Limits, Options, Packet, ParseError, Receiver, Sender, Server, Session, Step,
};
use pinetboot_core::{Datagram, Instant, Net, NoUpload, OpenError, OpenRequest, PathError, Storage};

/// Files in flash: the smallest storage there is.
struct Flash;

impl Storage for Flash {
    type File = &'static [u8];
    type Upload = NoUpload;
    type Refusal = OpenError;

    async fn open(&mut self, _: &OpenRequest<'_>) -> Result<&'static [u8], OpenError> {
        Err(OpenError::NotFound)
    }
}

#[test]
fn machines() {
    assert!(size_of::<Sender>() <= 128, "{}", size_of::<Sender>());
    assert!(size_of::<Receiver>() <= 128, "{}", size_of::<Receiver>());
    assert!(size_of::<Limits>() <= 32, "{}", size_of::<Limits>());
}

#[test]
fn values() {
    assert_eq!(size_of::<ParseError>(), 1);
    assert_eq!(size_of::<PathError>(), 1);
    assert_eq!(size_of::<OpenError>(), 1);
    assert_eq!(size_of::<ErrorCode>(), 2);
    assert_eq!(size_of::<Instant>(), 8);
    assert!(size_of::<Options>() <= 32, "{}", size_of::<Options>());
    assert!(size_of::<Packet<'_>>() <= 64, "{}", size_of::<Packet<'_>>());
    assert!(size_of::<Step>() <= 64, "{}", size_of::<Step>());
}

#[test]
fn a_place_in_the_servers_table() {
    let place = size_of::<Option<Session<(), Flash>>>();
    assert!(place <= 256, "{place}");
    assert_eq!(size_of::<Option<Session<u32, Flash>>>(), place, "room for a port or a descriptor");
    assert_eq!(size_of::<Option<Session<(), Flash, [u8; 40]>>>(), place + 40, "the observer's own");
}

/// The future is what an executor must keep for the server's task.
#[test]
fn the_servers_future() {
    let mut places = [const { None }; 4];
    let mut server = Server::<_, _, _, 4>::new(Nowhere, Flash, (), Limits::default(), &mut places);
    let turn = size_of_val(&server.turn());
    let run = size_of_val(&server.run());
    assert!(turn <= 1280, "{turn}");
    assert!(run <= turn + 32, "{run}");
}

/// A network that never brings anything.
struct Nowhere;

impl Net for Nowhere {
    type Error = Infallible;
    type Local = ();

    fn now(&self) -> Instant {
        Instant::ZERO
    }

    async fn recv(&mut self, _: Instant) -> Result<Option<Datagram<'_, ()>>, Infallible> {
        Ok(None)
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut []
    }

    async fn send(&mut self, (): (), _: SocketAddrV4, _: usize) {}
}
