//! A Raspberry Pi as packets: DHCP of its bootloader and kernel, requests for files, calls for its root.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nfs3_types::nfs3::nfs_fh3;
use nfs3_types::xdr_codec::Void;
use nix::ifaddrs::getifaddrs;
use nix::libc::linger;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};
use pinetboot_core::dhcp::{MAX_LEN, Message, MessageType, Profile, Selected};
use pinetboot_core::pi::{PiIdentity, Revision};
use std::process::Command;

use super::nfs_client::Client;
use crate::namespace::dhcp_client;

/// The server's seconds of a boot in a second.
pub(crate) const RATE: u32 = 5;
pub(crate) const SERIAL: &str = "bd989ae1";
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 60);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const MAC: [u8; 6] = [0xd8, 0x3a, 0xdd, 0xe8, 0x27, 0x1e];

pub(crate) struct Pi {
    dhcp: UdpSocket,
    xid: u32,
    /// Sockets of requests without an end: their ports stay open, as those of a Pi that hangs.
    open: Vec<UdpSocket>,
    /// Before each file's name.
    pub(crate) prefix: &'static str,
    mac: [u8; 6],
    address: Ipv4Addr,
    rate: u32,
}

/// A board, and its address.
#[derive(Clone, Copy)]
pub(crate) struct Board {
    pub(crate) fourcc: [u8; 4],
    pub(crate) revision: u32,
    pub(crate) serial: u32,
    pub(crate) mac: [u8; 6],
    pub(crate) address: Ipv4Addr,
    /// The directory of its serial number.
    pub(crate) prefix: &'static str,
}

impl Board {
    /// The Pi 5 of most tests.
    pub(crate) const KITCHEN: Self = Self {
        fourcc: *b"RPi5",
        revision: 0x00d0_4170,
        serial: 0xbd98_9ae1,
        mac: MAC,
        address: ADDRESS,
        prefix: "bd989ae1/",
    };

    /// What its bootloader says of itself.
    pub(crate) fn profile(&self) -> Profile {
        let revision = Revision::from_code(self.revision);
        Profile::Pi(PiIdentity::new(self.fourcc, revision, self.mac, self.serial).unwrap())
    }
}

/// The answer to a request for a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    File(Vec<u8>),
    Error(u16),
    Silence,
}

/// A Pi 5 of stepping C1.
pub(crate) fn pi5() -> Profile {
    Board::KITCHEN.profile()
}

/// A Pi 5 of stepping D0.
pub(crate) fn pi5_d0() -> Profile {
    Board { revision: 0x00d0_4171, ..Board::KITCHEN }.profile()
}

pub(crate) fn pi4() -> Profile {
    Board { fourcc: *b"RPi4", revision: 0x00d0_3114, ..Board::KITCHEN }.profile()
}

impl Pi {
    pub(crate) fn new(board: &Board, rate: u32) -> Self {
        let Board { mac, address, prefix, .. } = *board;
        Self { dhcp: dhcp_client(), xid: 100, open: Vec::new(), prefix, mac, address, rate }
    }

    /// Lets this time pass on the server's clock of boots.
    pub(crate) fn wait(&self, seconds: u32) {
        thread::sleep(Duration::from_secs(seconds.into()) / self.rate);
    }

    /// A new exchange by DHCP.
    pub(crate) fn new_xid(&mut self) {
        self.xid += 1;
    }

    fn broadcast(&self, emit: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let mut message = [0; MAX_LEN];
        let len = emit(&mut message).unwrap();
        // There is no route to 255.255.255.255.
        self.dhcp.send_to(&message[..len], "10.9.0.255:67").unwrap();
    }

    /// Sends a DISCOVER; does not wait for an answer.
    pub(crate) fn discover(&self, profile: Profile) {
        self.broadcast(|out| profile.discover(self.mac, self.xid, 0, out));
    }

    /// Sends a DISCOVER as another board.
    pub(crate) fn discover_as(&self, board: &Board) {
        let profile = board.profile();
        self.broadcast(|out| profile.discover(board.mac, self.xid, 0, out));
    }

    /// Sends the REQUEST of an address to a server.
    pub(crate) fn request(&self, profile: Profile, address: Ipv4Addr, server: Ipv4Addr) {
        let selected = Selected::new(address, server);
        self.broadcast(|out| profile.request(self.mac, self.xid, 0, &selected, out));
    }

