//! The boots of the last Pis: the core's boot machine ([`pinetboot_core::pi::boot`]), fed by the events of both loops. A boot that does not
//! go on is a line of the log, and its rule's number the blinking of the LED.
//!
//! Not done: what becomes of the kernel, as the board serves no root. The texts of the catalogue: `pinetboot explain NUMBER` has them, and
//! they stay out of the flash.

use core::cell::RefCell;
use core::net::Ipv4Addr;

use heapless::Vec;
use pinetboot_core::dhcp::{HardwareAddress, Message, MessageType, NoReply, OptionCode, Reply};
use pinetboot_core::event::Refused;
use pinetboot_core::pi::Lookup;
use pinetboot_core::pi::boot::Event::{AskedAgain, Stalled, Started};
use pinetboot_core::pi::boot::{Boot, Event, Hearing, Step, SystemKind};
use pinetboot_core::tftp::{Direction, ErrorCode, Outcome, Report};
use pinetboot_core::{BootPath, Instant, event};

/// The boots that are watched.
#[derive(Debug)]
pub(crate) struct Boots {
    hearing: Hearing,
    pis: RefCell<Vec<Pi, PIS>>,
}

#[derive(Debug)]
struct Pi {
    /// `None` for a Pi without DHCP.
    hardware: Option<HardwareAddress>,
    /// 0.0.0.0 before the Pi has one.
    address: Ipv4Addr,
    last: Instant,
    boot: Boot,
}

impl Boots {
    /// None yet; whether DHCP messages of Pis are answered.
    pub(crate) const fn new(dhcp: bool) -> Self {
        Self { hearing: Hearing { dhcp, ..Hearing::TFTP }, pis: RefCell::new(Vec::new()) }
    }

    /// The number of the rule that keeps a Pi from booting; of several Pis, of the one that was heard last.
    pub(crate) fn rule(&self) -> Option<u8> {
        let pis = self.pis.borrow();
        let stuck = pis.iter().filter_map(|pi| Some((pi.last, *pi.boot.verdict()?.rules().first()?)));
        stuck.max_by_key(|(last, _)| *last).map(|(_, rule)| rule)
    }

