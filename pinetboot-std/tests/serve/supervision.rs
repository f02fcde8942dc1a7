//! The end of threads and of the process, and the service manager's watchdog.
//!
//! A test holds a thread of the server as a debugger does (ptrace): to the server the thread hangs in a system call.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Folder, HeldThread, Peer, Serving, pinetboot};

/// The service manager.
struct Manager {
    folder: Folder,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new(&[]);
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { folder, socket }
    }

    fn start(&self, tree: &Folder, watchdog: Option<Duration>) -> Serving {
        let mut command = pinetboot();
        command.args(["serve", "--listen", "127.0.0.1", "--tftp-port", "0"]).arg(tree.path());
        command.env("NOTIFY_SOCKET", self.folder.join("notify"));
        if let Some(period) = watchdog {
            command.env("WATCHDOG_USEC", period.as_micros().to_string());
        }
        Serving::start_as(&mut command)
    }

    fn hear(&self) -> String {
        let mut message = [0; 4096];
        let len = self.socket.recv(&mut message).unwrap();
        String::from_utf8(message[..len].to_vec()).unwrap()
    }

    fn hear_no_more(&self, within: Duration) -> bool {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let heard = self.socket.recv(&mut [0; 4096]);
        self.socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        heard.is_err()
    }
}

#[test]
fn a_hung_loop_does_not_hinder_the_stop() {
    let tree = Folder::tree(&[]);
    let serving = Serving::start(&tree, &["--threads", "2"]);
    let held = HeldThread::take(serving.id(), "tftp 1");
    let began = Instant::now();
    serving.signal(Signal::SIGTERM);
    held.bury();
    let (ended, took) = (serving.wait(), began.elapsed());
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(ended.code, Some(12), "{}", ended.log);
    let line = "tftp did not end within 4 s of the stop: the process ends without thread tftp 1";
    assert!(ended.log.contains(line), "{}", ended.log);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let tree = Folder::tree(&[]);
    let manager = Manager::new();
    let serving = manager.start(&tree, None);
    assert!(manager.hear().starts_with("READY=1\n"));
    let held = HeldThread::take(serving.id(), "tftp 0");
    serving.signal(Signal::SIGTERM);
    assert!(manager.hear().starts_with("STOPPING=1\n"));
    // A debug build aborts if a thread drops a socket that the end of the process has closed.
    let began = Instant::now();
    while has_thread(serving.id(), "follow") {
        assert!(began.elapsed() < Duration::from_secs(4), "the other threads have nothing to wait for");
        std::thread::yield_now();
    }
    serving.signal(Signal::SIGTERM);
    held.bury();
    let ended = serving.wait();
    assert_eq!(ended.code, Some(130), "{}", ended.log);
}

fn has_thread(process: u32, name: &str) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.into_iter().any(|comm| comm.trim_end() == name)
}

/// A service that waited for the reader of the log would not end.
#[test]
fn a_log_that_is_not_read_holds_up_no_service_and_no_stop() {
    let tree = Folder::tree(&[("file", &[0; 600])]);
    let (mut unread, log) = std::io::pipe().unwrap();
    let mut command = pinetboot();
    command.args(["serve", "-vv", "--listen", "127.0.0.1", "--tftp-port", "0"]).arg(tree.path());
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    drop(command);
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let server: SocketAddr = ready.split(' ').nth(2).unwrap().parse().unwrap();
    let is_answered = || {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        client.send_to(b"\0\x01file\0octet\0", server).unwrap();
        let answer = client.recv_from(&mut [0; 600]);
        answer.and_then(|(_, transfer)| client.send_to(b"\0\x05\0\0enough\0", transfer)).is_ok()
    };
    // Four lines each, of more than 30 bytes: twice the size of a pipe.
    for number in 0..1000 {
        assert!(is_answered(), "request {number}");
    }
    let began = Instant::now();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let (status, took) = (child.wait().unwrap(), began.elapsed());
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let mut log = Vec::new();
    unread.read_to_end(&mut log).unwrap();
    assert!(log.len() >= 60_000, "the pipe was full: {} bytes", log.len());
}

