//! `nfs`: pinetboot's NFS server beside NFS-Ganesha, in turn, on the same file system and by the same client.

pub(crate) mod client;
mod load;
pub(crate) mod peer;
mod report;
mod row;

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::cli;
use crate::compare;
use crate::results::Facts;
use crate::world;

use self::load::Load;
use self::peer::{Peer, SYNC_OFF};
use self::row::{Row, Size};

/// All results of `nfs`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Results {
    facts: Facts,
    /// The size of the load.
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
    /// The server's processor time for each call, or entry, in microseconds.
    cpu: f64,
}

/// Runs the chosen servers and writes the report.
pub(crate) fn run(options: &cli::Nfs) -> Result<(), Failed> {
    let (peers, absent) = peer::find(&options.peers, options.before.as_deref())?;
    for absent in &absent {
        eprintln!("not installed: {absent}");
    }
    let size = if options.quick { Size::QUICK } else { Size::THOROUGH };
    let servers = peers.iter().map(|peer| (peer.name.to_owned(), peer.version.clone())).collect();
    let absent = absent.iter().map(|absent| absent.to_string()).collect();
    let facts = Facts { servers, absent, ..compare::facts() };
    let mut results = Results { facts, size, samples: Vec::new() };
    fs::create_dir_all(&options.out)
        .map_err(|error| format!("no directory {}: {error}", options.out.display()))?;
    let place = place(options.dir.as_deref())?;
    let tree = peer::tree(place.path())?;
    world::pin_client()?;
    for round in 1..=options.rounds {
        // The first server in one round is the last in another.
        for turn in 0..peers.len() {
            let peer = &peers[(turn + round as usize) % peers.len()];
            eprintln!("{} (round {round} of {})", peer.name, options.rounds);
            let measured = measure(peer, place.path(), &tree, size, &mut |row, rate, cpu| {
                eprintln!(
                    "  {:<26} {rate:>9.0} {:<9} {cpu:>7.1} us of CPU a call",
                    row.name,
                    row.unit.name()
                );
                let (row, server) = (row.name.to_owned(), peer.name.to_owned());
                results.samples.push(Sample { row, server, round, rate, cpu });
            });
            measured.map_err(|failed| format!("{}: {failed}", peer.name))?;
        }
        // The results so far are on disk after every round.
        report::write(&results, &options.out)?;
    }
    print!("{}", report::markdown(&results));
    if options.check { check(&results) } else { Ok(()) }
}

/// Measures all rows at one server: starts it, and ends it.
fn measure(
    peer: &Peer,
    place: &Path,
    tree: &Path,
    size: Size,
    measured: &mut dyn FnMut(&Row, f64, f64),
) -> Result<(), Failed> {
    peer::forget(place);
    let mut server = peer.start(place, tree)?;
    let mut load = Load::new(peer.mount(tree)?, size)?;
    for row in row::ALL {
        if row.anew {
            drop(server);
            server = peer.start(place, tree)?;
            load.reconnect(peer.mount(tree)?)?;
        }
        let before = server.cpu();
        let done = (row.run)(&mut load)?;
        let cpu = server.cpu().saturating_sub(before);
        measured(row, done.rate(row.unit), cpu.as_secs_f64() * 1e6 / done.calls as f64);
        load.settle()?;
    }
    load.clean()
}

/// The directory for the trees; its file system is part of the measurement.
fn place(dir: Option<&Path>) -> Result<tempfile::TempDir, Failed> {
    let made = dir.map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    made.map_err(|error| format!("no directory for what is served: {error}").into())
}

/// The checks that must hold on any machine, however noisy: the processor time of a call, and no rates.
fn check(results: &Results) -> Result<(), Failed> {
    let wrong: Vec<_> = row::ALL
        .iter()
        .filter(|row| row.cheaper)
        .filter_map(|row| {
            let (ours, theirs) = (results.cpu(row, SYNC_OFF)?, results.cpu(row, peer::GANESHA)?);
            println!("{}: {ours:.1} us of CPU against {theirs:.1}", row.name);
            (ours > theirs).then(|| format!("{}: {ours:.1} us of CPU, more than {theirs:.1}", row.name))
        })
        .collect();
    match results.samples.is_empty() || !wrong.is_empty() {
        true => Err(wrong.join("\n").into()),
        false => Ok(()),
    }
}