    /// Calls `each` for each Pi: hardware address, address, the time when it was heard last, and the number of the rule that keeps it
    /// from booting.
    pub(crate) fn each<E>(
        &self,
        mut each: impl FnMut(Option<HardwareAddress>, Ipv4Addr, Instant, Option<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let pis = self.pis.borrow();
        pis.iter().try_for_each(|Pi { hardware, address, last, boot }| {
            let rule = boot.verdict().and_then(|verdict| verdict.rules().first().copied());
            each(*hardware, *address, *last, rule)
        })
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, now: Instant) {
        for pi in self.pis.borrow_mut().iter_mut().filter(|pi| pi.boot.deadline() <= now) {
            pi.step(&Event::Tick, now);
        }
    }

    /// Takes in an event of a loop, with the end of its file's name.
    pub(crate) fn hear(&self, now: Instant, event: &pinetboot_core::Event<'_>, name: Option<&[u8]>) {
        use pinetboot_core::Event;

        match (event, name) {
            (Event::Dhcp(dhcp), _) => self.dhcp(now, dhcp),
            (Event::Requested(requested), _) if requested.direction == Direction::Read => {
                self.requested(now, *requested.peer.ip(), requested.filename);
            }
            (Event::Refused(refused), _) => self.refused(now, refused),
            (Event::Repeated(repeated), _) => self.of(*repeated.peer.ip(), now, &AskedAgain),
            (Event::Started(started), _) => {
                self.of(*started.peer.ip(), now, &Started { len: started.len });
            }
            (Event::Stalled(stalled), _) => {
                let event::Stalled { bytes, block_size, after, .. } = *stalled;
                self.of(*stalled.peer.ip(), now, &Stalled { bytes, block_size, after });
            }
            (Event::Finished(report), Some(name)) => self.finished(now, report, name),
            _ => {}
        }
    }

    /// Takes in a DHCP message and its answer.
    fn dhcp(&self, now: Instant, event: &event::Dhcp<'_>) {
        let request = event.request;
        let is_of_pi = |pi: &Pi| pi.hardware == Some(request.header.hardware);
        let mut pis = self.pis.borrow_mut();
        let Some(asks) = asked(request) else { return };
        // The first message is a bootloader's: other clients are no Pis.
        let begins = matches!(asks, Event::Discover { .. });
        let Some(pi) = find(&mut pis, self.hearing, now, begins, is_of_pi) else { return };
        pi.hardware = Some(request.header.hardware);
        pi.heard(&asks, now);
        let address = match event.answer {
            Ok(Reply { kind: MessageType::Offer, address, .. }) => {
                return pi.step(&Event::Offered { address: !address.is_unspecified() }, now);
            }
            Ok(Reply { kind: MessageType::Ack, address, .. }) => Some(address),
            Err(NoReply::ForAnother) => request.requested_address(),
            _ => None,
        };
        if let Some(address) = address.filter(|address| !address.is_unspecified()) {
            pi.address = address;
            pi.heard(&Event::Address { address }, now);
        }
    }

    /// Takes in a request for a file. One in a Pi's directory is a Pi's, even without DHCP.
    fn requested(&self, now: Instant, peer: Ipv4Addr, name: &[u8]) {
        let Ok(lookup) = BootPath::parse(name).map(Lookup::new) else { return };
        let mut pis = self.pis.borrow_mut();
        let begins = lookup.prefix().is_some();
        if let Some(pi) = find(&mut pis, self.hearing, now, begins, |pi| pi.address == peer) {
            pi.address = peer;
            pi.heard(&Event::FileAsked { path: lookup.file().as_requested() }, now);
        }
    }

    /// Takes in a refusal, after the request.
    fn refused(&self, now: Instant, refused: &Refused<'_>) {
        let Some(file) = file(refused.filename).filter(|_| refused.direction == Direction::Read) else {
            return;
        };
        self.of(
            *refused.peer.ip(),
            now,
            &match refused.code {
                ErrorCode::FILE_NOT_FOUND => {
                    Event::FileMissing { path: file.as_requested(), own_directory: false }
                }
                _ => Event::FileRefused,
            },
        );
    }

    /// Takes in the end of a transfer; `name` is the end of the file's name.
    fn finished(&self, now: Instant, report: &Report, name: &[u8]) {
        let Some(file) = file(name) else { return };
        let path = file.as_requested();
        self.of(
            *report.peer.ip(),
            now,
            &match report.outcome {
                _ if report.is_probe() => Event::Probed { path },
                Outcome::Complete { .. } => Event::FileSent { path },
                _ if report.lacks_only_the_last_ack() => Event::FileSent { path },
                // `Stalled` came before.
                Outcome::TimedOut => return,
                _ => Event::TransferEnded,
            },
        );
    }

    /// Takes in an event of a Pi that is known by its address.
    fn of(&self, address: Ipv4Addr, now: Instant, event: &Event<'_>) {
        if let Some(pi) = self.pis.borrow_mut().iter_mut().find(|pi| pi.address == address) {
            pi.heard(event, now);
        }
    }
}

impl Pi {
    fn heard(&mut self, event: &Event<'_>, now: Instant) {
        self.last = now;
        self.step(event, now);
    }

