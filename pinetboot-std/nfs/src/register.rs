//! Registration with the system's portmapper (rpcbind): RFC 1833, section 3.2, SET and UNSET.
//!
//! A portmapper that is restarted has lost its registrations. A thread looks every few seconds, and registers again.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nfs3_types::portmap::{PMAP_PORT, mapping};
use nfs3_types::rpc::{RPC_VERSION_2, call_body, msg_body, opaque_auth, rpc_msg};
use nfs3_types::xdr_codec::Pack;

use super::observe::{Event, Observer, Trouble};
use super::portmap::{GETPORT, Mappings, PROGRAM, SET, UNSET, VERSION};

/// A registration that is kept up; dropping it unregisters.
pub(super) struct Registered {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A registration.
pub(super) struct Registration {
    mappings: Mappings,
    socket: UdpSocket,
    observer: Arc<dyn Observer>,
    /// The last look failed, and that was told.
    failing: bool,
}

impl Registration {
    /// Registers with the portmapper of this machine. Existing registrations of the same numbers stay, and are an error.
    pub(super) fn new(mappings: Mappings, observer: Arc<dyn Observer>) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect((Ipv4Addr::LOCALHOST, PMAP_PORT))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let registration = Self { mappings, socket, observer, failing: false };
        registration.set().inspect_err(|_| registration.unset())?;
        Ok(registration)
    }

    /// Keeps the registration up, in a thread.
    pub(super) fn keep_up(
        mut self,
        on_thread_end: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> io::Result<Registered> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name(THREAD.into()).spawn(move || {
            let keep_up = || {
                // The portmapper of this machine answers within milliseconds.
                let _kept_otherwise = self.socket.set_read_timeout(Some(PATIENCE / 5));
                while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    self.look();
                }
                self.unset();
            };
            if catch_unwind(AssertUnwindSafe(keep_up)).is_err() {
                on_thread_end(THREAD);
            }
        })?;
        Ok(Registered { stop: Some(stop), thread: Some(thread) })
    }

    fn set(&self) -> io::Result<()> {
        for mapping in self.mappings.as_slice() {
            if self.call(SET, *mapping)? != 1 {
                let message = format!(
                    "the portmapper refuses to register program {} version {}: another NFS server is registered, or this \
                     process does not run as root",
                    mapping.prog, mapping.vers
                );
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
        }
        Ok(())
    }

    /// Removes what was registered.
    fn unset(&self) {
        // One UNSET removes both transports; the second UNSET has no effect.
        for mapping in self.mappings.as_slice() {
            // Another server's registration of the same program stays.
            let ours = self.call(GETPORT, *mapping).map(|port| port == mapping.port);
            if let Err(error) = ours.and_then(|ours| if ours { self.call(UNSET, *mapping) } else { Ok(0) }) {
                return self.observer.observe(&Event::Trouble(Trouble::Unregister(&error)));
            }
        }
    }

    /// Registers again if the portmapper has lost the registration.
    fn look(&mut self) {
        // A portmapper loses all its registrations, or none.
        let Some(first) = self.mappings.as_slice().first() else { return };
        let done = self.call(GETPORT, *first).and_then(|port| match port {
            port if port == first.port => Ok(false),
            _ => self.set().map(|()| true),
        });
        match done {
            Ok(lost) => {
                if lost || self.failing {
                    self.observer.observe(&Event::Trouble(Trouble::RegisteredAgain));
                }
                self.failing = false;
            }
            Err(error) => {
                if !self.failing {
                    self.observer.observe(&Event::Trouble(Trouble::Unregistered(&error)));
                }
                self.failing = true;
            }
        }
    }

    /// Calls the portmapper; all its procedures answer with one number.
    fn call(&self, procedure: u32, mapping: mapping) -> io::Result<u32> {
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
                    let result = answer.get(24..28).and_then(|result| result.try_into().ok());
                    return match result.filter(|_| answer.starts_with(expected.as_flattened())) {
                        Some(result) => Ok(u32::from_be_bytes(result)),
                        None => Ok(0),
                    };
                }
                Ok(_) => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the portmapper does not answer"))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _reported = thread.join();
        }
    }
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered").finish_non_exhaustive()
    }
}

const XID: u32 = 0x7069_6e65;
const TRIES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(1);
/// The time for which Pis may find no NFS after a restart of the portmapper.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const THREAD: &str = "nfs register";
