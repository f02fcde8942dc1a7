//! The boot server that a client takes from its offers, and the reason; or the reason why it takes none.
//!
//! A Pi's boot code is closed; its rules were found by trial (ptesarik/SIGILLatum.github.io, "Raspberry Pi 4 Network
//! Boot"; rpi-eeprom issues 58, 376 and 559; raspberrypi/documentation boot-net) and are as good as
//! those trials. Two rules are assumptions: an option 66 without an address counts as none, and of two offers that each name
//! a boot server the earlier counts. U-Boot's are those of its `net/bootp.c`, those of a PXE client
//! EDK2's `PxeBcDhcp4.c` and `PxeBcBoot.c`.

use core::fmt;
use core::net::Ipv4Addr;

use super::boot_server::{BootServer, listed};
use super::message::Message;
use super::option::OptionCode;
use super::pxe::{PI_MENU, contains, is_for_pi};
use super::value::Text;

/// A kind of client that looks for a boot server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BootClient {
    /// The bootloader of a Pi 4 or 5, and `bootcode.bin` on a Pi 3.
    PiEeprom,
    /// The boot ROM of a Pi 3.
    PiBootRom,
    /// A PXE client: a PC, or UEFI on anything.
    Pxe,
    /// U-Boot.
    UBoot,
}

/// An OFFER and its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Offer<'a> {
    /// The sender's address.
    pub from: Ipv4Addr,
    /// The message.
    pub message: Message<'a>,
}

impl<'a> Offer<'a> {
    /// A message that came from this address.
    pub const fn new(from: Ipv4Addr, message: Message<'a>) -> Self {
        Self { from, message }
    }
}

/// The boot server that a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Choice<'a> {
    /// The kind of client.
    pub client: BootClient,
    /// The boot server's address.
    pub server: Ipv4Addr,
    /// The option or field that names it.
    pub named: BootServer<'a>,
    /// The index of the offer that names it.
    pub by: usize,
    /// The client's address.
    pub address: Ipv4Addr,
    /// The index of the offer that gives the address.
    pub given_by: usize,
    /// The boot file's name. A Pi ignores it.
    pub file: Option<Text<'a>>,
    /// Whether the text in option 43 lacks the three spaces, so that some Pi 3B do not boot.
    pub lacks_spaces: bool,
}

/// The reason why a client takes no boot server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NoBoot {
    /// No server answered.
    NoOffer,
    /// Only proxies answered. A Pi sees the proxy twice then, and says `NETBOOT init failed` (rpi-eeprom issue 559).
    NoAddress,
    /// An offer has an address, but no offer has a boot server that a Pi takes. The Pi keeps asking.
    KeepsAsking {
        /// The shortfall of the offer that came nearest.
        shortfall: Shortfall,
        /// A next server (`siaddr`) that the Pi ignores.
        next_server: Option<Ipv4Addr>,
    },
    /// The same for the boot ROM of a Pi 3, which asks five times and then sleeps until it is switched off and on.
    GivesUp {
        /// The shortfall of the offer that came nearest.
        shortfall: Shortfall,
        /// A next server (`siaddr`) that the Pi ignores.
        next_server: Option<Ipv4Addr>,
    },
    /// A server offered an address and did not confirm it.
    NotConfirmed,
    /// `siaddr` is 0.0.0.0, and U-Boot looks at nothing else: it keeps to its variable `serverip`.
    NoNextServer,
    /// No boot file is named for a PXE client; a menu for Raspberry Pis makes it boot from its disk.
    NoBootFile,
    /// A relay agent is on the path, which the boot ROM of a Pi 3 does not support (documented, boot-net).
    Relayed,
    /// The boot server is in another network, which the boot ROM of a Pi 3 cannot reach (documented, boot-net).
    OtherNetwork,
}

/// The part that an offer lacks, from far to near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Shortfall {
    /// It has neither option 66 nor option 43.
    Nothing,
    /// Option 66 is not an address, and a Pi does not ask DNS.
    NotAnAddress,
    /// Option 66 is sent alone, and a Pi 3's boot ROM needs option 43 too.
    NameAlone,
    /// Option 43 has no menu with `Raspberry Pi Boot`.
    NoMenu,
    /// Option 43 has the bare text `Raspberry Pi Boot`, in no sub-option.
    BareText,
    /// Option 43 is as a Pi wants it, but option 60 is not `PXEClient`.
    NoClass,
}

