//! `pinetboot get`: fetches one file.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant as Clock};

use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use percent_encoding::percent_decode_str;
use pinetboot_core::tftp::{self, Client, Options, Outcome, Request, RetryPolicy};
use pinetboot_core::{Upload, block_on};
use serde::Serialize;
use tempfile::NamedTempFile;
use tracing::Level;

use crate::exit::{Exit, Failed};
use crate::net::{Interrupt, LinuxNet};
use crate::output::{self, Output, tell};
use crate::signals;
use crate::text::shown;

/// Options of `get`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// File to fetch
    #[arg(value_name = "tftp://HOST[:PORT]/PATH")]
    pub url: String,

    /// Write the file to this path; - is standard output [default: the file's own name, in the working directory]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Request blocks of this many bytes, 8 to 65464 (option blksize)
    #[arg(long, value_name = "BYTES", default_value_t = 1468, value_parser = clap::value_parser!(u16).range(8..=65464))]
    pub blksize: u16,

    /// Request this many blocks per acknowledgement, 1 to 65535 (option windowsize)
    #[arg(long, value_name = "BLOCKS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub windowsize: u16,

    /// Print the result as one JSON object on standard output; requires a file for the content
    #[arg(long)]
    pub json: bool,
}

/// A fetched file, as JSON.
#[derive(Debug, Serialize)]
struct Fetched<'a> {
    url: &'a str,
    file: String,
    bytes: u64,
    seconds: f64,
}

/// Fetches the file, whole or not at all.
///
/// # Errors
///
/// The cause and the remedy.
pub fn run(options: &Args, quiet: bool) -> Result<Exit, Failed> {
    let source = Location::parse(&options.url)?;
    if options.json && options.output.as_deref() == Some(Path::new("-")) {
        let why = "--json and -o - would both write to standard output: name a file with -o FILE";
        return Err(Failed::new(Exit::Usage, why));
    }
    let output = match &options.output {
        Some(path) => path.clone(),
        None => PathBuf::from(source.file_name()?),
    };
    let failure = |error: io::Error| Failed::new(Exit::Failure, error);
    let mut net = LinuxNet::client(None).map_err(failure)?;
    let control = net.control();
    signals::on_stop(move || control.stop()).map_err(failure)?;

    let bar = progress_bar(&output, quiet);
    let mut target = Target::open(&output, bar)?;
    let mut asked = Options::default().with_block_size(options.blksize).with_transfer_size(0);
    asked.window_size = (options.windowsize > 1).then_some(options.windowsize);
    let mut client = Client::new(&mut net, LinuxNet::client_port(), source.server).with_retry(RETRY_POLICY);
    let began = Clock::now();
    let report = block_on(client.get(&Request::octet(&source.path, asked), &mut target));
    target.bar.finish_and_clear();
    let url = &options.url;
    match report.map(|report| report.outcome) {
        Ok(Outcome::Complete { bytes }) => {
            let seconds = began.elapsed().as_secs_f64();
            if options.json {
                let file = output.display().to_string();
                output::stdout().json(&Fetched { url, file, bytes, seconds })?;
            } else if !quiet {
                let rate = DecimalBytes((bytes as f64 / seconds.max(1e-6)) as u64);
                let (output, bytes) = (output.display(), DecimalBytes(bytes));
                tell(Level::INFO, format_args!("{output}: {bytes} in {seconds:.2} s ({rate}/s)"));
            }
            Ok(Exit::Success)
        }
        Ok(Outcome::PeerError(code)) => {
            let words = if target.words.is_empty() { code.meaning().into() } else { target.words };
            Err(Failed::new(Exit::Refused, format!("{url}: the server refused: {words} (error {})", code.0)))
        }
        Ok(Outcome::Aborted(_)) if target.is_closed() => Ok(Exit::Success),
        Ok(Outcome::Aborted(code)) => {
            let why = target.error.map_or_else(|| code.to_string(), |error| error.to_string());
            let place = output.display().to_string();
            let place = if place == "-" { "standard output" } else { &place };
            Err(Failed::new(Exit::Failure, format!("{place}: {why}")))
        }
        Ok(_) => Err(Failed::new(
            Exit::NoAnswer,
            format!(
                "{url}: {} does not answer. Check that the server runs, and that no firewall drops its answers: they come \
                 from another port than {}",
                source.server.ip(),
                source.server.port(),
            ),
        )),
        Err(Interrupt::Failed(error)) => Err(Failed::new(Exit::Failure, error)),
        Err(_) => Ok(Exit::Interrupted),
    }
}

