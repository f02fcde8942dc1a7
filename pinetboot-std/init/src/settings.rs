//! What the kernel's command line says about the disk, the root and the network.

use core::net::{Ipv4Addr, SocketAddrV4};
use std::fs;

use pinetboot_core::pi::NBD_PORT;
use pinetboot_core::pi::rules::{DISK_DRIVER_MISSING, INIT_COMMAND_LINE};

use crate::command_line::CommandLine;
use crate::failure::Failure;

/// The settings of a boot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// At least one; the first is asked first.
    pub(crate) disks: Vec<DiskAddress>,
    pub(crate) root: Root,
    pub(crate) network: Network,
    /// `init=`
    pub(crate) init: Option<String>,
}

/// `pinetboot.disk=nbd://ADDRESS[:PORT]/EXPORT`: the address of an NBD server, and an export whose name may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskAddress {
    pub(crate) server: SocketAddrV4,
    pub(crate) export: String,
}

/// The root file system.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) name: RootName,
    /// `rootfstype=`: ext4, unless it names another.
    pub(crate) kind: String,
    /// `rootflags=`: options of the mount.
    pub(crate) options: Option<String>,
    /// `ro`, the default, or `rw`.
    pub(crate) is_read_only: bool,
    /// `pinetboot.overlay=tmpfs`: changes stay in memory.
    pub(crate) is_in_memory: bool,
}

/// `root=`: a partition of the disk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RootName {
    PartUuid(String),
    PartLabel(String),
    Uuid(String),
    Label(String),
    /// By its number: `/dev/mmcblk0p2` and the like, as the card's own kernel calls it.
    Number(u32),
}

/// `ip=` (Documentation/admin-guide/nfs/nfsroot.rst).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Not named, or `off`: what the kernel or the system makes.
    Foreign,
    /// An address by DHCP, on this interface or the first Ethernet.
    Dhcp(Option<String>),
    /// An address of the command line.
    Static { address: Ipv4Addr, mask: Option<Ipv4Addr>, router: Option<Ipv4Addr>, interface: Option<String> },
}

impl Settings {
    /// Reads the command line of the running kernel.
    pub(crate) fn read() -> Result<Self, Failure> {
        let text = fs::read_to_string("/proc/cmdline").map_err(|error| {
            Failure::new(
                &DISK_DRIVER_MISSING,
                format!("/proc/cmdline cannot be read: {error}"),
                "The kernel needs CONFIG_PROC_FS",
            )
        })?;
        Self::parse(&text)
    }

    /// The servers of the disk that the command line names, whatever else is wrong with it.
    pub(crate) fn servers() -> Vec<SocketAddrV4> {
        let line = CommandLine::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
        line.values("pinetboot.disk").filter_map(DiskAddress::parse).map(|disk| disk.server).collect()
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let line = CommandLine::parse(text);
        let named: Option<Vec<_>> = line.values("pinetboot.disk").map(DiskAddress::parse).collect();
        let disks = named.filter(|disks| !disks.is_empty()).ok_or_else(|| {
            Failure::new(
                &INIT_COMMAND_LINE,
                "the kernel command line names no disk",
                "Add pinetboot.disk=nbd://ADDRESS:PORT/EXPORT to cmdline.txt",
            )
        })?;
        let name = line.value("root").and_then(RootName::parse).ok_or_else(|| {
            Failure::new(
                &INIT_COMMAND_LINE,
                "the kernel command line names no root partition",
                "Add root=PARTUUID=.., LABEL=.., UUID=.. or /dev/mmcblk0pN to cmdline.txt",
            )
        })?;
        let network = match line.value("ip") {
            None => Network::Foreign,
            Some(ip) => Network::parse(ip).ok_or_else(|| {
                Failure::new(
                    &INIT_COMMAND_LINE,
                    format!("ip={ip} is no network configuration"),
                    "Use ip=dhcp, or ip=ADDRESS::ROUTER:NETMASK::INTERFACE:off",
                )
            })?,
        };
        Ok(Self {
            disks,
            root: Root {
                name,
                kind: line.value("rootfstype").unwrap_or("ext4").to_owned(),
                options: line.value("rootflags").map(str::to_owned),
                is_read_only: line.last_of(&["ro", "rw"]) != Some("rw"),
                is_in_memory: match line.value("pinetboot.overlay") {
                    None => false,
                    Some("tmpfs") => true,
                    Some(other) => {
                        return Err(Failure::new(
                            &INIT_COMMAND_LINE,
                            format!("pinetboot.overlay={other} is no place for changes"),
                            "Use pinetboot.overlay=tmpfs, or leave it out",
                        ));
                    }
                },
            },
            network,
            init: line.value("init").map(str::to_owned),
        })
    }
}

