//! The log: one line per event, as a pure function of the event.
//!
//! A line names the subject, the event and the values, then a sentence with the remedy. `warn` asks the operator to act,
//! `info` has a boot's steps and files, `debug` normal and frequent events, `trace` packets. In JSON the facts are fields too.

mod boot;
mod bounds;
mod dhcp;
mod network;
mod nfs;
mod phase;
mod root;
mod server;
#[cfg(test)]
mod tests;
mod tftp;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use tracing::{error_span, info, warn};

use crate::events::{Event, Fact, Listener, Server};
use crate::logging;
use bounds::Bounds;
#[cfg(feature = "import")]
pub(crate) use phase::phase;

/// Writes the lines of events to [`logging`]'s output.
#[derive(Debug, Default)]
pub struct Log(Mutex<Bounds>);

impl Listener for Log {
    fn listen(&self, event: &Event) {
        let mut bounds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (report, admitted) = (bounds.report(event), bounds.admit(event));
        drop(bounds);
        if logging::dropped() > 0 {
            logging::report_dropped(|dropped| {
                warn!(
                    dropped,
                    "log lines dropped, because standard error was not read for 250 ms: {dropped}. Check its reader"
                );
            });
        }
        match report {
            Some((left_out, true)) => info!("{LEFT_OUT}{left_out}"),
            Some((left_out, false)) => warn!("{LEFT_OUT}{left_out}"),
            None => {}
        }
        if !admitted {
            return;
        }
        // At the highest level, so that each line has it.
        let boot = event.boot.filter(|_| logging::is_json());
        let _of_boot = boot.map(|boot| error_span!("boot", id = %boot).entered());
        let client = ClientName(event);
        match &event.fact {
            Fact::Dhcp(fact) => dhcp::log(event, fact),
            Fact::Tftp(fact) => tftp::log(event, &client, fact),
            Fact::Boot(fact) => boot::log(&client, fact),
            Fact::Root(fact) => root::log(event, &client, fact),
            Fact::Nfs(fact) => nfs::log(event, &client, fact),
            Fact::Network(fact) => network::log(event, fact),
            Fact::Server(Server::HeardLate { .. }) if event.again => {}
            Fact::Server(fact) => server::log(fact),
            Fact::Usage(_) => {}
        }
    }
}

const LEFT_OUT: &str = "log lines left out, of which a minute had more than its bound: ";

/// The client of an event: `kitchen (10.0.0.5)` as a field and where a client is refused, whose address may not be that of the Pi
/// that it names; by `{:#}` the name alone, or the address of a client without a name. Formatted only if the line is written.
struct ClientName<'a>(&'a Event);

impl fmt::Display for ClientName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.pi, self.0.client) {
            (Some(pi), Some(client)) if !f.alternate() => write!(f, "{pi} ({client})"),
            (Some(pi), _) => f.write_str(pi),
            (None, Some(client)) => write!(f, "{client}"),
            (None, None) => f.write_str("a client"),
        }
    }
}
