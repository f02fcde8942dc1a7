//! `disk`: pinetboot's NBD server beside nbd-server, nbdkit and qemu-nbd, in turn, on the same file system and by the same client.
//!
//! All of them serve the same image with copy-on-write: nbd-server by a file for each connection (`copyonwrite`), nbdkit by its filter cow,
//! qemu-nbd from the same kind of qcow2 file as pinetboot. The client asks for simple replies, as Linux does. Beside them the other way to a
//! root: pinetboot's NFS server, with a layer on a tree, which has the image as a file.

mod client;
mod load;
mod nfs_root;
mod peer;
mod row;
mod serve;

use std::path::Path;

use crate::Failed;
use crate::cli;
use crate::peer::PINETBOOT;
use crate::rows::{Measured, Results};
use crate::world;

use self::load::Load;
use self::peer::{NFS_ROOT, NO_FLUSH, Peer};
use self::row::{Row, Size, Unit};

pub(crate) use self::serve::serve;

/// Runs the chosen servers and writes the report.
pub(crate) fn run(options: &cli::Disk) -> Result<(), Failed> {
    let (peers, absent) = peer::find(&options.peers)?;
    let size = if options.quick { Size::QUICK } else { Size::THOROUGH };
    let mut results = Results::of(&peers, absent, size);
    let made = options.dir.as_deref().map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    let place = made.map_err(|error| format!("no directory for what is served: {error}"))?;
    let base = peer::base(place.path(), size)?;
    world::pin_client()?;
    results.measure(
        &peers,
        options.rounds,
        |peer, measured| measure(peer, place.path(), &base, size, measured),
        |results| results.write(&options.out, "disk", &markdown(results)),
    )?;
    print!("{}", markdown(&results));
    Ok(())
}

fn markdown(results: &Results<Size>) -> String {
    results.table(row::ALL, "", ("to the best other", |row: &Row| ratio(results, row)))
}

/// How many times as good as the best other server; in rows that flush, as the best of those that wait for the storage device.
fn ratio(results: &Results<Size>, row: &Row) -> Option<f64> {
    let is_other = |name: &&String| {
        !([PINETBOOT, NFS_ROOT].contains(&name.as_str()) || row.name.contains("flush") && *name == NO_FLUSH)
    };
    let others = results.facts.servers.iter().map(|(name, _)| name).filter(is_other);
    let others = others.filter_map(|name| results.rate(row, name));
    let ours = results.rate(row, PINETBOOT)?;
    match row.unit {
        Unit::Kibibytes => others.reduce(f64::min).map(|best| best / ours),
        _ => others.reduce(f64::max).map(|best| ours / best),
    }
}

/// Measures all rows at one server: starts it, and ends it.
fn measure(
    peer: &Peer,
    place: &Path,
    base: &Path,
    size: Size,
    measured: Measured<'_, Row>,
) -> Result<(), Failed> {
    peer.prepare(place, base, size)?;
    let server = peer.start(place, base, size)?;
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
