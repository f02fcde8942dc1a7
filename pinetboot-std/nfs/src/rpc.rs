//! Remote procedure calls: RFC 5531, version 2 of the protocol, with AUTH_NONE and AUTH_SYS. Neither proves the caller's identity: the
//! client names it.

use nfs3_types::rpc::{
    RPC_VERSION_2, accept_stat_data, accepted_reply, auth_stat, msg_body, opaque_auth, rejected_reply,
    reply_body, rpc_msg,
};

use super::arguments::{Arguments, Garbage};
use super::file_system::Caller;
use super::observe::CallRefusal;
use super::reply::Reply;

/// A parsed call, without its arguments.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) xid: u32,
    pub(super) program: u32,
    pub(super) version: u32,
    pub(super) procedure: u32,
    /// `None` for AUTH_NONE.
    pub(super) caller: Option<Caller>,
    pub(super) arguments: Arguments<'a>,
}

/// A message that cannot be carried out.
#[derive(Debug)]
pub(super) enum Refused {
    /// Not a call: no answer is sent.
    NoCall,
    /// A denied call.
    Denied { xid: u32, program: u32, version: u32, procedure: u32, why: CallRefusal },
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
        let rpc_version = message.fixed::<u32>()?;
        if rpc_version != RPC_VERSION_2 {
            // The rest belongs to another version; all known versions have these fields here.
            let [program, version, procedure] = [(); 3].map(|()| message.fixed().unwrap_or(0));
            let why = CallRefusal::RpcVersion(rpc_version);
            return Ok(Err(Refused::Denied { xid, program, version, procedure, why }));
        }
        let (program, version, procedure) = (message.fixed()?, message.fixed()?, message.fixed()?);
        let denied = |why| Ok(Err(Refused::Denied { xid, program, version, procedure, why }));
        let Ok((flavor, credentials)) = read_auth(message) else {
            return denied(CallRefusal::BadCredentials);
        };
        if read_auth(message).is_err() {
            return denied(CallRefusal::BadVerifier);
        }
        let caller = match flavor {
            AUTH_NONE => None,
            AUTH_SYS => match read_caller(Arguments::new(credentials)) {
                Ok(caller) => Some(caller),
                Err(Garbage) => return denied(CallRefusal::BadCredentials),
            },
            // The status from which a client falls back to AUTH_SYS.
            _ => return denied(CallRefusal::Flavor(flavor)),
        };
        Ok(Ok(Self { xid, program, version, procedure, caller, arguments: *message }))
    }
}

