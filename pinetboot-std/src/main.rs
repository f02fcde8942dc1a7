//! The `pinetboot` command: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use pinetboot::cli::{Cli, Command};
use pinetboot::config::LogFormat;
use pinetboot::{demo, get, logging, pack, probe, roots, router_config, serve, simulate};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = logging::level(cli.verbose, cli.quiet);
    if !matches!(cli.command, Command::Serve(_)) {
        logging::start(LogFormat::Text, level); // `serve` reads the format from its configuration
    }
    let done = match &cli.command {
        Command::Serve(options) => serve::run(options, level),
        Command::Get(options) => get::run(options, cli.quiet),
        Command::Probe(options) => probe::run(options),
        Command::RouterConfig(options) => router_config::run(options),
        Command::Simulate(options) => simulate::run(options),
        Command::Roots(options) => roots::command::run(options, cli.quiet),
        #[cfg(feature = "import")]
        Command::Import(options) => pinetboot::import::run(options, cli.quiet),
        #[cfg(feature = "import")]
        Command::Images(options) => pinetboot::images_command::run(options),
        Command::Mounter(options) => roots::mounter::run(options),
        Command::Demo => demo::run(),
        Command::Pack(options) => pack::run(options),
    };
    let exit = done.unwrap_or_else(|failed| {
        eprintln!("pinetboot: {failed}");
        failed.exit
    });
    exit.into()
}
