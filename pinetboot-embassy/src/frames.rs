//! Frames between a network stack and the driver of an Ethernet chip on a bus.
//!
//! The module does the work of `embassy-net-driver-channel`, with two differences for a Cortex-M0+: the payload of a UDP
//! datagram begins at a whole word, so that copying it takes a sixth of the time, and the driver computes the UDP checksum of
//! outgoing frames, for which it has the time.

use core::cell::RefCell;
use core::task::Context;

use embassy_net_driver::{Capabilities, Checksum, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::waitqueue::WakerRegistration;
use embassy_sync::zerocopy_channel::{Channel, Receiver, Sender};

use crate::liveness::{Liveness, now};

/// Memory for received and outgoing frames.
pub struct Frames<const RX: usize, const TX: usize> {
    rx: [Frame; RX],
    tx: [Frame; TX],
}

impl<const RX: usize, const TX: usize> Frames<RX, TX> {
    /// Empty memory.
    pub const fn new() -> Self {
        Self { rx: [const { Frame::new() }; RX], tx: [const { Frame::new() }; TX] }
    }
}

impl<const RX: usize, const TX: usize> Default for Frames<RX, TX> {
    fn default() -> Self {
        Self::new()
    }
}

/// The two queues between the stack's end, which is a [`Device`], and the driver's.
pub struct Ways<'a> {
    rx: Channel<'a, NoopRawMutex, Frame>,
    tx: Channel<'a, NoopRawMutex, Frame>,
    link: Mutex<NoopRawMutex, RefCell<(LinkState, WakerRegistration)>>,
    liveness: Liveness,
}

impl<'a> Ways<'a> {
    /// Two queues in this memory, without a link yet.
    pub fn new<const RX: usize, const TX: usize>(frames: &'a mut Frames<RX, TX>) -> Self {
        let link = Mutex::new(RefCell::new((LinkState::Down, WakerRegistration::new())));
        Self {
            rx: Channel::new(&mut frames.rx),
            tx: Channel::new(&mut frames.tx),
            link,
            liveness: Liveness::new(),
        }
    }

    /// The stack's end, which has this hardware address, and the driver's; and the driver's liveness, for the watchdog.
    pub fn split(&mut self, mac: [u8; 6]) -> (Device<'_>, DriverEnd<'_>, &Liveness) {
        let Self { rx, tx, link, liveness } = self;
        let (to_stack, from_driver) = rx.split();
        let (to_driver, from_stack) = tx.split();
        let device = Device { mac, rx: from_driver, tx: to_driver, link };
        (device, DriverEnd { rx: to_stack, tx: from_stack, link, liveness }, liveness)
    }
}

/// A frame, in memory for the longest.
pub struct Frame {
    /// Two unused bytes come first, so that IPv4's header, after Ethernet's 14 bytes, begins at a whole word.
    words: [u32; WORDS],
    len: usize,
}

impl Frame {
    /// The longest frame, in bytes: Ethernet's, without its checksum.
    pub const MAX: usize = 1514;

    const fn new() -> Self {
        Self { words: [0; WORDS], len: 0 }
    }

    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words).get(2..2 + self.len).unwrap_or_default()
    }

    /// The whole memory.
    pub fn room(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.words).get_mut(2..2 + Self::MAX).unwrap_or_default()
    }

    /// Sets the frame's length in bytes: at most [`MAX`](Self::MAX).
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(Self::MAX);
    }

    /// The checksum of a UDP datagram (RFC 768) in IPv4 without options, and the place of its two bytes in the frame,
    /// which are zeros until then. `None` for other frames.
    pub fn checksum(&self) -> Option<(u16, [u8; 2])> {
        let bytes = self.bytes();
        let is_udp = bytes.get(12..15) == Some(&[0x08, 0x00, 0x45]) && bytes.get(23) == Some(&17);
        let &[high, low] = bytes.get(38..40)? else { return None };
        let udp_len = usize::from(u16::from_be_bytes([high, low]));
        if !is_udp || udp_len < 8 || UDP + udp_len > self.len {
            return None;
        }
        // The sum is the same in either byte order, apart from the order of its two bytes, so the native order is taken.
        let pseudo_header =
            u32::from(u16::from_ne_bytes([0, 17])) + u32::from(u16::from_ne_bytes([high, low]));
        let (words, rest) = bytes.get(UDP - 8..UDP + udp_len)?.as_chunks::<4>();
        let mut last = [0; 4];
        last.get_mut(..rest.len())?.copy_from_slice(rest);
        let last = u32::from_ne_bytes(last);
        let start = pseudo_header + (last >> 16) + (last & 0xffff);
        let checksum = match !sum(self.words.get(7..7 + words.len())?, start) {
            0 => 0xffff_u16, // 0 would mean "no checksum"
            checksum => checksum,
        };
        Some((UDP as u16 + 6, checksum.to_ne_bytes()))
    }
}

