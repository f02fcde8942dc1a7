//! The core's suite for networks, on a chip in memory. The emulator has a more faithful chip, with time, ARP and lost interrupts.

use core::convert::Infallible;
use core::future::poll_fn;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::task::{Poll, Waker};
use std::boxed::Box;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec::Vec;

use embassy_futures::block_on;
use embassy_futures::select::{Either, select};
use embassy_time::Timer;
use embedded_hal::digital::{ErrorType, InputPin, OutputPin};
use embedded_hal::spi::{self, SpiBus};
use embedded_hal_async::digital::Wait;
use embedded_hal_async::spi::SpiBus as AsyncSpiBus;
use pinetboot_core::conformance::{self, End};
use pinetboot_core::{Datagram, Instant, Net};

use super::*;
use crate::config::Address;
use crate::interface::Interface;
use crate::liveness::now;
use crate::port::Port;

#[test]
fn conforms() {
    on_a_chip(async |udp, peer| {
        let peer = End { net: peer, local: (), address: PEER };
        conformance::net(udp, SocketAddrV4::new(OURS, 69), peer).await;
    });
}

#[test]
fn what_is_prepared_is_sent_once_and_only_on_order() {
    on_a_chip(async |udp, peer| {
        let port = udp.open(Port::FIRST, PEER).unwrap();
        let put = async |udp: &mut Tested<'_>, bytes: &[u8]| {
            udp.buffer()[..bytes.len()].copy_from_slice(bytes);
            udp.prepare(port, PEER, bytes.len()).await
        };
        assert!(!udp.send_prepared(port, PEER).await, "nothing was prepared");
        assert!(put(udp, b"first").await);
        assert!(put(udp, b"second").await, "a guess may change");
        assert_eq!(peer.chip.0.borrow().sent.len(), 0);
        udp.buffer().fill(0);
        assert!(udp.send_prepared(port, PEER).await);
        assert!(!udp.send_prepared(port, PEER).await, "once");
        assert_eq!(peer.next(), b"second");

        assert!(put(udp, b"a guess").await);
        udp.buffer()[..5].copy_from_slice(b"other");
        udp.send(port, PEER, 5).await;
        assert!(!udp.send_prepared(port, PEER).await, "another datagram was sent");
        assert_eq!(peer.next(), b"other");

        assert!(put(udp, b"for PEER").await);
        assert!(!udp.send_prepared(port, SocketAddrV4::new(OURS, 1)).await, "for another");
        assert!(put(udp, b"closed").await);
        udp.close(port);
        assert!(!udp.send_prepared(port, PEER).await);
        assert_eq!(peer.chip.0.borrow().sent.len(), 0);
    });
}

#[test]
fn a_chip_that_forgets_all_is_set_up_again() {
    on_a_chip(async |udp, peer| {
        let port = udp.open(Port::FIRST, PEER).unwrap();
        udp.send(port, PEER, 4).await;
        let from = peer.chip.0.borrow_mut().sent.pop_front().unwrap().0;
        peer.chip.0.borrow_mut().reset();
        let (mut transfer, mut request) = (false, false);
        for _ in 0..100 {
            peer.chip.0.borrow_mut().arrive(from, PEER, b"an ACK");
            peer.chip.0.borrow_mut().arrive(69, PEER, b"a request");
            while let Ok(Some(datagram)) = udp.recv(now() + core::time::Duration::from_millis(20)).await {
                transfer |= datagram.local == port && datagram.bytes == b"an ACK";
                request |= datagram.listening && datagram.bytes == b"a request";
            }
        }
        assert!(transfer && request, "transfer: {transfer}, request: {request}");
    });
}

#[test]
fn a_datagram_that_comes_between_two_looks_is_read() {
    let wires = Wires::default();
    let mut bus = bus::Bus::new(wires.clone(), wires.clone());
    let mut socket = socket::Socket::new(0, (2, 2), false);
    socket.port = 69;
    socket.open(&mut bus).unwrap();
    assert!(socket.next(&mut bus).unwrap().is_none());
    wires.0.borrow_mut().late = Some(b"an ACK");
    assert_eq!(socket.next(&mut bus).unwrap().map(|head| head.len), Some(6));
}

type Tested<'a> = Udp<'a, Wires, Wires, Wires>;

fn on_a_chip<F: for<'t, 'a> AsyncFnOnce(&'t mut Tested<'a>, &'t mut Peer)>(test: F) {
    let wires = Wires::default();
    let mut peer = Peer { chip: wires.clone(), given: Vec::new(), buffer: std::vec![0; 1472] };
    let bells = [(); 3].map(|()| &*Box::leak(Box::default()));
    let chip = W5500::new(wires.clone(), wires.clone(), wires.clone(), [2, 0, 0, 0, 0, 1], bells);
    (&chip).configure(Address::Static { address: OURS, prefix_len: 24, router: None });
    let mut memory: Memory = Memory::new();
    let mut udp = Udp::new(&chip, &TFTP_SOCKETS, &mut memory, 7);
    let tested = async {
        while chip.start().is_none() {
            Timer::after_millis(1).await;
        }
        // At the chip's start the bell rings, which ends the first wait.
        let Ok(received) = udp.recv(now() + core::time::Duration::from_secs(1)).await;
        assert!(received.is_none());
        test(&mut udp, &mut peer).await;
    };
    let ended = block_on(select(chip.run(wires), tested));
    assert!(matches!(ended, Either::Second(())));
}