    #[inline(never)] // flash: the machine is not copied to each place
    fn step(&mut self, event: &Event<'_>, now: Instant) {
        let Step { verdict, goes_on, .. } = self.boot.step(event, now);
        if let Some((verdict, silence)) = goes_on {
            info!("{}: goes on after {} s: {}", self.address, silence.as_secs(), verdict);
        }
        match (verdict, self.hardware) {
            (Some(verdict), Some(hardware)) => warn!("{}: stuck: {}", hardware, verdict),
            (Some(verdict), None) => warn!("{}: stuck: {}", self.address, verdict),
            (None, _) => {}
        }
    }
}

/// A Pi that is watched; without one, and if the event may begin a boot, a new one in the place of the one that was silent longest.
fn find(
    pis: &mut Vec<Pi, PIS>,
    hearing: Hearing,
    now: Instant,
    begins: bool,
    is_wanted: impl Fn(&Pi) -> bool,
) -> Option<&mut Pi> {
    if !pis.iter().any(&is_wanted) {
        if !begins {
            return None;
        }
        if pis.is_full() {
            let silent = pis.iter().enumerate().min_by_key(|(_, pi)| pi.last).map(|(index, _)| index)?;
            pis.swap_remove(silent);
        }
        let new = Pi { hardware: None, address: Ipv4Addr::UNSPECIFIED, last: now, boot: Boot::new(hearing) };
        let _has_room = pis.push(new);
        return pis.last_mut();
    }
    pis.iter_mut().find(|pi| is_wanted(pi))
}

/// What a DHCP message is to the machine.
fn asked(request: &Message<'_>) -> Option<Event<'static>> {
    let is_discover = request.kind() == Some(MessageType::Discover);
    if !is_discover && request.kind() != Some(MessageType::Request) {
        return None;
    }
    let relayed = !request.header.giaddr.is_unspecified();
    Some(match (request.pi(), is_discover) {
        (Some(identity), true) => Event::Discover { xid: request.header.xid, identity, relayed },
        (Some(_), false) => Event::Requested,
        (None, discover) => {
            // UEFI and iPXE are PXE clients, U-Boot has a vendor class.
            let is_u_boot =
                request.option(OptionCode::VENDOR_CLASS).is_some_and(|class| class.starts_with(b"U-Boot"));
            let is_boot_code =
                is_u_boot || request.is_pxe() || request.option(OptionCode::USER_CLASS).is_some();
            let kind = if is_boot_code { SystemKind::BootCode } else { SystemKind::Linux { discover } };
            Event::SystemAsks { kind, has_duid: false }
        }
    })
}

/// A requested name without the Pi's directory.
fn file(name: &[u8]) -> Option<BootPath<'_>> {
    Some(Lookup::new(BootPath::parse(name).ok()?).file())
}

/// Pis that are watched at once.
const PIS: usize = 4;

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const PEER: Ipv4Addr = Ipv4Addr::new(10, 55, 0, 128);

    fn boots() -> (Boots, Instant) {
        (Boots::new(true), Instant::from_millis(1_000_000))
    }

    #[test]
    fn a_pi_that_requests_no_more_after_a_miss_is_stuck_until_it_goes_on() {
        let (boots, mut now) = boots();
        boots.requested(now, PEER, b"bd989ae1/config.txt");
        boots.of(PEER, now, &Event::FileSent { path: "config.txt" });
        boots.requested(now, PEER, b"bd989ae1/kernel8.img");
        boots.of(PEER, now, &Event::FileMissing { path: "kernel8.img", own_directory: false });
        boots.pass(now + Duration::from_secs(9));
        assert_eq!(boots.rule(), None);
        now = now + Duration::from_secs(11);
        boots.pass(now);
        assert_eq!(boots.rule(), Some(20));
        boots.requested(now, PEER, b"bd989ae1/kernel8.img");
        boots.of(PEER, now, &Event::FileSent { path: "kernel8.img" });
        assert_eq!(boots.rule(), None);
    }

    #[test]
    fn the_last_pis_are_watched() {
        let (boots, now) = boots();
        for index in 0..100_u8 {
            let peer = Ipv4Addr::new(10, 55, 0, index);
            boots.requested(now + Duration::from_secs(index.into()), peer, b"bd989ae1/config.txt");
        }
        let pis = boots.pis.borrow();
        assert_eq!(pis.len(), PIS);
        assert!(pis.iter().all(|pi| pi.address.octets()[3] >= 96));
    }

    #[test]
    fn a_name_that_is_no_path_is_ignored() {
        let (boots, now) = boots();
        boots.requested(now, PEER, b"../secret");
        boots.requested(now, PEER, b"\xff\0");
        // Another client than a Pi.
        boots.requested(now, PEER, b"pinetboot.toml");
        assert!(boots.pis.borrow().is_empty());
    }
}
