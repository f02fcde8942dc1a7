//! Messages with a descriptor between the server's processes: packets of JSON (unix(7), SOCK_SEQPACKET and SCM_RIGHTS).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lines::read_escaped_line;
use super::messages::LONGEST_PACKET;

/// A pair of connected sockets.
///
/// # Errors
///
/// The system's.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message, with a descriptor perhaps.
///
/// # Errors
///
/// The system's, and `InvalidData` for a message that is too long.
pub(crate) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > LONGEST_PACKET {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a message and its descriptor; `None` at the end. Further descriptors are closed.
///
/// # Errors
///
/// The system's, and `InvalidData` for a message that is too long or not of this type.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut bytes = [0; LONGEST_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = bytes.get(..received.bytes).unwrap_or_default();
    Ok(read_escaped_line(&mut bytes, LONGEST_PACKET as u64)?.map(|message| (message, descriptor)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptor() {
        let (here, there) = pair().unwrap();
        let file = File::open("/proc/self/comm").unwrap();
        send(&here, &"with", Some(file.as_fd())).unwrap();
        send(&here, &"without", None).unwrap();
        let (message, descriptor) = receive::<String>(&there).unwrap().unwrap();
        let mut comm = String::new();
        File::from(descriptor.unwrap()).read_to_string(&mut comm).unwrap();
        assert!(message == "with" && !comm.is_empty());
        assert!(matches!(receive::<String>(&there), Ok(Some((_, None)))));
        assert!(send(&here, &"x".repeat(LONGEST_PACKET), None).is_err());
        send(&here, &7, None).unwrap();
        assert!(receive::<String>(&there).is_err(), "another type");
        drop(here);
        assert!(receive::<String>(&there).unwrap().is_none());
    }
}