impl DiskAddress {
    fn parse(uri: &str) -> Option<Self> {
        let (server, export) =
            uri.strip_prefix("nbd://")?.split_once('/').unwrap_or((uri.strip_prefix("nbd://")?, ""));
        let server =
            server.parse().ok().or_else(|| Some(SocketAddrV4::new(server.parse().ok()?, NBD_PORT)))?;
        (export.len() <= MOST_NAME).then(|| Self { server, export: export.to_owned() })
    }
}

impl RootName {
    fn parse(text: &str) -> Option<Self> {
        if let Some((kind, value)) = text.split_once('=').filter(|(_, value)| !value.is_empty()) {
            return match kind {
                "PARTUUID" => Some(Self::PartUuid(value.to_ascii_lowercase())),
                "PARTLABEL" => Some(Self::PartLabel(value.to_owned())),
                "UUID" => Some(Self::Uuid(value.to_ascii_lowercase())),
                "LABEL" => Some(Self::Label(value.to_owned())),
                _ => None,
            };
        }
        let name = text.strip_prefix("/dev/")?;
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        name.get(name.len() - digits..)?.parse().ok().filter(|number| *number > 0).map(Self::Number)
    }
}

impl Network {
    /// `ADDRESS:SERVER:ROUTER:NETMASK:NAME:INTERFACE:AUTOCONF`, or AUTOCONF alone.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(':');
        let address = fields.next().unwrap_or_default();
        if !text.contains(':') && address.parse::<Ipv4Addr>().is_err() {
            return Self::automatic(address, None);
        }
        let [_server, router, mask, _name, interface, how] =
            [(); 6].map(|()| fields.next().unwrap_or_default());
        let interface = Some(interface).filter(|name| !name.is_empty()).map(str::to_owned);
        if address.is_empty() {
            return Self::automatic(how, interface);
        }
        let optional = |field: &str| if field.is_empty() { Some(None) } else { field.parse().ok().map(Some) };
        Some(Self::Static {
            address: address.parse().ok()?,
            mask: optional(mask)?,
            router: optional(router)?,
            interface,
        })
    }

    fn automatic(how: &str, interface: Option<String>) -> Option<Self> {
        match how {
            "off" | "none" => Some(Self::Foreign),
            "" | "dhcp" | "on" | "any" | "both" => Some(Self::Dhcp(interface)),
            _ => None,
        }
    }
}

/// Bytes of an export's name: the protocol's limit (doc/proto.md).
const MOST_NAME: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cards_own_words_name_the_root() {
        let settings = Settings::parse(
            "console=serial0,115200 root=PARTUUID=5E9F2A17-02 rootfstype=ext4 fsck.repair=yes rootwait quiet \
             pinetboot.disk=nbd://10.77.0.1:10810/bd989ae1-6749 ip=dhcp pinetboot.disk=nbd://10.77.0.2/card",
        );
        let settings = settings.unwrap_or_else(|failure| panic!("{failure}"));
        let disks: Vec<_> =
            settings.disks.iter().map(|disk| (disk.server.to_string(), disk.export.as_str())).collect();
        assert_eq!(disks, [("10.77.0.1:10810".into(), "bd989ae1-6749"), ("10.77.0.2:10809".into(), "card")]);
        assert_eq!(settings.root.name, RootName::PartUuid("5e9f2a17-02".into()));
        assert!(settings.root.is_read_only && !settings.root.is_in_memory);
        assert_eq!(settings.network, Network::Dhcp(None));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for line in [
            "root=LABEL=rootfs",
            "root=LABEL=rootfs pinetboot.disk=10.77.0.1",
            "root=LABEL=rootfs pinetboot.disk=nbd://server/x",
            "root=/dev/mmcblk pinetboot.disk=nbd://10.77.0.1/x",
            "root=LABEL= pinetboot.disk=nbd://10.77.0.1/x",
            "root=LABEL=a pinetboot.disk=nbd://10.77.0.1/x ip=10.77.0",
            "root=LABEL=a pinetboot.disk=nbd://10.77.0.1/x pinetboot.overlay=disk",
        ] {
            assert!(Settings::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn roots_and_networks_are_read_as_the_kernel_reads_them() {
        assert_eq!(RootName::parse("/dev/mmcblk0p2"), Some(RootName::Number(2)));
        assert_eq!(RootName::parse("/dev/sda12"), Some(RootName::Number(12)));
        let of = |text| Network::parse(text);
        assert_eq!(of("off"), Some(Network::Foreign));
        assert_eq!(of(":::::eth0:dhcp"), Some(Network::Dhcp(Some("eth0".into()))));
        let address = Ipv4Addr::new(10, 77, 0, 50);
        let mask = Some(Ipv4Addr::new(255, 255, 255, 0));
        let interface = Some("eth0".to_owned());
        assert_eq!(
            of("10.77.0.50::10.77.0.1:255.255.255.0::eth0:off"),
            Some(Network::Static { address, mask, router: Some(Ipv4Addr::new(10, 77, 0, 1)), interface })
        );
        assert_eq!(
            of("10.77.0.50"),
            Some(Network::Static { address, mask: None, router: None, interface: None })
        );
    }
}
