//! Whether the boot server answers: it is asked for the first file that the client needs, and nothing is taken.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use pinetboot_core::block_on;
use pinetboot_core::tftp::{Client, Options, Outcome, PORT, Probe, RetryPolicy};
use serde::Serialize;

use crate::exit::{Exit, Failed};
use crate::net::{LinuxNet, source_of};

/// What a boot server said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tftp {
    /// This machine's address, from which it was asked.
    pub asked_from: Ipv4Addr,
    /// Whether it said anything.
    pub answers: bool,
    /// What it was asked for.
    pub files: Vec<File>,
}

/// A file that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What was said about it.
    pub answer: Answer,
    /// Its length, if the server says so.
    pub bytes: Option<u64>,
}

/// What was said about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is there.
    There,
    /// An ERROR.
    Missing,
    /// Nothing.
    None,
}

impl Tftp {
    /// Whether one of the files is there.
    pub fn found(&self) -> bool {
        self.files.iter().any(|file| file.answer == Answer::There)
    }

    /// Asks for these files one by one, until there is one, or no answer.
    ///
    /// `None` if this machine has no address and no route by which to ask.
    ///
    /// # Errors
    ///
    /// If the network fails.
    pub(super) fn ask(server: Ipv4Addr, names: Vec<String>) -> Result<Option<Self>, Failed> {
        let Some(asked_from) = source_of(server) else { return Ok(None) };
        let mut tftp = Self { asked_from, answers: false, files: Vec::new() };
        for name in names {
            let (answer, bytes) = probe(server, &name)?;
            tftp.answers |= answer != Answer::None;
            tftp.files.push(File { name, answer, bytes });
            if answer != Answer::Missing {
                break;
            }
        }
        Ok(Some(tftp))
    }
}

fn probe(server: Ipv4Addr, name: &str) -> Result<(Answer, Option<u64>), Failed> {
    let failed =
        |error: &dyn core::fmt::Display| Failed::new(Exit::Failure, format!("cannot ask {server}: {error}"));
    let mut net = LinuxNet::client(None).map_err(|error| failed(&error))?;
    let server = SocketAddrV4::new(server, PORT);
    let mut client = Client::new(&mut net, LinuxNet::client_port(), server).with_retry(PATIENCE);
    let answer =
        block_on(client.probe(name.as_bytes(), Options::RASPBERRY_PI)).map_err(|error| failed(&error))?;
    Ok(match answer {
        Probe::Found(bytes) => (Answer::There, bytes),
        Probe::Missing(Outcome::TimedOut) => (Answer::None, None),
        Probe::Missing(_) => (Answer::Missing, None),
    })
}

/// 1 + 2 seconds: a Pi asks again after 2 (captured, rpi-eeprom issue 74).
const PATIENCE: RetryPolicy = RetryPolicy::new(Duration::from_secs(1), 1);
