//! The `pinetboot` command: parse, run, exit code.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::io;
use std::process::ExitCode;

use clap::Parser;
use pinetboot::cli::{Cli, Command};
use pinetboot::config::LogFormat;
use pinetboot::exit::Exit;
#[cfg(feature = "import")]
use pinetboot::up;
use pinetboot::{
    check, demo, doctor, explain, get, health,
    logging::{self, Tail},
    output, pack, probe, roots, router_config, serve, service, simulate,
};
use tracing::Level;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help_or_error) => return exit_with(&help_or_error),
    };
    let level = logging::level(cli.verbose, cli.quiet);
    if !serves(&cli.command) {
        logging::start(LogFormat::Text, level, Tail::default()); // a server reads the format from its configuration
    }
    let done = match &cli.command {
        Command::Serve(options) => serve::run(options, level),
        Command::Service(options) => service::run(options),
        #[cfg(feature = "web")]
        Command::Status(options) => pinetboot::status::run(options),
        #[cfg(feature = "web")]
        Command::Watch(options) => pinetboot::watch::run(options),
        Command::Get(options) => get::run(options, cli.quiet),
        Command::Health(options) => health::run(options),
        Command::Probe(options) => probe::run(options),
        Command::RouterConfig(options) => router_config::run(options),
        Command::Simulate(options) => simulate::run(options),
        Command::Check(options) => check::run(options),
        Command::Doctor(options) => doctor::run(options),
        Command::Explain(options) => explain::run(options),
        Command::Roots(options) => roots::command::run(options, cli.quiet),
        #[cfg(feature = "disk")]
        Command::Disks(options) => pinetboot::disks::command::run(options, cli.quiet),
        // The steps of a boot are on standard output; the log adds what went wrong.
        #[cfg(feature = "import")]
        Command::Up(options) => {
            up::run(options, if cli.verbose == 0 { Level::WARN } else { level }, cli.quiet)
        }
        #[cfg(feature = "import")]
        Command::Import(options) => pinetboot::import::run(options, cli.quiet),
        #[cfg(feature = "import")]
        Command::Images(options) => pinetboot::images_command::run(options, cli.quiet),
        Command::Mounter(options) => roots::mounter::run(options),
        #[cfg(feature = "nfs")]
        Command::Nfsd => pinetboot::nfsd::run(),
        #[cfg(feature = "web")]
        Command::Hooks => pinetboot::hooks::run(),
        Command::Demo(options) => demo::run(options),
        Command::Pack(options) => pack::run(options),
        Command::Flash(options) => pack::drive::run(options),
    };
    let done = done.and_then(|exit| output::stdout().finish().map(|()| exit));
    let exit = done.unwrap_or_else(|failed| {
        output::tell(Level::ERROR, format_args!("pinetboot: {failed}"));
        failed.exit
    });
    exit.into()
}

/// Whether a command is a server.
const fn serves(command: &Command) -> bool {
    match command {
        Command::Serve(_) => true,
        #[cfg(feature = "import")]
        Command::Up(_) => true,
        _ => false,
    }
}

/// Prints the help, or the error of a command line.
fn exit_with(help_or_error: &clap::Error) -> ExitCode {
    match help_or_error.print() {
        Err(error) if !help_or_error.use_stderr() && error.kind() != io::ErrorKind::BrokenPipe => {
            let failed = output::failed(error);
            output::tell(Level::ERROR, format_args!("pinetboot: {failed}"));
            failed.exit.into()
        }
        _ => ExitCode::from(u8::try_from(help_or_error.exit_code()).unwrap_or(Exit::Usage as u8)),
    }
}