/// 1 + 2 + 4 + 8 seconds: a user waits for the command.
const RETRY_POLICY: RetryPolicy = RetryPolicy::new(Duration::from_secs(1), 3);

/// The IPv4 address of a host.
///
/// A name is asked of getent(1), as in a shell: the C library's look-up loads modules, in which a program that is linked statically
/// crashes if they are of another C library.
fn resolve(host: &str) -> Result<Ipv4Addr, Failed> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    if host == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST); // RFC 6761, 6.3
    }
    let failed = |why: &str| Failed::new(Exit::Failure, format!("cannot resolve {}: {why}", shown(host)));
    if host.is_empty() || host.starts_with('-') {
        return Err(failed("this is no name of a host"));
    }
    let found = Command::new("getent").args(["ahostsv4", host]).stdin(Stdio::null()).output();
    let found = found.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed("the program getent is not installed. Give the address"),
        _ => failed(&format!("getent: {error}")),
    })?;
    let address = String::from_utf8_lossy(&found.stdout);
    let address = address.split_whitespace().next().and_then(|address| address.parse().ok());
    address.ok_or_else(|| failed("getent finds no IPv4 address of it"))
}

/// The server and file of a URL (RFC 3617).
#[derive(Debug, PartialEq)]
struct Location {
    server: SocketAddrV4,
    path: Vec<u8>,
}

impl Location {
    fn parse(url: &str) -> Result<Self, Failed> {
        let wrong =
            |why: &str| Failed::new(Exit::Usage, format!("{url}: {why}; expected tftp://HOST[:PORT]/PATH"));
        let rest = url.strip_prefix("tftp://").ok_or_else(|| wrong("not a tftp URL"))?;
        let (host, path) = rest.split_once('/').ok_or_else(|| wrong("the URL names no file"))?;
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) => {
                (host, port.parse().map_err(|_| wrong("the port is not a number from 0 to 65535"))?)
            }
            None => (host, tftp::PORT),
        };
        let path: Vec<u8> = percent_decode_str(path).collect();
        if path.is_empty() {
            return Err(wrong("the URL names no file"));
        }
        if path.contains(&0) || path.len() > 400 {
            return Err(wrong("a TFTP file name has at most 400 bytes and no NUL"));
        }
        let server = SocketAddrV4::new(resolve(host)?, port);
        Ok(Self { server, path })
    }

    fn file_name(&self) -> Result<String, Failed> {
        let name = self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        match String::from_utf8_lossy(name).into_owned() {
            name if name.is_empty() || name == "." || name == ".." => Err(Failed::new(
                Exit::Usage,
                "the URL ends in no file name: name the output file with -o FILE",
            )),
            name => Ok(name),
        }
    }
}

/// The output, and the outcome of writing to it.
struct Target {
    output: Destination,
    bar: ProgressBar,
    error: Option<io::Error>,
    /// The text of the server's ERROR.
    words: String,
}

enum Destination {
    Stdout(Output),
    /// A device or pipe: written in place.
    Special(File),
    /// A file: written under a temporary name beside its place, renamed when whole.
    File(Option<NamedTempFile>, PathBuf),
}

