//! `nfs`: pinetboot's NFS server beside NFS-Ganesha, in turn, on the same file system and by the same client.

pub(crate) mod client;
mod load;
pub(crate) mod peer;
mod row;

use std::path::Path;

use crate::Failed;
use crate::cli;
use crate::rows::{Measured, Results};
use crate::world;

use self::load::Load;
use self::peer::{GANESHA, OVERLAY, PINETBOOT, Peer, SYNC_OFF};
use self::row::{Row, Size};

/// Runs the chosen servers and writes the report.
pub(crate) fn run(options: &cli::Nfs) -> Result<(), Failed> {
    let (peers, absent) = peer::find(&options.peers, options.before.as_deref())?;
    let size = if options.quick { Size::QUICK } else { Size::THOROUGH };
    let mut results = Results::of(&peers, absent, size);
    let place = place(options.dir.as_deref())?;
    let tree = peer::tree(place.path())?;
    world::pin_client()?;
    results.measure(
        &peers,
        options.rounds,
        |peer, measured| measure(peer, place.path(), &tree, size, measured),
        |results| results.write(&options.out, "nfs", &markdown(results)),
    )?;
    print!("{}", markdown(&results));
    if options.check { check(&results) } else { Ok(()) }
}

fn markdown(results: &Results<Size>) -> String {
    let remark = format!(
        " CREATE and REMOVE are on stable storage when answered by {PINETBOOT} and {OVERLAY} (--nfs-sync on), and answered from memory by \
         {SYNC_OFF} and {GANESHA}; the ratio is of these two."
    );
    let ratio = |row: &Row| Some(results.rate(row, SYNC_OFF)? / results.rate(row, GANESHA)?);
    results.table(row::ALL, &remark, ("ratio", ratio))
}

/// Measures all rows at one server: starts it, and ends it.
fn measure(
    peer: &Peer,
    place: &Path,
    tree: &Path,
    size: Size,
    measured: Measured<'_, Row>,
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
fn check(results: &Results<Size>) -> Result<(), Failed> {
    let wrong: Vec<_> = row::ALL
        .iter()
        .filter(|row| row.cheaper)
        .filter_map(|row| {
            let (ours, theirs) = (results.cpu(row, SYNC_OFF)?, results.cpu(row, GANESHA)?);
            println!("{}: {ours:.1} us of CPU against {theirs:.1}", row.name);
            (ours > theirs).then(|| format!("{}: {ours:.1} us of CPU, more than {theirs:.1}", row.name))
        })
        .collect();
    match results.is_empty() || !wrong.is_empty() {
        true => Err(wrong.join("\n").into()),
        false => Ok(()),
    }
}
