//! A running server, and its costs.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::Failed;
use crate::load::transfer::{Ask, Habit, Want};
use crate::world;

/// A running server; dropping the value ends the server.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts the server and waits until it answers a request, for a file that need not exist.
    pub(crate) fn start(name: &str, command: Command) -> Result<Self, Failed> {
        let socket = UdpSocket::bind("10.77.0.2:0").map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(Duration::from_millis(50))).map_err(|error| error.to_string())?;
        let (file, want, habit) = ("ready?".into(), Want::Missing, Habit::Gaps);
        let ask = Ask { name: file, block_size: 512, window: 1, want, habit };
        let mut memory = [0; 64];
        let len = ask.emit(&mut memory);
        Self::spawn(name, command, || {
            let _refused = socket.send_to(&memory[..len], (world::SERVER, 69));
            socket.recv(&mut [0; 600]).is_ok()
        })
    }

    /// Starts the server and waits until `is_ready` returns true.
    pub(crate) fn spawn(
        name: &str,
        mut command: Command,
        mut is_ready: impl FnMut() -> bool,
    ) -> Result<Self, Failed> {
        let child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let mut server = Self { child };
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if is_ready() {
                return Ok(server);
            }
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(format!("{name} ended ({status}) instead of serving").into());
            }
        }
        Err(format!("{name} does not answer").into())
    }

    /// Lets the server read its settings again.
    pub(crate) fn reload(&self) -> Result<(), Failed> {
        let server = Pid::from_raw(self.child.id() as i32);
        kill(server, Signal::SIGHUP).map_err(|error| format!("cannot signal the server: {error}").into())
    }

    /// The processor time of the server's processes, those that ended included.
    pub(crate) fn cpu(&self) -> Duration {
        world::processes_at_server().into_iter().filter_map(cpu).sum()
    }

    /// The memory of the server's processes in KiB; shared pages count once (`Pss`).
    pub(crate) fn memory(&self) -> u64 {
        world::processes_at_server().into_iter().filter_map(memory).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        loop {
            let left = world::processes_at_server();
            if left.is_empty() {
                break;
            }
            for pid in left {
                let _gone = kill(pid, Signal::SIGKILL);
            }
            // Not only the child: this process inherits all processes whose parents died.
            while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid().is_some()) {}
            thread::yield_now();
        }
        let _reaped = self.child.wait();
    }
}

/// The processor time of a process, and of its children that ended.
///
/// proc_pid_stat(5) has the time as the sum of utime, stime, cutime and cstime, but in hundredths of a second, rounded
/// down for each process: a thousand short-lived processes sum up to nothing. The scheduler's own count is in nanoseconds, but
/// covers only living threads. The larger one is right.
fn cpu(pid: Pid) -> Option<Duration> {
    let process = Path::new("/proc").join(pid.to_string());
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name, in parentheses, may have blanks in it.
    let numbers: Vec<u64> =
        stat.rsplit_once(')')?.1.split_ascii_whitespace().map(|number| number.parse().unwrap_or(0)).collect();
    let [own, children] = [numbers.get(11..13)?, numbers.get(13..15)?]
        .map(|ticks| Duration::from_millis(ticks.iter().sum::<u64>() * 1000 / world::ticks_per_second()));
    let threads = fs::read_dir(process.join("task")).ok()?.flatten();
    let scheduled: u64 = threads
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_ascii_whitespace().next()?.parse::<u64>().ok()
        })
        .sum();
    Some(own.max(Duration::from_nanos(scheduled)) + children)
}

fn memory(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
