//! The control socket: HTTP/1.1 over a Unix socket, by which the commands on this machine ask a running server.
//!
//! The place is `/run/pinetboot/control`, for a server of another user than root `$XDG_RUNTIME_DIR/pinetboot/control`, and below
//! `$RUNTIME_DIRECTORY` in a unit of systemd. Its owner may use it, root, and the group of the user pinetboot or of
//! the unit. A server leaves the
//! file behind, because its sandbox forbids to remove files: the next server replaces a socket without a listener.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use crate::exit::{Exit, Failed};
use crate::users::Users;

/// The default place of a server; `None`: this user has no directory for sockets.
pub(crate) fn default_place() -> Option<PathBuf> {
    let given = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(directory) = given(OF_UNIT) {
        return Some(directory.join(NAME));
    }
    match geteuid().is_root() {
        true => Some(Path::new(OF_ROOT).join(NAME)),
        false => given("XDG_RUNTIME_DIR").map(|directory| directory.join("pinetboot").join(NAME)),
    }
}

/// Listens; only the owner, root and the group of the user pinetboot may connect.
///
/// # Errors
///
/// The system's. [`ErrorKind::AddrInUse`]: another server listens there.
pub(crate) fn listen(place: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = place.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    match UnixStream::connect(place) {
        Ok(_) => return Err(ErrorKind::AddrInUse.into()),
        // Left by a server that has ended. Anything but a socket stays.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            if fs::symlink_metadata(place)?.file_type().is_socket() {
                fs::remove_file(place)?;
            }
        }
        Err(_) => {}
    }
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(place);
    umask(before);
    let listener = listener?;
    let group = if geteuid().is_root() { Users::read()?.named(OWN_USER).map(|user| user.gid) } else { None };
    if group.is_some() {
        chown(place, None, group)?;
    }
    // A unit of systemd has a group of its own.
    if group.is_some() || env::var_os(OF_UNIT).is_some() {
        fs::set_permissions(place, fs::Permissions::from_mode(0o660))?;
    }
    Ok(listener)
}

/// A connection to a running server, for one request.
#[derive(Debug)]
pub(crate) struct Answer(BufReader<UnixStream>);

impl Answer {
    /// Asks the server at this place, else at the default places.
    ///
    /// # Errors
    ///
    /// [`Exit::NoAnswer`] without a server, [`Exit::Refused`] if the server answers with an error.
    pub(crate) fn to(place: Option<&Path>, path: &str) -> Result<Self, Failed> {
        let stream = connect(place)?;
        let failed =
            |error: io::Error| Failed::new(Exit::NoAnswer, format!("the server does not answer: {error}"));
        stream.set_read_timeout(Some(WITHIN)).map_err(failed)?;
        stream.set_write_timeout(Some(WITHIN)).map_err(failed)?;
        // In HTTP/1.0 (RFC 1945) the end of the connection is that of the body.
        (&stream).write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).map_err(failed)?;
        let mut answer = BufReader::new(stream);
        let status = head_line(&mut answer).map_err(failed)?;
        while !head_line(&mut answer).map_err(failed)?.is_empty() {}
        let mut answer = Self(answer);
        match status.split(' ').nth(1) {
            Some("200") => Ok(answer),
            Some(_) => {
                let why = answer.whole().unwrap_or_default();
                Err(Failed::new(Exit::Refused, format!("the server refuses: {}", why.trim_end())))
            }
            None => Err(Failed::new(Exit::NoAnswer, "the control socket is not that of a pinetboot server")),
        }
    }

    /// The whole answer.
    ///
    /// # Errors
    ///
    /// If the server does not answer, or with more than 64 MiB.
    pub(crate) fn whole(&mut self) -> Result<String, Failed> {
        let mut text = String::new();
        let read = self.0.by_ref().take(LONGEST + 1).read_to_string(&mut text);
        match read {
            Ok(len) if len as u64 <= LONGEST => Ok(text),
            Ok(_) => Err(Failed::new(Exit::Failure, "the server's answer is longer than 64 MiB")),
            Err(error) => Err(Failed::new(Exit::NoAnswer, format!("the server does not answer: {error}"))),
        }
    }

    /// The data of the next event (text/event-stream); `None` at the end.
    ///
    /// # Errors
    ///
    /// If the server does not answer.
    pub(crate) fn event(&mut self) -> Result<Option<String>, Failed> {
        loop {
            let mut line = String::new();
            let read = self.0.by_ref().take(LONGEST).read_line(&mut line);
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) => {
                    return Err(Failed::new(Exit::NoAnswer, format!("the server does not answer: {error}")));
                }
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Ok(Some(data.trim_end().to_owned()));
            }
        }
    }
}

fn connect(place: Option<&Path>) -> Result<UnixStream, Failed> {
    let own =
        || env::var_os("XDG_RUNTIME_DIR").map(|directory| Path::new(&directory).join("pinetboot").join(NAME));
    let places: Vec<PathBuf> = match place {
        Some(place) => vec![place.to_owned()],
        None => own().into_iter().chain([Path::new(OF_ROOT).join(NAME)]).collect(),
    };
    let mut why = String::new();
    for place in &places {
        match UnixStream::connect(place) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let message = format!(
                    "{} is closed to this user: ask as root, or as a member of the group {OWN_USER}",
                    place.display()
                );
                return Err(Failed::new(Exit::NoAnswer, message));
            }
            Err(error) => why = format!("{}: {error}", place.display()),
        }
    }
    let message =
        format!("no server runs here ({why}). Start 'pinetboot serve', or name its socket with --control");
    Err(Failed::new(Exit::NoAnswer, message))
}

/// A line of the head, without its end.
fn head_line(answer: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    let len = answer.by_ref().take(LONGEST_HEAD_LINE).read_line(&mut line)?;
    if len == 0 || !line.ends_with('\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

const NAME: &str = "control";
/// systemd.exec(5), `RuntimeDirectory=`.
const OF_UNIT: &str = "RUNTIME_DIRECTORY";
const OF_ROOT: &str = "/run/pinetboot";
const OWN_USER: &str = "pinetboot";
/// Longer than the time between two events.
const WITHIN: Duration = Duration::from_secs(30);
const LONGEST: u64 = 64 << 20;
const LONGEST_HEAD_LINE: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_makes_room_and_one_in_use_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("run/control");
        let first = listen(&place).unwrap();
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o007, 0);
        assert_eq!(listen(&place).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(first);
        listen(&place).unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "kept").unwrap();
        assert!(listen(&file).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"kept");
    }

    #[test]
    fn without_a_server_the_error_names_the_place() {
        let failed = Answer::to(Some(Path::new("/nonexistent/control")), "/").unwrap_err();
        assert_eq!(failed.exit, Exit::NoAnswer);
        assert!(
            failed.message.contains("/nonexistent/control") && failed.message.contains("pinetboot serve"),
            "{failed}"
        );
    }
}
