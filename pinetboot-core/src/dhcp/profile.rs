//! The messages of real clients, byte by byte, and their waits.

use core::net::Ipv4Addr;
use core::time::Duration;

use super::choice::BootClient;
use super::emit::Emitter;
use super::hardware::HardwareAddress;
use super::message::Header;
use super::option::{MessageType, OptionCode};
use super::pxe;
use crate::pi::PiIdentity;

/// The client that a [`Client`](super::Client) imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Profile {
    /// The bootloader of a Pi 4 or 5, which differ in their identity alone. The DISCOVER is a Pi 4's, captured whole
    /// (rpi-eeprom issue 58); a Pi 5's is as long and has the same fields and option list (captured,
    /// wol.ski/blog/2024-05-18-raspberry-pi-dhcpd-netboot), the rest of it is inferred. So is the REQUEST, of which only
    /// logs are known: it has option 60 and no option 55 (raballew/pipxe).
    Pi(PiIdentity),
    /// The boot ROM of a Pi 3 (captured, raspberrypi/documentation boot-net). It sends no REQUEST.
    PiBootRom,
    /// U-Boot 2023.01 for qemu_arm64 (captured, but for the name in `file`).
    UBoot,
    /// A client that boots nothing: RFC 2131's, with a client identifier.
    Plain,
}

/// The offer that a REQUEST takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Selected {
    /// The address offered.
    pub address: Ipv4Addr,
    /// The server that offered it (option 54).
    pub server: Ipv4Addr,
}

/// The waits, and the number of tries.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    /// Before asking again at first, and at most.
    pub(super) wait: (Duration, Duration),
    /// In all; nothing is sent after it.
    pub(super) in_all: Duration,
    /// DISCOVERs at most.
    pub(super) tries: u8,
}

impl Profile {
    /// The transaction identifier of every message of a Pi 3's boot ROM (captured).
    pub const BOOT_ROM_XID: u32 = 0x26f3_0339;

    /// The rules by which it takes a boot server; `None` if it takes none.
    pub const fn boot_client(&self) -> Option<BootClient> {
        match self {
            Self::Pi(_) => Some(BootClient::PiEeprom),
            Self::PiBootRom => Some(BootClient::PiBootRom),
            Self::UBoot => Some(BootClient::UBoot),
            Self::Plain => None,
        }
    }

    /// Writes its DISCOVER into `out` and returns the length in bytes. `secs` is the time since it began; Pis send zero.
    pub fn discover(&self, mac: [u8; 6], xid: u32, secs: u16, out: &mut [u8]) -> Option<usize> {
        self.emit(MessageType::Discover, mac, xid, secs, None, out)
    }

    /// Writes its REQUEST of an offer.
    pub fn request(
        &self,
        mac: [u8; 6],
        xid: u32,
        secs: u16,
        selected: &Selected,
        out: &mut [u8],
    ) -> Option<usize> {
        self.emit(MessageType::Request, mac, xid, secs, Some(selected), out)
    }

    /// Writes the RELEASE of a lease, which gives the address back; to be sent from that address to the server (RFC 2131,
    /// section 4.4.6). Returns the length in bytes.
    pub fn release(&self, mac: [u8; 6], xid: u32, selected: &Selected, out: &mut [u8]) -> Option<usize> {
        let hardware = HardwareAddress::ethernet(mac);
        let header = Header { ciaddr: selected.address, ..Header::request(hardware, xid) };
        let mut message = Emitter::new(&header, out)?;
        message.kind(MessageType::Release)?;
        message.address(SERVER, selected.server)?;
        match self {
            // > MUST use the same 'client identifier' (RFC 2131, section 4.2)
            Self::Plain => {
                let [a, b, c, d, e, f] = mac;
                message.option(OptionCode::CLIENT_ID, &[HardwareAddress::ETHERNET, a, b, c, d, e, f])?;
            }
            Self::Pi(pi) => message.option(OptionCode::MACHINE_ID, &pi.emit())?,
            Self::PiBootRom | Self::UBoot => {}
        }
        message.finish()
    }

