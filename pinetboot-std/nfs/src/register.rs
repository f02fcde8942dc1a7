//! Registration with the system's portmapper (rpcbind): RFC 1833, section 3.2, SET and UNSET.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use nfs3_types::portmap::{PMAP_PORT, mapping};
use nfs3_types::rpc::{RPC_VERSION_2, call_body, msg_body, opaque_auth, rpc_msg};
use nfs3_types::xdr_codec::Pack;

use super::observe::{Event, Observer, Trouble};
use super::portmap::{Mappings, PROGRAM, SET, UNSET, VERSION};

/// A registration; dropping it unregisters.
pub(super) struct Registered {
    mappings: Mappings,
    socket: UdpSocket,
    observer: Arc<dyn Observer>,
}

impl Registered {
    /// Registers with the portmapper of this machine. Existing registrations of the same numbers stay, and are an error.
    pub(super) fn new(mappings: Mappings, observer: Arc<dyn Observer>) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect((Ipv4Addr::LOCALHOST, PMAP_PORT))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut registered = Self { mappings: Mappings::default(), socket, observer };
        for mapping in mappings.as_slice() {
            if !registered.call(SET, *mapping)? {
                let message = format!(
                    "the portmapper refuses to register program {} version {}: another NFS server is registered, or this \
                     process does not run as root",
                    mapping.prog, mapping.vers
                );
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
            registered.mappings.push(*mapping);
        }
        Ok(registered)
    }

    fn call(&self, procedure: u32, mapping: mapping) -> io::Result<bool> {
        let none = opaque_auth::default;
        let call = call_body {
            rpcvers: RPC_VERSION_2,
            prog: PROGRAM,
            vers: VERSION,
            proc: procedure,
            cred: none(),
            verf: none(),
        };
        let mut bytes = Vec::new();
        let packed =
            rpc_msg { xid: XID, body: msg_body::CALL(call) }.pack(&mut bytes).and(mapping.pack(&mut bytes));
        packed.map_err(io::Error::other)?;
        for _ in 0..TRIES {
            self.socket.send(&bytes)?;
            let mut answer = [0; 64];
            match self.socket.recv(&mut answer) {
                // > xid, REPLY, MSG_ACCEPTED, a verifier without a body, SUCCESS, and the result.
                Ok(28) => {
                    let expected = [XID, 1, 0, 0, 0, 0].map(u32::to_be_bytes);
                    return Ok(answer.starts_with(expected.as_flattened()) && answer.get(27) == Some(&1));
                }
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the portmapper does not answer"))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // The portmapper of this machine answers within milliseconds, and the process is about to end.
        let _kept_otherwise = self.socket.set_read_timeout(Some(PATIENCE / 5));
        // One UNSET removes both transports; the second UNSET has no effect.
        for mapping in self.mappings.as_slice() {
            if let Err(error) = self.call(UNSET, *mapping) {
                return self.observer.observe(&Event::Trouble(Trouble::Unregister(&error)));
            }
        }
    }
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered").field("mappings", &self.mappings).finish_non_exhaustive()
    }
}

const XID: u32 = 0x7069_6e65;
const TRIES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(1);
