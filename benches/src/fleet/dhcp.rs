//! The DHCP client of a Pi 5's bootloader: RFC 2131, and the PXE options that its captures have.

use std::net::Ipv4Addr;

use super::wire::mac;

/// What a server sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Offer { address: Ipv4Addr, server: Ipv4Addr },
    Ack { address: Ipv4Addr },
    Nak,
}

pub(crate) fn discover(pi: usize, xid: u32) -> Vec<u8> {
    message(pi, xid, &[53, 1, 1])
}

pub(crate) fn request(pi: usize, xid: u32, address: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
    let options = [&[53, 1, 3, 50, 4][..], &address.octets(), &[54, 4], &server.octets()].concat();
    message(pi, xid, &options)
}

/// A server's message with this transaction.
pub(crate) fn parse(message: &[u8], xid: u32) -> Option<Heard> {
    if *message.first()? != 2 || message.get(4..8)? != xid.to_be_bytes() {
        return None;
    }
    let address = Ipv4Addr::from(*message.get(16..)?.first_chunk::<4>()?);
    let (mut kind, mut server, mut rest) = (0, Ipv4Addr::UNSPECIFIED, message.get(240..)?);
    while let [code, after @ ..] = rest {
        match code {
            0 => rest = after,
            255 => break,
            code => {
                let (len, after) = after.split_first()?;
                let (value, after) = after.split_at_checked(usize::from(*len))?;
                match code {
                    53 => kind = *value.first()?,
                    54 => server = Ipv4Addr::from(*value.first_chunk::<4>()?),
                    _ => {}
                }
                rest = after;
            }
        }
    }
    match kind {
        2 => Some(Heard::Offer { address, server }),
        5 => Some(Heard::Ack { address }),
        6 => Some(Heard::Nak),
        _ => None,
    }
}

/// The low half of a Pi's serial number.
pub(crate) fn serial(pi: usize) -> u32 {
    0xb0a0_0000 + pi as u32
}

fn message(pi: usize, xid: u32, options: &[u8]) -> Vec<u8> {
    let mac = mac(pi);
    let mut message = vec![1, 1, 6, 0];
    message.extend(xid.to_be_bytes());
    message.resize(28, 0);
    message.extend(mac);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99]);
    message.extend(options);
    message.extend([55, 14, 1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135]);
    message.extend([93, 2, 0, 0, 94, 3, 1, 2, 1]);
    message.extend([97, 17, 0]);
    message.extend(b"RPi5");
    message.extend(0x00d0_4171_u32.to_le_bytes()); // a Pi 5 with 8 GB, revision 1.1
    message.extend(&mac[2..]);
    message.extend(serial(pi).to_le_bytes());
    message.extend([60, 32]);
    message.extend(b"PXEClient:Arch:00000:UNDI:002001");
    message.push(255);
    message.resize(message.len().max(300), 0);
    message
}
