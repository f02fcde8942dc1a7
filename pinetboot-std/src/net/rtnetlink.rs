//! The kernel's answer about one route or one neighbour (rtnetlink(7)): the cost does not grow with the tables.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{
    self, NLM_F_REQUEST, NLMSG_ERROR, NUD_NOARP, RTA_DST, RTA_OIF, RTM_GETNEIGH, RTM_GETROUTE, RTM_NEWNEIGH,
    RTM_NEWROUTE,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, sendto, socket,
};

/// A socket to the kernel; no privilege is needed.
#[derive(Debug)]
pub(super) struct Rtnetlink {
    socket: OwnedFd,
    /// The number of the last question.
    asked: u32,
}

/// An entry of the neighbour table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// The MAC address; `None` if the neighbour does not answer. The kernel names it in valid states alone (`neigh_fill_info` in
    /// net/core/neighbour.c).
    pub(super) mac: Option<[u8; 6]>,
}

impl Rtnetlink {
    pub(super) fn open() -> nix::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
            .map(|socket| Self { socket, asked: 0 })
    }

    /// The index of the interface by which this machine sends to an address.
    pub(super) fn interface_to(&mut self, address: Ipv4Addr) -> nix::Result<Option<u32>> {
        // rtmsg: family, length of the prefix.
        let mut header = [0; HEADER];
        [header[0], header[1]] = [libc::AF_INET as u8, 32];
        let answer = self.ask(RTM_GETROUTE, RTM_NEWROUTE, header, RTA_DST, address)?;
        let index = attribute(&answer, RTA_OIF).and_then(|index| index.try_into().ok());
        Ok(index.map(u32::from_ne_bytes))
    }

    /// The entry of an address on the interface of this index; `None` without one.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP before Linux 5.0.
    pub(super) fn entry(&mut self, address: Ipv4Addr, interface: u32) -> nix::Result<Option<Entry>> {
        // ndmsg: family, three bytes of zeros, the interface's index; zeros too in what a question may not have
        // (`neigh_valid_get_req`).
        let mut header = [0; HEADER];
        header[0] = libc::AF_INET as u8;
        header[4..8].copy_from_slice(&interface.to_ne_bytes());
        let answer = match self.ask(RTM_GETNEIGH, RTM_NEWNEIGH, header, NDA_DST, address) {
            Ok(answer) => answer,
            Err(Errno::ENOENT | Errno::ENODEV) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(entry_in(&answer))
    }

    /// The answer, without its netlink header.
    fn ask(
        &mut self,
        question: u16,
        answer: u16,
        header: [u8; HEADER],
        attribute: u16,
        address: Ipv4Addr,
    ) -> nix::Result<Vec<u8>> {
        let mut message = Vec::with_capacity(NETLINK + HEADER + 8);
        message.extend((message.capacity() as u32).to_ne_bytes());
        message.extend(question.to_ne_bytes());
        message.extend((NLM_F_REQUEST as u16).to_ne_bytes());
        self.asked = self.asked.wrapping_add(1);
        message.extend(self.asked.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(header);
        message.extend(8u16.to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(address.octets());
        sendto(self.socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        // The kernel answers before sendto returns. A privileged process could send to this socket too: it is passed over.
        let mut room = [0; 2048];
        for _ in 0..16 {
            let (len, from) = recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut room)?;
            if from.is_some_and(|from| from.pid() == 0)
                && let Some(answer) = body(room.get(..len).unwrap_or_default(), self.asked, answer)
            {
                return answer.map(<[u8]>::to_vec);
            }
        }
        Err(Errno::EBADMSG)
    }
}

/// The body of the answer to the question of this number, or the kernel's error; `None` for another message.
fn body(message: &[u8], question: u32, answer: u16) -> Option<nix::Result<&[u8]>> {
    let (header, rest) = message.split_at_checked(NETLINK)?;
    let word = |at: usize| Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let len = (word(0)? as usize).checked_sub(NETLINK)?;
    let kind = u16::from_ne_bytes(header.get(4..6)?.try_into().ok()?);
    let body = rest.get(..len).filter(|_| word(8) == Some(question))?;
    if i32::from(kind) == NLMSG_ERROR {
        let error = i32::from_ne_bytes(body.first_chunk().copied()?);
        return Some(Err(Errno::from_raw(error.checked_neg()?)));
    }
    (kind == answer && body.len() >= HEADER).then_some(Ok(body))
}

/// The entry in an answer; `None` where the interface has no ARP, as /proc/net/arp leaves such out.
fn entry_in(answer: &[u8]) -> Option<Entry> {
    let state = u16::from_ne_bytes(answer.get(8..10)?.try_into().ok()?);
    if state & NUD_NOARP != 0 {
        return None;
    }
    let mac = attribute(answer, NDA_LLADDR).and_then(|mac| mac.try_into().ok());
    Some(Entry { mac: mac.filter(|mac| *mac != [0; 6]) })
}

/// The value of an attribute, which has a length, a type and a value, each at a multiple of four bytes.
fn attribute(answer: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = answer.get(HEADER..)?;
    loop {
        let len = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..len)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

/// The bytes of nlmsghdr.
const NETLINK: usize = 16;
/// The bytes of rtmsg, and of ndmsg.
const HEADER: usize = 12;
/// Attributes of a neighbour (linux/neighbour.h).
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: u32 = 7;

    /// A message as the kernel writes it, about a neighbour in this state.
    fn message(kind: u16, state: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![0; HEADER];
        body[8..10].copy_from_slice(&state.to_ne_bytes());
        for (kind, value) in attributes {
            body.extend((4 + value.len() as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = ((NETLINK + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 2]);
        message.extend(NUMBER.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        message
    }

    fn parse(message: &[u8]) -> Option<nix::Result<&[u8]>> {
        body(message, NUMBER, RTM_NEWNEIGH)
    }

    #[test]
    fn the_mac_address_of_an_answer_is_found_and_nothing_is_read_beyond() {
        const MAC: [u8; 6] = [0x2c, 0xcf, 0x67, 1, 2, 3];
        let whole = message(RTM_NEWNEIGH, 2, &[(NDA_DST, &[192, 0, 2, 7]), (9, &[1]), (NDA_LLADDR, &MAC)]);
        assert_eq!(entry_in(parse(&whole).unwrap().unwrap()), Some(Entry { mac: Some(MAC) }));
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None, "cut at {cut}");
        }
        for (state, lladdr, entry) in [
            (1, None, Some(Entry { mac: None })),
            (2, Some(&[0; 6][..]), Some(Entry { mac: None })),
            (2, Some(&[1; 20][..]), Some(Entry { mac: None })),
            (NUD_NOARP, Some(&MAC[..]), None),
        ] {
            let attributes: Vec<_> = lladdr.map(|mac| (NDA_LLADDR, mac)).into_iter().collect();
            let message = message(RTM_NEWNEIGH, state, &attributes);
            assert_eq!(entry_in(parse(&message).unwrap().unwrap()), entry, "in state {state}");
        }
        let mut endless = message(RTM_NEWNEIGH, 2, &[(9, &[0; 4])]);
        endless[NETLINK + HEADER..][..2].fill(0);
        assert_eq!(entry_in(parse(&endless).unwrap().unwrap()), Some(Entry { mac: None }));
    }

    #[test]
    fn an_error_of_the_kernel_is_an_answer_and_another_question_s_answer_is_none() {
        let mut error = message(NLMSG_ERROR as u16, 0, &[]);
        error[NETLINK..][..4].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(parse(&error), Some(Err(Errno::ENOENT)));
        assert_eq!(parse(&message(RTM_NEWROUTE, 2, &[])), None);
        let mut late = message(RTM_NEWNEIGH, 2, &[]);
        late[8] ^= 1;
        assert_eq!(parse(&late), None);
    }
}