impl Target {
    fn open(path: &Path, bar: ProgressBar) -> Result<Self, Failed> {
        let failed = |error: io::Error| {
            Failed::new(Exit::Failure, format!("cannot write {}: {error}", path.display()))
        };
        // The target of a link is replaced, not the link: /dev/stdout is a link.
        let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let output = if path == Path::new("-") {
            Destination::Stdout(output::stdout())
        } else if path.exists() && !path.is_file() {
            Destination::Special(OpenOptions::new().write(true).open(path).map_err(failed)?)
        } else {
            let directory = place.parent().filter(|parent| !parent.as_os_str().is_empty());
            let part = tempfile::Builder::new()
                .prefix(".pinetboot-")
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
                .tempfile_in(directory.unwrap_or(Path::new(".")))
                .map_err(failed)?;
            Destination::File(Some(part), place)
        };
        Ok(Self { output, bar, error: None, words: String::new() })
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.output {
            Destination::Stdout(out) => {
                out.write_all(bytes)?;
                // The transfer has no other effect: it ends.
                if out.is_closed() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
            }
            Destination::Special(file) => file.write_all(bytes),
            Destination::File(Some(part), _) => part.write_all(bytes),
            Destination::File(None, _) => Ok(()),
        }
    }

    fn try_finish(&mut self) -> io::Result<()> {
        match &mut self.output {
            Destination::Stdout(out) => out.flush(),
            Destination::Special(file) => file.flush(),
            Destination::File(part, path) => match part.take() {
                Some(part) => part.persist(path).map(drop).map_err(|error| error.error),
                None => Ok(()),
            },
        }
    }

    /// Whether the output was a pipe that its reader has closed.
    const fn is_closed(&self) -> bool {
        matches!(&self.output, Destination::Stdout(out) if out.is_closed())
    }

    fn keep(&mut self, result: io::Result<()>) -> Result<(), ()> {
        result.map_err(|error| self.error = Some(error))
    }
}

impl Upload for Target {
    type Error = ();

    fn expect(&mut self, len: u64) -> Result<(), ()> {
        self.bar.set_length(len);
        Ok(())
    }

    fn ended(&mut self, words: &[u8]) {
        self.words = shown(OsStr::from_bytes(words)).to_string();
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.bar.inc(bytes.len() as u64);
        let written = self.try_write(bytes);
        self.keep(written)
    }

    async fn finish(&mut self) -> Result<(), ()> {
        let finished = self.try_finish();
        self.keep(finished)
    }
}

fn progress_bar(place: &Path, quiet: bool) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
    );
    let bar = ProgressBar::with_draw_target(None, output::progress(quiet))
        .with_message(place.display().to_string());
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

const EXAMPLES: &str = "\
Examples:
  pinetboot get tftp://192.168.1.2/config.txt
  pinetboot get tftp://192.168.1.2:6969/bd989ae1/kernel_2712.img -o /tmp/kernel.img
  pinetboot get tftp://192.168.1.2/config.txt -o - --windowsize 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_as_people_write_them() {
        let source = Location::parse("tftp://127.0.0.1/bd989ae1/config.txt").unwrap();
        assert_eq!(source.server, "127.0.0.1:69".parse().unwrap());
        assert_eq!(source.path, b"bd989ae1/config.txt");
        assert_eq!(source.file_name().unwrap(), "config.txt");
        assert_eq!(Location::parse("tftp://127.0.0.1:6969//a%20b").unwrap().path, b"/a b");
        for wrong in ["http://127.0.0.1/x", "tftp://127.0.0.1", "tftp://127.0.0.1/", "tftp://127.0.0.1:x/y"] {
            assert_eq!(Location::parse(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
        assert_eq!(Location::parse("tftp://localhost/x").unwrap().server, "127.0.0.1:69".parse().unwrap());
        for wrong in ["tftp:///x", "tftp://-s/x"] {
            assert_eq!(Location::parse(wrong).unwrap_err().exit, Exit::Failure, "{wrong}");
        }
        assert!(Location::parse("tftp://127.0.0.1/a/..").unwrap().file_name().is_err());
    }
}
