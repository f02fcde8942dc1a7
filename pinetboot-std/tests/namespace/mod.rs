//! Networks that exist only for one test: namespaces joined by cables, and programs that run in them.
//!
//! Nothing here touches the machine's own network: cables are made between two namespaces, TAP devices within one.
//! Dropping a [`Namespace`] or a [`Process`] removes it, also when the test fails. If the test itself is killed, its
//! processes die with it, and the next test to run removes the namespaces.
#![allow(dead_code, reason = "every test uses its own part")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{PipeReader, Read, Write, pipe};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use nix::unistd::Pid;
use pinetboot_core::dhcp::{MAX_LEN, Profile};
use pinetboot_core::pi::{PiIdentity, Revision};
use tempfile::TempDir;

/// Within this anything happens that does not have to wait for a timeout of the protocol.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The time limit for the computing or loading of an emulated machine; alone it takes a few seconds.
pub(crate) const A_WHILE: Duration = Duration::from_secs(90);

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    /// The state of the servers that run in it.
    state: TempDir,
}

impl Namespace {
    /// A new one, with nothing but its loopback; `role` is part of its name.
    pub(crate) fn new(role: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // The first `ip netns add` on a machine mounts the directory of the names, which two at once do not survive.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        if count == 0 {
            remove_leftovers();
        }
        let name = format!("{PREFIX}{}-{count}-{role}", std::process::id());
        ip(&format!("netns add {name}"));
        let namespace = Self { name, state: tempfile::tempdir().unwrap() };
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name, as ip(8) knows it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in the namespace.
    pub(crate) fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.name));
    }

    /// An interface's address, as `10.0.0.1/24`; it may get several.
    pub(crate) fn address(&self, interface: &str, address: &str) {
        self.ip(&format!("addr add {address} broadcast + dev {interface}"));
    }

    /// Sets the default gateway.
    pub(crate) fn gateway(&self, address: &str) {
        self.ip(&format!("route add default via {address}"));
    }

    /// Lets the namespace forward packets between its interfaces from here on.
    pub(crate) fn forward(&self) {
        let mut command = self.command("sh");
        command.args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
        succeed(command);
    }

    /// A bridge that joins these interfaces.
    pub(crate) fn bridge(&self, name: &str, interfaces: &[&str]) {
        self.ip(&format!("link add {name} type bridge"));
        self.ip(&format!("link set {name} up"));
        for interface in interfaces {
            self.ip(&format!("link set {interface} master {name}"));
        }
    }

    /// A TAP device, for an emulated machine.
    pub(crate) fn tap(&self, name: &str) {
        self.ip(&format!("tuntap add {name} mode tap"));
        self.ip(&format!("link set {name} up"));
    }

    /// Adds rules for its packets, in nftables' language.
    pub(crate) fn nft(&self, rules: &str) {
        let mut command = self.command("nft");
        let mut child =
            command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A program, to run in it. It dies with the thread that starts it.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// The same, in the mounts of this process: `ip netns exec` has its own /sys, without cgroups.
    pub(crate) fn network_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        let network = format!("--net=/run/netns/{}", self.name);
        command.args([&network, "setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Runs this work on a thread in it: sockets that the thread opens are of this namespace.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = File::open(Path::new("/run/netns").join(&self.name)).unwrap();
        let inside = move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs `test`, the one that calls this, once more and in this namespace; there [`part`] returns what is passed here.
    pub(crate) fn rerun(&self, test: &str, part: &str) {
        self.rerun_within(test, part, SOON);
    }

    /// The same for a test that may take longer.
    pub(crate) fn rerun_within(&self, test: &str, part: &str, within: Duration) -> String {
        let (status, said) = self.start_part(test, part).finish(within);
        assert!(status.success(), "{test}: {status}: {said}");
        assert!(said.contains(" 1 passed"), "no test is called {test}: {said}");
        said
    }

    /// Starts the same, which prints as it goes.
    pub(crate) fn start_part(&self, test: &str, part: &str) -> Process {
        let mut command = self.command(env::current_exe().unwrap());
        command.args(["--exact", test, "--include-ignored", "--nocapture"]).env(PART, part);
        Process::start(command)
    }

    /// One of the kernel's counters about IPv4 in it, as netstat(8) shows them: `FragCreates`.
    pub(crate) fn ip_counter(&self, name: &str) -> u64 {
        let mut command = self.command("cat");
        command.arg("/proc/net/snmp");
        let table = succeed(command);
        let mut lines = table.lines().filter_map(|line| line.strip_prefix("Ip: "));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut both = names.split(' ').zip(values.split(' '));
        both.find(|(counter, _)| *counter == name).unwrap().1.parse().unwrap()
    }

    /// Runs `pinetboot serve TREE` in it, of the program that the variable `PINETBOOT_PROGRAM` names or else of the tests' own build, and
    /// returns when it is ready. Each server finds the state of the one before it.
    pub(crate) fn serve(&self, tree: &Path, options: &[&str]) -> Process {
        // A debug build does not hold against floods.
        let program = env::var_os("PINETBOOT_PROGRAM").unwrap_or_else(|| PINETBOOT.into());
        let mut command = self.command(program);
        command.args(["serve", "-v"]).args(options).arg(tree);
        command.args(without_control(options));
        // Servers of other tests have their leases in the default directory.
        if options.contains(&"lease") && !options.contains(&"--lease-file") && !options.contains(&"--state") {
            command.arg("--state").arg(self.state.path());
        }
        let mut server = Process::start(command);
        server.line("ready tftp ", SOON);
        server
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Not `ip`, which panics. The interfaces go with the namespace, which goes with its last process.
        let _gone = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// The options of a server that has no control socket, unless `options` name one: the default place is one for all servers of a machine.
pub(crate) fn without_control(options: &[&str]) -> &'static [&'static str] {
    if options.contains(&"--control") { &[] } else { &["--control", "none"] }
}

/// One end of a cable.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) of: &'a Namespace,
    pub(crate) interface: &'a str,
    /// As `10.0.0.1/24`; none for the port of a bridge.
    pub(crate) address: Option<&'a str>,
}

/// Where a cable is plugged in.
pub(crate) fn end<'a>(of: &'a Namespace, interface: &'a str, address: &'a str) -> End<'a> {
    End { of, interface, address: Some(address) }
}

