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

use crate::events::{Event, Fact, Listener};

/// Writes a line for each event that is worth one, to wherever [`logging`](crate::logging) sends lines.
#[derive(Debug, Clone, Copy, Default)]
pub struct Log;

impl Listener for Log {
    fn listen(&self, event: &Event) {
        let client = event.subject();
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

/// A MAC address as text.
struct Hex(crate::events::Mac);

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