/// A reader that comes back hears how many lines it missed.
#[test]
fn a_log_that_is_read_again_has_the_number_of_dropped_lines() {
    let tree = Folder::tree(&[("file", &[0; 600])]);
    let (unread, log) = std::io::pipe().unwrap();
    let mut command = pinetboot();
    command.args(["serve", "-vv", "--listen", "127.0.0.1", "--tftp-port", "0"]).arg(tree.path());
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    drop(command);
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let server = ready.split(' ').nth(2).unwrap().parse().unwrap();
    let request = || {
        let mut peer = Peer::of(server);
        peer.exchange("RRQ file octet", "DATA 1 +512");
        peer.say("ERROR 0 enough");
    };
    (0..1000).for_each(|_| request());
    let reader = std::thread::spawn(move || BufReader::new(unread).lines().map(Result::unwrap).collect());
    request();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let lines: Vec<String> = reader.join().unwrap();
    let dropped = lines.iter().find_map(|line| line.split_once("was not read for 250 ms: "));
    let (before, dropped) = dropped.unwrap_or_else(|| panic!("{:?}", lines.last()));
    let dropped: usize = dropped.split('.').next().unwrap().parse().unwrap();
    assert!(before.contains("WARN log lines dropped") && dropped > 500, "{before} {dropped}");
    assert!(lines.iter().any(|line| line.contains("stopped")), "{:?}", lines.last());
}

/// A loop whose wait fails: epoll_wait returns EBADF.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_end_of_a_thread_ends_the_process_with_a_code_and_its_name() {
    let tree = Folder::tree(&[("file", &[0; 2000])]);
    let serving = Serving::start(&tree, &[]);
    let mut peer = Peer::of(serving.address());
    peer.exchange("RRQ file octet", "DATA 1 +512");
    HeldThread::fail_wait(serving.id(), "tftp 0", nix::errno::Errno::EBADF);
    let ended = serving.wait();
    assert_eq!(ended.code, Some(11), "{}", ended.log);
    let line = "ERROR thread tftp 0 ended: the network failed: Bad file descriptor";
    assert!(ended.log.contains(line), "{}", ended.log);
}

#[test]
fn the_service_manager_hears_of_start_reload_and_stop() {
    let tree = Folder::tree(&[]);
    let manager = Manager::new();
    let serving = manager.start(&tree, None);
    let ready = format!("READY=1\nSTATUS=serving {}", tree.path().display());
    assert_eq!(manager.hear(), ready);
    serving.signal(Signal::SIGHUP);
    let reloading = manager.hear();
    let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(usec.parse::<u64>().unwrap() > 0);
    assert_eq!(manager.hear(), ready);
    serving.signal(Signal::SIGTERM);
    assert_eq!(manager.hear(), "STOPPING=1\nSTATUS=stopping");
    assert_eq!(serving.wait().code, Some(0));
}

#[test]
fn the_watchdog_is_fed_while_every_loop_turns() {
    let tree = Folder::tree(&[]);
    let manager = Manager::new();
    let period = Duration::from_secs(1);
    let serving = manager.start(&tree, Some(period));
    assert!(manager.hear().starts_with("READY=1\n"));
    (0..3).for_each(|_| assert_eq!(manager.hear(), "WATCHDOG=1"));
    for name in ["tftp 0", "clock"] {
        let held = HeldThread::take(serving.id(), name);
        serving.wait_for_log(&format!("ERROR loop {name} did not turn for 0.5 s"));
        // The status follows the line.
        let problem = format!("problem: thread {name} shows no turn");
        while !manager.hear().contains(&problem) {}
        assert!(manager.hear_no_more(2 * period), "{name}");
        held.let_go();
        serving.wait_for_log(&format!("loop {name} turns again"));
        assert_eq!(manager.hear(), "WATCHDOG=1");
    }
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.wait().code, Some(0));
}

/// The process's own threads wait for events alone: without a watchdog none of them wakes up.
#[test]
fn without_a_watchdog_no_thread_wakes_up() {
    let tree = Folder::tree(&[]);
    // With a control socket of its own: other servers look whether the default one is in use.
    let run = Folder::new(&[]);
    let control = run.join("control");
    let serving = Serving::start(&tree, &["--control", control.to_str().unwrap()]);
    let wakes = || -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", serving.id())).unwrap();
        let of = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        };
        tasks.map(|task| of(task.unwrap())).sum()
    };
    serving.settle();
    std::thread::sleep(Duration::from_millis(300));
    let before = wakes();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(wakes() - before, 0);
}
