//! Exit codes, and the error that ends a command.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// The exit codes of `pinetboot`, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Exit {
    /// 0: success; for `probe`, `simulate`, `check` and `demo`: the Pi would boot, as far as was checked.
    Success = 0,
    /// 1: failure; standard error has the reason.
    Failure = 1,
    /// 2: invalid command line or configuration, or a file that it names is missing.
    Usage = 2,
    /// 3: an address or port cannot be bound.
    Bind = 3,
    /// 4: a tree or directory cannot be served or read.
    Tree = 4,
    /// 5: the server does not answer.
    NoAnswer = 5,
    /// 6: the server answered with an ERROR.
    Refused = 6,
    /// 7: the Pi would not boot.
    WouldNotBoot = 7,
    /// 8: no DHCP server offers a boot server that the Pi accepts: the Pi repeats its DISCOVER without end.
    NoBootServer = 8,
    /// 9: no DHCP server offers an address.
    NoDhcp = 9,
    /// 10: another DHCP server answers on the network.
    OtherDhcp = 10,
    /// 11: a thread or a process of the server ended: a restart may help.
    ThreadEnded = 11,
    /// 12: the server was stopped, and a thread or the process of NFS did not end in time.
    StopOverdue = 12,
    /// 130: interrupted by SIGINT (128 + 2, as shells report it).
    Interrupted = 130,
}

impl Exit {
    /// The codes and their meanings, for `--help`.
    pub const HELP: &str = "\
Exit codes:
    0  success; for probe, simulate, check and demo: the Pi would boot, as far as was checked
    1  failure; standard error has the reason
    2  invalid command line or configuration, or a file that it names is missing
    3  an address or port cannot be bound
    4  a tree or directory cannot be served or read
    5  the TFTP server does not answer; for probe: the boot server
    6  the TFTP server answered with an ERROR
    7  the Pi would not boot: a boot file or the root is missing or faulty
    8  no DHCP server offers a boot server that the Pi accepts
    9  no DHCP server offers an address
   10  another DHCP server answers on the network
   11  a thread of the server panicked or ended, or its process of NFS or of mounts did; the log names which
   12  the server was stopped, and a thread, or the process of NFS, did not end within 4 s; the log names which
  130  interrupted (SIGINT)";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that ends the command: the message and the exit code.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failed {
    /// The code.
    pub exit: Exit,
    /// The cause and the remedy.
    pub message: String,
}

impl Failed {
    /// Ends the command with this code and message.
    pub fn new(exit: Exit, message: impl std::fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// All of these failures, a line each, with the code of the first.
    ///
    /// # Errors
    ///
    /// If there is one.
    pub fn all(failures: impl IntoIterator<Item = Self>) -> Result<(), Self> {
        let mut failures = failures.into_iter();
        let Some(first) = failures.next() else { return Ok(()) };
        Err(failures.fold(first, |all, next| Self { message: all.message + "\n" + &next.message, ..all }))
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failed {}
