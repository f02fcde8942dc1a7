//! edge-nal's traits, here on std sockets, keep the promises of the network trait.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::task::Poll;

use edge_nal::{UdpReceive, UdpSend};
use pinetboot_core::adapter::edge_nal_v0_7::UdpPort;
use pinetboot_core::block_on;
use pinetboot_core::conformance::{self, End};

struct Socket(UdpSocket);

impl embedded_io_async::ErrorType for Socket {
    type Error = io::Error;
}

impl UdpReceive for Socket {
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        // A system call that cuts a datagram does not say how long it was, as edge-nal has it.
        let mut whole = vec![0; 1 << 16];
        let (len, peer) = poll_fn(|context| match self.0.recv_from(&mut whole) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            received => Poll::Ready(received),
        })
        .await?;
        let kept = len.min(buffer.len());
        buffer[..kept].copy_from_slice(&whole[..kept]);
        Ok((len, peer))
    }
}

impl UdpSend for Socket {
    async fn send(&mut self, remote: SocketAddr, data: &[u8]) -> io::Result<()> {
        self.0.send_to(data, remote).map(drop)
    }
}

#[test]
fn a_socket_is_a_network() {
    let port = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("IPv4") };
        (UdpPort::new(Socket(socket)), address)
    };
    let ((mut tested, address), (mut other, other_address)) = (port(), port());
    let peer = End { net: &mut other, local: (), address: other_address };
    block_on(conformance::net(&mut tested, address, peer));
}
