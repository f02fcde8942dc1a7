//! Routers without a test. Each text names its documentation.

use std::net::Ipv4Addr;

use pinetboot_core::dhcp::pxe::{CLIENT, RASPBERRY_PI};

use super::{CLASS, Option43, hex as digits};

/// opnsense/docs, source/manual/dnsmasq.rst and kea.rst.
pub(super) fn opnsense(server: Ipv4Addr) -> String {
    format!(
        "OPNsense. Not tested; rests on docs.opnsense.org/manual/dnsmasq.html and .../manual/kea.html.

With dnsmasq: Services > Dnsmasq DNS & DHCP > DHCP options, + for each line, then Apply:

  Type  Option  Value      Force
  Set   66      {server}
  Set   60      PXEClient  yes
  Set   43      {}  yes

With Kea: Services > Kea DHCP > Kea DHCPv4 > Subnets > (the subnet), then Apply:

  Next server  {server}
  TFTP server  {server}

A Raspberry Pi 4 or 5 boots by option 66, the TFTP server's name, alone. The others are for the boot ROM of a Pi 3.
",
        Option43(":")
    )
}

/// wiki.mikrotik.com, Manual:IP/DHCP_Server, "DHCP Options":
///
/// > s'10.10.10.10' - IP address converted to string
pub(super) fn mikrotik(server: Ipv4Addr) -> String {
    format!(
        "# MikroTik RouterOS: paste this into a terminal. Not tested; rests on wiki.mikrotik.com/wiki/Manual:IP/DHCP_Server
# (DHCP Options): s'...' is text, 0x... are bytes. The last line is for all networks of this DHCP server.

/ip dhcp-server option add name=pi-tftp-server code=66 value=\"s'{server}'\"
/ip dhcp-server option add name=pi-vendor-class code=60 value=\"s'PXEClient'\"
/ip dhcp-server option add name=pi-vendor-info code=43 value=0x{}
/ip dhcp-server option sets add name=raspberry-pi options=pi-tftp-server,pi-vendor-class,pi-vendor-info
/ip dhcp-server network set [find] next-server={server} dhcp-option-set=raspberry-pi

# A Raspberry Pi 4 or 5 boots by the first option alone. The others are for the boot ROM of a Pi 3.
",
        Option43("")
    )
}

/// help.ui.com article 360012097513.
pub(super) fn unifi(server: Ipv4Addr) -> String {
    format!(
        "UniFi. Not tested; rests on help.ui.com/hc/en-us/articles/360012097513-UniFi-DHCP-Server.

UniFi Network > Settings > Networks > (the network), among the options of the DHCP server:

  TFTP Server (option 66)  {server}

A Raspberry Pi 4 or 5 boots by that alone. Leave 'Network Boot' off: that setting also sets option 66, and requires a
boot file, which a Pi ignores.

For the boot ROM of a Raspberry Pi 3, 'Custom Options', if the version offers these codes (43 is not free if it holds the
address of the UniFi Network application):

  60, text         PXEClient
  43, hexadecimal  {}
",
        Option43("")
    )
}

/// learn.microsoft.com, Set-DhcpServerv4OptionValue (example 11 has option 43 as a list of bytes).
pub(super) fn windows(server: Ipv4Addr) -> String {
    let mut bytes = String::new();
    for (index, byte) in RASPBERRY_PI.iter().enumerate() {
        bytes += match index {
            0 => "    ",
            _ if index.is_multiple_of(12) => ",\n    ",
            _ => ", ",
        };
        bytes += &format!("0x{byte:02x}");
    }
    format!(
        "# Windows Server: in PowerShell as administrator. Not tested; rests on
# learn.microsoft.com/powershell/module/dhcpserver (Set-DhcpServerv4OptionValue, Add-DhcpServerv4OptionDefinition).
# For one network only, add -ScopeId 192.168.1.0, say, to each Set line.

# A Raspberry Pi 4 or 5 boots by this line alone:
Set-DhcpServerv4OptionValue -OptionId 66 -Value \"{server}\"

# The boot ROM of a Raspberry Pi 3 requires these as well. All PXE clients get these settings: if the network has
# other PXE clients than Pis, put the settings into a policy for the vendor class PXEClient:Arch:00000:UNDI:002001*.
Add-DhcpServerv4OptionDefinition -OptionId 60 -Name PXEClient -Type String
Set-DhcpServerv4OptionValue -OptionId 60 -Value \"PXEClient\"
$menu =
{bytes}
Set-DhcpServerv4OptionValue -OptionId 43 -Value $menu
"
    )
}

