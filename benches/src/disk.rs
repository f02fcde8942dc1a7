//! `disk`: pinetboot's NBD server beside nbd-server, nbdkit and qemu-nbd, in turn, on the same file system and by the same client.
//!
//! All of them serve the same image with copy-on-write: nbd-server by a file for each connection (`copyonwrite`), nbdkit by its filter cow,
//! qemu-nbd from the same kind of qcow2 file as pinetboot. The client asks for simple replies, as Linux does.

mod client;
mod load;
mod peer;
mod report;
mod row;
mod serve;

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::cli;
use crate::compare;
use crate::results::Facts;
use crate::world;

use self::load::Load;
use self::peer::Peer;
use self::row::{Row, Size};

pub(crate) use self::serve::serve;

/// All results of `disk`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Results {
    facts: Facts,
    size: Size,
    samples: Vec<Sample>,
}

/// One row of one server in one round.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sample {
    row: String,
    server: String,
    round: u32,
    /// In the row's unit.
    rate: f64,
    /// The server's processor time for each request, in microseconds.
    cpu: f64,
}

/// Runs the chosen servers and writes the report.
pub(crate) fn run(options: &cli::Disk) -> Result<(), Failed> {
    let (peers, absent) = peer::find(&options.peers)?;
    for (name, how) in &absent {
        eprintln!("not installed: {name:<12} {how}");
    }
    let size = if options.quick { Size::QUICK } else { Size::THOROUGH };
    let servers = peers.iter().map(|peer| (peer.name.to_owned(), peer.version.clone())).collect();
    let absent = absent.iter().map(|(name, _)| (*name).to_owned()).collect();
    let facts = Facts { servers, absent, ..compare::facts() };
    let mut results = Results { facts, size, samples: Vec::new() };
    fs::create_dir_all(&options.out)
        .map_err(|error| format!("no directory {}: {error}", options.out.display()))?;
    let made = options.dir.as_deref().map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    let place = made.map_err(|error| format!("no directory for what is served: {error}"))?;
    let base = peer::base(place.path(), size)?;
    world::pin_client()?;
    for round in 1..=options.rounds {
        // The first server in one round is the last in another.
        for turn in 0..peers.len() {
            let peer = &peers[(turn + round as usize) % peers.len()];
            eprintln!("{} (round {round} of {})", peer.name, options.rounds);
            let measured = measure(peer, place.path(), &base, size, &mut |row, rate, cpu| {
                eprintln!("  {:<34} {rate:>9.0} {:<10} {cpu:>7.1} us of CPU", row.name, row.unit.name());
                let (row, server) = (row.name.to_owned(), peer.name.to_owned());
                results.samples.push(Sample { row, server, round, rate, cpu });
            });
            measured.map_err(|failed| format!("{}: {failed}", peer.name))?;
        }
        // The results so far are on disk after every round.
        report::write(&results, &options.out)?;
    }
    print!("{}", report::markdown(&results));
    Ok(())
}

/// Measures all rows at one server: starts it, and ends it.
fn measure(
    peer: &Peer,
    place: &Path,
    base: &Path,
    size: Size,
    measured: &mut dyn FnMut(&Row, f64, f64),
) -> Result<(), Failed> {
    peer.prepare(place, base, size)?;
    let server = peer.start(place, base)?;
    let mut load = Load::new(peer, &server, size)?;
    for row in row::ALL {
        let before = server.cpu();
        let done = (row.run)(&mut load)?;
        let cpu = server.cpu().saturating_sub(before);
        let rate = done.rate(row.unit);
        measured(row, rate, cpu.as_secs_f64() * 1e6 / done.requests.max(1) as f64);
    }
    Ok(())
}
