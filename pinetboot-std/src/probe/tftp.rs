//! The test of the boot server: requests the client's first file, and ends each transfer before the first byte.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use pinetboot_core::block_on;
use pinetboot_core::tftp::{Client, Options, Outcome, PORT, Probe, RetryPolicy};
use serde::Serialize;

use crate::exit::{Exit, Failed};
use crate::net::{LinuxNet, source_of};

/// The answers of a boot server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tftp {
    /// The address of this machine that the requests came from.
    pub asked_from: Ipv4Addr,
    /// Whether the server answered at all.
    pub answers: bool,
    /// The requested files.
    pub files: Vec<File>,
}

/// A requested file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// The answer.
    pub answer: Answer,
    /// Its length in bytes, if the server answers the option tsize.
    pub bytes: Option<u64>,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The file exists.
    There,
    /// The server sent an ERROR.
    Missing,
    /// The server sent no answer.
    None,
}

impl Tftp {
    /// Whether one of the files exists.
    pub fn found(&self) -> bool {
        self.files.iter().any(|file| file.answer == Answer::There)
    }

    /// Requests these files one by one, until a file exists or the server sends no answer.
    ///
    /// `None` if this machine has no address or no route to the server.
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
    let failed = |error: &dyn core::fmt::Display| {
        Failed::new(Exit::Failure, format!("cannot send to {server}: {error}"))
    };
    let mut net = LinuxNet::client(None).map_err(|error| failed(&error))?;
    let server = SocketAddrV4::new(server, PORT);
    let mut client = Client::new(&mut net, LinuxNet::client_port(), server).with_retry(RETRY_POLICY);
    let answer =
        block_on(client.probe(name.as_bytes(), Options::RASPBERRY_PI)).map_err(|error| failed(&error))?;
    Ok(match answer {
        Probe::Found(bytes) => (Answer::There, bytes),
        Probe::Missing(Outcome::TimedOut) => (Answer::None, None),
        Probe::Missing(_) => (Answer::Missing, None),
    })
}

/// 1 + 2 seconds: a Pi repeats a request after 2 s (captured, rpi-eeprom issue 74).
const RETRY_POLICY: RetryPolicy = RetryPolicy::new(Duration::from_secs(1), 1);
