//! The negotiation: from the greeting to a chosen export. A value that is given each option and appends the replies, without
//! input or output.
//!
//! Fixed newstyle only. Options: EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED_REPLY, LIST_META_CONTEXT, SET_META_CONTEXT.
//! Not done: EXTENDED_HEADERS (answered as unsupported).

use std::io;
use std::net::IpAddr;

use crate::exports::{Export, Exports};
use crate::wire::{
    ALLOCATION, ALLOCATION_ID, FIXED, Fields, GREETING, NO_ZEROES, OPTION, OPTION_REPLY, answer, export,
    info, option,
};

/// The state of a negotiation.
pub(crate) struct Negotiation<'a> {
    exports: &'a dyn Exports,
    client: IpAddr,
    no_zeroes: bool,
    structured: bool,
    /// The export with the context `base:allocation`.
    context: Option<String>,
    options: usize,
    /// The name in the last refused option.
    refused: Option<String>,
    tls: TlsOffer,
}

/// What the server says to a client that asks for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsOffer {
    /// The server has no TLS, or the client has it already.
    None,
    /// For clients that ask.
    Optional,
    /// Nothing is said to other clients.
    Required,
}

/// An export and what the client agreed upon.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) export: Export,
    pub(crate) name: String,
    /// Replies in chunks.
    pub(crate) structured: bool,
    /// `BLOCK_STATUS` reports `base:allocation`.
    pub(crate) allocation: bool,
}

/// What follows an option.
pub(crate) enum Next {
    /// Another option.
    Option,
    /// The handshake of TLS, and then options as from the beginning.
    Tls,
    /// Requests.
    Transmission(Session),
    /// The end, after the replies are sent.
    End,
}

/// The end of a connection without a disk.
pub(crate) enum Ended {
    /// By the client, at an option's boundary.
    ByClient,
    /// The last name that the client asked for is no disk for it.
    Refused(String),
    /// Bytes that are not NBD, a broken connection, or no more time.
    Broken,
}

impl From<io::Error> for Ended {
    fn from(_error: io::Error) -> Self {
        Self::Broken
    }
}

impl<'a> Negotiation<'a> {
    /// The server's first bytes.
    pub(crate) fn greeting() -> [u8; 18] {
        let mut out = [0; 18];
        out[..8].copy_from_slice(&GREETING.to_be_bytes());
        out[8..16].copy_from_slice(&OPTION.to_be_bytes());
        out[16..].copy_from_slice(&(FIXED | NO_ZEROES).to_be_bytes());
        out
    }

    /// Takes the client's flags, its first bytes; `None` for flags that this server does not know.
    pub(crate) fn new(
        exports: &'a dyn Exports,
        client: IpAddr,
        flags: [u8; 4],
        tls: TlsOffer,
    ) -> Option<Self> {
        let flags = u32::from_be_bytes(flags);
        let known = u32::from(FIXED | NO_ZEROES);
        (flags & !known == 0).then_some(Self {
            exports,
            client,
            no_zeroes: flags & u32::from(NO_ZEROES) != 0,
            structured: false,
            context: None,
            options: 0,
            refused: None,
            tls,
        })
    }

    /// The negotiation behind the handshake of TLS: what was agreed before does not hold.
    pub(crate) fn begin_again(&mut self) {
        (self.structured, self.context, self.refused) = (false, None, None);
        self.tls = TlsOffer::None;
    }

    /// The number and the length in bytes of an option; `None` for a wrong magic number, or an option too long.
    pub(crate) fn head(bytes: &[u8; 16]) -> Option<(u32, usize)> {
        let mut at = Fields(bytes);
        let magic = at.u64()?;
        let (option, len) = (at.u32()?, usize::try_from(at.u32()?).ok()?);
        (magic == OPTION && len <= MOST_OPTION).then_some((option, len))
    }

    /// Carries out an option, and appends the replies to `out`.
    pub(crate) fn handle(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) -> Next {
        self.options += 1;
        if self.options > MOST_OPTIONS {
            return Next::End;
        }
        match option {
            option::ABORT => {
                reply(out, option, answer::ACK, &[]);
                return Next::End;
            }
            option::STARTTLS if self.tls != TlsOffer::None && data.is_empty() => {
                reply(out, option, answer::ACK, &[]);
                return Next::Tls;
            }
            // > If the server is operating in FORCEDTLS mode, it MUST reply NBD_REP_ERR_TLS_REQD to any other option; NBD_OPT_EXPORT_NAME
            // > has no error reply: the server drops the connection.
            option::EXPORT_NAME if self.tls == TlsOffer::Required => return Next::End,
            _ if self.tls == TlsOffer::Required => {
                reply(out, option, answer::TLS_REQUIRED, b"TLS is required")
            }
            option::STARTTLS if self.tls != TlsOffer::None => reply(out, option, answer::INVALID, &[]),
            option::EXPORT_NAME => return self.export_name(data, out),
            option::LIST if data.is_empty() => self.list(out),
            option::INFO | option::GO => return self.info_or_go(option, data, out),
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                reply(out, option, answer::ACK, &[]);
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.contexts(option, data, out),
            option::LIST | option::STRUCTURED_REPLY => reply(out, option, answer::INVALID, &[]),
            _ => reply(out, option, answer::UNSUPPORTED, &[]),
        }
        Next::Option
    }

    /// The reason for an end at this point.
    pub(crate) fn ended(&self) -> Ended {
        match &self.refused {
            Some(name) => Ended::Refused(name.clone()),
            None if self.options == 0 || self.options > MOST_OPTIONS => Ended::Broken,
            None => Ended::ByClient,
        }
    }

