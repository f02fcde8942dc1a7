//! What a reply names besides an address: the boot server and the boot file for this client, and a host name.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use pinetboot_core::dhcp::{BootFileName, Lease, Message, NextServer, OptionCode};
use pinetboot_core::pi::Prefix;

use crate::bus::Bus;
use crate::config::{Admission, BootArch, BootFiles};
use crate::events::{Dhcp, Lacking, Mac};
use crate::pis::Inventory;

/// The settings of all replies, and the Pis that have asked.
#[derive(Debug, Clone)]
pub(super) struct Offers {
    pub(super) admission: Admission,
    files: BootFiles,
    inventory: Inventory,
    /// Of Pis that have asked: their kernels and UEFI name no serial number.
    macs: HashMap<Mac, Prefix>,
    bus: Bus,
}

/// The boot server and the options of a network.
#[derive(Debug, Clone, Default)]
pub(super) struct Named {
    /// As octets and in dotted decimal.
    boot_server: ([u8; 4], String),
    /// The addresses of DNS servers, joined.
    dns: Vec<u8>,
}

impl Offers {
    pub(super) fn new(admission: Admission, files: BootFiles, inventory: Inventory, bus: Bus) -> Self {
        Self { admission, files, inventory, macs: HashMap::new(), bus }
    }

    /// Notes the sender of a message, if it is a Pi's boot code.
    pub(super) fn note(&mut self, request: &Message<'_>) {
        let prefix = request.pi().and_then(|pi| pi.prefix());
        if let Some((mac, prefix)) = request.header.hardware.mac().zip(prefix) {
            if self.macs.len() >= MOST_MACS && !self.macs.contains_key(&mac) {
                self.macs.clear();
            }
            self.macs.insert(mac, prefix);
        }
    }

    /// Whether the sender's boot code has asked as a Pi's.
    pub(super) fn is_of_a_pi(&self, request: &Message<'_>) -> bool {
        request.header.hardware.mac().is_some_and(|mac| self.macs.contains_key(&mac))
    }

    /// The Pi of the inventory that sent a message, by its serial number or MAC address.
    pub(super) fn listed(&self, request: &Message<'_>) -> Option<Prefix> {
        let mac = request.header.hardware.mac();
        let noted = mac.and_then(|mac| self.macs.get(&mac).copied());
        let serial = request.pi().and_then(|pi| pi.prefix());
        [serial, mac.map(Prefix::Mac), noted].into_iter().flatten().find(|pi| self.inventory.lists(*pi))
    }

    /// The Pi of the inventory that has this address.
    pub(super) fn at(&self, address: Ipv4Addr) -> Option<Prefix> {
        self.inventory.at(address)
    }

    /// Calls `answer` with the boot server and the options for the sender of this message, whose lease is `own`.
    pub(super) fn name<T>(
        &self,
        request: &Message<'_>,
        own: Option<&Lease>,
        named: &Named,
        answer: impl FnOnce(&NextServer<'_>) -> T,
    ) -> T {
        let (boot_server, text) = &named.boot_server;
        let mut options: Vec<(OptionCode, &[u8])> = Vec::with_capacity(5);
        if !named.dns.is_empty() {
            options.push((OptionCode::NAME_SERVER, &named.dns));
        }
        let pi = self
            .listed(request)
            .or_else(|| own.filter(|own| own.reserved).and_then(|own| self.at(own.address)));
        let host_name = pi.and_then(|pi| self.inventory.entry(pi)?.name.as_deref());
        if let Some(name) = host_name.filter(|_| request.wants(OptionCode::HOST_NAME)) {
            options.push((OptionCode::HOST_NAME, name.as_bytes()));
        }
        let file = self.file_for(request).and_then(|name| BootFileName::parse(name.as_bytes()).ok());
        if request.pi().is_none() {
            // Phones, switches and routers ask for the server by these; RFC 5859 has 150.
            for (code, value) in [
                (OptionCode::TFTP_SERVER_NAME, Some(text.as_bytes())),
                (OptionCode::BOOT_FILE_NAME, file.as_ref().map(BootFileName::as_bytes)),
                (OptionCode::TFTP_SERVER_ADDRESS, Some(&boot_server[..])),
            ] {
                options.extend(value.filter(|_| request.wants(code)).map(|value| (code, value)));
            }
        }
        let next_server = NextServer::new((*boot_server).into()).with_options(&options);
        answer(&match file {
            Some(file) => next_server.with_file(file),
            None => next_server,
        })
    }

    /// Tells of a PXE client for which no boot file is set.
    pub(super) fn tell_without_file(&self, request: &Message<'_>) {
        if request.is_pxe() && request.pi().is_none() && self.file_for(request).is_none() {
            let (hardware, arch) = (request.header.hardware, arch_of(request));
            self.bus
                .emit(None, Dhcp::Lacks { hardware, setting: Lacking::BootFile(arch.map(BootArch::name)) });
        }
    }

    /// Tells of a Pi that is not in the inventory.
    pub(super) fn tell_not_listed(&self, request: &Message<'_>) {
        if let Some(pi) = request.pi().and_then(|pi| pi.prefix()) {
            let hardware = request.header.hardware;
            self.bus.emit(None, Dhcp::Lacks { hardware, setting: Lacking::Entry(pi) });
        }
    }

    fn file_for(&self, request: &Message<'_>) -> Option<&str> {
        let is_http =
            request.option(OptionCode::VENDOR_CLASS).is_some_and(|class| class.starts_with(b"HTTPClient"));
        let is_boot_code = request.pi().is_some();
        if is_http || is_boot_code { None } else { self.files.of_arch(arch_of(request)) }
    }
}

impl Named {
    pub(super) fn new(boot_server: Ipv4Addr, dns: &[Ipv4Addr]) -> Self {
        let dns = dns.iter().flat_map(|address| address.octets()).collect();
        Self { boot_server: (boot_server.octets(), boot_server.to_string()), dns }
    }
}

/// The kind of a client that is no Pi's boot code: iPXE by its user class or its own option (ipxe.org/howto/dhcpd), others by
/// option 93.
fn arch_of(request: &Message<'_>) -> Option<BootArch> {
    let class = request.option(OptionCode::USER_CLASS);
    let is_ipxe = class.is_some_and(|class| {
        let bytes: Vec<_> = class.bytes().take(MOST_CLASS).collect();
        bytes.windows(IPXE.len()).any(|window| window == IPXE)
    });
    if is_ipxe || request.option(OptionCode::IPXE).is_some() {
        return Some(BootArch::Ipxe);
    }
    request.architecture().and_then(|arch| BootArch::of_code(arch.0))
}

const IPXE: &[u8] = b"iPXE";
/// Bytes of a user class: RFC 3004 has lengths between its parts, which iPXE leaves out.
const MOST_CLASS: usize = 64;
/// A rack of a thousand Pis, four times.
const MOST_MACS: usize = 4096;
