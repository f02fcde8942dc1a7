//! `pinetboot hooks`: delivers events for a `pinetboot serve` that starts it. It has the server's user and no capability; unlike the
//! server it may start programs.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{DEADLINE, PAUSES, Setup, Told, is_address};
use crate::exit::{Exit, Failed};
use crate::roots::packets;
use crate::sandbox;

/// Delivers until standard input closes.
///
/// # Errors
///
/// If another process than `pinetboot serve` starts this one, or the server's user cannot be taken on.
pub fn run() -> Result<Exit, Failed> {
    let failed = |error: io::Error| Failed::new(Exit::Failure, format!("hooks: {error}"));
    let server = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let setup = packets::receive::<Setup>(&server).map_err(failed)?;
    let (setup, _) = setup.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
    sandbox::become_user(setup.user.as_deref()).map_err(failed)?;
    loop {
        match packets::receive::<Told>(&server).map_err(failed)? {
            None => return Ok(Exit::Success),
            Some((told, _)) => {
                if let Err(why) = deliver(&setup.target, &told, &server) {
                    let _server_ended = packets::send(&server, &why, None);
                }
            }
        }
        if has_ended(server.as_fd()) {
            return Ok(Exit::Success);
        }
    }
}

/// A failed attempt.
#[derive(Debug)]
struct Failure {
    why: String,
    /// The exit code of the program.
    code: Option<i32>,
    /// Another attempt fails in the same way.
    is_final: bool,
}

/// Delivers an event, by three attempts; by one if the others fail in the same way.
fn deliver(target: &[String], told: &Told, server: &OwnedFd) -> Result<(), String> {
    let mut pauses = PAUSES.iter();
    loop {
        let Err(Failure { why, is_final, .. }) = attempt(target, told, server.as_fd()) else { return Ok(()) };
        match pauses.next().filter(|_| !is_final) {
            // The server's end ends the pause, too.
            Some(pause) if !waits(server.as_fd(), *pause) => {}
            _ => return Err(format!("{} {}: {why}", told.pi, told.event)),
        }
    }
}

fn attempt(target: &[String], told: &Told, server: BorrowedFd<'_>) -> Result<(), Failure> {
    let body = serde_json::to_string(told).map_err(io::Error::other)?;
    let [program, arguments @ ..] = target else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
    };
    if !is_address(target) {
        return end(start(Command::new(program).args(arguments), body.as_bytes())?, DEADLINE, || {
            has_ended(server)
        });
    }
    // By standard input: the list of processes does not show an address that has a secret in it. curl reads strings as JSON has them.
    let quoted = |text: &str| serde_json::to_string(text).map_err(io::Error::other);
    let config = format!("url = {}\ndata-raw = {}\n", quoted(program)?, quoted(&body)?);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--proto", "=http,https", "--output", "/dev/null"]);
    curl.args(["--header", "Content-Type: application/json", "--config", "-"]);
    end(start(&mut curl, config.as_bytes())?, DEADLINE, || has_ended(server)).map_err(of_curl)
}

/// What a failure of curl means (curl(1), exit codes).
fn of_curl(failure: Failure) -> Failure {
    let status = failure.why.rsplit_once("returned error: ").and_then(|(_, status)| status.get(..3));
    let is_final = match failure.code {
        Some(22) => {
            status.is_some_and(|status| status.starts_with('4') && !["408", "425", "429"].contains(&status))
        }
        // An address or protocol that curl does not take; certificates of either side.
        Some(1 | 3 | 4 | 58 | 60 | 77 | 82 | 83 | 90 | 91) => true,
        _ => false,
    };
    let why = match failure.code {
        Some(60) => format!("{}. {UNTRUSTED}", failure.why.lines().next().unwrap_or_default()),
        Some(77) => format!("{}. {NO_AUTHORITIES}", failure.why.lines().next().unwrap_or_default()),
        _ => failure.why,
    };
    Failure { why, is_final, ..failure }
}

fn start(command: &mut Command, input: &[u8]) -> io::Result<Child> {
    let named = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start {named}: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Less than a pipe holds: this does not wait. A program need not read.
        let _unread = stdin.write_all(input);
    }
    Ok(child)
}

/// Waits for a success until the deadline or the server's end, and ends the program with its children then.
fn end(mut child: Child, within: Duration, is_over: impl Fn() -> bool) -> Result<(), Failure> {
    let until = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= until || is_over() {
            let group = i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)?;
            let _ended = killpg(group, Signal::SIGKILL);
            child.wait()?;
            return Err(io::Error::other(format!("no end within {} s", within.as_secs())).into());
        }
        thread::sleep(Duration::from_millis(20));
    };
    if status.success() {
        return Ok(());
    }
    let mut why = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // A child that went on may hold the pipe open.
        if poll(&mut [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1) {
            why = vec![0; 1000];
            let len = { stderr }.read(&mut why)?;
            why.truncate(len);
        }
    }
    let why = format!("{status}: {}", String::from_utf8_lossy(&why).trim());
    Err(Failure { why, code: status.code(), is_final: false })
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { why: error.to_string(), code: None, is_final: false }
    }
}

/// Whether the server ends within this time.
fn waits(server: BorrowedFd<'_>, pause: Duration) -> bool {
    let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::ZERO);
    // No event but the end, which is told in any case.
    poll(&mut [PollFd::new(server, PollFlags::empty())], timeout) == Ok(1)
}

fn has_ended(server: BorrowedFd<'_>) -> bool {
    waits(server, Duration::ZERO)
}

const UNTRUSTED: &str = "Add the authority of that certificate to those of this system (update-ca-certificates), or name its file by CURL_CA_BUNDLE \
                         in the server's environment";
const NO_AUTHORITIES: &str =
    "CURL_CA_BUNDLE in the server's environment, or the system's own file of authorities, cannot be read";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_attempt_is_for_what_may_pass() {
        let is_final = |code, why: &str| {
            of_curl(Failure { why: why.into(), code: Some(code), is_final: false }).is_final
        };
        assert!(is_final(60, "curl: (60) SSL certificate problem") && is_final(3, "curl: (3) bad URL"));
        let answered =
            |status: u16| is_final(22, &format!("curl: (22) The requested URL returned error: {status}"));
        assert!([400, 401, 403, 404, 410].into_iter().all(answered));
        assert!(![408, 425, 429, 500, 502, 503, 504].into_iter().any(answered));
        assert!(
            !is_final(6, "no host")
                && !is_final(7, "refused")
                && !is_final(28, "late")
                && !is_final(35, "reset")
        );
    }

    fn shell(script: &str, within: Duration) -> Result<(), Failure> {
        end(start(Command::new("/bin/sh").args(["-c", script]), b"{}")?, within, || false)
    }

    #[test]
    fn the_end_of_a_program_is_known() {
        let soon = Duration::from_secs(60);
        assert!(shell("exit 0", soon).is_ok());
        assert!(shell("read line; [ \"$line\" = {} ]", soon).is_ok());
        let failed = shell("echo full >&2; exit 3", soon).unwrap_err().why;
        assert!(failed.contains("exit status: 3") && failed.contains("full"), "{failed}");
        let late = shell("sleep 600 & sleep 600", Duration::ZERO).unwrap_err().why;
        assert!(late.contains("no end within 0 s"), "{late}");
        let missing = start(&mut Command::new("/no/such"), b"").unwrap_err().to_string();
        assert!(missing.contains("cannot start /no/such"), "{missing}");
    }
}
