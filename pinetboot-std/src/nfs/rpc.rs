//! Remote procedure calls: RFC 5531, version 2 of the protocol, with AUTH_NONE and AUTH_SYS. Neither proves anything; who a
//! caller is, is what the client says.

use nfs3_types::rpc::{
    RPC_VERSION_2, accept_stat_data, accepted_reply, auth_stat, msg_body, opaque_auth, rejected_reply,
    reply_body, rpc_msg,
};

use super::arguments::{Arguments, Garbage};
use super::file_system::Caller;
use super::reply::Reply;

/// A call, all but its arguments understood.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) xid: u32,
    pub(super) program: u32,
    pub(super) version: u32,
    pub(super) procedure: u32,
    /// None for AUTH_NONE.
    pub(super) caller: Option<Caller>,
    pub(super) arguments: Arguments<'a>,
}

/// Why a message is no call to be carried out.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is no call at all: nothing is said.
    NoCall,
    /// It is one that is denied.
    Denied { xid: u32, why: rejected_reply },
}

/// How a call ended, but for its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Results follow.
    Success,
    NoSuchProgram,
    /// Only versions from the first to the last.
    NoSuchVersion(u32, u32),
    NoSuchProcedure,
    GarbageArguments,
}

impl<'a> Call<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, Refused> {
        let mut message = Arguments::new(message);
        Self::read(&mut message).map_err(|Garbage| Refused::NoCall)?
    }

    fn read(message: &mut Arguments<'a>) -> Result<Result<Self, Refused>, Garbage> {
        let xid = message.fixed()?;
        if message.fixed::<u32>()? != CALL {
            return Err(Garbage);
        }
        let denied = |why| Ok(Err(Refused::Denied { xid, why }));
        if message.fixed::<u32>()? != RPC_VERSION_2 {
            return denied(rejected_reply::rpc_mismatch(RPC_VERSION_2, RPC_VERSION_2));
        }
        let (program, version, procedure) = (message.fixed()?, message.fixed()?, message.fixed()?);
        let (flavor, credentials) = (message.fixed::<u32>()?, message.opaque()?);
        let (_, verifier) = (message.fixed::<u32>()?, message.opaque()?);
        if credentials.len() > MOST_AUTH || verifier.len() > MOST_AUTH {
            return denied(rejected_reply::auth_error(auth_stat::AUTH_BADCRED));
        }
        let caller = match flavor {
            AUTH_NONE => None,
            AUTH_SYS => match read_caller(Arguments::new(credentials)) {
                Ok(caller) => Some(caller),
                Err(Garbage) => return denied(rejected_reply::auth_error(auth_stat::AUTH_BADCRED)),
            },
            // What a client then falls back from.
            _ => return denied(rejected_reply::auth_error(auth_stat::AUTH_REJECTEDCRED)),
        };
        Ok(Ok(Self { xid, program, version, procedure, caller, arguments: *message }))
    }
}

/// RFC 5531, appendix A.
fn read_caller(mut body: Arguments<'_>) -> Result<Caller, Garbage> {
    let _stamp: u32 = body.fixed()?;
    let machine = body.opaque()?;
    let (uid, gid, count): (u32, u32, u32) = (body.fixed()?, body.fixed()?, body.fixed()?);
    if machine.len() > MOST_MACHINE_NAME || count > MOST_GROUPS || uid == u32::MAX || gid == u32::MAX {
        return Err(Garbage);
    }
    let groups = (0..count).map(|_| body.fixed()).collect::<Result<_, _>>()?;
    Ok(Caller { uid, gid, groups })
}

/// Begins a reply; where results follow, they are to be put behind it.
pub(super) fn put_head(reply: &mut Reply, xid: u32, ended: Ended) {
    let reply_data = match ended {
        Ended::Success => accept_stat_data::SUCCESS,
        Ended::NoSuchProgram => accept_stat_data::PROG_UNAVAIL,
        Ended::NoSuchVersion(low, high) => accept_stat_data::PROG_MISMATCH { low, high },
        Ended::NoSuchProcedure => accept_stat_data::PROC_UNAVAIL,
        Ended::GarbageArguments => accept_stat_data::GARBAGE_ARGS,
    };
    let body = reply_body::MSG_ACCEPTED(accepted_reply { verf: opaque_auth::default(), reply_data });
    reply.put(&rpc_msg { xid, body: msg_body::REPLY(body) });
}

/// A whole reply.
pub(super) fn put_denial(reply: &mut Reply, xid: u32, why: rejected_reply) {
    reply.put(&rpc_msg { xid, body: msg_body::REPLY(reply_body::MSG_DENIED(why)) });
}

const CALL: u32 = 0;
const AUTH_NONE: u32 = 0;
pub(super) const AUTH_SYS: u32 = 1;

/// RFC 5531, section 8.2.
const MOST_AUTH: usize = 400;
/// RFC 5531, appendix A, and the next as well.
const MOST_MACHINE_NAME: usize = 255;
const MOST_GROUPS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// FSINFO with AUTH_SYS of uid 1000, groups 1 and 2, as libnfs sends it but for the handle.
    fn call() -> Vec<u8> {
        let words: [u32; 17] = [7, 0, 2, 100_003, 3, 19, 1, 32, 0, 0, 1000, 100, 2, 1, 2, 0, 0];
        let mut call: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        call[31] = 28;
        call
    }

    #[test]
    fn parses_who_calls_what() {
        let bytes = call();
        let call = Call::parse(&bytes).unwrap();
        assert_eq!((call.xid, call.program, call.version, call.procedure), (7, 100_003, 3, 19));
        assert_eq!(call.caller, Some(Caller { uid: 1000, gid: 100, groups: vec![1, 2] }));
    }

    #[test]
    fn an_unknown_flavor_is_answered_not_dropped() {
        let mut bytes = call();
        bytes[27] = 6; // RPCSEC_GSS
        let denied = Call::parse(&bytes);
        let Err(Refused::Denied { xid: 7, why }) = denied else { panic!("{denied:?}") };
        let mut reply = Reply::new();
        put_denial(&mut reply, 7, why);
        assert_eq!(reply.message(), [0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2]);
    }

    #[test]
    fn another_version_of_rpc_is_told_ours() {
        let mut bytes = call();
        bytes[11] = 3;
        let mismatch = Call::parse(&bytes);
        let wrong = matches!(
            mismatch,
            Err(Refused::Denied { why: rejected_reply::RPC_MISMATCH { low: 2, high: 2 }, .. })
        );
        assert!(wrong, "{mismatch:?}");
    }

    #[test]
    fn too_many_groups_are_bad_credentials() {
        let mut bytes = call();
        bytes[51] = 17;
        let denied = Call::parse(&bytes);
        let bad = matches!(
            denied,
            Err(Refused::Denied { why: rejected_reply::AUTH_ERROR(auth_stat::AUTH_BADCRED), .. })
        );
        assert!(bad, "{denied:?}");
    }

    #[test]
    fn what_is_cut_short_or_a_reply_is_no_call() {
        let bytes = call();
        for len in 0..bytes.len() - 8 {
            assert!(matches!(Call::parse(&bytes[..len]), Err(Refused::NoCall)), "{len}");
        }
        let mut reply = bytes;
        reply[7] = 1;
        assert!(matches!(Call::parse(&reply), Err(Refused::NoCall)));
    }
}
