//! The system calls that a Pi costs from its DISCOVER to its config.txt.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

/// The calls of a process while `work` runs, by strace.
fn calls_of(process: u32, work: impl FnOnce()) -> Vec<String> {
    let output = tempfile::NamedTempFile::new().unwrap();
    let mut strace = std::process::Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(output.path())
        .args(["-p", &process.to_string()])
        .spawn()
        .unwrap();
    let is_traced = |task: &PathBuf| {
        // A thread may end meanwhile.
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    };
    let tasks = PathBuf::from(format!("/proc/{process}/task"));
    while !fs::read_dir(&tasks).unwrap().all(|task| is_traced(&task.unwrap().path())) {
        assert_eq!(strace.try_wait().unwrap(), None, "strace ended");
        thread::yield_now();
    }
    work();
    kill(Pid::from_raw(strace.id() as i32), Signal::SIGTERM).unwrap();
    strace.wait().unwrap();
    let text = fs::read_to_string(output.path()).unwrap();
    let call = |line: &str| {
        let call = line.split_ascii_whitespace().nth(1)?.split_once('(')?;
        // Debug builds ask before each close whether the descriptor is open.
        (!call.0.is_empty() && !line.contains("F_GETFD")).then(|| call.0.to_owned())
    };
    text.lines().filter_map(call).collect()
}

#[test]
#[ignore = "needs root, network namespaces and strace; run by .ci/run"]
fn a_pi_costs_few_system_calls() {
    let home = Home::new();
    let server = home.serve(&["--dhcp", "lease", "--dhcp-clients", "all"]);
    let boot = |last: u8| {
        home.client.ip("addr flush dev eth");
        home.client.ip(&format!("link set eth address d8:3a:dd:00:00:{last:02x}"));
        home.udhcpc(&AS_A_PI);
        home.fetch();
    };
    boot(1); // what the first Pi of all costs is left out
    let calls = calls_of(server.id(), || boot(2));
    let count = |name: &str| calls.iter().filter(|call| *call == name).count();
    println!("{} calls: {calls:?}", calls.len());
    assert!(count("recvmmsg") >= 3, "DISCOVER, REQUEST and RRQ are among them: {calls:?}");
    // For the path's MTU, and none for the neighbour.
    assert_eq!(count("socket"), 1, "{calls:?}");
    // Waits and received frames depend on how busy the machine is.
    let waits =
        ["epoll_wait", "epoll_pwait", "poll", "ppoll", "futex", "recvfrom", "recvmmsg", "restart_syscall"];
    let others = calls.iter().filter(|call| !waits.contains(&call.as_str())).count();
    assert!(others <= MOST, "{others} calls besides waits: {calls:?}");
}

/// Measured: 45 with the eleven blocks of a config.txt of 5000 bytes; a client that repeats its message adds three.
const MOST: usize = 60;
