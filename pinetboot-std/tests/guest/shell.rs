//! A shell in an emulated machine, driven over its serial console.

use std::thread;
use std::time::Duration;

use crate::namespace::{A_WHILE, Process, SOON};

/// A shell at its prompt. The shell does not echo its input.
#[derive(Debug)]
pub(crate) struct Shell {
    console: Process,
    last: LastCommand,
}

/// The command that a machine was told last. A test that fails prints that of each machine: the shell does not echo it.
#[derive(Debug, Default)]
struct LastCommand(String);

impl Drop for LastCommand {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the last command of a machine: {}", self.0);
        }
    }
}

impl Shell {
    /// Waits for the shell of .ci/guest-init, or of a root with just BusyBox.
    pub(crate) fn on(mut console: Process) -> Self {
        console.expect("Linux version", A_WHILE);
        console.expect(PROMPT, BOOT);
        Self { console, last: LastCommand::default() }.alone()
    }

    /// Logs in as root at the console of the Debian that .ci/guest-image made.
    pub(crate) fn log_in(mut console: Process, within: Duration) -> Self {
        if console.expect_one(&["login: ", "(or press Control-D to continue): "], within).0 == 1 {
            console.say("pinetboot\n");
            console.expect("# ", A_WHILE);
            console.say(FAILED_START);
            panic!("systemd's emergency mode: {}", console.expect("that is all", A_WHILE));
        }
        console.say("root\n");
        console.expect("Password: ", A_WHILE);
        console.say("pinetboot\n");
        console.expect("# ", A_WHILE);
        console.say("stty -echo; export TERM=dumb PAGER=cat; PS1='gue''st> '\n"); // not to take its echo for it
        console.expect(PROMPT, A_WHILE);
        Self { console, last: LastCommand::default() }.alone()
    }

    /// Lets the kernel say nothing in between, but its last words.
    fn alone(mut self) -> Self {
        self.run("echo 1 >/proc/sys/kernel/printk", SOON);
        self
    }

    /// Runs a command, and returns its exit status and output.
    pub(crate) fn try_run(&mut self, command: &str, within: Duration) -> (i32, String) {
        self.start(command);
        self.finish(within)
    }

    /// Runs a command that has to succeed, and returns its output.
    pub(crate) fn run(&mut self, command: &str, within: Duration) -> String {
        let (status, said) = self.try_run(command, within);
        assert_eq!(status, 0, "{command}: {said}");
        said
    }

    /// Starts a command, to [`finish`](Self::finish) later.
    pub(crate) fn start(&mut self, command: &str) {
        command.clone_into(&mut self.last.0);
        self.console.say(&format!("({command}); echo \"status $?\"\n"));
    }

    /// Waits for the started command to say this.
    pub(crate) fn expect(&mut self, text: &str, within: Duration) -> String {
        self.console.expect(text, within)
    }

    /// Waits for the started command to end, and returns its exit status and output.
    pub(crate) fn finish(&mut self, within: Duration) -> (i32, String) {
        let heard = self.console.expect(PROMPT, within).replace('\r', "");
        let (said, status) = heard.rsplit_once("status ").unwrap_or_else(|| panic!("no status: {heard}"));
        let status = status.lines().next().and_then(|line| line.parse().ok());
        (status.unwrap_or_else(|| panic!("no status: {heard}")), said.trim_end().to_owned())
    }

    /// Logs in once more, to a machine that restarts by itself.
    #[allow(dead_code, reason = "the machines of tests/guest.rs do not")]
    pub(crate) fn log_in_again(self, within: Duration) -> Self {
        Self::log_in(self.console, within)
    }

    /// Switches the machine off.
    pub(crate) fn power_off(mut self, command: &str) {
        self.console.say(&format!("{command}\n"));
        self.console.finish(A_WHILE);
    }
}

/// A machine with systemd takes a minute to its shell, and longer where other work has the processors.
const BOOT: Duration = Duration::from_secs(300);
const PROMPT: &str = "guest> ";
/// What systemd could not do. Its last words are not those of its echo.
const FAILED_START: &str =
    "export PAGER=cat; systemctl --failed; journalctl -b -p warning -o short-monotonic; echo that is' all'\n";
