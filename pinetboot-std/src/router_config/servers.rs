//! DHCP servers of Linux. The tests start the first three with these lines (`tests/router_config.rs`).

use std::net::Ipv4Addr;

use super::{CLASS, Option43};

/// > --dhcp-boot=[tag:<tag>,]<filename>,[<servername>[,<server address>|<tftp_servername>]] (dnsmasq(8))
///
/// The server's name is left out: dnsmasq sends the name as a second option 66, and two form one long value (RFC 3396).
pub(super) fn dnsmasq(server: Ipv4Addr) -> String {
    format!(
        "# dnsmasq: put this into /etc/dnsmasq.d/pinetboot.conf, then: dnsmasq --test && systemctl restart dnsmasq
# (tested with dnsmasq 2.90)

# A Raspberry Pi 4 or 5 boots by this line alone:
dhcp-option=66,{server}

# The boot ROM of a Raspberry Pi 3 requires these as well. dnsmasq sends them to Pis only.
dhcp-vendorclass=set:raspberry-pi,{CLASS}
dhcp-option-force=tag:raspberry-pi,60,PXEClient
dhcp-option-force=tag:raspberry-pi,43,{}
dhcp-boot=tag:raspberry-pi,,,{server}
",
        Option43(":")
    )
}

pub(super) fn isc(server: Ipv4Addr) -> String {
    format!(
        "# ISC dhcpd: put this into /etc/dhcp/dhcpd.conf, outside of any subnet, then:
# dhcpd -t && systemctl restart isc-dhcp-server (tested with ISC dhcpd 4.4)

# Applies to Raspberry Pis only.
class \"raspberry-pi\" {{
    match if option vendor-class-identifier = \"{CLASS}\";

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
    // Applies to Raspberry Pis only.
    \"name\": \"raspberry-pi\",
    \"test\": \"option[60].text == '{CLASS}'\",
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
    format!(
        "# OpenWrt: run this on the router. Not tested on one; its DHCP server is dnsmasq, and that was tested with the same
# options. Rests on openwrt.org/docs/guide-user/base-system/dhcp (dhcp_option, dhcp_option_force).

# A Raspberry Pi 4 or 5 boots by this alone; in LuCI: Network > Interfaces > LAN > DHCP Server > Advanced > DHCP-Options
uci add_list dhcp.lan.dhcp_option='66,{server}'
uci commit dhcp && service dnsmasq restart

# The boot ROM of a Raspberry Pi 3 requires these as well. All PXE clients get these options.
uci add_list dhcp.lan.dhcp_option='60,PXEClient'
uci add_list dhcp.lan.dhcp_option='43,{}'
uci commit dhcp && service dnsmasq restart
",
        Option43(":")
    )
}
