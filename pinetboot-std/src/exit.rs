//! What the process says when it ends.

use std::process::ExitCode;

/// The exit codes of `pinetboot`, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// 0: done; for `probe`, `simulate` and `demo`: it would boot.
    Success = 0,
    /// 1: it failed, and said why.
    Failure = 1,
    /// 2: the command line or the configuration is wrong.
    Usage = 2,
    /// 3: an address or port cannot be had.
    Bind = 3,
    /// 4: the tree cannot be served.
    Tree = 4,
    /// 5: the server does not answer.
    NoAnswer = 5,
    /// 6: the server answered with an ERROR.
    Refused = 6,
    /// 7: the Pi would not boot.
    WouldNotBoot = 7,
    /// 8: no boot server is named, at least none that the Pi would take: it asks for ever.
    NoBootServer = 8,
    /// 9: no DHCP server gives an address.
    NoDhcp = 9,
    /// 10: another DHCP server is there.
    OtherDhcp = 10,
    /// 130: interrupted by ctrl-C, as shells have it.
    Interrupted = 130,
}

impl Exit {
    /// The codes and their meanings, for `--help`.
    pub const HELP: &str = "\
Exit codes:
    0  done; for probe, simulate and demo: the Pi would boot
    1  it failed, and said why
    2  the command line or the configuration is wrong
    3  an address or port cannot be had
    4  the tree cannot be served
    5  the server does not answer; for probe: the boot server
    6  the server answered with an error
    7  the Pi would not boot
    8  the Pi would ask for ever: no DHCP server names a boot server that it takes
    9  no DHCP server gives an address
   10  another DHCP server is there
  130  interrupted";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that ends the command: what to say, and the exit code.
#[derive(Debug)]
pub struct Failed {
    /// The code.
    pub exit: Exit,
    /// What happened, and what to do about it.
    pub message: String,
}

impl Failed {
    /// Ends the command with this code and message.
    pub fn new(exit: Exit, message: impl std::fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failed {}