    /// The type of the next answer of the server, and its address.
    fn answer(&self, wanted: MessageType) -> Option<Ipv4Addr> {
        let until = Instant::now() + Duration::from_secs(20);
        let mut bytes = [0; 1500];
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.dhcp.set_read_timeout(Some(left)).unwrap();
            let Ok((len, _)) = self.dhcp.recv_from(&mut bytes) else { return None };
            let Ok(message) = Message::parse(&bytes[..len]) else { continue };
            if message.header.xid == self.xid && message.kind() == Some(wanted) {
                return Some(message.header.yiaddr);
            }
        }
        None
    }

    /// Gets an address from the server: DISCOVER to ACK.
    pub(crate) fn lease(&mut self, profile: Profile) {
        self.new_xid();
        self.discover(profile);
        let offered = self.answer(MessageType::Offer).unwrap();
        assert_eq!(offered, self.address, "the inventory reserves it");
        self.request(profile, offered, SERVER);
        assert_eq!(self.answer(MessageType::Ack), Some(self.address));
    }

    /// Gets its address from another server, of which this one hears the REQUEST alone.
    pub(crate) fn lease_elsewhere(&mut self, profile: Profile, address: Ipv4Addr) {
        self.new_xid();
        self.discover(profile);
        self.request(profile, address, Ipv4Addr::new(10, 9, 0, 254));
    }

    /// Gives its address back.
    pub(crate) fn release(&self) {
        let mut message = [0; MAX_LEN];
        let len =
            Profile::Plain.release(self.mac, 7, &Selected::new(self.address, SERVER), &mut message).unwrap();
        self.dhcp.send_to(&message[..len], (SERVER, 67)).unwrap();
    }

    /// Sends a whole frame.
    pub(crate) fn frame(&self, frame: &[u8]) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap();
        let link = getifaddrs().unwrap().filter(|entry| entry.interface_name == "eth");
        let link = link.filter_map(|entry| entry.address?.as_link_addr().copied()).next().unwrap();
        bind(socket.as_raw_fd(), &link).unwrap();
        nix::sys::socket::send(socket.as_raw_fd(), frame, MsgFlags::empty()).unwrap();
    }

    /// Sends a line of NETCONSOLE as a bootloader does: to the MAC address 00:00:00:00:00:00.
    pub(crate) fn say(&self, line: &str) {
        let len = 8 + line.len() as u16;
        let udp =
            [&6665_u16.to_be_bytes()[..], &6666_u16.to_be_bytes(), &len.to_be_bytes(), &[0; 2]].concat();
        let ip = [&[0x45, 0][..], &(20 + len).to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0]].concat();
        let ends = [self.address.octets(), [169, 254, 1, 1]].concat();
        self.frame(&[&[0; 6][..], &self.mac, &[8, 0], &ip, &ends, &udp, line.as_bytes()].concat());
    }

    /// Sends a message of a switch's spanning tree: STP, with a forward delay of 15 s.
    pub(crate) fn spanning_tree(&self) {
        let (root, times) = ([0x80, 0, 0x52, 0x54, 0, 1, 2, 3], [0, 0, 20, 0, 2, 0, 15, 0]);
        let body = [&[0x42, 0x42, 3, 0, 0, 0, 0, 0][..], &root, &[0; 4], &root, &[0x80, 1], &times].concat();
        let to = [0x01, 0x80, 0xc2, 0, 0, 0];
        self.frame(&[&to[..], &self.mac, &(body.len() as u16).to_be_bytes(), &body, &[0; 8]].concat());
    }

    /// Answers no ARP request any more.
    pub(crate) fn deafen(&self) {
        // A process has the namespace of the thread that starts it.
        let rules =
            "table arp t { chain o { type filter hook output priority 0; arp operation reply drop; }; }";
        assert!(Command::new("nft").arg(rules).status().unwrap().success());
    }

    /// Receives nothing from NFS any more.
    pub(crate) fn drop_answers(&self) {
        let rules = "table ip d { chain i { type filter hook input priority 0; tcp sport 2049 drop; }; }";
        assert!(Command::new("nft").arg(rules).status().unwrap().success());
    }

    /// Ends a connection by RST.
    pub(crate) fn reset(&self, client: Client) {
        let linger = linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&client.stream, sockopt::Linger, &linger).unwrap();
    }

    /// Sends a datagram that no server answers: the kernel asks by ARP for the address first.
    pub(crate) fn knock(&self, address: Ipv4Addr) {
        let socket = UdpSocket::bind((self.address, 0)).unwrap();
        socket.send_to(b"", (address, 9)).unwrap();
    }

    /// Sends a request for a file from a port of its own.
    fn ask(&self, name: &str) -> UdpSocket {
        let socket = UdpSocket::bind((self.address, 0)).unwrap();
        self.ask_from(&socket, name);
        socket
    }

    fn ask_from(&self, socket: &UdpSocket, name: &str) {
        let request =
            [&[0, 1], self.prefix.as_bytes(), name.as_bytes(), b"\0octet\0tsize\x000\0blksize\x001468\0"]
                .concat();
        socket.send_to(&request, (SERVER, 69)).unwrap();
    }

    /// Asks for a file and takes no answer.
    pub(crate) fn ask_alone(&mut self, name: &str) {
        let socket = self.ask(name);
        self.open.push(socket);
    }

    /// The last request, once more from its port.
    pub(crate) fn ask_again(&self, name: &str) {
        self.ask_from(self.open.last().unwrap(), name);
    }

    /// Fetches a file.
    pub(crate) fn get(&mut self, name: &str) -> Got {
        self.take(name, usize::MAX, Duration::ZERO)
    }

    /// Fetches a file that has to be there.
    pub(crate) fn file(&mut self, name: &str) -> Vec<u8> {
        match self.get(name) {
            Got::File(bytes) => bytes,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Asks for a file that is not there.
    pub(crate) fn miss(&mut self, name: &str) {
        assert_eq!(self.get(name), Got::Error(1), "{name}");
    }

    /// Asks for files that are not there, from one port after the other.
    pub(crate) fn storm(&self, names: &[&str], times: u16) {
        for (port, name) in (20_000..20_000 + times).zip(names.iter().cycle()) {
            let socket = UdpSocket::bind((self.address, port)).unwrap();
            self.ask_from(&socket, name);
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let _answer = socket.recv(&mut [0; 100]);
        }
    }

    /// Fetches a file up to this block, which it does not acknowledge; then it is silent. A pause before each ACK.
    pub(crate) fn take(&mut self, name: &str, blocks: usize, pause: Duration) -> Got {
        let socket = self.ask(name);
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (mut bytes, mut next, mut buffer) = (Vec::new(), 1_usize, [0; 2000]);
        loop {
            let (len, from) = match socket.recv_from(&mut buffer) {
                Ok(heard) => heard,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Got::Silence,
                Err(error) => panic!("{error}"),
            };
            match buffer[..len] {
                [0, 6, ..] => send(&socket, &[0, 4, 0, 0], from),
                [0, 5, high, low, ..] => return Got::Error(u16::from_be_bytes([high, low])),
                [0, 3, high, low, ref data @ ..] if [high, low] == (next as u16).to_be_bytes() => {
                    if next >= blocks {
                        self.open.push(socket);
                        return Got::Silence;
                    }
                    bytes.extend_from_slice(data);
                    thread::sleep(pause);
                    send(&socket, &[0, 4, high, low], from);
                    next += 1;
                    if data.len() < 1468 {
                        return Got::File(bytes);
                    }
                }
                _ => {}
            }
        }
    }

    /// Asks for a file's size, as Pis do.
    pub(crate) fn stat(&mut self, name: &str) {
        let socket = self.ask(name);
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut buffer = [0; 2000];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        if let [0, 6, ..] = buffer[..len] {
            send(&socket, b"\0\x05\0\0Early terminate\0", from);
        }
    }

    /// Connects to NFS.
    pub(crate) fn nfs(&self) -> Client {
        Client::connect_reserved(SocketAddrV4::new(SERVER, 2049))
    }

    /// Mounts the path that a command line names.
    pub(crate) fn mount(&self, line: &[u8]) -> (Client, nfs_fh3) {
        let line = String::from_utf8_lossy(line);
        let path = line.split("nfsroot=10.9.0.1:").nth(1).unwrap().split(',').next().unwrap().to_owned();
        let mut client = self.nfs();
        let root = client.mount(&path).unwrap();
        client.attributes(&root).unwrap();
        (client, root)
    }

    /// Calls another version of a program.
    pub(crate) fn call_version(&self, program: u32, version: u32) {
        let mut client = self.nfs();
        let _refused = client.call_raw(program, version, 0, &Void);
    }

    /// A Pi 5 as far as its kernel; the command line that it got.
    pub(crate) fn pi5_files(&mut self) -> Vec<u8> {
        self.stat("config.txt");
        self.file("config.txt");
        self.miss("pieeprom.sig");
        self.file("bcm2712-rpi-5-b.dtb");
        self.file("/config.txt");
        self.stat("kernel_2712.img");
        self.stat("initramfs_2712");
        self.file("initramfs_2712");
        self.file("bcm2712-rpi-5-b.dtb");
        self.file("/overlays/overlay_map.dtb");
        self.get("/overlays/bcm2712d0.dtbo");
        let line = match self.get("/cmdline.txt") {
            Got::File(line) => line,
            _ => Vec::new(),
        };
        self.miss("armstub8-2712.bin");
        self.file("kernel_2712.img");
        line
    }
}

fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) {
    socket.send_to(bytes, to).unwrap();
}
