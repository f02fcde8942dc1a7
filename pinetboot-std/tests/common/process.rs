//! The program as a process: started, listened to, told to stop, and never left behind.

use std::ffi::OsStr;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Peer;

/// The program, without arguments yet.
pub(crate) fn pinetboot() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinetboot"));
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ended {
    Process::start(pinetboot().args(arguments)).wait()
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The process's exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    /// Standard error: the log.
    pub(crate) log: String,
}

/// A running process. Dropping the value kills the process.
pub(crate) struct Process {
    child: Child,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stdout_reader) = Lines::collect(child.stdout.take().unwrap());
        let (stderr, stderr_reader) = Lines::collect(child.stderr.take().unwrap());
        Self { child, stdout, stderr, readers: vec![stdout_reader, stderr_reader] }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits until the process ends; panics if that takes longer than any test should.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        // Both ends of the process's output close when it ends, and not before.
        self.stdout.wait_closed();
        self.stderr.wait_closed();
        let code = self.child.wait().unwrap().code();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Ended { code, stdout: self.stdout.bytes(), log: String::from_utf8(self.stderr.bytes()).unwrap() }
    }

    /// The peak memory of the process, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

/// `pinetboot serve`, ready.
pub(crate) struct Serving {
    process: Process,
    /// The line that says so.
    pub(crate) ready: String,
    /// The address at which the server listens.
    pub(crate) addresses: Vec<SocketAddrV4>,
}

impl Serving {
    /// Serves `tree` on a free port of 127.0.0.1, with these options too.
    #[track_caller]
    pub(crate) fn start(tree: impl AsRef<OsStr>, options: &[&str]) -> Self {
        let mut command = pinetboot();
        command.args(["serve", "--listen", "127.0.0.1", "--tftp-port", "0"]);
        // The default place is one for all servers of a machine.
        if !options.contains(&"--control") {
            command.args(["--control", "none"]);
        }
        command.args(options).arg(tree);
        Self::start_as(&mut command)
    }

    /// Serves with `command`, and waits until the server is ready.
    #[track_caller]
    pub(crate) fn start_as(command: &mut Command) -> Self {
        let process = Process::start(command);
        let Some(ready) = process.stdout.wait_for(1, |line| line.starts_with("ready ")).pop() else {
            panic!("ended instead of being ready: {:?}", process.wait())
        };
        let words = ready.split(' ').skip(2);
        let addresses = words.map_while(|word| word.parse().ok()).collect();
        Self { process, ready, addresses }
    }

    /// The address at which the server listens, if it is a single one.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        let [address] = self.addresses[..] else { panic!("not one address: {}", self.ready) };
        address
    }

    /// The URL of a file.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("tftp://{}/{name}", self.address())
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Stops the process as a debugger would, until [`Signal::SIGCONT`].
    pub(crate) fn hold_up(&self) {
        self.signal(Signal::SIGSTOP);
        let process = Pid::from_raw(self.process.id().try_into().unwrap());
        assert!(matches!(waitpid(process, Some(WaitPidFlag::WUNTRACED)), Ok(WaitStatus::Stopped(..))));
    }

    pub(crate) fn peak_memory(&self) -> u64 {
        self.process.peak_memory()
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8(self.process.stderr.bytes()).unwrap()
    }

    /// Waits for a log line that contains this text.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        self.wait_for_logs(1, text).remove(0)
    }

    /// Waits for `count` of these lines.
    #[track_caller]
    pub(crate) fn wait_for_logs(&self, count: usize, text: &str) -> Vec<String> {
        let lines = self.process.stderr.wait_for(count, |line| line.contains(text));
        assert!(lines.len() >= count, "ended without {count} log lines with {text:?}:\n{}", self.log());
        lines
    }

    /// Waits for the process to end by itself, or by a signal that was sent.
    #[track_caller]
    pub(crate) fn wait(self) -> Ended {
        self.process.wait()
    }

    /// Waits until the server has handled every packet that was sent to it so far.
    #[track_caller]
    pub(crate) fn settle(&self) {
        self.settle_with(Ipv4Addr::LOCALHOST);
    }

    /// The same of the thread that answers this client.
    #[track_caller]
    pub(crate) fn settle_with(&self, client: Ipv4Addr) {
        // Datagrams to transfers are handled before those to the listening port.
        for address in &self.addresses {
            Peer::at(client, *address).insist("ACK 0", "ERROR 5 unknown transfer ID");
        }
    }

    /// Has it end when it has handled all that was sent to it, which it does well; says what it has logged.
    #[track_caller]
    pub(crate) fn stop(self) -> String {
        self.settle();
        self.signal(Signal::SIGTERM);
        let ended = self.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        ended.log
    }
}

/// The output of a process, line by line.
struct Lines {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    closed: bool,
}

impl Lines {
    fn collect(mut from: impl Read + Send + 'static) -> (Arc<Self>, JoinHandle<()>) {
        let lines = Arc::new(Self { state: Mutex::default(), news: Condvar::new() });
        let collected = lines.clone();
        let reader = thread::spawn(move || {
            let mut piece = vec![0; 1 << 16];
            loop {
                let len = from.read(&mut piece).unwrap_or(0);
                let mut state = collected.state.lock().unwrap();
                state.bytes.extend_from_slice(&piece[..len]);
                state.closed = len == 0;
                collected.news.notify_all();
                if state.closed {
                    return;
                }
            }
        });
        (lines, reader)
    }

    fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().bytes.clone()
    }

    /// The whole lines that `wanted` accepts, once `count` exist; fewer if the process ends before.
    #[track_caller]
    fn wait_for(&self, count: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let (mut found, mut seen) = (Vec::new(), 0);
        self.wait(|state| {
            let new = &state.bytes[seen..];
            let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let text = String::from_utf8_lossy(&new[..whole]);
            found.extend(text.lines().filter(|line| wanted(line)).map(str::to_owned));
            seen += whole;
            (found.len() >= count || state.closed).then(|| std::mem::take(&mut found))
        })
    }

    #[track_caller]
    fn wait_closed(&self) {
        self.wait(|state| state.closed.then_some(()));
    }

    #[track_caller]
    fn wait<T>(&self, mut done: impl FnMut(&State) -> Option<T>) -> T {
        let began = Instant::now();
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(result) = done(&state) {
                return result;
            }
            let left = TOO_LONG.saturating_sub(began.elapsed());
            if left.is_zero() {
                let bytes = state.bytes.clone();
                drop(state);
                panic!("nothing came; so far:\n{}", String::from_utf8_lossy(&bytes));
            }
            state = self.news.wait_timeout(state, left).unwrap().0;
        }
    }
}

/// Longer than anything takes that still works.
const TOO_LONG: Duration = Duration::from_secs(60);
