//! A server on the sockets of its service manager, which a call starts: the service manager is the test.

use std::env;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use super::client::GRANTED;
use super::namespace::{PINETBOOT, Process, SOON};
use super::root_of;
use super::world::{ONE, World};

/// Each stop closes the connections of a Pi at work, whose next call waits in a socket until the next server.
#[test]
#[ignore = "needs root and overlayfs; run by .ci/run"]
fn a_call_finds_the_next_server_on_the_same_sockets() {
    let world = World::new();
    let manager = Manager::new(&world);
    let (file, first) = (world.path("handle"), manager.start(&world));
    world.one.boot(ONE);
    let root = root_of(&world.one.get(&format!("{ONE}//cmdline.txt")));
    world.one.ask(&format!("mount {} {root} {file} {GRANTED}", world.one.server));
    manager.stop(first);
    let rounds = env::var(ROUNDS).map_or(FEW, |rounds| rounds.parse().unwrap());
    for round in 1..=rounds {
        let calls: Vec<_> = (0..CALLS)
            .map(|_| world.one.start_to_ask(&format!("attributes {} {file} {GRANTED}", world.one.server)))
            .collect();
        // systemd starts the server when the first call is there.
        manager.wait_for_call();
        let server = manager.start(&world);
        for call in calls {
            let (status, said) = call.finish(SOON);
            assert!(status.success() && said.contains(" 1 passed"), "round {round}: {said}");
        }
        manager.stop(server);
    }
}

/// What systemd does for a unit of type notify with a socket unit.
struct Manager {
    sockets: Vec<OwnedFd>,
    notified: UnixDatagram,
    path: String,
}

impl Manager {
    fn new(world: &World) -> Self {
        let open = || {
            let at = |port| ("0.0.0.0", port);
            let tcp = [2049, 111].map(|port| OwnedFd::from(TcpListener::bind(at(port)).unwrap()));
            let udp = [69, 2049, 111].map(|port| OwnedFd::from(UdpSocket::bind(at(port)).unwrap()));
            // Beyond the numbers that they get in the server.
            let all = tcp.iter().chain(&udp).map(|socket| fcntl_dupfd_cloexec(socket, 100).unwrap());
            all.collect()
        };
        let path = world.path("notify");
        let notified = UnixDatagram::bind(&path).unwrap();
        notified.set_read_timeout(Some(SOON)).unwrap();
        Self { sockets: world.server.enter(open), notified, path }
    }

    /// Starts the server, and waits for READY=1.
    fn start(&self, world: &World) -> Process {
        // LISTEN_PID is that of the process that becomes the server.
        let fds = (3..).zip(&self.sockets).map(|(to, from)| format!("{to}<&{0} {0}<&-", from.as_raw_fd()));
        let script = format!(
            "exec {}; export LISTEN_PID=$$ LISTEN_FDS={}; exec \"$@\"",
            fds.collect::<Vec<_>>().join(" "),
            self.sockets.len()
        );
        let inner = world.server.command(PINETBOOT);
        let mut command = Command::new("bash");
        command.args(["-c", &script, "bash"]).arg(inner.get_program()).args(inner.get_args());
        command.args(["serve", "-v", "--config", &world.path("pinetboot.toml")]);
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", "60000000");
        let inherited = |flags| self.sockets.iter().for_each(|socket| fcntl_setfd(socket, flags).unwrap());
        inherited(FdFlags::empty());
        let mut server = Process::start(command);
        // Programs of other tests need no sockets.
        server.expect("ready tftp ", SOON);
        inherited(FdFlags::CLOEXEC);
        while !self.hear().starts_with("READY=1\n") {}
        server
    }

    fn stop(&self, server: Process) {
        let said = server.stop();
        assert!(!said.contains("LISTEN_FDS"), "a socket is not used: {said}");
        while !self.hear().starts_with("STOPPING=1\n") {}
    }

    fn hear(&self) -> String {
        let mut message = [0; 4096];
        let len = self.notified.recv(&mut message).unwrap();
        String::from_utf8(message[..len].to_vec()).unwrap()
    }

    fn wait_for_call(&self) {
        let mut call = [PollFd::new(self.sockets[0].as_fd(), PollFlags::POLLIN)];
        let came = poll(&mut call, PollTimeout::try_from(SOON).unwrap());
        assert_eq!(came, Ok(1), "no call came");
    }
}

/// The number of starts, for a long run.
const ROUNDS: &str = "PINETBOOT_ROUNDS";
const FEW: u32 = 8;
/// Calls at once: a client has 512 ports below 1024, each for one connection in a minute.
const CALLS: usize = 2;
