//! What the process says when it ends.

use std::process::ExitCode;

/// The exit codes of `pinetboot`, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done; for `simulate` and `demo`: it would boot.
    Success,
    /// 1: it failed, and said why.
    Failure,
    /// 2: the command line or the configuration is wrong.
    Usage,
    /// 3: an address or port cannot be had.
    Bind,
    /// 4: the tree cannot be served.
    Tree,
    /// 5: the server does not answer.
    NoAnswer,
    /// 6: the server answered with an ERROR.
    Refused,
    /// 7: the Pi would not boot.
    WouldNotBoot,
    /// 130: interrupted by ctrl-C, as shells have it.
    Interrupted,
}

impl Exit {
    /// The codes and their meanings, for `--help`.
    pub const HELP: &str = "\
Exit codes: 0 done (simulate: it would boot), 1 failed, 2 wrong usage or configuration, 3 address or port not to be had,
4 the tree cannot be served, 5 the server does not answer, 6 the server answered with an error, 7 the Pi would not boot,
130 interrupted";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Bind => 3,
            Exit::Tree => 4,
            Exit::NoAnswer => 5,
            Exit::Refused => 6,
            Exit::WouldNotBoot => 7,
            Exit::Interrupted => 130,
        })
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
