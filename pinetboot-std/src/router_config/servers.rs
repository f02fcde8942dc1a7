//! DHCP servers of Linux. The tests start the first three with these lines (`tests/router_config.rs`).

use std::net::Ipv4Addr;

use super::Option43;

/// The beginning of option 97 of each kind of Pi, behind the type: the identity of a Pi 4 or 5 in both byte orders, and the boot ROM
/// of a Pi 3 (`pinetboot_core::pi::PiIdentity`). A Pi 3B+ repeats its serial number; its MAC address begins with [`OUI`].
const MACHINE_IDS: [[u8; 4]; 5] = [*b"RPi4", *b"4iPR", *b"RPi5", *b"5iPR", [0x44; 4]];

/// The Raspberry Pi Foundation's, of all Pis up to the 3B+ (IEEE).
const OUI: [u8; 3] = [0xb8, 0x27, 0xeb];

/// Bytes as `52:50`.
fn colons(bytes: &[u8]) -> String {
    let mut text = String::new();
    let _cannot_fail = super::hex(&mut text, bytes, ":");
    text
}

/// > --dhcp-match=set:<tag>,<option number>[,<value>]
/// > --dhcp-boot=[tag:<tag>,]<filename>,[<servername>[,<server address>|<tftp_servername>]] (dnsmasq(8))
///
/// A value in hex matches the first bytes of the option. The server's name is left out of `dhcp-boot`: dnsmasq sends the name as a
/// second option 66, and two form one long value (RFC 3396).
pub(super) fn dnsmasq(server: Ipv4Addr) -> String {
    format!(
        "# dnsmasq: put this into /etc/dnsmasq.d/pinetboot.conf, then: dnsmasq --test && systemctl restart dnsmasq
# (tested with dnsmasq 2.90)

{}
# A Raspberry Pi 4 or 5 boots by this line alone; without its tag, the line is for all clients:
dhcp-option=tag:raspberry-pi,66,{server}

# The boot ROM of a Raspberry Pi 3 requires these as well:
dhcp-option-force=tag:raspberry-pi,60,PXEClient
dhcp-option-force=tag:raspberry-pi,43,{}
dhcp-boot=tag:raspberry-pi,,,{server}
",
        dnsmasq_matches(),
        Option43(":")
    )
}

/// The lines that give Pis a tag.
fn dnsmasq_matches() -> String {
    let mut lines = String::from(
        "# Raspberry Pis only, by option 97, and a Pi 3B+ by its MAC address. PCs that boot by PXE have the vendor class of a Pi, and\n\
         # another option 97.\n",
    );
    for id in MACHINE_IDS {
        lines += &format!("dhcp-match=set:raspberry-pi,97,00:{}\n", colons(&id));
    }
    lines + &format!("dhcp-mac=set:raspberry-pi,{}:*:*:*\n", colons(&OUI))
}

/// dhcp-options(5) has `pxe-client-id` for option 97, whose first byte is a type; in `hardware` it is the kind of network
/// (dhcp-eval(5)).
pub(super) fn isc(server: Ipv4Addr) -> String {
    let oui = colons(&OUI);
    format!(
        "# ISC dhcpd: put this into /etc/dhcp/dhcpd.conf, outside of any subnet, then:
# dhcpd -t && systemctl restart isc-dhcp-server (tested with ISC dhcpd 4.4)

# Raspberry Pis only, by option 97, and a Pi 3B+ by its MAC address. PCs that boot by PXE have the vendor class of a Pi, and
# another option 97.
class \"raspberry-pi\" {{
    match if substring(option pxe-client-id, 1, 3) = \"RPi\" or substring(option pxe-client-id, 2, 3) = \"iPR\"
          or substring(option pxe-client-id, 1, 4) = \"DDDD\" or substring(hardware, 1, 3) = {oui};

    # A Raspberry Pi 4 or 5 boots by this line alone:
    option tftp-server-name \"{server}\";

    # The boot ROM of a Raspberry Pi 3 requires these as well:
    next-server {server};
    option vendor-class-identifier \"PXEClient\";
    option vendor-encapsulated-options
        {};
}}
",
        Option43(":")
    )
}

pub(super) fn kea(server: Ipv4Addr) -> String {
    format!(
        "// Kea: put this into /etc/kea/kea-dhcp4.conf, within \"Dhcp4\": {{ ... }}; if client classes exist already,
// put only the class into their list. Then: kea-dhcp4 -t /etc/kea/kea-dhcp4.conf && systemctl restart kea-dhcp4-server
// (tested with Kea 2.2)
\"client-classes\": [
  {{
    // Raspberry Pis only, by option 97, and a Pi 3B+ by its MAC address. PCs that boot by PXE have the vendor class of a Pi,
    // and another option 97.
    \"name\": \"raspberry-pi\",
    \"test\": \"substring(option[97].hex,1,3) == 'RPi' or substring(option[97].hex,2,3) == 'iPR' or \
substring(option[97].hex,1,4) == 'DDDD' or substring(pkt4.mac,0,3) == 0xb827eb\",
    \"next-server\": \"{server}\",
    \"option-data\": [
      // A Raspberry Pi 4 or 5 boots by this alone:
      {{ \"name\": \"tftp-server-name\", \"data\": \"{server}\" }},
      // The boot ROM of a Raspberry Pi 3 requires these as well, and the next server above:
      {{ \"name\": \"vendor-class-identifier\", \"data\": \"PXEClient\" }},
      {{ \"name\": \"vendor-encapsulated-options\", \"csv-format\": false,
        \"data\": \"{}\" }}
    ]
  }}
],
",
        Option43("")
    )
}

pub(super) fn openwrt(server: Ipv4Addr) -> String {
    let mut matches = String::new();
    for (number, id) in MACHINE_IDS.iter().enumerate() {
        matches += &format!(
            "uci set dhcp.pi{number}=match; uci set dhcp.pi{number}.networkid='raspberrypi'; \
             uci set dhcp.pi{number}.match='97,00:{}'\n",
            colons(id)
        );
    }
    format!(
        "# OpenWrt: run this on the router. Not tested on one; its DHCP server is dnsmasq, and that was tested with the same
# options. Rests on openwrt.org/docs/guide-user/base-system/dhcp (dhcp_option, sections match and tag).

# A Raspberry Pi 4 or 5 boots by this alone, which goes to all clients; in LuCI: Network > Interfaces > LAN > DHCP Server >
# Advanced > DHCP-Options
uci add_list dhcp.lan.dhcp_option='66,{server}'
uci commit dhcp && service dnsmasq restart

# The boot ROM of a Raspberry Pi 3 requires these as well. Raspberry Pis only, by option 97.
{matches}uci set dhcp.raspberrypi=tag
uci set dhcp.raspberrypi.force='1'
uci add_list dhcp.raspberrypi.dhcp_option='60,PXEClient'
uci add_list dhcp.raspberrypi.dhcp_option='43,{}'
uci commit dhcp && service dnsmasq restart
",
        Option43(":")
    )
}