const OURS: Ipv4Addr = Ipv4Addr::new(10, 55, 0, 1);
const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 55, 0, 2), 4069);

/// The chip's pins and its cable.
#[derive(Clone, Default)]
struct Wires(Rc<RefCell<Chip>>);

struct Chip {
    common: [u8; 64],
    sockets: [Socket; 8],
    /// A datagram that arrives when the events of a socket are looked at.
    late: Option<&'static [u8]>,
    /// Bytes since the chip was selected.
    frame: Vec<u8>,
    /// The port, the destination and the payload.
    sent: VecDeque<(u16, SocketAddrV4, Vec<u8>)>,
    wakers: Vec<Waker>,
}

#[derive(Clone)]
struct Socket {
    registers: [u8; 48],
    rx: VecDeque<u8>,
    /// The chip's own pointers.
    read_at: u16,
    sent_to: u16,
    tx: Vec<u8>,
}

impl Default for Chip {
    fn default() -> Self {
        let socket = Socket {
            registers: [0; 48],
            rx: VecDeque::new(),
            read_at: 0,
            sent_to: 0,
            tx: std::vec![0; 4096],
        };
        let mut common = [0; 64];
        common[0x2e] = 0xbf;
        common[0x39] = 4;
        Self {
            common,
            sockets: [(); 8].map(|()| socket.clone()),
            late: None,
            frame: Vec::new(),
            sent: VecDeque::new(),
            wakers: Vec::new(),
        }
    }
}

impl Chip {
    fn reset(&mut self) {
        let wakers = core::mem::take(&mut self.wakers);
        *self = Self { wakers, ..Self::default() };
        self.wake();
    }

    fn is_raised(&self) -> bool {
        self.sockets.iter().any(|socket| socket.registers[2] & socket.registers[0x2c] != 0)
    }

    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn arrive(&mut self, port: u16, from: SocketAddrV4, bytes: &[u8]) {
        let is_open = |socket: &&mut Socket| socket.registers[3] == 0x22 && socket.word(4) == port;
        let Some(socket) = self.sockets.iter_mut().find(is_open) else { return };
        let room = usize::from(socket.registers[0x1e]) << 10;
        if socket.rx.len() + 8 + bytes.len() <= room {
            socket.rx.extend(from.ip().octets());
            socket.rx.extend(from.port().to_be_bytes());
            socket.rx.extend((bytes.len() as u16).to_be_bytes());
            socket.rx.extend(bytes);
            socket.registers[2] |= 4;
        }
        self.wake();
    }

    fn exchange(&mut self, byte: u8) -> u8 {
        let at = self.frame.len();
        self.frame.push(byte);
        if at < 3 {
            return 0;
        }
        let address = u16::from_be_bytes([self.frame[0], self.frame[1]]).wrapping_add(at as u16 - 3);
        let (block, write) = (usize::from(self.frame[2] >> 3), self.frame[2] & 4 != 0);
        match (block, block & 3) {
            (0, _) if write => self.common[usize::from(address)] = byte,
            (0, _) if address == 0x17 => {
                let raised = |socket: &Socket| socket.registers[2] & socket.registers[0x2c] != 0;
                return (0..8).fold(0, |set, index| set | u8::from(raised(&self.sockets[index])) << index);
            }
            (0, _) => return self.common[usize::from(address)],
            (_, 1) if write => self.write(block >> 2, address, byte),
            (_, 1) => {
                if let Some(bytes) = self.late.take_if(|_| address == 2) {
                    self.arrive(69, PEER, bytes);
                }
                return self.sockets[block >> 2].read(address);
            }
            (_, 2) if write => self.sockets[block >> 2].tx[usize::from(address) % 4096] = byte,
            (_, 3) => {
                let socket = &self.sockets[block >> 2];
                let offset = address.wrapping_sub(socket.read_at);
                return socket.rx.get(usize::from(offset)).copied().unwrap_or(0xee);
            }
            _ => {}
        }
        0
    }

