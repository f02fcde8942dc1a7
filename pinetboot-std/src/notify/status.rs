//! The status line: what is served, to how many Pis, and what is wrong.

use std::collections::BTreeMap;

use crate::events::{Event, Fact, Root, Server};
use crate::pis::Count;

/// The facts of the line.
#[derive(Debug, Default)]
pub(super) struct Status {
    /// The served directory; `None` before the server is ready.
    serving: Option<String>,
    /// The last count of the Pis.
    pis: Count,
    /// What is wrong, by its object: an interface, a directory, a thread.
    problems: BTreeMap<String, String>,
    /// The last line.
    told: String,
}

impl Status {
    /// Takes over what an event says.
    pub(super) fn learn(&mut self, event: &Event) {
        match &event.fact {
            Fact::Server(Server::Ready { serving }) => self.serving = Some(serving.clone()),
            Fact::Server(Server::Reloaded { serving }) => {
                // A reload during the start is no end of the start.
                self.serving = self.serving.as_ref().map(|_| serving.clone());
                self.problems.remove(CONFIGURATION);
            }
            Fact::Server(Server::NotReloaded { error }) => {
                self.wrong(
                    CONFIGURATION,
                    format!("the new configuration is invalid, the previous one stays: {error}"),
                );
            }
            Fact::Server(
                Server::InterfaceGone { interface } | Server::InterfaceRenamed { interface, .. },
            ) => {
                self.wrong(interface, format!("interface {interface} was removed"));
            }
            Fact::Server(Server::ListenAddress { address, is_there: false }) => {
                self.wrong(&address.to_string(), format!("no interface has the address {address}"));
            }
            Fact::Server(Server::TreeMissing { tree, error }) => self.wrong(tree, format!("{tree}: {error}")),
            Fact::Server(Server::DiskHangs { place, .. }) => {
                self.wrong(place, format!("{place} does not answer"));
            }
            Fact::Server(Server::LoopStalled { thread, .. }) => {
                self.wrong(thread, format!("thread {thread} shows no turn"));
            }
            Fact::Root(Root::DiskFilling { place, percent, .. }) => {
                self.wrong(place, format!("the disk of {place} is {percent} % full"));
            }
            Fact::Server(Server::InterfaceBack { interface: object })
            | Fact::Server(Server::TreeReplaced { tree: object })
            | Fact::Server(Server::DiskAnswers { place: object, .. })
            | Fact::Server(Server::LoopTurns { thread: object }) => {
                self.problems.remove(object);
            }
            Fact::Server(Server::ListenAddress { address, is_there: true }) => {
                self.problems.remove(&address.to_string());
            }
            _ => {}
        }
    }

    /// The line, if it differs from the last one or is wanted again; none before the server is ready. `None`: as many Pis as last time.
    pub(super) fn line(&mut self, pis: Option<Count>, again: bool) -> Option<String> {
        let pis = pis.unwrap_or(self.pis);
        self.pis = pis;
        let mut line = format!("serving {}", self.serving.as_ref()?);
        let counts = [("up", pis.up), ("booting", pis.booting)].into_iter().filter(|(_, number)| *number > 0);
        let counts: Vec<_> = counts.map(|(state, number)| format!("{state}: {number}")).collect();
        if !counts.is_empty() {
            line += &format!("; Pis {}", counts.join(", "));
        }
        for problem in self.problems.values() {
            line += &format!("; problem: {problem}");
        }
        if line == self.told && !again {
            return None;
        }
        self.told.clone_from(&line);
        Some(line)
    }

    fn wrong(&mut self, object: &str, problem: String) {
        // Objects have names of the configuration, which are few; only a flood of threads would not be.
        if self.problems.len() < MOST {
            self.problems.insert(object.to_owned(), problem);
        }
    }
}

const CONFIGURATION: &str = "configuration";
/// The manager takes messages of some KiB.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn learn(status: &mut Status, fact: impl Into<Fact>) {
        let (at, pi, client, again, fact) = (Duration::ZERO, None, None, false, fact.into());
        status.learn(&Event { at, pi, boot: None, client, again, fact });
    }

    #[test]
    fn the_line_has_the_pis_and_what_is_wrong() {
        let (mut status, none) = (Status::default(), Some(Count::default()));
        assert_eq!(status.line(none, true), None);
        learn(&mut status, Server::Reloaded { serving: "/srv/pi".into() });
        assert_eq!(status.line(none, true), None, "a reload during the start");
        learn(&mut status, Server::Ready { serving: "/srv/pi".into() });
        assert_eq!(status.line(none, false).unwrap(), "serving /srv/pi");
        assert_eq!(status.line(none, false), None);
        assert_eq!(status.line(none, true).unwrap(), "serving /srv/pi");
        let some = Some(Count { up: 2, booting: 1 });
        assert_eq!(status.line(some, false).unwrap(), "serving /srv/pi; Pis up: 2, booting: 1");
        assert_eq!(status.line(None, false), None, "as many as last time");
        learn(&mut status, Server::InterfaceGone { interface: "eth0".into() });
        let line = status.line(Some(Count { up: 1, booting: 0 }), false).unwrap();
        assert_eq!(line, "serving /srv/pi; Pis up: 1; problem: interface eth0 was removed");
        learn(&mut status, Server::InterfaceBack { interface: "eth0".into() });
        learn(&mut status, Server::NotReloaded { error: "line 3".into() });
        assert!(
            status
                .line(none, false)
                .unwrap()
                .ends_with("problem: the new configuration is invalid, the previous one stays: line 3")
        );
        learn(&mut status, Server::Reloaded { serving: "/srv/two".into() });
        assert_eq!(status.line(none, false).unwrap(), "serving /srv/two");
    }
}
