//! The dispatcher, from call to reply: selects the program, and looks up repeated calls.

use std::sync::Arc;

use rustix::io;

use super::NfsConfig;
use super::counts::CallCounts;
use super::export::Exports;
use super::handle::Handles;
use super::message::{Message, Programs, Transport};
use super::mount::{self, Mounts};
use super::nfs3;
use super::observe::{CallRefusal, CallRefused, Event, Observer};
use super::portmap::{self, Mappings};
use super::replays::{Replays, Seen};
use super::reply::Reply;
use super::rpc::{self, Call, Refused};
use super::write_verifier::WriteVerifier;

/// The programs behind the network.
pub(super) struct Service {
    exports: Arc<dyn Exports>,
    handles: Handles,
    mappings: Mappings,
    mounts: Mounts,
    replays: Replays,
    write_verifier: WriteVerifier,
    observer: Arc<dyn Observer>,
    counts: Arc<CallCounts>,
    insecure: bool,
    udp: bool,
}

impl Service {
    /// A service for these exports; the configuration's addresses and ports have no effect here.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub(super) fn new(config: NfsConfig, exports: Arc<dyn Exports>, mappings: Mappings) -> io::Result<Self> {
        let write_verifier = WriteVerifier::new()?;
        let (mounts, replays) = (Mounts::default(), Replays::default());
        let NfsConfig { handles, observer, counts, insecure, udp, .. } = config;
        Ok(Self {
            exports,
            handles,
            mappings,
            mounts,
            replays,
            write_verifier,
            observer,
            counts,
            insecure,
            udp,
        })
    }

    pub(super) fn exports(&self) -> &dyn Exports {
        &*self.exports
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        self.observer.observe(event);
    }

    /// Writes the answer into `reply`; false for no answer.
    pub(super) fn answer(&self, message: Message<'_>, reply: &mut Reply) -> bool {
        reply.clear();
        let call = match Call::parse(message.bytes) {
            Ok(call) => call,
            Err(Refused::NoCall) => return false,
            Err(Refused::Denied { xid, program, version, procedure, why }) => {
                rpc::put_refusal(reply, xid, why);
                let client = message.client;
                self.tell(&Event::CallRefused(CallRefused { client, program, version, procedure, why }));
                return true;
            }
        };
        let Call { xid, program, procedure, .. } = call;
        let files = message.programs == Programs::Files && program == nfs3::PROGRAM;
        // Calls refused for their port or transport are not cached: datagrams from forged sources would crowd out others.
        let admitted = self.is_secure(message) && self.has_nfs(message.transport);
        if !files || nfs3::is_idempotent(procedure) || !admitted {
            self.carry_out(message, &call, reply);
            return true;
        }
        let id = self.replays.id(*message.client.ip(), xid, message.bytes);
        match self.replays.look_up(id) {
            Seen::New => {
                self.carry_out(message, &call, reply);
                self.replays.answered(id, reply.message());
            }
            Seen::Before(answer) => {
                let room = reply.room(answer.len());
                room.copy_from_slice(&answer);
                reply.skip(answer.len());
            }
            Seen::UnderWay => return false,
        }
        true
    }

    fn carry_out(&self, message: Message<'_>, call: &Call<'_>, reply: &mut Reply) {
        rpc::put_success(reply, call.xid);
        if let Err(why) = self.run(message, call, reply) {
            reply.clear();
            rpc::put_refusal(reply, call.xid, why);
            let (client, &Call { program, version, procedure, .. }) = (message.client, call);
            self.tell(&Event::CallRefused(CallRefused { client, program, version, procedure, why }));
        }
    }

    fn is_secure(&self, message: Message<'_>) -> bool {
        self.insecure || message.client.port() < IPPORT_RESERVED
    }

    fn has_nfs(&self, transport: Transport<'_>) -> bool {
        self.udp || !matches!(transport, Transport::Udp)
    }

    fn run(&self, message: Message<'_>, call: &Call<'_>, reply: &mut Reply) -> Result<(), CallRefusal> {
        let Message { client, share, transport, programs, .. } = message;
        let &Call { procedure, version, arguments, .. } = call;
        let versions = match (programs, call.program) {
            (Programs::Portmap, portmap::PROGRAM) => portmap::VERSION..=portmap::VERSION,
            (Programs::Files, mount::PROGRAM) => mount::FIRST_VERSION..=mount::LAST_VERSION,
            (Programs::Files, nfs3::PROGRAM) if !self.has_nfs(transport) => return Err(CallRefusal::UdpOff),
            (Programs::Files, nfs3::PROGRAM) => nfs3::VERSION..=nfs3::VERSION,
            _ => return Err(CallRefusal::NoSuchProgram),
        };
        if !versions.contains(&version) {
            return Err(CallRefusal::NoSuchVersion { low: *versions.start(), high: *versions.end() });
        }
        let (exports, handles, observer) = (&*self.exports, &self.handles, &*self.observer);
        let secure = self.is_secure(message);
        match call.program {
            portmap::PROGRAM => self.mappings.answer(procedure, arguments, reply),
            mount::PROGRAM => {
                let most_list = match transport {
                    Transport::Tcp { .. } => MOST_PAYLOAD,
                    Transport::Udp => MOST_LIST_UDP,
                };
                let (mounts, by_tcp) = (&self.mounts, matches!(transport, Transport::Tcp { .. }));
                mount::Request {
                    exports,
                    handles,
                    mounts,
                    observer,
                    client,
                    share,
                    secure,
                    version,
                    by_tcp,
                    most_list,
                }
                .answer(procedure, arguments, reply)
            }
            _ => {
                let (most_read, most_write) = match transport {
                    Transport::Tcp { .. } => (MOST_PAYLOAD, MOST_PAYLOAD),
                    Transport::Udp => (MOST_READ_UDP, MOST_WRITE_UDP),
                };
                self.counts.call(procedure);
                nfs3::Request {
                    counts: &self.counts,
                    exports,
                    handles,
                    write_verifier: &self.write_verifier,
                    observer,
                    client,
                    share,
                    secure,
                    transport,
                    procedure,
                    caller: call.caller.as_ref(),
                    most_read,
                    most_write,
                }
                .answer(arguments, reply)
            }
        }
    }
}

impl core::fmt::Debug for Service {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// Ports below this one require root on Unix systems: `<netinet/in.h>`.
const IPPORT_RESERVED: u16 = 1024;

/// The largest READ and WRITE of Linux clients, in bytes.
pub(super) const MOST_PAYLOAD: usize = 1024 * 1024;
/// Most bytes of a WRITE over UDP: a datagram, rounded down.
const MOST_WRITE_UDP: usize = 32 * 1024;
/// Most bytes of the answer to READ, READDIR or READDIRPLUS over UDP: the `rsize` that a kernel asks for its root by UDP
/// (`NFS_DEF_OPTIONS`, fs/nfs/nfsroot.c). The source of a datagram may be forged, and a call has about 150 bytes.
const MOST_READ_UDP: usize = 4 * 1024;
/// Bytes of a list of MOUNT over UDP: a few paths. A call has 40 bytes.
const MOST_LIST_UDP: usize = 256;
/// The longest message: the largest WRITE with its head.
pub(super) const MOST_MESSAGE: usize = MOST_PAYLOAD + 4096;
