//! From a message that came in to the message that goes out: which program is called, and has the call come before?

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustix::io;
use tracing::trace;

use super::arguments::{Arguments, Garbage};
use super::export::Exports;
use super::handle::Handles;
use super::mount::{self, Mounts};
use super::nfs3;
use super::portmap::{self, Mappings};
use super::replays::{Replays, Seen};
use super::reply::Reply;
use super::rpc::{self, Call, Ended, Refused};
use super::write_verifier::WriteVerifier;

/// Everything behind the network.
pub(super) struct Service {
    exports: Arc<dyn Exports>,
    handles: Handles,
    mappings: Mappings,
    mounts: Mounts,
    replays: Replays,
    write_verifier: WriteVerifier,
}

/// Which programs answer on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Programs {
    /// The portmapper.
    Portmap,
    /// NFS and MOUNT.
    Files,
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// In a stream, by someone who proved their address.
    Tcp,
    /// In a datagram, by someone who may have made theirs up.
    Udp,
}

/// A message that came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// From whom.
    pub(super) client: Ipv4Addr,
    /// How.
    pub(super) transport: Transport,
    /// To which port.
    pub(super) programs: Programs,
    /// What it is.
    pub(super) bytes: &'a [u8],
}

impl Service {
    /// What answers for these exports.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub(super) fn new(exports: Arc<dyn Exports>, handles: Handles, mappings: Mappings) -> io::Result<Self> {
        let write_verifier = WriteVerifier::new()?;
        let (mounts, replays) = (Mounts::default(), Replays::default());
        Ok(Self { exports, handles, mappings, mounts, replays, write_verifier })
    }

    pub(super) fn exports(&self) -> &dyn Exports {
        &*self.exports
    }

    /// Writes the answer into `reply`; false if there is none.
    pub(super) fn answer(&self, message: Message<'_>, reply: &mut Reply) -> bool {
        reply.clear();
        let call = match Call::parse(message.bytes) {
            Ok(call) => call,
            Err(Refused::NoCall) => return false,
            Err(Refused::Denied { xid, why }) => {
                rpc::put_denial(reply, xid, why);
                return true;
            }
        };
        let Call { xid, program, procedure, .. } = call;
        trace!("{} calls {program}/{}/{procedure}, xid {xid:08x}", message.client, call.version);
        let files = message.programs == Programs::Files;
        if !files || program != nfs3::PROGRAM || nfs3::is_idempotent(procedure) {
            self.carry_out(message, &call, reply);
            return true;
        }
        let id = self.replays.id(message.client, xid, message.bytes);
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
        rpc::put_head(reply, call.xid, Ended::Success);
        let ended = self.run(message, call, call.arguments, reply);
        let ended = ended.unwrap_or(Ended::GarbageArguments);
        if ended != Ended::Success {
            reply.clear();
            rpc::put_head(reply, call.xid, ended);
        }
    }

    fn run(
        &self,
        message: Message<'_>,
        call: &Call<'_>,
        arguments: Arguments<'_>,
        reply: &mut Reply,
    ) -> Result<Ended, Garbage> {
        let Message { client, transport, programs, .. } = message;
        let versions = match (programs, call.program) {
            (Programs::Portmap, portmap::PROGRAM) => portmap::VERSION..=portmap::VERSION,
            (Programs::Files, mount::PROGRAM) => mount::FIRST_VERSION..=mount::LAST_VERSION,
            (Programs::Files, nfs3::PROGRAM) => nfs3::VERSION..=nfs3::VERSION,
            _ => return Ok(Ended::NoSuchProgram),
        };
        if !versions.contains(&call.version) {
            return Ok(Ended::NoSuchVersion(*versions.start(), *versions.end()));
        }
        let (exports, handles) = (&*self.exports, &self.handles);
        match call.program {
            portmap::PROGRAM => self.mappings.answer(call.procedure, arguments, reply),
            mount::PROGRAM => {
                let most_list = match transport {
                    Transport::Tcp => MOST_PAYLOAD,
                    Transport::Udp => MOST_LIST_UDP,
                };
                let (mounts, version) = (&self.mounts, call.version);
                mount::Request { exports, handles, mounts, client, version, most_list }.answer(
                    call.procedure,
                    arguments,
                    reply,
                )
            }
            _ => {
                let most_payload = match transport {
                    Transport::Tcp => MOST_PAYLOAD,
                    Transport::Udp => MOST_PAYLOAD_UDP,
                };
                let (write_verifier, caller) = (&self.write_verifier, call.caller.as_ref());
                nfs3::Request { exports, handles, write_verifier, client, caller, most_payload }.answer(
                    call.procedure,
                    arguments,
                    reply,
                )
            }
        }
    }
}

impl core::fmt::Debug for Service {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// What Linux asks for at most.
pub(super) const MOST_PAYLOAD: usize = 1024 * 1024;
/// What fits into a datagram, rounded down.
const MOST_PAYLOAD_UDP: usize = 32 * 1024;
/// What fits into a frame.
const MOST_LIST_UDP: usize = 1200;
/// A WRITE of the most bytes, and all around it.
pub(super) const MOST_MESSAGE: usize = MOST_PAYLOAD + 4096;