/// A cable that carries packets of up to `mtu` bytes.
pub(crate) fn cable(one: End<'_>, other: End<'_>, mtu: u16) {
    ip(&format!(
        "link add {} netns {} mtu {mtu} type veth peer name {} netns {} mtu {mtu}",
        one.interface, one.of.name, other.interface, other.of.name
    ));
    for End { of, interface, address } in [one, other] {
        if let Some(address) = address {
            of.address(interface, address);
        }
        of.ip(&format!("link set {interface} up"));
    }
}

/// A running program and its output: standard output and standard error as one. Dropping the value kills the program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    output: Receiver<Vec<u8>>,
    /// The whole output so far.
    said: Vec<u8>,
    /// The length of the output that was looked at.
    read: usize,
}

impl Process {
    /// Starts it. Its standard input is a pipe, for [`say`](Self::say).
    pub(crate) fn start(mut command: Command) -> Self {
        let (reader, writer) = pipe().unwrap();
        command.stdin(Stdio::piped()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        drop(command); // and with it our copies of the pipe's end: the output ends when the program does
        Self { child, output: listen(reader), said: Vec::new(), read: 0 }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input.
    pub(crate) fn say(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the program to print `text`, and returns the output up to the end of the text.
    pub(crate) fn expect(&mut self, text: &str, within: Duration) -> String {
        self.expect_one(&[text], within).1
    }

    /// Waits for the program to print one of these texts, and returns the number of the first one, and the output up to its end.
    pub(crate) fn expect_one(&mut self, texts: &[&str], within: Duration) -> (usize, String) {
        let deadline = Instant::now() + within;
        let longest = texts.iter().map(|text| text.len()).max().unwrap();
        let mut searched = self.read; // not anew what was: there may be megabytes of it
        loop {
            let place = |text: &&str| find(&self.said[searched..], text.as_bytes());
            let found = texts.iter().enumerate().filter_map(|(number, text)| Some((place(text)?, number)));
            if let Some((at, number)) = found.min() {
                let end = searched + at + texts[number].len();
                let heard = String::from_utf8_lossy(&self.said[self.read..end]).into_owned();
                self.read = end;
                return (number, heard);
            }
            searched = self.said.len().saturating_sub(longest).max(searched);
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.said.extend(bytes),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no {texts:?} within {within:?}, but:\n{}", self.said())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended without {texts:?}, but:\n{}", self.said())
                }
            }
        }
    }

    /// Waits for the program to print `text`, and returns the line that has it.
    pub(crate) fn line(&mut self, text: &str, within: Duration) -> String {
        let before = self.expect(text, within);
        let rest = self.expect("\n", within);
        let line = before.lines().last().unwrap_or_default().to_owned() + &rest;
        line.trim_end().to_owned()
    }