impl BootClient {
    /// The boot server that this client takes from these offers, in their order of arrival.
    ///
    /// # Errors
    ///
    /// The reason why the client does not boot.
    pub fn choose<'a>(self, offers: &[Offer<'a>]) -> Result<Choice<'a>, NoBoot> {
        let addressed = |offer: &Offer<'_>| !offer.message.header.yiaddr.is_unspecified();
        let given_by = offers.iter().position(addressed).ok_or(match offers {
            [] => NoBoot::NoOffer,
            _ => NoBoot::NoAddress,
        })?;
        let choice = match self {
            Self::PiEeprom | Self::PiBootRom => self.as_pi(offers, given_by)?,
            Self::Pxe => {
                let is_pxe = |offer: &Offer<'_>| offer.message.is_pxe();
                let whole = offers.iter().position(|offer| addressed(offer) && is_pxe(offer));
                let named =
                    offers.iter().position(|offer| addressed(offer) && offer.message.boot_file().is_some());
                let (given_by, by) = match (whole, offers.iter().position(is_pxe), named) {
                    (Some(both), ..) => (both, both),
                    (None, Some(proxy), _) => (given_by, proxy),
                    (None, None, Some(both)) => (both, both),
                    (None, None, None) => return Err(NoBoot::NoBootFile),
                };
                self.take(offers, given_by, by, pxe_names).ok_or(NoBoot::NoBootFile)?
            }
            // > if (net_read_ip(&bp->bp_yiaddr).s_addr == 0) return; (dhcp_handler)
            // so a proxy is not heard, and then `siaddr` alone counts.
            Self::UBoot => self
                .take(offers, given_by, given_by, |offer| next_server(&offer.message))
                .ok_or(NoBoot::NoNextServer)?,
        };
        if let (Self::PiBootRom, Some(offer)) = (self, offers.get(choice.given_by)) {
            within_reach(offer, choice.server)?;
        }
        Ok(choice)
    }

    /// The offers are merged in any order: an address from one, a boot server from another.
    fn as_pi<'a>(self, offers: &[Offer<'a>], given_by: usize) -> Result<Choice<'a>, NoBoot> {
        let mut nearest = Shortfall::Nothing;
        for by in 0..offers.len() {
            let Some(offer) = offers.get(by) else { continue };
            match self.named_to_pi(offer) {
                Ok(named) => {
                    return self.take(offers, given_by, by, |_| Some(named)).ok_or(NoBoot::NoAddress);
                }
                Err(shortfall) => nearest = nearest.max(shortfall),
            }
        }
        let next_server = offers.iter().find_map(|offer| next_server(&offer.message)?.address());
        Err(self.without_boot_server(nearest, next_server))
    }

    /// The boot server that one offer names to a Pi.
    pub(super) fn named_to_pi<'a>(self, offer: &Offer<'a>) -> Result<BootServer<'a>, Shortfall> {
        let message = &offer.message;
        let tftp_name = BootServer::all(message).find(|server| matches!(server, BootServer::TftpName(_)));
        let by_name = tftp_name.filter(|server| server.address().is_some());
        let marked = match (self, by_name) {
            (Self::PiBootRom, _) => marked_for_rom(message),
            (_, Some(named)) => return Ok(named),
            (_, None) => marked(message),
        };
        match (marked, tftp_name) {
            (Ok(()), _) => Ok(by_name.or(next_server(message)).unwrap_or(itself(offer))),
            (Err(Shortfall::Nothing), Some(_)) => {
                Err(if by_name.is_some() { Shortfall::NameAlone } else { Shortfall::NotAnAddress })
            }
            (Err(shortfall), _) => Err(shortfall),
        }
    }

    pub(super) const fn without_boot_server(
        self,
        shortfall: Shortfall,
        next_server: Option<Ipv4Addr>,
    ) -> NoBoot {
        match self {
            Self::PiBootRom => NoBoot::GivesUp { shortfall, next_server },
            _ => NoBoot::KeepsAsking { shortfall, next_server },
        }
    }

    fn take<'a>(
        self,
        offers: &[Offer<'a>],
        given_by: usize,
        by: usize,
        named: impl FnOnce(&Offer<'a>) -> Option<BootServer<'a>>,
    ) -> Option<Choice<'a>> {
        let offer = offers.get(by)?;
        let named = named(offer)?;
        let has = |text| vendor_contains(&offer.message, text);
        Some(Choice {
            client: self,
            server: named.address()?,
            named,
            by,
            address: offers.get(given_by)?.message.header.yiaddr,
            given_by,
            file: offer.message.boot_file(),
            lacks_spaces: has(PI_MENU) && !has(b"Raspberry Pi Boot   "),
        })
    }
}

/// `10.77.0.1 (option 66)`, `10.77.0.1 (siaddr, next-server), believed because of options 60 and 43`.
impl fmt::Display for Choice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.named.fmt(f)?;
        match (self.client, self.named) {
            (_, BootServer::TftpName(_)) | (BootClient::Pxe | BootClient::UBoot, _) => Ok(()),
            _ => f.write_str(", believed because of options 60 and 43"),
        }
    }
}