/// The ones' complement sum, as RFC 1071 has it for a machine with words of 32 bits.
fn sum(words: &[u32], start: u32) -> u16 {
    let (mut sum, mut carries) = (start, 0);
    for word in words {
        let (next, carry) = sum.overflowing_add(*word);
        sum = next;
        carries += u32::from(carry);
    }
    let mut sum = u64::from(sum) + u64::from(carries);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The stack's end.
pub struct Device<'a> {
    mac: [u8; 6],
    rx: Receiver<'a, NoopRawMutex, Frame>,
    tx: Sender<'a, NoopRawMutex, Frame>,
    link: &'a Mutex<NoopRawMutex, RefCell<(LinkState, WakerRegistration)>>,
}

impl Driver for Device<'_> {
    type RxToken<'t>
        = Incoming<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Outgoing<'t>
    where
        Self: 't;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let both = self.rx.poll_receive(context).is_ready() && self.tx.poll_send(context).is_ready();
        both.then(|| (Incoming(self.rx.borrow()), Outgoing(self.tx.borrow())))
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> Option<Outgoing<'_>> {
        self.tx.poll_send(context).is_ready().then(|| Outgoing(self.tx.borrow()))
    }

    fn link_state(&mut self, context: &mut Context<'_>) -> LinkState {
        self.link.lock(|link| {
            let (state, waker) = &mut *link.borrow_mut();
            waker.register(context.waker());
            *state
        })
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = Frame::MAX;
        capabilities.checksum.udp = Checksum::Rx;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.mac)
    }
}

/// A received frame.
pub struct Incoming<'a>(Receiver<'a, NoopRawMutex, Frame>);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, take: F) -> R {
        let Some(frame) = self.0.try_receive() else { return take(&mut []) };
        let len = frame.len;
        let result = take(frame.room().get_mut(..len).unwrap_or_default());
        self.0.receive_done();
        result
    }
}

/// Memory for an outgoing frame.
pub struct Outgoing<'a>(Sender<'a, NoopRawMutex, Frame>);

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, fill: F) -> R {
        let Some(frame) = self.0.try_send() else { return fill(&mut []) };
        frame.set_len(len);
        let result = fill(frame.room().get_mut(..len).unwrap_or_default());
        self.0.send_done();
        result
    }
}

/// The driver's end.
pub struct DriverEnd<'a> {
    /// The queue of received frames.
    pub rx: Sender<'a, NoopRawMutex, Frame>,
    /// The queue of frames to send.
    pub tx: Receiver<'a, NoopRawMutex, Frame>,
    link: &'a Mutex<NoopRawMutex, RefCell<(LinkState, WakerRegistration)>>,
    liveness: &'a Liveness,
}

impl DriverEnd<'_> {
    /// Reports whether a cable is plugged in. The driver calls this about once a second: it also reports the driver alive.
    pub fn set_link(&self, state: LinkState) {
        self.liveness.report(now());
        self.link.lock(|link| {
            let (known, waker) = &mut *link.borrow_mut();
            if *known != state {
                *known = state;
                waker.wake();
            }
        });
    }
}

/// The offset of UDP's header, after Ethernet's and IPv4's.
const UDP: usize = 14 + 20;

const WORDS: usize = (2 + Frame::MAX).div_ceil(4);

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr};

    use super::*;

    proptest! {
        #[test]
        fn checksums_are_those_of_others(
            payload in prop::collection::vec(any::<u8>(), 0..1472),
            rubbish: u8, source: [u8; 4], port: u16, padding in 0..4_usize,
        ) {
            let udp = UdpRepr { src_port: port, dst_port: 69 };
            let ip = Ipv4Repr {
                src_addr: source.into(),
                dst_addr: [10, 55, 0, 1].into(),
                next_header: IpProtocol::Udp,
                payload_len: 8 + payload.len(),
                hop_limit: 64,
            };
            let mut expected = std::vec![0; UDP + 8 + payload.len()];
            expected[12] = 8;
            let checksums = ChecksumCapabilities::default();
            let mut out = Ipv4Packet::new_unchecked(&mut expected[14..]);
            ip.emit(&mut out, &checksums);
            let mut out = UdpPacket::new_unchecked(out.payload_mut());
            let fill = |room: &mut [u8]| room.copy_from_slice(&payload);
            udp.emit(&mut out, &ip.src_addr.into(), &ip.dst_addr.into(), payload.len(), fill, &checksums);

            let mut frame = Frame::new();
            frame.room().fill(rubbish);
            let len = (expected.len() + padding).min(Frame::MAX);
            frame.set_len(len);
            frame.room()[..expected.len()].copy_from_slice(&expected);
            frame.room()[UDP + 6..UDP + 8].fill(0);
            if let Some((at, checksum)) = frame.checksum() {
                frame.room()[usize::from(at)..][..2].copy_from_slice(&checksum);
            }
            prop_assert_eq!(&frame.bytes()[..expected.len()], &expected[..]);
        }

        #[test]
        fn no_frame_is_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..Frame::MAX), udp: bool) {
            let mut frame = Frame::new();
            let mut bytes: Vec<u8> = bytes;
            if udp && bytes.len() > 24 {
                bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
                bytes[23] = 17;
            }
            frame.room()[..bytes.len()].copy_from_slice(&bytes);
            frame.set_len(bytes.len());
            let _some = frame.checksum();
            prop_assert_eq!(frame.bytes().len(), bytes.len());
        }
    }
}