    /// Waits for the program to end, and returns its status and output.
    pub(crate) fn finish(mut self, within: Duration) -> (ExitStatus, String) {
        let deadline = Instant::now() + within;
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.said.extend(bytes),
                Err(RecvTimeoutError::Timeout) => panic!("not over within {within:?}:\n{}", self.said()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        (self.child.wait().unwrap(), self.said())
    }

    /// Asks the program to end, which has to succeed, and returns its output.
    pub(crate) fn stop(self) -> String {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let (status, said) = self.finish(SOON);
        assert!(status.success(), "{status}: {said}");
        said
    }

    /// The peak memory of the program, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The time of processors that the program took.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // proc_pid_stat(5): utime and stime are the fields 14 and 15, the name in parentheses is the second.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
        let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10) // USER_HZ is 100
    }

    /// Whether the program has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The output so far.
    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A client that fetches [`FILE`] from `server` (address and port) into the directory in which it runs.
pub(crate) fn curl(client: &Namespace, server: &str) -> Command {
    let mut command = client.command("curl");
    command.args(["--silent", "--show-error", "--remote-name", &format!("tftp://{server}/{FILE}")]);
    command
}

/// The same; `options` like `blksize 1468`.
pub(crate) fn atftp(client: &Namespace, server: &str, options: &[&str]) -> Command {
    let (address, port) = server.split_once(':').unwrap();
    let mut command = client.command("atftp");
    command.args(options.iter().flat_map(|option| ["--option", option]));
    command.args(["--get", "--remote-file", FILE, "--local-file", FILE, address, port]);
    command
}

/// The same; `options` like `--blksize`, `1468`.
pub(crate) fn get(client: &Namespace, server: &str, options: &[&str]) -> Command {
    let mut command = client.command(PINETBOOT);
    command.arg("get").args(options).arg(format!("tftp://{server}/{FILE}"));
    command
}

/// dnsmasq, giving addresses of 10.77.0.0/24 on the interface `eth` of a namespace.
pub(crate) fn dnsmasq(at: &Namespace, options: &[&str]) -> Process {
    let mut command = at.command("dnsmasq");
    command.args([
        "--no-daemon",
        "--conf-file=/dev/null",
        "--port=0",
        "--interface=eth",
        "--bind-interfaces",
    ]);
    command.args(["--no-ping", "--dhcp-leasefile=/dev/null", "--user=root"]);
    command.arg("--dhcp-range=10.77.0.50,10.77.0.60").args(options);
    let mut dnsmasq = Process::start(command);
    dnsmasq.expect("sockets bound exclusively", SOON);
    dnsmasq
}

/// The DISCOVER of a made-up Pi 5 with this serial number, and a MAC address that begins with `first`.
pub(crate) fn discover_of(first: u8, serial: u32) -> Vec<u8> {
    let [a, b, c, d] = serial.wrapping_mul(0x9e37_79b1).to_be_bytes();
    let mac = [first, 0, a, b, c, d];
    let pi = PiIdentity::new(*b"RPi5", Revision::from_code(0x00d0_4170), mac, serial).unwrap();
    let mut discover = [0; MAX_LEN];
    let len = Profile::Pi(pi).discover(mac, serial, 0, &mut discover).unwrap();
    discover[..len].to_vec()
}

/// A DHCP client's socket in the present namespace. A process that another test is just starting holds a copy of each
/// socket until its program runs, so the port may be in use for a moment after the one before was closed.
pub(crate) fn dhcp_client() -> UdpSocket {
    let descriptor = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&descriptor, sockopt::ReuseAddr, &true).unwrap();
    setsockopt(&descriptor, sockopt::Broadcast, &true).unwrap();
    bind(descriptor.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 68)).unwrap();
    descriptor.into()
}

/// In a process that [`Namespace::rerun`] started: the part that it plays.
pub(crate) fn part() -> Option<String> {
    env::var(PART).ok()
}

/// Bytes that look like no others, the same in every run.
pub(crate) fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Runs `ip`, which has to succeed.
fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a program, which has to succeed, and returns its output.
fn succeed(command: Command) -> String {
    let what = format!("{command:?}");
    let (status, said) = Process::start(command).finish(SOON);
    assert!(status.success(), "{what}: {status}: {said}");
    said
}

/// Removes the namespaces of tests that were killed.
fn remove_leftovers() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _gone = Command::new("ip").args(["netns", "delete", &name]).status();
        }
    }
}

/// Hands on what comes out of a pipe, until it ends.
fn listen(mut reader: PipeReader) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut memory = [0; 4096];
        while let Ok(len @ 1..) = reader.read(&mut memory) {
            if sender.send(memory[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// The file that clients fetch.
pub(crate) const FILE: &str = "kernel.img";

/// The program under test.
pub(crate) const PINETBOOT: &str = env!("CARGO_BIN_EXE_pinetboot");

const PREFIX: &str = "pinetboot-";
const PART: &str = "PINETBOOT_TEST_PART";
