//! The namespaces of the comparison: private network, mount and process namespaces that end with the harness.
//!
//! ```text
//! namespace of the harness                     namespace "server"
//! clients 10.78.0.0/16, ping-pong 10.77.0.2 -- veth -- 10.77.0.1:69
//! ```
//!
//! The harness is the first process of its process namespace: when the harness ends, the kernel ends all servers with it, and
//! the namespaces vanish with their interfaces and mounts. Nothing of the host is changed.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, SysconfVar, Uid, sysconf};

use crate::Failed;

/// Runs this program once more with the same arguments, inside, and returns the result. `None` if this process is inside.
pub(crate) fn enter() -> Result<Option<ExitCode>, Failed> {
    if env::var_os(INSIDE).is_some() {
        return set_up().map(|()| None);
    }
    if !Uid::effective().is_root() {
        return Err("network namespaces take root: run it with sudo".into());
    }
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)
        .map_err(|error| format!("cannot make namespaces: {error}"))?;
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let status = Command::new(program)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .map_err(|error| format!("cannot run this program once more: {error}"))?;
    Ok(Some(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1).into()))
}

/// Run by the first process inside.
fn set_up() -> Result<(), Failed> {
    // ctrl-C ends the process outside, and with it this one, which would ignore the signal as the first of its namespace.
    set_pdeathsig(Signal::SIGKILL).map_err(|error| error.to_string())?;
    let own = |source: &str, target: &str, kind: Option<&str>, flags| {
        mount(Some(source), target, kind, flags, None::<&str>)
            .map_err(|error| format!("cannot mount {target}: {error}"))
    };
    own("none", "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    own("proc", "/proc", Some("proc"), MsFlags::empty())?;
    // For `ip netns`, for the servers' own files, and for the tree.
    own("tmpfs", "/run", Some("tmpfs"), MsFlags::empty())?;

    ip("link set lo up")?;
    ip("netns add server")?;
    ip("-n server link set lo up")?;
    ip("link add c type veth peer name s netns server")?;
    ip("addr add 10.77.0.2/24 dev c")?;
    ip("link set c up")?;
    ip("-n server addr add 10.77.0.1/24 dev s")?;
    ip("-n server link set s up")?;
    // `lo` accepts every client address; a route by a neighbour saves the server an ARP entry for each client.
    ip("addr add 10.78.0.1/16 dev lo")?;
    ip("-n server route add 10.78.0.0/16 via 10.77.0.2")?;
    allow_files();
    Ok(())
}

/// A program in the server's namespace, on the server's core.
pub(crate) fn at_server(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "server", "taskset", "--cpu-list", &cores().0.to_string()]).arg(program);
    command
}

/// Keeps this thread to the clients' core.
pub(crate) fn pin_client() -> Result<(), Failed> {
    let mut set = CpuSet::new();
    set.set(cores().1).map_err(|error| error.to_string())?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|error| format!("cannot pin to a core: {error}").into())
}

/// Lets this thread run as soon as it can: it stands for a machine of its own, and the time that it waits for the clients' core would be
/// counted as the server's.
pub(crate) fn run_at_once() {
    let thread = nix::unistd::gettid().to_string();
    let set = Command::new("chrt").args(["--fifo", "--pid", "1", &thread]).stderr(Stdio::null()).status();
    if !set.is_ok_and(|status| status.success()) {
        eprintln!("  chrt failed: the running Pi's times have its own waits for a processor");
    }
}

/// The cores of the server and of the clients; the same core on a machine with one.
pub(crate) fn cores() -> (usize, usize) {
    static CORES: OnceLock<(usize, usize)> = OnceLock::new(); // from before any thread was pinned
    *CORES.get_or_init(|| {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
        let first = cores.next().unwrap_or(0);
        (first, cores.next().unwrap_or(first))
    })
}

/// The time that a core was not idle, and what of it was the network's (proc_stat(5)).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CoreTime {
    pub(crate) busy: Duration,
    pub(crate) softirq: Duration,
}

impl CoreTime {
    /// Of this core, since the start of the machine.
    pub(crate) fn of(core: usize) -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line =
            text.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} "))).unwrap_or_default();
        let mut ticks = [0_u64; 8];
        for (ticks, field) in ticks.iter_mut().zip(line.split_ascii_whitespace()) {
            *ticks = field.parse().unwrap_or(0);
        }
        // The fourth field is idle, the fifth waits for disks; the eighth is the time that the host took away.
        let [user, nice, system, _, _, irq, softirq, stolen] = ticks;
        let time = |ticks: u64| Duration::from_millis(ticks * 1000 / ticks_per_second());
        Self { busy: time(user + nice + system + irq + softirq + stolen), softirq: time(softirq) }
    }
}

/// The time that the cores of server and clients were not idle.
pub(crate) fn busy() -> Duration {
    let (server, clients) = cores();
    let server_core = CoreTime::of(server).busy;
    if server == clients { server_core } else { server_core + CoreTime::of(clients).busy }
}

/// The unit of times in /proc, as ticks per second.
pub(crate) fn ticks_per_second() -> u64 {
    sysconf(SysconfVar::CLK_TCK).ok().flatten().map_or(100, |ticks| ticks as u64)
}

/// Switches UDP segmentation offload of the cable; `Err` without ethtool.
pub(crate) fn offload(on: bool) -> io::Result<()> {
    let state = if on { "on" } else { "off" };
    let status = Command::new("ip")
        .args(["netns", "exec", "server", "ethtool", "-K", "s", "tx-udp-segmentation", state])
        .stderr(Stdio::null())
        .status()?;
    status.success().then_some(()).ok_or_else(|| io::Error::other("ethtool failed; apt-get install ethtool"))
}

/// The processes in the server's namespace.
pub(crate) fn processes_at_server() -> Vec<Pid> {
    let space = |path: &Path| fs::read_link(path.join("ns/net")).ok();
    let own = space(Path::new("/proc/self"));
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let there = space(&entry.path())?;
        (Some(there) != own).then(|| Pid::from_raw(pid))
    };
    numbers.filter_map(pid).collect()
}

/// Runs `ip`, and fails unless `ip` succeeds.
pub(crate) fn ip(arguments: &str) -> Result<(), Failed> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output();
    let output = output.map_err(|error| format!("cannot run ip: {error}; apt-get install iproute2"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}

/// A thousand transfers may take two descriptors each; servers inherit it.
fn allow_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = 65_536.max(soft);
        if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted.max(hard)).is_err() {
            let _as_far_as_allowed = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
    }
}

/// The address at which servers listen.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The address of client number `index`.
pub(crate) fn client(index: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_CLIENT.to_bits() + index as u32)
}

/// The client with this address.
pub(crate) fn client_index(address: Ipv4Addr) -> Option<usize> {
    address.to_bits().checked_sub(FIRST_CLIENT.to_bits()).map(|index| index as usize)
}

const FIRST_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 0);

const INSIDE: &str = "PINETBOOT_BENCH_INSIDE";