    fn write(&mut self, index: usize, address: u16, byte: u8) {
        let socket = &mut self.sockets[index];
        match (address, byte) {
            (1, 0x01) => {
                (socket.registers[3], socket.read_at, socket.sent_to) = (0x22, 0, 0);
                socket.rx.clear();
                socket.registers[0x24..0x2c].fill(0);
            }
            (1, 0x10) => socket.registers[3] = 0,
            (1, 0x20) => {
                let (from, to) = (socket.sent_to, socket.word(0x24));
                let bytes = (0..to.wrapping_sub(from))
                    .map(|index| socket.tx[usize::from(from.wrapping_add(index)) % 4096]);
                let bytes = bytes.collect();
                let [a, b, c, d] = [12, 13, 14, 15].map(|at| socket.registers[at]);
                let peer = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), socket.word(16));
                socket.sent_to = to;
                let port = socket.word(4);
                self.sent.push_back((port, peer, bytes));
                self.wake();
            }
            (1, 0x40) => {
                let taken = socket.word(0x28).wrapping_sub(socket.read_at);
                socket.rx.drain(..usize::from(taken));
                socket.read_at = socket.word(0x28);
                if !socket.rx.is_empty() {
                    socket.registers[2] |= 4;
                }
            }
            (2, _) => {
                socket.registers[2] &= !byte;
                if self.frame.len() > 4 && self.frame[3] == 0x20 {
                    self.sockets[index].registers[2] |= 0x10; // sent at once
                }
            }
            (address, byte) => socket.registers[usize::from(address)] = byte,
        }
    }
}

impl Socket {
    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.registers[at], self.registers[at + 1]])
    }

    fn read(&self, address: u16) -> u8 {
        match address {
            0x26 => (self.rx.len() >> 8) as u8,
            0x27 => self.rx.len() as u8,
            1 => 0,
            address => self.registers[usize::from(address)],
        }
    }
}

impl Peer {
    /// The next datagram that was sent to it.
    fn next(&self) -> Vec<u8> {
        let (_, to, bytes) = self.chip.0.borrow_mut().sent.pop_front().expect("a datagram");
        assert_eq!(to, PEER);
        bytes
    }
}

impl spi::ErrorType for Wires {
    type Error = Infallible;
}

impl SpiBus for Wires {
    fn read(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        words.iter_mut().for_each(|word| *word = self.0.borrow_mut().exchange(0));
        Ok(())
    }

    fn write(&mut self, words: &[u8]) -> Result<(), Infallible> {
        words.iter().for_each(|word| _ = self.0.borrow_mut().exchange(*word));
        Ok(())
    }

    fn transfer(&mut self, _: &mut [u8], _: &[u8]) -> Result<(), Infallible> {
        unimplemented!()
    }

    fn transfer_in_place(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
        unimplemented!()
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl AsyncSpiBus for Wires {
    async fn read(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        SpiBus::read(self, words)
    }

    async fn write(&mut self, words: &[u8]) -> Result<(), Infallible> {
        SpiBus::write(self, words)
    }

    async fn transfer(&mut self, _: &mut [u8], _: &[u8]) -> Result<(), Infallible> {
        unimplemented!()
    }

    async fn transfer_in_place(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
        unimplemented!()
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl ErrorType for Wires {
    type Error = Infallible;
}

/// The select pin, and the reset pin, which the other tests do without.
impl OutputPin for Wires {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.borrow_mut().frame.clear();
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl InputPin for Wires {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(!self.0.borrow().is_raised())
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.borrow().is_raised())
    }
}

impl Wait for Wires {
    async fn wait_for_low(&mut self) -> Result<(), Infallible> {
        poll_fn(|context| {
            let mut chip = self.0.borrow_mut();
            chip.wakers.push(context.waker().clone());
            if chip.is_raised() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    async fn wait_for_high(&mut self) -> Result<(), Infallible> {
        unimplemented!()
    }

    async fn wait_for_rising_edge(&mut self) -> Result<(), Infallible> {
        unimplemented!()
    }

    async fn wait_for_falling_edge(&mut self) -> Result<(), Infallible> {
        unimplemented!()
    }

    async fn wait_for_any_edge(&mut self) -> Result<(), Infallible> {
        unimplemented!()
    }
}

/// The other end of the cable.
struct Peer {
    chip: Wires,
    given: Vec<u8>,
    buffer: Vec<u8>,
}

impl Net for Peer {
    type Error = Infallible;
    type Local = ();

    fn now(&self) -> Instant {
        now()
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, ()>>, Infallible> {
        let arrival = poll_fn(|context| {
            let mut chip = self.chip.0.borrow_mut();
            chip.wakers.push(context.waker().clone());
            chip.sent.pop_front().map_or(Poll::Pending, Poll::Ready)
        });
        let timer = Timer::at(embassy_time::Instant::from_micros(deadline.as_micros()));
        let Either::First((port, _, bytes)) = select(arrival, timer).await else { return Ok(None) };
        self.given = bytes;
        Ok(Some(Datagram::new(now(), (), SocketAddrV4::new(OURS, port), &self.given)))
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    async fn send(&mut self, (): (), to: SocketAddrV4, len: usize) {
        self.chip.0.borrow_mut().arrive(to.port(), PEER, &self.buffer[..len]);
    }
}
