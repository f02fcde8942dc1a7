//! `pinetboot-bench`: measures pinetboot beside other TFTP, NFS and NBD servers, with load clients written for this purpose.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`], [`compare`], [`point`] | the command line, the order of the measurements, the points |
//! | [`world`], [`peer`], [`server`], [`tree`] | the namespaces, the known servers, a running server, the served files |
//! | [`load`], [`batch`], [`content`] | the clients, many datagrams at once, the content of the files |
//! | [`bed`] | a core for each end, and clients below the sockets |
//! | [`measure`](mod@measure), [`limits`] | one run, and its limits |
//! | [`results`], [`report`], [`checks`] | the results, their table and plots, and the checks on them |
//! | [`rows`] | servers measured row by row, in turn, and their table: for the next two |
//! | [`mod@nfs`] | NFS: servers, rows, client |
//! | [`mod@disk`] | the same for NBD |
//! | [`mod@boot`] | one machine to its login prompt |
//! | [`mod@flat`] | little and much to look through |
//! | [`mod@fleet`] | whole boots of many Pis, each a host of its own on the cable |
//!
//! The benchmarks of the engine alone, without a network, are in `benches/`.

#![deny(unsafe_code)]

mod batch;
mod bed;
mod boot;
mod checks;
mod cli;
mod compare;
mod content;
mod disk;
mod flat;
mod fleet;
mod limits;
mod load;
mod measure;
mod nfs;
mod peer;
mod point;
mod report;

mod results;
mod rows;
mod server;
mod tree;
mod world;

use std::fmt;
use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use results::Results;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Peers(options) => measure(|| peers(&options)),
        Command::Nfs(options) => measure(|| nfs::run(&options)),
        Command::Disk(options) => measure(|| disk::run(&options)),
        Command::Fleet(options) => {
            fleet::check_neighbours(&options).and_then(|()| measure(|| fleet::run(&options)))
        }
        Command::Boot(options) => measure(|| boot::run(&options)),
        Command::Flat(options) => measure(|| flat::run(&options)),
        Command::Report(options) => join(&options),
        Command::Pinetboot { arguments } => return pinetboot(arguments),
        Command::Mounter(options) => return exit(pinetboot::roots::mounter::run(&options)),
        Command::Nfsd => return exit(pinetboot::nfsd::run()),
        Command::DiskServer { directory } => disk::serve(&directory).map(|()| ExitCode::SUCCESS),
        Command::Respond { responder } => responder.run().map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|failed| {
        eprintln!("pinetboot-bench: {failed}");
        ExitCode::FAILURE
    })
}

/// Runs a measurement in namespaces of its own, by a second process of this program.
fn measure(run: impl FnOnce() -> Result<(), Failed>) -> Result<ExitCode, Failed> {
    match world::enter()? {
        Some(exit) => Ok(exit),
        None => run().map(|()| ExitCode::SUCCESS),
    }
}

fn peers(options: &cli::Peers) -> Result<(), Failed> {
    let results = compare::run(options)?;
    report::write(&results, &options.out)?;
    if options.check { checks::check(&results) } else { Ok(()) }
}

fn join(options: &cli::Report) -> Result<ExitCode, Failed> {
    let mut all = Results::default();
    for path in &options.results {
        all.merge(Results::read(path)?)?;
    }
    report::write(&all, &options.out)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the server like the program `pinetboot` does for `serve`.
fn pinetboot(arguments: Vec<String>) -> ExitCode {
    let cli = pinetboot::cli::Cli::parse_from(["pinetboot".to_owned()].into_iter().chain(arguments));
    let pinetboot::cli::Command::Serve(options) = &cli.command else {
        eprintln!("pinetboot-bench: only `serve`");
        return ExitCode::FAILURE;
    };
    exit(pinetboot::serve::run(options, pinetboot::logging::level(cli.verbose, cli.quiet)))
}

fn exit(done: Result<pinetboot::exit::Exit, pinetboot::exit::Failed>) -> ExitCode {
    let exit = done.unwrap_or_else(|failed| {
        eprintln!("pinetboot: {failed}");
        failed.exit
    });
    exit.into()
}

/// The reason why a measurement failed.
#[derive(Debug)]
struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<String> for Failed {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Failed {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}