/// A flavor and its body (RFC 5531, section 8.2). A claimed length beyond 400 bytes or the message is garbage, and has an answer:
///
/// > If authentication parameters are rejected, the reply .. contains .. AUTH_BADCRED = 1, bad credential (seal broken);
/// > AUTH_BADVERF = 3, bad verifier (seal broken) (section 9)
fn read_auth<'a>(message: &mut Arguments<'a>) -> Result<(u32, &'a [u8]), Garbage> {
    let (flavor, body) = (message.fixed()?, message.opaque()?);
    if body.len() > MOST_AUTH { Err(Garbage) } else { Ok((flavor, body)) }
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

/// Begins a successful reply; the results follow.
pub(super) fn put_success(reply: &mut Reply, xid: u32) {
    put_accepted(reply, xid, accept_stat_data::SUCCESS);
}

/// A whole reply: RFC 5531, section 9.
pub(super) fn put_refusal(reply: &mut Reply, xid: u32, why: CallRefusal) {
    let denied = match why {
        CallRefusal::NoSuchProgram | CallRefusal::UdpOff => {
            return put_accepted(reply, xid, accept_stat_data::PROG_UNAVAIL);
        }
        CallRefusal::NoSuchVersion { low, high } => {
            return put_accepted(reply, xid, accept_stat_data::PROG_MISMATCH { low, high });
        }
        CallRefusal::NoSuchProcedure => return put_accepted(reply, xid, accept_stat_data::PROC_UNAVAIL),
        CallRefusal::GarbageArguments => return put_accepted(reply, xid, accept_stat_data::GARBAGE_ARGS),
        CallRefusal::RpcVersion(_) => rejected_reply::rpc_mismatch(RPC_VERSION_2, RPC_VERSION_2),
        CallRefusal::BadCredentials => rejected_reply::auth_error(auth_stat::AUTH_BADCRED),
        CallRefusal::BadVerifier => rejected_reply::auth_error(auth_stat::AUTH_BADVERF),
        CallRefusal::Flavor(_) => rejected_reply::auth_error(auth_stat::AUTH_REJECTEDCRED),
        CallRefusal::PortNotReserved => rejected_reply::auth_error(auth_stat::AUTH_TOOWEAK),
    };
    reply.put(&rpc_msg { xid, body: msg_body::REPLY(reply_body::MSG_DENIED(denied)) });
}

fn put_accepted(reply: &mut Reply, xid: u32, reply_data: accept_stat_data) {
    let body = reply_body::MSG_ACCEPTED(accepted_reply { verf: opaque_auth::default(), reply_data });
    reply.put(&rpc_msg { xid, body: msg_body::REPLY(body) });
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

    fn denied(bytes: &[u8]) -> (u32, u32, u32, CallRefusal) {
        match Call::parse(bytes) {
            Err(Refused::Denied { xid: 7, program, version, procedure, why }) => {
                (program, version, procedure, why)
            }
            parsed => panic!("{parsed:?}"),
        }
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
        let Err(Refused::Denied { xid: 7, why, .. }) = denied else { panic!("{denied:?}") };
        assert_eq!(why, CallRefusal::Flavor(6));
        let mut reply = Reply::new();
        put_refusal(&mut reply, 7, why);
        assert_eq!(reply.message(), [0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2]);
    }

    #[test]
    fn another_version_of_rpc_is_told_ours() {
        let mut bytes = call();
        bytes[11] = 3;
        let told = (100_003, 3, 19, CallRefusal::RpcVersion(3));
        assert_eq!(denied(&bytes), told);
        assert_eq!(denied(&bytes[..12]), (0, 0, 0, CallRefusal::RpcVersion(3)));
        let mut reply = Reply::new();
        put_refusal(&mut reply, 7, told.3);
        assert_eq!(reply.message(), [0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2]);
    }

    #[test]
    fn too_many_groups_are_bad_credentials() {
        let mut bytes = call();
        bytes[51] = 17;
        assert_eq!(denied(&bytes).3, CallRefusal::BadCredentials);
    }

    #[test]
    fn what_is_cut_short_before_its_procedure_or_a_reply_is_no_call() {
        let bytes = call();
        for len in 0..24 {
            assert!(matches!(Call::parse(&bytes[..len]), Err(Refused::NoCall)), "{len}");
        }
        let mut reply = bytes;
        reply[7] = 1;
        assert!(matches!(Call::parse(&reply), Err(Refused::NoCall)));
    }

    #[test]
    fn credentials_and_a_verifier_that_are_cut_short_are_answered() {
        let bytes = call();
        for len in 24..60 {
            assert_eq!(denied(&bytes[..len]).3, CallRefusal::BadCredentials, "{len}");
        }
        for len in 60..68 {
            assert_eq!(denied(&bytes[..len]).3, CallRefusal::BadVerifier, "{len}");
        }
        assert!(Call::parse(&bytes).is_ok());
    }

    #[test]
    fn lengths_that_no_message_has_are_answered() {
        for (at, why, status) in [(28, CallRefusal::BadCredentials, 1), (64, CallRefusal::BadVerifier, 3)] {
            for length in [401u32, 0x7fff_ffff, u32::MAX] {
                let mut bytes = call();
                bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
                assert_eq!(denied(&bytes).3, why, "{length}");
                let mut reply = Reply::new();
                put_refusal(&mut reply, 7, why);
                assert_eq!(reply.message()[12..], [0, 0, 0, 1, 0, 0, 0, status]);
            }
        }
    }
}
