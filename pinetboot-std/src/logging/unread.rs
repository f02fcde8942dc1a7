//! Lines to a reader that may hang, as a pipe that nobody reads: no service waits for the reader of the log.
//!
//! A write of up to `PIPE_BUF` bytes does not block on a pipe or socket for which poll(2) reports POLLOUT. Where poll does not, the
//! thread waits within the [`WaitBudget`] of the process, for a reader that is slow for a moment; then the line is dropped and counted.
//! Not done: a log file on a disk that hangs, which poll(2) does not show.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::libc::PIPE_BUF;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Lines to a writer; the one place of the process that writes them.
#[derive(Debug)]
pub(super) struct Unread<W> {
    to: W,
    budget: WaitBudget,
    /// The last line ends in the middle.
    is_torn: bool,
    dropped: u64,
}

impl<W: Write + AsFd> Unread<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, budget: WaitBudget::new(Instant::now()), is_torn: false, dropped: 0 }
    }

    /// Writes lines that belong together, or drops them.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let lines = match self.is_torn {
            true => Cow::Owned([b"\n", lines].concat()),
            false => Cow::Borrowed(lines),
        };
        for (number, piece) in lines.chunks(PIPE_BUF).enumerate() {
            if !self.can_write() {
                self.is_torn |= number > 0;
                self.dropped += 1;
                return Ok(());
            }
            self.to.write_all(piece)?;
        }
        self.is_torn = false;
        Ok(())
    }

    /// The number of dropped writes since it was last reported.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Records that so many were reported.
    pub(super) const fn reported(&mut self, dropped: u64) {
        self.dropped = self.dropped.saturating_sub(dropped);
    }

    fn can_write(&mut self) -> bool {
        let is_ready = |timeout: PollTimeout| {
            // A closed reader (POLLERR) is an error of the write.
            poll(&mut [PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)], timeout)
                .is_ok_and(|ready| ready > 0)
        };
        if is_ready(PollTimeout::ZERO) {
            return true;
        }
        let begun = Instant::now();
        let left = self.budget.left(begun);
        let is_ready = PollTimeout::try_from(left.as_millis()).is_ok_and(is_ready);
        self.budget.spend(begun.elapsed());
        is_ready
    }
}

/// The time that threads wait for the reader: [`MOST`](Self::MOST) at once, and a hundredth of all time.
#[derive(Debug)]
struct WaitBudget {
    left: Duration,
    at: Instant,
}

impl WaitBudget {
    const MOST: Duration = Duration::from_millis(250);

    const fn new(now: Instant) -> Self {
        Self { left: Self::MOST, at: now }
    }

    fn left(&mut self, now: Instant) -> Duration {
        let regained = now.saturating_duration_since(self.at) / 100;
        (self.left, self.at) = ((self.left + regained).min(Self::MOST), now);
        self.left
    }

    fn spend(&mut self, waited: Duration) {
        self.left = self.left.saturating_sub(waited);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read, pipe};

    use super::*;

    fn unread() -> (Unread<PipeWriter>, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        (Unread::new(writer), reader)
    }

    fn fill(lines: &mut Unread<PipeWriter>, line: &[u8]) {
        let dropped = lines.dropped();
        for _ in 0..100_000 {
            lines.write(line).unwrap();
            if lines.dropped() > dropped {
                return;
            }
        }
        panic!("the pipe is never full");
    }

    #[test]
    fn a_full_pipe_drops_lines_and_holds_up_nobody() {
        let (mut lines, mut reader) = unread();
        fill(&mut lines, b"a line\n");
        let begun = Instant::now();
        for _ in 0..1000 {
            lines.write(b"dropped\n").unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(lines.dropped(), 1001);
        let mut page = vec![0; 2 * PIPE_BUF];
        reader.read_exact(&mut page).unwrap();
        lines.write(b"read again\n").unwrap();
        lines.reported(1001);
        assert_eq!(lines.dropped(), 0);
        drop(lines);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("a line\nread again\n") && !rest.contains("dropped"));
    }

    #[test]
    fn a_line_that_was_cut_ends_before_the_next_one() {
        let (mut lines, mut reader) = unread();
        // A pipe has 16 pages.
        lines.write(b"short\n").unwrap();
        lines.write(&[&[b'x'; 20 * PIPE_BUF][..], b"\n"].concat()).unwrap();
        assert!(lines.is_torn && lines.dropped() == 1);
        lines.write(b"dropped\n").unwrap();
        let mut page = vec![0; 4 * PIPE_BUF];
        reader.read_exact(&mut page).unwrap();
        lines.write(b"whole\n").unwrap();
        drop(lines);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("x\nwhole\n"), "{}", &rest[rest.len() - 20..]);
    }

    #[test]
    fn a_reader_that_is_slow_for_a_moment_loses_nothing() {
        let (mut lines, mut reader) = unread();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all.len()
        });
        for _ in 0..50_000 {
            lines.write(b"line\n").unwrap();
        }
        let dropped = usize::try_from(lines.dropped()).unwrap();
        drop(lines);
        assert_eq!(reading.join().unwrap(), 5 * (50_000 - dropped));
    }

    #[test]
    fn waits_are_a_hundredth_of_the_time() {
        let now = Instant::now();
        let mut budget = WaitBudget::new(now);
        assert_eq!(budget.left(now), WaitBudget::MOST);
        budget.spend(WaitBudget::MOST * 2);
        assert_eq!(budget.left(now), Duration::ZERO);
        assert_eq!(budget.left(now + Duration::from_secs(1)), Duration::from_millis(10));
        assert_eq!(budget.left(now + Duration::from_secs(1000)), WaitBudget::MOST);
    }
}