/// Pi-hole's DHCP server is dnsmasq; pihole.toml of version 6 has `misc.etc_dnsmasq_d`.
pub(super) fn pihole(server: Ipv4Addr) -> String {
    format!(
        "# Pi-hole 6, whose DHCP server is dnsmasq. Not tested with Pi-hole; dnsmasq was tested with the same lines. As root:

pihole-FTL --config misc.etc_dnsmasq_d true
pinetboot router-config --server {server} --for dnsmasq > /etc/dnsmasq.d/99-pinetboot.conf
systemctl restart pihole-FTL

# In a container: mount that file into the container's /etc/dnsmasq.d, and set FTLCONF_misc_etc_dnsmasq_d to true.
"
    )
}

/// github.com/AdguardTeam/AdGuardHome/wiki/DHCP, "options".
pub(super) fn adguard(server: Ipv4Addr) -> String {
    format!(
        "# AdGuard Home: stop the service, edit AdGuardHome.yaml, start the service. Not tested; rests on
# github.com/AdguardTeam/AdGuardHome/wiki/DHCP (options: CODE text VALUE, CODE hex VALUE). All clients get these options.

dhcp:
  dhcpv4:
    options:
      # A Raspberry Pi 4 or 5 boots by this alone:
      - '66 text {server}'
      # The boot ROM of a Raspberry Pi 3 requires these as well, and boots from the DHCP server's own address, for AdGuard
      # Home has no setting for the next server. Beside other PXE clients, use 'pinetboot serve --dhcp proxy' instead:
      #- '60 text PXEClient'
      #- '43 hex {}'
",
        Option43("")
    )
}

/// github.com/TechnitiumSoftware/DnsServer, APIDOCS.md, "Set DHCP Scope".
pub(super) fn technitium(server: Ipv4Addr) -> String {
    let mut name = String::new();
    let _cannot_fail = digits(&mut name, server.to_string().as_bytes(), ":");
    format!(
        "Technitium DNS Server. Not tested; rests on the fields of a scope in its API (serverAddress, vendorInfo, genericOptions).

DHCP > Scopes > (the scope) > Edit:

  Generic Options              66  {name}
                               (the text {server})
  Bootstrap / Next Server      {server}
  Vendor Specific Information  identifier   {CLASS}
                               information  {}

A Raspberry Pi 4 or 5 boots by the first alone. The others are for the boot ROM of a Pi 3. PCs that boot by PXE have the same
vendor class: beside them, leave the others out and use 'pinetboot serve --dhcp proxy' for a Pi 3.
",
        Option43(":")
    )
}

/// The manual of the router has no DHCP options but the name server's.
pub(super) fn fritzbox(server: Ipv4Addr) -> String {
    format!(
        "FRITZ!Box. Its settings (Home Network > Network > Network Settings > IPv4 Settings) have no option 66 and no next server: the
router cannot name a boot server. Not tested. Two ways beside it:

  sudo pinetboot serve --dhcp proxy /srv/tftp                       on {server}: names the server, the router leases addresses
  pinetboot router-config --server {server} --for eeprom           a Pi 4 or 5 that knows the server by itself
"
    )
}

/// For any server that takes bytes.
pub(super) fn hex(server: Ipv4Addr) -> String {
    let name = server.to_string();
    let mut text = String::from("The options as text and as bytes, for any server that takes them:\n");
    let options: [(&str, &[u8], &str); 3] = [
        ("Option 66 (TFTP server name): a Raspberry Pi 4 or 5 boots by this alone", name.as_bytes(), &name),
        ("Option 60 (vendor class): for the boot ROM of a Raspberry Pi 3", CLIENT, "PXEClient"),
        (
            "Option 43 (vendor-specific information): the same; a menu with \"Raspberry Pi Boot\"",
            &RASPBERRY_PI,
            "",
        ),
    ];
    for (about, bytes, as_text) in options {
        text += &format!("\n{about}\n");
        if !as_text.is_empty() {
            text += &format!("  {as_text}\n");
        }
        for (prefix, separator) in [("", ":"), ("0x", "")] {
            text += "  ";
            text += prefix;
            let _cannot_fail = digits(&mut text, bytes, separator);
            text.push('\n');
        }
    }
    text + &format!("\nNext server (siaddr): for the boot ROM of a Raspberry Pi 3\n  {server}\n")
}
