//! The journal of systemd as the reader of standard error: a priority in front of each line (sd-daemon(3)).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use tracing::Level;

/// Whether standard error is a stream to the journal.
///
/// > .. the device and inode numbers of the file descriptor .. should be compared with those of $JOURNAL_STREAM
///
/// (systemd.exec(5)) The variable alone proves nothing: a child process inherits it with another standard error.
pub(crate) fn is_stderr() -> bool {
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| names(&stream, io::stderr()))
}

fn names(stream: &str, file: impl std::os::fd::AsFd) -> bool {
    let numbers = stream
        .split_once(':')
        .and_then(|(device, inode)| Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?)));
    let Ok(stat) = rustix::fs::fstat(file) else { return false };
    numbers == Some((stat.st_dev, stat.st_ino))
}

/// The text with `<n>` in front of each line, n being the priority of the level.
pub(crate) fn lines<'a>(level: Level, text: impl Into<Cow<'a, str>>) -> String {
    let mut lines = String::new();
    for line in text.into().lines() {
        let _cannot_fail = writeln!(lines, "<{}>{line}", priority(level));
    }
    lines
}

/// The priority of syslog(3).
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        let file = tempfile::tempfile().unwrap();
        let of = file.metadata().unwrap();
        assert!(names(&format!("{}:{}", of.dev(), of.ino()), &file));
        assert!(!names(&format!("{}:{}", of.dev(), of.ino() + 1), &file));
        assert!(!names("", &file) && !names("1", &file) && !names("a:b", &file));
    }

    #[test]
    fn each_line_has_its_priority() {
        assert_eq!(lines(Level::WARN, "one\n  two\n"), "<4>one\n<4>  two\n");
        assert_eq!(lines(Level::TRACE, "x"), "<7>x\n");
    }
}
