//! Rules of the first phase: the network, an address and a boot server.

use super::{Evidence, Models, PI3, PI3_AND_4, PI4, PI4_AND_5, PI5, Phase, Rule, Standing, rules};

rules! { Dhcp:
    NO_PXE_DISCOVER = 1 {
        symptom: "The Pi sends no DISCOVER with vendor class PXEClient.",
        cause: "BOOT_ORDER has no 2 (network); the default 0xf41 has none, and network install is not network boot.",
        remedy: "On the Pi: sudo rpi-eeprom-config --edit, set BOOT_ORDER=0xf21, reboot, and look whether it has changed.",
        models: PI4_AND_5, standing: Captured, evidence: [Dhcp, Eeprom],
        source: "raspberrypi/documentation eeprom-bootloader, BOOT_ORDER; bench record of a Pi 5, bootloader 2026-05-26",
    }
    LATE_DISCOVER = 2 {
        symptom: "The DISCOVER comes only 25 to 45 s after power on, or not at all.",
        cause: "SD card or USB come before the network in BOOT_ORDER; USB storage alone is waited for 20 to 25 s.",
        remedy: "On the Pi: sudo rpi-eeprom-config --edit, set BOOT_ORDER=0xf12, so that the network comes first.",
        models: PI4_AND_5, standing: Reported, evidence: [Dhcp, Eeprom],
        source: "raspberrypi/rpi-eeprom#480",
    }
    NO_BOOT_SERVER = 3 {
        symptom: "DISCOVER and OFFER repeat without end, and no REQUEST follows.",
        cause: "No OFFER names a boot server as a Pi wants it: an address in option 66, or option 60 PXEClient with the menu \
                Raspberry Pi Boot in option 43.",
        remedy: "Add the lines of 'pinetboot router-config --server ADDRESS' to the DHCP server, or run 'pinetboot serve \
                 --dhcp proxy' beside it.",
        models: Models::All, standing: Captured, evidence: [Dhcp, Probe],
        source: "raspberrypi/rpi-eeprom#826; tinkerbell/smee#23; bench record of a Pi 5, bootloader 2026-05-26",
    }
    PROXY_ALONE = 4 {
        symptom: "The Pi shows NETBOOT init failed after two OFFERs from the DHCP proxy.",
        cause: "No DHCP server gives an address; a DHCP proxy alone boots no Pi.",
        remedy: "Start the DHCP server, or run 'pinetboot serve --dhcp lease', which gives addresses too.",
        models: Models::All, standing: Captured, evidence: [Dhcp, Probe, Console],
        source: "raspberrypi/rpi-eeprom#559",
    }
    PC_MENU_FIRST = 5 {
        symptom: "The Pi gets the boot menu of PCs and starts again and again.",
        cause: "A Pi says architecture 0 (x86 BIOS) in option 93, and the DHCP server answers by that.",
        remedy: "Match Pis by option 97 (RPi4, 4iPR, RPi5, 5iPR), and put the entry Raspberry Pi Boot first in the menu.",
        models: Models::All, standing: Reported, evidence: [Dhcp, Probe],
        source: "raspberrypi/rpi-eeprom#60, raspberrypi/rpi-eeprom#182",
    }
    RELAYED = 6 {
        symptom: "DISCOVER and OFFER pass a relay agent, and nothing follows.",
        cause: "The boot ROM of a Pi 3 and bootloaders before 2020-06-12 take no OFFER that passed a relay agent.",
        remedy: "Update the bootloader (sudo rpi-eeprom-update -a); for a Pi 3, serve DHCP in its own network.",
        models: PI3_AND_4, standing: Documented, evidence: [Dhcp, Probe],
        source: "raspberrypi/rpi-eeprom#58; raspberrypi/documentation boot-net",
    }
    SPANNING_TREE = 7 {
        symptom: "The first DISCOVERs are lost; the boot starts a minute or two late, or not.",
        cause: "The switch blocks a port for 30 s after link-up (spanning tree), and each boot mode resets the link.",
        remedy: "Set the port to edge (portfast) or use RSTP; or raise DHCP_TIMEOUT and NET_BOOT_MAX_RETRIES.",
        models: Models::All, standing: Reported, evidence: [Dhcp],
        source: "raspberrypi/rpi-eeprom#480, raspberrypi/piserver#103, raspberrypi/documentation#805",
    }
    ROM_GAVE_UP = 8 {
        symptom: "A Pi 3 sends five DISCOVERs and falls silent.",
        cause: "The boot ROM asks for 25 s, and then sleeps until power is switched off and on.",
        remedy: "Start the DHCP server before the Pi, or boot from an SD card that holds nothing but bootcode.bin.",
        models: PI3, standing: Documented, evidence: [Dhcp],
        source: "raspberrypi/documentation boot-net",
    }
    ROM_IGNORES_OFFER = 9 {
        symptom: "A Pi 3 ignores the OFFER.",
        cause: "The boot ROM misses replies within 2 s, or wants Raspberry Pi Boot with three spaces behind it, or has seen no \
                broadcast yet.",
        remedy: "Delay replies by 1 or 2 s (dnsmasq: dhcp-reply-delay=2), and write the three spaces.",
        models: PI3, standing: Reported, evidence: [Dhcp, Probe],
        source: "raspberrypi/firmware#934, raspberrypi/firmware#894; raspberrypi/documentation boot-net",
    }
    ADDRESS_MISREAD = 10 {
        symptom: "The Pi asks a TFTP server that does not exist: 192.168.2.214 for 192.168.0.21.",
        cause: "Bootloaders before 2020-01-09 misread option 66 where a number has less than three digits.",
        remedy: "Update the bootloader: sudo rpi-eeprom-update -a.",
        models: PI4, standing: Reported, evidence: [Link],
        source: "raspberrypi/rpi-eeprom#72",
    }
    STATIC_ADDRESS = 11 {
        symptom: "TFTP requests arrive from a Pi that sent no DHCP message.",
        cause: "CLIENT_IP and TFTP_IP are set in the bootloader configuration, and the Pi skips DHCP.",
        remedy: "No change is needed; delete both with rpi-eeprom-config --edit where DHCP is wanted.",
        models: PI4_AND_5, standing: Documented, evidence: [Tftp, Eeprom],
        source: "raspberrypi/documentation eeprom-bootloader, CLIENT_IP",
    }
    SECOND_LEASE = 12 {
        symptom: "One Pi has two leases, and its address changes when the system starts.",
        cause: "Bootloader and kernel send no client identifier, and the system's DHCP client sends a DUID.",
        remedy: "Key leases on the MAC address; or set ClientIdentifier=mac (networkd), or leave the address to ip=dhcp.",
        models: Models::All, standing: Documented, evidence: [Dhcp],
        source: "RFC 4361; systemd.network(5), ClientIdentifier=; raspberrypi/rpi-eeprom#58 (no option 61)",
    }
    FIRST_BOOT_ALONE = 13 {
        symptom: "The first network boot works, and none after a reboot.",
        cause: "The Ethernet PHY stays asleep after a reboot: Pi 4B 1.1 with Linux 5.16 and a bootloader before 2022-04-22, Pi 5 \
                before 2023-10-18.",
        remedy: "Update the bootloader: sudo rpi-eeprom-update -a.",
        models: PI4_AND_5, standing: Documented, evidence: [Dhcp],
        source: "raspberrypi/rpi-eeprom#417; rpi-eeprom firmware-2712/release-notes.md, 2023-10-18",
    }
    LEASE_RELEASED = 14 {
        symptom: "A reboot hangs after a DHCPRELEASE.",
        cause: "systemd-networkd releases the lease at shutdown while the root file system still needs the network.",
        remedy: "Set KeepConfiguration=yes for the interface in its .network file.",
        models: Models::All, standing: Reported, evidence: [Dhcp, Nfs],
        source: "raspberrypi/linux#5503",
    }

    SNOOPING = 55 {
        symptom: "DISCOVERs come every 4 s and each is answered, but the Pi takes no OFFER.",
        cause: "DHCP snooping on a managed switch drops OFFERs that enter by a port that is not trusted.",
        remedy: "Mark the server's port as trusted; or name the boot server in the router's option 66, or by TFTP_IP.",
        models: Models::All, standing: Documented, evidence: [Dhcp, Probe],
        source: "manuals of Netgear GS418TPP and M5300, TP-Link TL-SG5426: DHCP snooping",
    }
    BAD_UDP_CHECKSUM = 56 {
        symptom: "OFFERs leave the server, and the Pi's UART counts them as UDP_CSUM_ERR.",
        cause: "The server is in a virtual machine or container whose interface leaves checksums to hardware that is not there.",
        remedy: "Run 'ethtool -K INTERFACE tx off' on that interface, or use the host's network.",
        models: Models::All, standing: Reported, evidence: [Host, Console],
        source: "lxc/incus#1997, oofnikj/docker-openwrt#4, weaveworks/ignite#870; counter: raspberrypi/rpi-eeprom#720",
    }
    REPLY_PORT_REWRITTEN = 57 {
        symptom: "DHCP replies leave with another source port than 67.",
        cause: "An old libvirt masquerades broadcasts of its bridge virbr0.",
        remedy: "Update libvirt, and let no address translation lie between server and Pis.",
        models: Models::All, standing: Documented, evidence: [Link],
        source: "libvirt commit 51e184e9",
    }
    NO_BROADCAST_IN_CONTAINER = 58 {
        symptom: "A DHCP server in a container hears no DISCOVER, although port 67 is published.",
        cause: "Broadcasts do not cross a container's bridge and its address translation.",
        remedy: "Use the host's network (docker run --network host, compose: network_mode: host) or macvlan.",
        models: Models::All, standing: Documented, evidence: [Host],
        source: "gmagno.dev/jots/proxy-dhcp; bootimus.com/docs/dhcp",
    }
    CLUSTER_ADDRESS = 59 {
        symptom: "TFTP requests of all Pis come from one address of a cluster, and every transfer stops at 0 bytes.",
        cause: "A Kubernetes service translates source addresses, and answers from a new port belong to no connection.",
        remedy: "Set hostNetwork: true, or serve with --single-port and externalTrafficPolicy: Local.",
        models: Models::All, standing: Reported, evidence: [Tftp],
        source: "linuxserver/docker-netbootxyz#22, kubernetes/kubernetes#26718, cilium/cilium#19463",
    }
    WRONG_SOURCE_ADDRESS = 60 {
        symptom: "No client goes on after the first answer of a TFTP server on a second or virtual address.",
        cause: "The server answers from its interface's first address instead of the address that was asked.",
        remedy: "Bind the server to the virtual address, or use one that answers from the address asked, as pinetboot does.",
        models: Models::All, standing: Reported, evidence: [Link],
        source: "tinkerbell/charts#109, tftp-go-team/hooktftp#35, tinkerbell/playground#68",
    }
    BRIDGE_FORWARD_DELAY = 61 {
        symptom: "DISCOVERs of the first 15 to 30 s after a bridge on the server comes up are lost.",
        cause: "The bridge learns before it forwards: spanning tree is on, with a forward delay of 15 s.",
        remedy: "Run 'ip link set BRIDGE type bridge stp_state 0 forward_delay 0'.",
        models: Models::All, standing: Documented, evidence: [Host],
        source: "Red Hat Enterprise Linux 6 Virtualization Guide, B.8",
    }
    BOOTSTRAP_FORM = 62 {
        symptom: "DISCOVER and OFFER repeat although the DHCP server's form for a bootstrap server is filled in.",
        cause: "The DHCP server sends neither option 66 nor siaddr from that form (Technitium 14.3).",
        remedy: "Set option 66 as a generic or custom option: the boot server's address as text.",
        models: Models::All, standing: Reported, evidence: [Probe],
        source: "TechnitiumSoftware/DnsServer#1719",
    }
    NO_HELPER_FOR_PROXY = 63 {
        symptom: "A Pi in another VLAN gets the router's OFFER and none of the DHCP proxy.",
        cause: "The relay agent (ip helper-address) forwards to the DHCP server alone.",
        remedy: "Add a second helper address for the proxy, or set option 66 on the DHCP server.",
        models: Models::All, standing: Reported, evidence: [Dhcp, Probe],
        source: "raspberrypi/piserver#105",
    }
    ARP_INSPECTION = 64 {
        symptom: "DHCP succeeds and no TFTP request follows; with bootcode.bin on an SD card the same Pi boots.",
        cause: "A switch filters ARP (dynamic ARP inspection).",
        remedy: "Trust the ports of server and Pis, or switch ARP inspection off for their VLAN.",
        models: Models::All, standing: Reported, evidence: [Dhcp, Link],
        source: "raspberrypi/piserver#23",
    }
    POWER_CUT = 65 {
        symptom: "After a power cut no Pi boots; each of them boots when switched on alone.",
        cause: "Pis ask before router, switch or server are up: a Pi 3 for 25 s, a Pi 4 or 5 for 45 s in each of its tries.",
        remedy: "Power server and switch first; set NET_BOOT_MAX_RETRIES=-1 and a BOOT_ORDER that begins with 0xf.",
        models: Models::All, standing: Reported, evidence: [Dhcp],
        source: "raspberrypi/firmware#825",
    }
    SERIAL_SHARED = 66 {
        symptom: "Two MAC addresses claim one serial number, and get one boot directory and one root.",
        cause: "A Pi names itself by the low 32 bits of its serial number, which are random on a Pi 5.",
        remedy: "Set TFTP_PREFIX=2 on one of them: its directory is named by the MAC address then.",
        models: PI5, standing: Reported, evidence: [Dhcp],
        source: "raspberrypi/rpi-eeprom#563",
    }
    IPV6_ALONE = 67 {
        symptom: "A Pi sends DHCPv6 and neighbour solicitations, and no DHCP over IPv4.",
        cause: "USE_IPV6=1 is set; a Pi 5 then answers no neighbour solicitation, and servers behind a router fail.",
        remedy: "Set USE_IPV6=0 with rpi-eeprom-config --edit.",
        models: PI4_AND_5, standing: Reported, evidence: [Link, Eeprom],
        source: "raspberrypi/rpi-eeprom#556, raspberrypi/firmware#1938",
    }
    JUMBO_MTU = 68 {
        symptom: "The system boots, and NFS stops at the first large packet after a DHCP exchange.",
        cause: "The router offers an MTU of 9000 (option 26), which the Pi takes and its network controller cannot send.",
        remedy: "Remove option 26 from the DHCP server, or set it to 1500.",
        models: Models::All, standing: Reported, evidence: [Probe, Nfs],
        source: "raspberrypi/linux#3978, raspberrypi/linux#2660",
    }
    LINK_NEGOTIATION = 69 {
        symptom: "No DHCP message arrives at 1 Gb/s behind one make of switch; at 100 Mb/s it does.",
        cause: "The PHYs of Pi and switch do not agree on a link at 1 Gb/s.",
        remedy: "Use another switch or cable, or force the port to 100 Mb/s.",
        models: Models::All, standing: Reported, evidence: [Console],
        source: "raspberrypi/linux#3034",
    }
    REQUEST_STORM = 70 {
        symptom: "One Pi makes thousands of TFTP requests a minute.",
        cause: "Its first file is missing, NET_BOOT_MAX_RETRIES is -1, and bootloaders before 2020-06-03 do not pause.",
        remedy: "Serve the file, and update the bootloader: sudo rpi-eeprom-update -a.",
        models: PI4, standing: Reported, evidence: [Tftp],
        source: "raspberrypi/rpi-eeprom#140",
    }
    POWERED_TOGETHER = 71 {
        symptom: "Of many Pis that a PoE switch powers at once, some hang at the rainbow screen.",
        cause: "The boot ROM of a Pi 3 does not stand replies within 2 s, nor a busy network.",
        remedy: "Power the ports one after the other, and delay replies ('pinetboot serve --dhcp-delay 1').",
        models: PI3, standing: Reported, evidence: [Dhcp],
        source: "raspberrypi/firmware#764, raspberrypi/firmware#991",
    }
    UEFI_ON_PI = 72 {
        symptom: "A second DHCP exchange of the same MAC address says architecture 11 and ignores option 66.",
        cause: "UEFI firmware runs on the Pi, and takes siaddr and a boot file (option 67) alone.",
        remedy: "Name a boot file too: 'pinetboot serve --dhcp .. --boot-file NAME', or siaddr and option 67 in the router.",
        models: PI5, standing: Reported, evidence: [Dhcp],
        source: "NumberOneGit/rpi5-uefi#22",
    }
    BOOT_ORDER_ONCE = 73 {
        symptom: "A Pi boots from the network once, and from its SD card the next time.",
        cause: "The boot order was set for one reboot (vcmailbox 0x0003808b), and BOOT_ORDER in the EEPROM is unchanged.",
        remedy: "On the Pi: sudo rpi-eeprom-config --edit, set BOOT_ORDER=0xf21.",
        models: PI5, standing: Documented, evidence: [Dhcp],
        source: "rpi-eeprom firmware-2712/release-notes.md, 2025",
    }
    WAITS_FOR_BUTTON = 74 {
        symptom: "A Pi does not start when power returns; its power button starts it.",
        cause: "POWER_OFF_ON_HALT=1 and WAIT_FOR_POWER_BUTTON=1 are set.",
        remedy: "Delete WAIT_FOR_POWER_BUTTON with rpi-eeprom-config --edit.",
        models: PI5, standing: Documented, evidence: [Eeprom],
        source: "rpi-eeprom firmware-2712/release-notes.md, 2025-01-13",
    }
    SERVER_RECEIVES_NOTHING = 90 {
        symptom: "A server on a Pi 5 sees no packet of a Pi on the same cable, and its rx_resource_errors grow.",
        cause: "Energy-efficient Ethernet blocks the receiver of the server's network controller (macb).",
        remedy: "Put a switch or another adapter between, set dtparam=eee=off on the server, and reboot it.",
        models: Models::All, standing: Reported, evidence: [Host],
        source: "raspberrypi/linux#7115",
    }
}