    fn emit(
        &self,
        kind: MessageType,
        mac: [u8; 6],
        xid: u32,
        secs: u16,
        selected: Option<&Selected>,
        out: &mut [u8],
    ) -> Option<usize> {
        let hardware = HardwareAddress::ethernet(mac);
        let header = match self {
            Self::Pi(_) | Self::PiBootRom => Header::request(hardware, xid),
            Self::UBoot | Self::Plain => Header { secs, ..Header::request(hardware, xid) },
        };
        let mut message = Emitter::new(&header, out)?;
        message.kind(kind)?;
        match self {
            Self::Pi(pi) => {
                match selected {
                    Some(selected) => selected.emit([REQUESTED, SERVER], &mut message)?,
                    None => message.option(OptionCode::PARAMETER_LIST, &PI_LIST)?,
                }
                pi_options(pi, &mut message)?;
            }
            Self::PiBootRom => {
                message.option(OptionCode::PARAMETER_LIST, &BOOT_ROM_LIST)?;
                pi_options(&PiIdentity::BOOT_ROM, &mut message)?;
            }
            Self::UBoot => {
                message.option(OptionCode::MAX_SIZE, &576_u16.to_be_bytes())?;
                if let Some(selected) = selected {
                    selected.emit([SERVER, REQUESTED], &mut message)?;
                }
                message.option(OptionCode::ARCHITECTURE, &[0, 22])?;
                message.option(OptionCode::INTERFACE, &[1, 0, 0])?;
                message.option(OptionCode::VENDOR_CLASS, b"U-Boot.armv8")?;
                message.option(OptionCode::PARAMETER_LIST, &[1, 3, 6, 12, 17])?;
            }
            Self::Plain => {
                if let Some(selected) = selected {
                    selected.emit([REQUESTED, SERVER], &mut message)?;
                }
                message.option(OptionCode::PARAMETER_LIST, &[1, 3, 6, 12, 15, 28, 42, 43, 66, 67])?;
                let [a, b, c, d, e, f] = mac;
                message.option(OptionCode::CLIENT_ID, &[HardwareAddress::ETHERNET, a, b, c, d, e, f])?;
            }
        }
        message.finish()
    }

    pub(super) const fn timing(&self) -> Timing {
        const fn secs(secs: u64) -> Duration {
            Duration::from_secs(secs)
        }
        match self {
            // `DHCP_REQ_TIMEOUT` and `DHCP_TIMEOUT` (documented, raspberrypi/documentation eeprom-bootloader).
            Self::Pi(_) => Timing { wait: (secs(4), secs(4)), in_all: secs(45), tries: u8::MAX },
            // > five times with five seconds in between, for a total period of 25 seconds (boot-net)
            Self::PiBootRom => Timing { wait: (secs(5), secs(5)), in_all: secs(25), tries: 5 },
            // `bootp_timeout` and `TIMEOUT_MS` in its net/bootp.c.
            Self::UBoot => {
                Timing { wait: (Duration::from_millis(250), secs(2)), in_all: secs(28), tries: u8::MAX }
            }
            // > the delay before the first retransmission SHOULD be 4 seconds (RFC 2131, section 4.1)
            Self::Plain => Timing { wait: (secs(4), secs(64)), in_all: secs(60), tries: u8::MAX },
        }
    }
}

impl Selected {
    /// The offer of this address by this server.
    pub const fn new(address: Ipv4Addr, server: Ipv4Addr) -> Self {
        Self { address, server }
    }

    fn emit(&self, order: [OptionCode; 2], message: &mut Emitter<'_>) -> Option<()> {
        order.into_iter().try_for_each(|code| {
            message.address(code, if code == REQUESTED { self.address } else { self.server })
        })
    }
}

/// What all Pis end their messages with.
fn pi_options(pi: &PiIdentity, message: &mut Emitter<'_>) -> Option<()> {
    message.option(OptionCode::ARCHITECTURE, &[0, 0])?;
    message.option(OptionCode::INTERFACE, &[1, 2, 1])?;
    message.option(OptionCode::MACHINE_ID, &pi.emit())?;
    message.option(OptionCode::VENDOR_CLASS, pxe::PI_CLASS)
}

const REQUESTED: OptionCode = OptionCode::REQUESTED_ADDRESS;
const SERVER: OptionCode = OptionCode::SERVER_ID;

const PI_LIST: [u8; 14] = [1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135];
const BOOT_ROM_LIST: [u8; 12] = [43, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135, 66];
