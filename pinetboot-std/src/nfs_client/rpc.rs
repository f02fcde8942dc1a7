//! RPC over TCP (RFC 5531): one call at a time on a connection.

use std::io::{self, Read, Write};
use std::net::SocketAddrV4;
use std::time::Duration;

use super::CallError;
use super::xdr::{Reader, Writer};
use crate::net::connect_reserved;

/// Opens TCP connections: from this machine, or from a simulated one.
pub(crate) trait Dial {
    /// Connects from a port below 1024 if the process may, as kernels do.
    fn dial(&mut self, to: SocketAddrV4) -> io::Result<Box<dyn Stream + '_>>;

    /// Whether the last connection came from a port below 1024.
    fn is_reserved(&self) -> bool;
}

/// Connections from this machine.
#[derive(Debug, Default)]
pub(crate) struct Host {
    is_reserved: bool,
}

impl Dial for Host {
    fn dial(&mut self, to: SocketAddrV4) -> io::Result<Box<dyn Stream + '_>> {
        let stream = connect_reserved(to, TIMEOUT)?;
        self.is_reserved = stream.local_addr()?.port() < 1024;
        Ok(Box::new(stream))
    }

    fn is_reserved(&self) -> bool {
        self.is_reserved
    }
}

/// A connection whose reads and writes end with an error after some seconds.
pub(crate) trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// A program of RPC, and its version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    pub(super) number: u32,
    pub(super) version: u32,
}

/// A connection.
pub(super) struct RpcClient<'d> {
    stream: Box<dyn Stream + 'd>,
    xid: u32,
}

impl<'d> RpcClient<'d> {
    pub(super) fn connect(dial: &'d mut dyn Dial, to: SocketAddrV4) -> io::Result<Self> {
        // A server may keep answers by port and xid, and the port may be that of an earlier process.
        let xid = std::process::id().rotate_left(16);
        Ok(Self { stream: dial.dial(to)?, xid })
    }

    /// Makes a call as root, and returns its results.
    pub(super) fn call(
        &mut self,
        program: Program,
        procedure: u32,
        arguments: Writer,
    ) -> Result<Vec<u8>, CallError> {
        self.xid = self.xid.wrapping_add(1);
        // AUTH_SYS: stamp, machine name, uid, gid, no further groups.
        let root = Writer::default().u32(0).opaque(b"").u32(0).u32(0).u32(0);
        let call = Writer::default().u32(self.xid).u32(CALL).u32(RPC_VERSION);
        let call = call.u32(program.number).u32(program.version).u32(procedure);
        let call = call.u32(AUTH_SYS).opaque(root.bytes()).u32(AUTH_NONE).u32(0).append(&arguments);
        let mark = u32::try_from(call.bytes().len()).unwrap_or(0) | LAST_FRAGMENT;
        self.stream.write_all(&[&mark.to_be_bytes(), call.bytes()].concat())?;
        let record = self.record()?;
        results(&record, self.xid)
    }

    /// The next record, of all its fragments.
    fn record(&mut self) -> Result<Vec<u8>, CallError> {
        let mut record = Vec::new();
        loop {
            let mut mark = [0; 4];
            self.stream.read_exact(&mut mark)?;
            let mark = u32::from_be_bytes(mark);
            let len = (mark & !LAST_FRAGMENT) as usize;
            if record.len() + len > RECORD_MAX || (len == 0 && mark & LAST_FRAGMENT == 0) {
                return Err(CallError::Malformed);
            }
            let begun = record.len();
            record.resize(begun + len, 0);
            self.stream.read_exact(record.get_mut(begun..).unwrap_or_default())?;
            if mark & LAST_FRAGMENT != 0 {
                return Ok(record);
            }
        }
    }
}

/// The results in a reply.
fn results(record: &[u8], xid: u32) -> Result<Vec<u8>, CallError> {
    let mut reply = Reader::new(record);
    if (reply.u32()?, reply.u32()?) != (xid, REPLY) {
        return Err(CallError::Malformed);
    }
    if reply.u32()? != ACCEPTED {
        reply.u32()?; // RPC_MISMATCH or AUTH_ERROR
        return Err(CallError::Refused(reply.u32()?));
    }
    reply.u32()?;
    reply.opaque(VERIFIER_MAX)?;
    match reply.u32()? {
        SUCCESS => Ok(reply.rest().to_vec()),
        PROG_UNAVAIL | PROG_MISMATCH => Err(CallError::NoProgram),
        status => Err(CallError::Refused(status)),
    }
}

/// Time for a connection, and for an answer: TCP repeats a lost packet after 1 s.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(4);
const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
const AUTH_NONE: u32 = 0;
const AUTH_SYS: u32 = 1;
const ACCEPTED: u32 = 0;
const SUCCESS: u32 = 0;
const PROG_UNAVAIL: u32 = 1;
const PROG_MISMATCH: u32 = 2;
const LAST_FRAGMENT: u32 = 1 << 31;
/// > The verifier .. up to 400 bytes (RFC 5531, section 8.2)
const VERIFIER_MAX: usize = 400;
/// More than any answer to these calls.
const RECORD_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_that_are_no_success() {
        let accepted = |status| Writer::default().u32(5).u32(REPLY).u32(ACCEPTED).u32(0).u32(0).u32(status);
        assert_eq!(results(accepted(SUCCESS).u32(9).bytes(), 5).unwrap(), [0, 0, 0, 9]);
        assert!(matches!(results(accepted(SUCCESS).bytes(), 6), Err(CallError::Malformed)));
        assert!(matches!(results(accepted(PROG_MISMATCH).bytes(), 5), Err(CallError::NoProgram)));
        assert!(matches!(results(accepted(4).bytes(), 5), Err(CallError::Refused(4))));
        let denied = Writer::default().u32(5).u32(REPLY).u32(1).u32(1).u32(7);
        assert!(matches!(results(denied.bytes(), 5), Err(CallError::Refused(7))));
    }

    #[test]
    fn a_damaged_reply_ends_in_an_error_or_results() {
        let reply = Writer::default().u32(5).u32(REPLY).u32(ACCEPTED).u32(0).opaque(b"abcd").u32(0).u64(1);
        for damaged in crate::damaged::mutations(reply.bytes(), 20_000) {
            let _no_panic = results(&damaged, 5);
        }
    }
}
