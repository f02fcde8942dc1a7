//! The compared servers: how each is found, started for such a load, and installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failed;
use crate::world;

/// A server that the harness can start.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: String,
    program: PathBuf,
    /// `{tree}` stands for the served directory.
    arguments: Vec<String>,
    /// The version that the server prints.
    pub(crate) version: String,
}

/// A server that is not installed, and how to get it.
#[derive(Debug, Clone)]
pub(crate) struct Absent {
    pub(crate) name: &'static str,
    pub(crate) how: &'static str,
}

impl Peer {
    /// All known servers, in the order of the table: pinetboot, then the others.
    pub(crate) fn find_all() -> (Vec<Self>, Vec<Absent>) {
        let (mut found, mut absent) = (vec![Self::pinetboot(), Self::asleep()], Vec::new());
        for known in KNOWN {
            match known.find() {
                Some(peer) => found.push(peer),
                None => absent.push(Absent { name: known.name, how: known.how }),
            }
        }
        (found, absent)
    }

    /// `NAME=COMMAND`, as a user adds a server: another build, or a server not known here.
    pub(crate) fn custom(text: &str) -> Result<Self, String> {
        let wrong = || "expected NAME=COMMAND, with {tree} in it where the directory belongs".to_owned();
        let (name, command) = text.split_once('=').ok_or_else(wrong)?;
        let mut words = command.split_whitespace().map(str::to_owned);
        let program = words.next().ok_or_else(wrong)?;
        let program = find(&program)
            .ok_or_else(|| format!("program {program} not found; name an executable in PATH"))?;
        Ok(Self { name: name.into(), program, arguments: words.collect(), version: command.into() })
    }

    /// This commit's: the library that this program is linked with.
    fn pinetboot() -> Self {
        Self {
            name: PINETBOOT.into(),
            program: env::current_exe().unwrap_or_default(),
            arguments: ["pinetboot", "serve", "{tree}"].map(str::to_owned).into(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// The same build, but with a sleep between any two packets.
    fn asleep() -> Self {
        let pinetboot = Self::pinetboot();
        let arguments =
            pinetboot.arguments.iter().cloned().chain(["--busy-poll", "0"].map(str::to_owned)).collect();
        Self { name: ASLEEP.into(), arguments, ..pinetboot }
    }

    /// The command that serves this tree at port 69 of the server's namespace.
    pub(crate) fn command(&self, tree: &Path) -> Command {
        let mut command = world::at_server(&self.program);
        command.args(self.arguments.iter().map(|word| word.replace("{tree}", &tree.to_string_lossy())));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// The facts that this program knows of a server.
struct Known {
    name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    version: &'static str,
    how: &'static str,
}

impl Known {
    fn find(&self) -> Option<Peer> {
        let mut program = find(self.program)?;
        let said = Command::new(&program).arg(self.version).stderr(Stdio::null()).output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let version = said.lines().next().unwrap_or_default().trim().to_owned();
        let version =
            version.split(" with").next().unwrap_or_default().split("  ").next().unwrap_or_default();
        if self.arguments.first() == Some(&"-c") {
            program = interpreter(&program)?;
        }
        let arguments = self.arguments.iter().map(|word| (*word).to_owned()).collect();
        Some(Peer {
            name: self.name.into(),
            program,
            arguments,
            version: version.trim_end_matches(',').into(),
        })
    }
}

/// The arguments raise the limit of clients, keep the server in the foreground, and log as little as possible.
const KNOWN: [Known; 5] = [
    Known {
        name: DNSMASQ,
        program: "dnsmasq",
        arguments: &[
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=root",
            "--log-facility=/dev/null",
            "--port=0",
            "--enable-tftp",
            "--tftp-root={tree}",
            "--tftp-max=4000",
        ],
        version: "--version",
        how: "apt-get install dnsmasq-base",
    },
    Known {
        name: "tftpd-hpa",
        program: "in.tftpd",
        arguments: &["--foreground", "--address", "10.77.0.1:69", "--user", "root", "--secure", "{tree}"],
        version: "--version",
        how: "apt-get install tftpd-hpa",
    },
    Known {
        name: "atftpd",
        program: "atftpd",
        arguments: &[
            "--daemon",
            "--no-fork",
            "--maxthread",
            "4000",
            "--user",
            "root",
            "--group",
            "root",
            "--logfile",
            "/dev/null",
            "--no-multicast",
            "{tree}",
        ],
        version: "--version",
        how: "apt-get install atftpd; not beside tftpd-hpa: apt-get download atftpd && dpkg-deb -x atftpd_*.deb DIR, \
              and PATH=DIR/usr/sbin:$PATH",
    },
    Known {
        name: "rs-tftpd",
        program: "tftpd",
        arguments: &["--ip-address", "10.77.0.1", "--port", "69", "--directory", "{tree}", "--read-only"],
        version: "--version",
        how: "cargo install tftpd",
    },
    Known {
        name: "nobodd",
        program: "nobodd-tftpd",
        // The program itself serves images only; this server of the same package serves a directory.
        arguments: &[
            "-c",
            "from nobodd.tftpd import SimpleTFTPServer as S; S(('10.77.0.1', 69), '{tree}').serve_forever()",
        ],
        version: "--version",
        how: "python3 -m venv DIR && DIR/bin/pip install nobodd, and PATH=DIR/bin:$PATH",
    },
];

/// Looks for a program where a shell would, and where Debian puts servers.
fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return fs::canonicalize(program).ok().filter(|path| path.is_file());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let places =
        env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    places.map(|place| place.join(program)).find(|path| path.is_file())
}

/// The interpreter of this script.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(script).ok()?;
    Some(text.lines().next()?.strip_prefix("#!")?.trim().into())
}

/// Looks for the peers that the user named.
pub(crate) fn choose(found: Vec<Peer>, names: &[String]) -> Result<Vec<Peer>, Failed> {
    let known: Vec<_> = found.iter().map(|peer| peer.name.clone()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("no server {name} here; known: {}", known.join(", ")).into());
    }
    Ok(found.into_iter().filter(|peer| names.is_empty() || names.contains(&peer.name)).collect())
}

/// The name of the server under test.
pub(crate) const PINETBOOT: &str = "pinetboot";
/// pinetboot with a sleep between any two packets; measured with one client, where the sleep makes a difference.
pub(crate) const ASLEEP: &str = "pinetboot, asleep";
/// The server that most networks have.
pub(crate) const DNSMASQ: &str = "dnsmasq";