    /// The oldest way to choose an export: a refusal can only be shown by closing the connection.
    fn export_name(&mut self, data: &[u8], out: &mut Vec<u8>) -> Next {
        let Some(name) = name(data) else { return Next::End };
        let Ok(export) = self.exports.open(self.client, name) else {
            self.refused = Some(name.to_owned());
            return Next::End;
        };
        out.extend(export.disk.len().to_be_bytes());
        out.extend(transmission_flags(&export, self.structured).to_be_bytes());
        if !self.no_zeroes {
            out.extend([0; 124]);
        }
        Next::Transmission(self.session(export, name))
    }

    fn info_or_go(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) -> Next {
        let mut fields = Fields(data);
        // The information requests that follow are the description, or passed over: all other information is sent in each answer.
        let asked = fields.text().zip(fields.u16());
        let Some(name) = asked
            .filter(|(_, count)| fields.0.len() == usize::from(*count) * 2)
            .and_then(|(asked, _)| name(asked))
        else {
            reply(out, option, answer::INVALID, &[]);
            return Next::Option;
        };
        let Ok(export) = self.exports.open(self.client, name) else {
            reply(out, option, answer::UNKNOWN, b"no such disk for this client");
            self.refused = Some(name.to_owned());
            return Next::Option;
        };
        let mut about = info::EXPORT.to_be_bytes().to_vec();
        about.extend(export.disk.len().to_be_bytes());
        about.extend(transmission_flags(&export, self.structured).to_be_bytes());
        reply(out, option, answer::INFO, &about);
        let mut sizes = info::BLOCK_SIZE.to_be_bytes().to_vec();
        sizes.extend([1, 4096, MOST_PAYLOAD].into_iter().flat_map(u32::to_be_bytes));
        reply(out, option, answer::INFO, &sizes);
        let wants_description = core::iter::from_fn(|| fields.u16()).any(|asked| asked == info::DESCRIPTION);
        if let Some(text) = export.disk.continuity().filter(|_| wants_description) {
            reply(out, option, answer::INFO, &[&info::DESCRIPTION.to_be_bytes(), text.as_bytes()].concat());
        }
        reply(out, option, answer::ACK, &[]);
        if option == option::GO { Next::Transmission(self.session(export, name)) } else { Next::Option }
    }

    fn session(&self, export: Export, name: &str) -> Session {
        let allocation = self.structured && self.context.as_deref() == Some(name);
        Session { export, name: name.to_owned(), structured: self.structured, allocation }
    }

    fn list(&self, out: &mut Vec<u8>) {
        for name in
            self.exports.list(self.client).iter().take(MOST_NAMES).filter(|name| name.len() <= MOST_NAME)
        {
            let len = u32::try_from(name.len()).unwrap_or(0);
            reply(out, option::LIST, answer::SERVER, &[&len.to_be_bytes(), name.as_bytes()].concat());
        }
        reply(out, option::LIST, answer::ACK, &[]);
    }

    fn contexts(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) {
        let is_set = option == option::SET_META_CONTEXT;
        if is_set {
            self.context = None;
        }
        let mut fields = Fields(data);
        let asked = fields.text().and_then(name).zip(fields.u32());
        let mut wanted = asked.is_some_and(|(_, count)| count == 0 && !is_set);
        let mut is_whole = asked.is_some();
        // Each query has 4 bytes at least: the option's length bounds the loop.
        for _ in 0..asked.map_or(0, |(_, count)| count) {
            match fields.text() {
                Some(query) => wanted |= query == ALLOCATION || !is_set && query == b"base:",
                None => {
                    is_whole = false;
                    break;
                }
            }
        }
        let Some((name, _)) =
            asked.filter(|_| is_whole && fields.0.is_empty() && (self.structured || !is_set))
        else {
            return reply(out, option, answer::INVALID, &[]);
        };
        if self.exports.open(self.client, name).is_err() {
            return reply(out, option, answer::UNKNOWN, &[]);
        }
        if wanted {
            let id = if is_set { ALLOCATION_ID } else { 0 };
            reply(out, option, answer::META_CONTEXT, &[&id.to_be_bytes(), ALLOCATION].concat());
            if is_set {
                self.context = Some(name.to_owned());
            }
        }
        reply(out, option, answer::ACK, &[]);
    }
}

/// MULTI_CONN holds for every disk of this crate: the connections to a disk share one [`Disk`](crate::Disk), which keeps no writes in a cache of its
/// own, and whose flush covers the writes of all.
fn transmission_flags(of: &Export, structured: bool) -> u16 {
    let mut flags = export::HAS_FLAGS | export::FLUSH | export::FUA | export::MULTI_CONN | export::CACHE;
    if of.is_read_only() {
        flags |= export::READ_ONLY;
    } else {
        flags |= export::TRIM | export::WRITE_ZEROES;
    }
    if structured { flags | export::DONT_FRAGMENT } else { flags }
}

fn name(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok().filter(|name| name.len() <= MOST_NAME)
}

fn reply(out: &mut Vec<u8>, option: u32, kind: u32, data: &[u8]) {
    out.extend(OPTION_REPLY.to_be_bytes());
    out.extend(option.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend(u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
    out.extend(data);
}

/// Bytes of a request's payload that every server should take.
pub(crate) const MOST_PAYLOAD: u32 = 32 << 20;
/// Bytes of a name: the protocol's limit.
const MOST_NAME: usize = 4096;
/// Bytes of an option: a name, and some queries.
const MOST_OPTION: usize = 2 * MOST_NAME;
/// Options of a connection; clients send less than ten.
const MOST_OPTIONS: usize = 64;
const MOST_NAMES: usize = 256;