impl fmt::Display for NoBoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoOffer => "no DHCP server answered",
            Self::NoAddress => "only proxies answered, and none of them gives an address",
            Self::KeepsAsking { shortfall, next_server } => {
                write!(f, "the Pi keeps asking: {shortfall}")?;
                return not_believed(f, *next_server);
            }
            Self::GivesUp { shortfall, next_server } => {
                write!(f, "the Pi asks five times and gives up: {shortfall}")?;
                return not_believed(f, *next_server);
            }
            Self::NotConfirmed => "a server offered an address and did not confirm it",
            Self::NoNextServer => "no next server (siaddr), and U-Boot looks at nothing else",
            Self::NoBootFile => "no boot file is named",
            Self::Relayed => "a relay agent is on the path, which a Pi 3's boot ROM does not support",
            Self::OtherNetwork => {
                "the boot server is in another network, which a Pi 3's boot ROM cannot reach"
            }
        })
    }
}

impl core::error::Error for NoBoot {}

fn not_believed(f: &mut fmt::Formatter<'_>, next_server: Option<Ipv4Addr>) -> fmt::Result {
    let Some(address) = next_server else { return Ok(()) };
    write!(
        f,
        "; the next server {address} (siaddr) counts only beside option 60 \"PXEClient\" and the menu \"Raspberry Pi \
         Boot\" in option 43"
    )
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "the offer has neither option 66 nor option 43",
            Self::NotAnAddress => "option 66 is not an IP address, and a Pi cannot ask DNS",
            Self::NameAlone => "option 66 is sent alone, and a Pi 3's boot ROM needs option 43 too",
            Self::NoMenu => "option 43 has no menu entry \"Raspberry Pi Boot\"",
            Self::BareText => "option 43 is the bare text \"Raspberry Pi Boot\", not a menu entry",
            Self::NoClass => "option 43 is right, but option 60 is not \"PXEClient\"",
        })
    }
}

/// Whether a message has what makes a Pi believe its `siaddr` and option 54.
fn marked(message: &Message<'_>) -> Result<(), Shortfall> {
    let vendor = message.option(OptionCode::VENDOR).ok_or(Shortfall::Nothing)?;
    let mut buffer = [0; 2 * u8::MAX as usize];
    let vendor = vendor.joined(&mut buffer);
    match is_for_pi(vendor) {
        true if message.is_pxe() => Ok(()),
        true => Err(Shortfall::NoClass),
        false if contains(vendor, PI_MENU) => Err(Shortfall::BareText),
        false => Err(Shortfall::NoMenu),
    }
}

/// > The important part of the reply is the Vendor-Option Option 43. This needs to contain the string "Raspberry Pi
/// > Boot" (raspberrypi/documentation boot-net)
fn marked_for_rom(message: &Message<'_>) -> Result<(), Shortfall> {
    match marked(message) {
        Err(Shortfall::BareText | Shortfall::NoClass) => Ok(()),
        other => other,
    }
}

fn vendor_contains(message: &Message<'_>, text: &[u8]) -> bool {
    let mut buffer = [0; 2 * u8::MAX as usize];
    message.option(OptionCode::VENDOR).is_some_and(|vendor| contains(vendor.joined(&mut buffer), text))
}

fn next_server<'a>(message: &Message<'a>) -> Option<BootServer<'a>> {
    Some(message.header.siaddr).filter(|address| !address.is_unspecified()).map(BootServer::NextServer)
}

fn itself<'a>(offer: &Offer<'a>) -> BootServer<'a> {
    offer.message.server_id().map_or(BootServer::Sender(offer.from), BootServer::ServerId)
}

/// The boot server list, then `siaddr`, then option 54 (EDK2, PxeBcDhcp4BootInfo). `None` if a Pi's menu is
/// all that the offer has.
fn pxe_names<'a>(offer: &Offer<'a>) -> Option<BootServer<'a>> {
    let message = &offer.message;
    let listed = listed(message).first().map(|&(kind, address)| BootServer::Listed { kind, address });
    if listed.is_none() && message.boot_file().is_none() && marked(message).is_ok() {
        return None;
    }
    Some(listed.or(next_server(message)).unwrap_or(itself(offer)))
}

fn within_reach(offer: &Offer<'_>, server: Ipv4Addr) -> Result<(), NoBoot> {
    let header = &offer.message.header;
    if !header.giaddr.is_unspecified() {
        return Err(NoBoot::Relayed);
    }
    let mask = offer.message.option(OptionCode::SUBNET_MASK).and_then(|mask| mask.u32()).unwrap_or(0);
    if (header.yiaddr.to_bits() ^ server.to_bits()) & mask != 0 {
        return Err(NoBoot::OtherNetwork);
    }
    Ok(())
}
