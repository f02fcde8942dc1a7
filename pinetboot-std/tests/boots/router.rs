//! Another DHCP server, on the Pi's side of the cable. It answers other clients than the Pi, whose answers a switch would not pass on
//! to the server.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pinetboot_core::dhcp::{Emitter, HardwareAddress, MAX_LEN, Message, MessageType, OptionCode};

use super::pi::MAC;

/// Stops when it is dropped.
pub(crate) struct Router {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    /// Begins to offer 10.9.0.114 with these options, as 10.9.0.254. For a thread in the Pi's namespace.
    pub(crate) fn start(options: &'static [(OptionCode, &'static [u8])]) -> Self {
        let socket = UdpSocket::bind("0.0.0.0:67").unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stops = stop.clone();
        let thread = thread::spawn(move || {
            let mut bytes = [0; 1500];
            while !stops.load(Ordering::Relaxed) {
                let Ok((len, _)) = socket.recv_from(&mut bytes) else { continue };
                let Ok(message) = Message::parse(&bytes[..len]) else { continue };
                if message.kind() == Some(MessageType::Discover)
                    && message.header.hardware != HardwareAddress::ethernet(MAC)
                {
                    socket.send_to(&offer(&message, options), "10.9.0.255:68").unwrap();
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn offer(message: &Message<'_>, options: &[(OptionCode, &[u8])]) -> Vec<u8> {
    let mut header = message.header.reply();
    header.yiaddr = Ipv4Addr::new(10, 9, 0, 114);
    let mut out = [0; MAX_LEN];
    let mut offer = Emitter::new(&header, &mut out).unwrap();
    offer.kind(MessageType::Offer).unwrap();
    offer.address(OptionCode::SERVER_ID, Ipv4Addr::new(10, 9, 0, 254)).unwrap();
    offer.address(OptionCode::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0)).unwrap();
    for (code, value) in options {
        offer.option(*code, value).unwrap();
    }
    let len = offer.finish().unwrap();
    out[..len].to_vec()
}
