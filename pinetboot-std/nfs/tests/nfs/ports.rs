//! The source ports and the transports of calls.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use nfs3_types::mount::{dirpath, mountstat3};
use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::{Opaque, Pack, Void};
use pinetboot_nfs::{NfsConfig, OneExport, Opened};

use crate::nfs_client::Client;
use crate::world::{KEY, Told, config, export, sealed};

#[test]
fn ports_that_every_user_may_have_are_refused_and_told() {
    let (told, export) = (Arc::new(Told::default()), export(1, "/"));
    let root = sealed(KEY, 1, &export.tree.root());
    let config = NfsConfig { insecure: false, observer: told.clone(), ..config() };
    let running = pinetboot_nfs::start(config, Arc::new(OneExport::new(export))).unwrap();
    let mut client = Client::connect(running.port());
    let address = client.stream.local_addr().unwrap();
    let refusal = |program: u32, procedure: u32| {
        format!(
            "CallRefused {{ client: {address}, program: {program}, version: 3, procedure: {procedure}, \
             why: PortNotReserved }}"
        )
    };
    let status = client.mount("/").map_err(|status| status as u32);
    assert_eq!(status, Err(mountstat3::MNT3ERR_ACCES as u32));
    let mut refused = vec![refusal(100_005, 1)];
    for procedure in 1..=21 {
        client.send_message(&client.message(PROGRAM, VERSION, procedure, &arguments(procedure, &root)));
        let answer = client.receive();
        assert_eq!(answer.body[..16], [0; 16], "procedure {procedure}");
        assert_eq!(answer.body[16..20], ACCES, "procedure {procedure}");
        assert!(answer.body[20..].iter().all(|byte| *byte == 0), "nothing is told of the file");
        refused.push(refusal(PROGRAM, procedure));
    }
    assert_eq!(told.of("CallRefused"), refused);
    // Calls that give no data away are answered.
    client.null();
    for procedure in [0, 2, 4, 5] {
        assert_eq!(client.call_raw(100_005, 3, procedure, &Void).body[..16], [0; 16]);
    }
    let Void = client.call(100_005, 3, 3, &dirpath(Opaque::borrowed(b"/")));
    assert_eq!(told.of("CallRefused").len(), refused.len());
    assert!(told.of("Mounted").is_empty() && told.of("MountRefused").is_empty());
}

#[test]
fn sockets_of_another_process_are_used_where_they_have_the_addresses() {
    let free = (Ipv4Addr::LOCALHOST, 0);
    let (tcp, unused) = (TcpListener::bind(free).unwrap(), TcpListener::bind(free).unwrap());
    let (port, unused_port) = (tcp.local_addr().unwrap().port(), unused.local_addr().unwrap().port());
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let held = [tcp.try_clone().unwrap().into(), udp.try_clone().unwrap().into(), unused.into()];
    let config = NfsConfig { port, ..config() };
    assert!(Opened::new(config.clone()).is_err(), "the port is taken");
    let opened = Opened::with_sockets(config.clone(), held.into()).unwrap();
    assert_eq!(opened.port(), port);
    let running = opened.start(Arc::new(OneExport::new(export(1, "/")))).unwrap();
    Client::connect(port).mount("/").unwrap();
    assert!(
        TcpListener::bind((Ipv4Addr::LOCALHOST, unused_port)).is_ok(),
        "the socket that nobody needs is closed"
    );
    // Held by the other process, the socket keeps a client waiting for the next server.
    drop(running);
    let mut client = Client::connect(port);
    let opened = Opened::with_sockets(config, [tcp.into(), udp.into()].into()).unwrap();
    let _running = opened.start(Arc::new(OneExport::new(export(1, "/")))).unwrap();
    client.mount("/").unwrap();
}

#[test]
fn nfs_by_datagram_is_refused_and_told_unless_it_is_switched_on() {
    for udp in [false, true] {
        let told = Arc::new(Told::default());
        let config = NfsConfig { udp, observer: told.clone(), ..config() };
        let running = pinetboot_nfs::start(config, Arc::new(OneExport::new(export(1, "/")))).unwrap();
        let mut client = Client::connect(running.port());
        let root = client.mount("/").unwrap();
        let datagrams = Datagrams::to(running.port());
        let call = |program, version, procedure, arguments: &[u8]| {
            datagrams.call(&client.message(program, version, procedure, arguments))
        };
        for procedure in 0..=21 {
            let answer = call(PROGRAM, VERSION, procedure, &arguments(procedure, &root));
            assert_eq!(answer[20..24] == PROG_UNAVAIL, !udp, "procedure {procedure}");
            assert!(udp || answer.len() == 24, "procedure {procedure}");
        }
        // A client that asks for another version by UDP is told of none that it would not get.
        assert_eq!(call(PROGRAM, 2, 0, &[])[20..24] == PROG_UNAVAIL, !udp);
        let mut path = Vec::new();
        dirpath(Opaque::borrowed(b"/")).pack(&mut path).unwrap();
        let mounted = call(100_005, 3, 1, &path);
        assert_eq!(mounted[20..28], [0; 8], "MNT is served by UDP all the same");
        let refused = told.of("CallRefused");
        assert_eq!(
            refused.iter().filter(|told| told.ends_with("why: UdpOff }")).count(),
            if udp { 0 } else { 23 }
        );
        // The portmapper lists the served programs.
        let mut portmap = Client::connect(running.portmap_port().unwrap());
        let asked = nfs3_types::portmap::mapping { prog: PROGRAM, vers: VERSION, prot: 17, port: 0 };
        let port: u32 = portmap.call(100_000, 2, 3, &asked);
        assert_eq!(port, if udp { running.port().into() } else { 0 });
    }
}

/// A client by UDP.
struct Datagrams(UdpSocket);

impl Datagrams {
    fn to(port: u16) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(socket)
    }

    fn call(&self, message: &[u8]) -> Vec<u8> {
        self.0.send(message).unwrap();
        let mut answer = vec![0; 65_536];
        let len = self.0.recv(&mut answer).unwrap();
        answer.truncate(len);
        assert_eq!(answer[..8], [&message[..4], &[0, 0, 0, 1]].concat());
        answer
    }
}

/// Arguments for every procedure: a handle, then names of no bytes and numbers that are zero. MKNOD makes a FIFO.
fn arguments(procedure: u32, handle: &nfs_fh3) -> Vec<u8> {
    let mut arguments = Vec::new();
    handle.pack(&mut arguments).unwrap();
    if procedure == 11 {
        arguments.extend([[0; 4], 7u32.to_be_bytes()].concat());
    }
    arguments.extend([0; 100]);
    arguments
}

/// `NFS3ERR_ACCES`.
const ACCES: [u8; 4] = 13u32.to_be_bytes();
/// RFC 5531, section 9: `accept_stat`.
const PROG_UNAVAIL: [u8; 4] = 1u32.to_be_bytes();
