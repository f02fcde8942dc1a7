//! A Pi's calls for its root: MNT, and what a kernel reads until the first program runs. RFC 5531, RFC 1813.

use super::dhcp::serial;

/// The calls of a Pi, one after the other.
#[derive(Debug, Default)]
pub(super) struct Root {
    step: usize,
    handle: Vec<u8>,
    received: Vec<u8>,
    xid: u32,
}

/// The effect of received bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// More bytes have to come.
    Nothing,
    /// MNT has succeeded: the next call goes to the NFS server.
    Mounted,
    /// The next call can be sent.
    Next,
    /// The server asks for a repetition (NFS3ERR_JUKEBOX).
    Later,
    /// The first program was read.
    Done,
    Failed(u32),
}

impl Root {
    /// The next call, with its record mark.
    pub(super) fn call(&mut self, pi: usize, path: &str) -> Vec<u8> {
        self.xid += 1;
        let handle = opaque(&self.handle);
        let (program, procedure, arguments) = match CALLS[self.step] {
            Call::Mnt => (100_005, 1, opaque(path.as_bytes())),
            Call::Getattr => (100_003, 1, handle),
            Call::Lookup(name) => (100_003, 3, [handle, opaque(name.as_bytes())].concat()),
            Call::Read(offset) => (100_003, 6, [&handle[..], &words(&[0, offset, READ])].concat()),
        };
        let credentials = [&words(&[1, 24, serial(pi), 4])[..], b"none", &words(&[0, 0, 0])].concat();
        let head = words(&[self.xid, 0, 2, program, 3, procedure]);
        let message = [&head[..], &credentials, &words(&[0, 0]), &arguments].concat();
        [&words(&[0x8000_0000 | message.len() as u32])[..], &message].concat()
    }

    /// Bytes of the connection.
    pub(super) fn handle(&mut self, bytes: &[u8]) -> Heard {
        self.received.extend_from_slice(bytes);
        let Some(mark) = word(&self.received, 0) else { return Heard::Nothing };
        let len = 4 + (mark & 0x7fff_ffff) as usize;
        if self.received.len() < len {
            return Heard::Nothing;
        }
        let reply = std::mem::take(&mut self.received);
        // > xid, REPLY, MSG_ACCEPTED, a verifier without a body, SUCCESS, and the status of the results
        let denied = (2..=6).any(|at| word(&reply, 4 * at) != Some(u32::from(at == 2)));
        match word(&reply, 28) {
            Some(JUKEBOX) if !denied => return Heard::Later,
            Some(0) if !denied => {}
            status => return Heard::Failed(status.unwrap_or(u32::MAX)),
        }
        if let Call::Mnt | Call::Lookup(_) = CALLS[self.step] {
            let len = word(&reply, 32).unwrap_or_default() as usize;
            self.handle = reply.get(36..36 + len).unwrap_or_default().into();
        }
        let was_mount = matches!(CALLS[self.step], Call::Mnt);
        self.step += 1;
        match CALLS.get(self.step) {
            Some(_) if was_mount => Heard::Mounted,
            Some(_) => Heard::Next,
            None => Heard::Done,
        }
    }

    /// The next call goes to the mount server.
    pub(super) fn mounts(&self) -> bool {
        self.step == 0
    }
}

#[derive(Debug, Clone, Copy)]
enum Call {
    Mnt,
    Getattr,
    Lookup(&'static str),
    Read(u32),
}

/// From the root to the whole first program.
const CALLS: [Call; 8] = [
    Call::Mnt,
    Call::Getattr,
    Call::Lookup("sbin"),
    Call::Lookup("init"),
    Call::Getattr,
    Call::Read(0),
    Call::Read(READ),
    Call::Getattr,
];

/// The length of the first program.
pub(super) const INIT_LEN: usize = 2 * READ as usize;
const READ: u32 = 32 << 10;
const JUKEBOX: u32 = 10_008;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn opaque(bytes: &[u8]) -> Vec<u8> {
    let mut out = words(&[bytes.len() as u32]);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}
