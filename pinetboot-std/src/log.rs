//! The log: a line for an event, as a pure function of the event.
//!
//! `warn` is for what an operator should act upon, `info` for a boot's steps and files, `debug` for what is normal and
//! frequent, `trace` for packets. In JSON a line has the event's facts as fields, too.

mod boot;
mod dhcp;
mod nfs;
mod root;
mod server;
#[cfg(test)]
mod tests;
mod tftp;

use std::fmt;

use crate::events::{Event, Fact, Listener};

/// Writes a line for each event that is worth one, to wherever [`logging`](crate::logging) sends lines.
#[derive(Debug, Clone, Copy, Default)]
pub struct Log;

impl Listener for Log {
    fn listen(&self, event: &Event) {
        let client = Client(event);
        match &event.fact {
            Fact::Dhcp(fact) => dhcp::log(event, fact),
            Fact::Tftp(fact) => tftp::log(event, &client, fact),
            Fact::Boot(fact) => boot::log(&client, fact),
            Fact::Root(fact) => root::log(event, &client, fact),
            Fact::Nfs(fact) => nfs::log(event, &client, fact),
            Fact::Server(fact) => server::log(fact),
        }
    }
}

/// The client of an event in a line: `kitchen (10.0.0.5)`, or what of that is known. Not written before a line is.
struct Client<'a>(&'a Event);

impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.pi, self.0.client) {
            (Some(pi), Some(client)) => write!(f, "{pi} ({client})"),
            (Some(pi), None) => f.write_str(pi),
            (None, Some(client)) => write!(f, "{client}"),
            (None, None) => f.write_str("a client"),
        }
    }
}
