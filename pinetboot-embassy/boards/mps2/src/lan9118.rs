//! The LAN9118 Ethernet controller (SMSC's data sheet, revision 1.5) as an embassy-net driver, as far as QEMU emulates it.
//!
//! Not done: what the emulation does not need, such as the PHY and power management.

use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_sync::waitqueue::AtomicWaker;

use crate::register::Register;

/// The controller, of which the board has one.
pub(crate) struct Lan9118 {
    mac: [u8; 6],
}

impl Lan9118 {
    /// Sets the controller up to send, and to receive frames for this address and broadcasts; `None` without a controller.
    pub(crate) fn start(mac: [u8; 6]) -> Option<Self> {
        if BYTE_TEST.read() != 0x8765_4321 {
            return None;
        }
        let [a, b, c, d, e, f] = mac;
        write_mac(MAC_ADDRESS_LOW, u32::from_le_bytes([a, b, c, d]));
        write_mac(MAC_ADDRESS_HIGH, u32::from_le_bytes([e, f, 0, 0]));
        write_mac(MAC_CONTROL, MAC_TRANSMIT | MAC_RECEIVE);
        TX_CONFIG.write(TX_ON);
        FIFO_INTERRUPT.write(0); // as soon as one frame is in the FIFO
        INTERRUPT_CONFIG.write(INTERRUPT_ON | INTERRUPT_ACTIVE_HIGH | INTERRUPT_PUSH_PULL);
        Some(Self { mac })
    }
}

impl Driver for Lan9118 {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Incoming, Outgoing)> {
        WAKER.register(context.waker());
        if RX_FIFO.read() >> 16 & 0xff == 0 {
            INTERRUPT_STATUS.write(RX_STATUS_LEVEL);
            INTERRUPT_ENABLE.write(RX_STATUS_LEVEL);
            // A frame that came meanwhile interrupts at once.
            return None;
        }
        Some((Incoming, Outgoing))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Outgoing> {
        Some(Outgoing)
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME;
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.mac)
    }
}

/// The frame at the head of the receive FIFO.
pub(crate) struct Incoming;

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, take: F) -> R {
        let status = RX_STATUS.read();
        let len = (status >> 16 & 0x3fff) as usize;
        let mut frame = [0; BUFFER];
        for place in 0..len.div_ceil(4) {
            let word = RX_DATA.read();
            if let Some(room) = frame.get_mut(4 * place..4 * place + 4) {
                room.copy_from_slice(&word.to_le_bytes());
            }
        }
        // The frame ends with its checksum, which the chip has verified. A frame with an error is dropped.
        let len = if status & RX_ERROR == 0 { len.saturating_sub(4) } else { 0 };
        take(frame.get_mut(..len).unwrap_or_default())
    }
}

/// Memory for a frame in the transmit FIFO: QEMU sends as fast as the driver writes.
pub(crate) struct Outgoing;

impl TxToken for Outgoing {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = [0; BUFFER];
        let len = len.min(FRAME);
        let result = fill(frame.get_mut(..len).unwrap_or_default());
        TX_DATA.write(TX_FIRST | TX_LAST | len as u32);
        TX_DATA.write(len as u32);
        for word in frame.get(..len.next_multiple_of(4)).unwrap_or_default().chunks_exact(4) {
            TX_DATA.write(word.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)));
        }
        // The status is not used, but has to be taken out of the FIFO.
        while TX_FIFO.read() >> 16 & 0xff > 0 {
            TX_STATUS.read();
        }
        result
    }
}

/// Called by the interrupt when a frame has come.
pub(crate) fn interrupt() {
    INTERRUPT_ENABLE.write(0);
    WAKER.wake();
}

fn write_mac(register: u32, value: u32) {
    while MAC_COMMAND.read() & MAC_BUSY != 0 {}
    MAC_DATA.write(value);
    MAC_COMMAND.write(MAC_BUSY | register);
    while MAC_COMMAND.read() & MAC_BUSY != 0 {}
}

static WAKER: AtomicWaker = AtomicWaker::new();

/// The controller's interrupt at the processor.
pub(crate) const INTERRUPT: u16 = 13;

/// Ethernet's longest frame without its checksum, and room for it with that, in whole words.
const FRAME: usize = 1514;
const BUFFER: usize = 1520;

const fn register(offset: usize) -> Register {
    Register::at(0x4020_0000 + offset)
}

const RX_DATA: Register = register(0x00);
const TX_DATA: Register = register(0x20);
const RX_STATUS: Register = register(0x40);
const TX_STATUS: Register = register(0x48);
const INTERRUPT_CONFIG: Register = register(0x54);
const INTERRUPT_STATUS: Register = register(0x58);
const INTERRUPT_ENABLE: Register = register(0x5c);
const BYTE_TEST: Register = register(0x64);
const FIFO_INTERRUPT: Register = register(0x68);
const TX_CONFIG: Register = register(0x70);
const RX_FIFO: Register = register(0x7c);
const TX_FIFO: Register = register(0x80);
const MAC_COMMAND: Register = register(0xa4);
const MAC_DATA: Register = register(0xa8);

const INTERRUPT_ON: u32 = 1 << 8;
const INTERRUPT_ACTIVE_HIGH: u32 = 1 << 4;
const INTERRUPT_PUSH_PULL: u32 = 1;
const RX_STATUS_LEVEL: u32 = 1 << 3;
const RX_ERROR: u32 = 1 << 15;
const TX_ON: u32 = 1 << 1;
const TX_FIRST: u32 = 1 << 13;
const TX_LAST: u32 = 1 << 12;

const MAC_BUSY: u32 = 1 << 31;
const MAC_CONTROL: u32 = 1;
const MAC_ADDRESS_HIGH: u32 = 2;
const MAC_ADDRESS_LOW: u32 = 3;
const MAC_TRANSMIT: u32 = 1 << 3;
const MAC_RECEIVE: u32 = 1 << 2;
