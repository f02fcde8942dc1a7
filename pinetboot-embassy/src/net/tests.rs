//! The core's suite for networks, on two stacks that share a cable.

use core::net::Ipv4Addr;
use core::task::{Context, Waker};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec::Vec;

use embassy_futures::block_on;
use embassy_futures::select::{Either3, select3};
use embassy_net::{Config, Ipv4Cidr, StackResources, StaticConfigV4};
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use pinetboot_core::conformance::{self, End};

use super::*;

#[test]
fn conforms() {
    let cable = Cable::default();
    let mut resources = [StackResources::<6>::new(), StackResources::new()];
    let [first, second] = &mut resources;
    let (tested, mut tested_runner) = embassy_net::new(cable.end(0), config(0), first, 1);
    let (other, mut other_runner) = embassy_net::new(cable.end(1), config(1), second, 2);

    let (mut memory, mut metadata) = (Memory::new(), Metadata::new());
    let mut sockets = Sockets::<4>::new(tested, &mut memory, &mut metadata);
    let mut pool = Pool::new(&mut sockets, &[PORTS[0]]);
    let (mut rx, mut tx) = ([0; 3 * MAX], [0; 3 * MAX]);
    let (mut rx_meta, mut tx_meta) = ([PacketMetadata::EMPTY; 8], [PacketMetadata::EMPTY; 8]);
    let mut socket = UdpSocket::new(other, &mut rx_meta, &mut rx, &mut tx_meta, &mut tx);
    socket.bind(PORTS[1]).unwrap();
    let mut other = Other { socket, rx: [0; MAX], tx: [0; MAX] };

    let peer = End { net: &mut other, local: (), address: SocketAddrV4::new(address(1), PORTS[1]) };
    let suite = conformance::net(&mut pool, SocketAddrV4::new(address(0), PORTS[0]), peer);
    let ended = block_on(select3(tested_runner.run(), other_runner.run(), suite));
    assert!(matches!(ended, Either3::Third(())));
}

/// A socket with more room than the pool's.
struct Other<'a> {
    socket: UdpSocket<'a>,
    rx: [u8; MAX],
    tx: [u8; MAX],
}

impl Net for Other<'_> {
    type Error = Infallible;
    type Local = ();

    fn now(&self) -> Instant {
        liveness::now()
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, ()>>, Infallible> {
        let Self { socket, rx, .. } = self;
        let timer = Timer::at(embassy_time::Instant::from_micros(deadline.as_micros()));
        let Either::First(received) = select(socket.recv_from(rx), timer).await else { return Ok(None) };
        let (len, from) = received.unwrap();
        let IpAddress::Ipv4(ip) = from.endpoint.addr;
        let peer = SocketAddrV4::new(ip, from.endpoint.port);
        Ok(Some(Datagram::new(liveness::now(), (), peer, &rx[..len])))
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.tx
    }

    async fn send(&mut self, (): (), to: SocketAddrV4, len: usize) {
        self.socket.send_to(&self.tx[..len], (*to.ip(), to.port())).await.unwrap();
    }
}

/// Two ends: what is sent at one comes to the other.
#[derive(Clone, Default)]
struct Cable(Rc<RefCell<[Way; 2]>>);

#[derive(Default)]
struct Way {
    frames: VecDeque<Vec<u8>>,
    waker: Option<Waker>,
}

impl Cable {
    fn end(&self, number: usize) -> Nic {
        Nic { cable: self.clone(), number }
    }
}

struct Nic {
    cable: Cable,
    number: usize,
}

struct Sending(Cable, usize);

struct Frame(Vec<u8>);

impl Driver for Nic {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Sending;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Frame, Sending)> {
        let way = &mut self.cable.0.borrow_mut()[self.number];
        way.waker = Some(context.waker().clone());
        Some((Frame(way.frames.pop_front()?), Sending(self.cable.clone(), 1 - self.number)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Sending> {
        Some(Sending(self.cable.clone(), 1 - self.number))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = 1514;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet([2, 0, 0, 0, 0, self.number as u8])
    }
}

impl TxToken for Sending {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = std::vec![0; len];
        let result = fill(&mut frame);
        let way = &mut self.0.0.borrow_mut()[self.1];
        way.frames.push_back(frame);
        if let Some(waker) = way.waker.take() {
            waker.wake();
        }
        result
    }
}

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, take: F) -> R {
        take(&mut self.0)
    }
}

fn config(number: u8) -> Config {
    Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(address(number), 24),
        gateway: None,
        dns_servers: Default::default(),
    })
}

const fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 55, 0, 1 + number)
}

const PORTS: [u16; 2] = [69, 4069];
