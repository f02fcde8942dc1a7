//! The processes of a server, beside the table of docs/security.md.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use pinetboot_core::tftp::Options;
use rustix::thread::CapabilitySet;

use super::hidden::{boot, url};
use crate::common::{Folder, Serving, fetch, pinetboot};

const PAGE: &str = include_str!("../../docs/security.md");

/// A row of the page's table.
struct Row {
    user: String,
    capabilities: Vec<String>,
    seccomp: bool,
}

impl Row {
    fn capabilities(&self) -> CapabilitySet {
        let capability = |name: &String| CapabilitySet::from_name(&name.to_uppercase()).unwrap();
        self.capabilities.iter().map(capability).collect()
    }
}

#[test]
#[ignore = "needs root; run by .ci/run"]
fn each_thread_of_tftp_has_the_rights_of_the_page() {
    assert!(geteuid().is_root());
    let tree = Folder::tree(&[("file", b"boot")]);
    let serving = Serving::start(&tree, &["--threads", "3", "--require-sandbox"]);
    compare(serving.id(), &row("boot files"));
    serving.stop();
}

#[test]
#[ignore = "needs root; run by .ci/run"]
fn each_thread_of_an_nfs_server_has_the_rights_of_the_page() {
    for (mode, name) in [("shared-ro", "shared roots by NFS"), ("overlay", "layers by NFS")] {
        let roots = Roots::new();
        let serving = roots.serve(&["--nfs-mode", mode, "--require-sandbox"]);
        compare(serving.id(), &row("boot files"));
        let [nfsd] = children(serving.id())[..] else { panic!() };
        compare(nfsd, &row(name));
        let children = children(nfsd);
        assert_eq!(children.len(), usize::from(mode == "overlay"), "{mode}");
        for mounter in &children {
            compare(*mounter, &row("mounts of layers"));
            let network = |process: u32| fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
            let mounts = |process: u32| fs::read_link(format!("/proc/{process}/ns/mnt")).unwrap();
            assert_ne!(network(*mounter), network(nfsd));
            assert_eq!(network(nfsd), network(serving.id()));
            assert_eq!(mounts(*mounter), mounts(nfsd));
        }
        // No process has a socket of another's protocol.
        assert_eq!(listening(serving.id(), "tcp"), 0);
        assert!(listening(nfsd, "tcp") > 0);
        assert_eq!(listening(nfsd, "packet"), 1, "the socket for ARP");
        serving.stop();
        for process in [&[nfsd], &children[..]].concat() {
            gone(process);
        }
    }
}

/// To bind listening sockets to the interface again.
#[test]
#[ignore = "needs root; run by .ci/run"]
fn nfs_on_an_interface_has_net_raw_too() {
    let roots = Roots::new();
    let serving = roots.serve(&["--interface", "lo", "--require-sandbox"]);
    let [nfsd] = children(serving.id())[..] else { panic!() };
    let mut row = row("layers by NFS");
    row.capabilities.push("net_raw".into());
    compare(nfsd, &row);
    serving.stop();
}

/// The process of NFS tells each mount to that of the log.
#[test]
#[ignore = "needs root; run by .ci/run"]
fn a_log_that_is_not_read_holds_up_no_mount() {
    let roots = Roots::new();
    let (mut unread, log) = std::io::pipe().unwrap();
    let mut command = pinetboot();
    let mut child =
        roots.arguments(&mut command).arg("-vv").stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    drop(command);
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let tftp = ready.split(' ').nth(2).unwrap().parse().unwrap();
    for number in 0..400 {
        let got = fetch(tftp, "aaaa0001/config.txt", Options::default());
        got.unwrap_or_else(|why| panic!("request {number}: {why:?}"));
    }
    fetch(tftp, "aaaa0001/kernel8.img", Options::default()).unwrap();
    for number in 0..20 {
        let output = Command::new("nfs-cat").arg(url(&ready, "etc/hostname")).output().unwrap();
        assert_eq!(output.stdout, b"pi-aaaa0001\n", "{number}: {}", String::from_utf8_lossy(&output.stderr));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut log = Vec::new();
    unread.read_to_end(&mut log).unwrap();
    assert!(log.len() >= 60_000, "the pipe was full: {} bytes", log.len());
}

#[test]
#[ignore = "needs root; run by .ci/run"]
fn a_server_and_the_processes_of_its_roots_end_together() {
    for killed in ["server", "nfsd", "mounter"] {
        let roots = Roots::new();
        let serving = roots.serve(&[]);
        let [nfsd] = children(serving.id())[..] else { panic!() };
        let [mounter] = children(nfsd)[..] else { panic!() };
        let process = match killed {
            "server" => serving.id(),
            "nfsd" => nfsd,
            _ => mounter,
        };
        kill(Pid::from_raw(process as i32), Signal::SIGKILL).unwrap();
        let ended = serving.wait();
        if killed != "server" {
            assert_eq!(ended.code, Some(11), "{killed}: {}", ended.log);
            let thread = if killed == "nfsd" { "nfs" } else { killed };
            assert!(ended.log.contains(&format!("thread {thread} ended")), "{}", ended.log);
        }
        gone(nfsd);
        gone(mounter);
    }
}

/// As `systemd/pinetboot-roots.service` starts it.
#[test]
#[ignore = "needs root and setpriv; run by .ci/run"]
fn a_user_with_capabilities_starts_a_server_that_is_never_root() {
    let unit = include_str!("../../systemd/pinetboot-roots.service");
    let capabilities: Vec<_> =
        unit.lines().filter_map(|line| line.strip_prefix("AmbientCapabilities=")).collect();
    let capabilities = capabilities.join(" ").replace("CAP_", "+").replace(' ', ",").to_lowercase();
    let roots = Roots::new();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(format!("--inh-caps={capabilities}")).arg(format!("--ambient-caps={capabilities}"));
    command.arg("--no-new-privs").arg(env!("CARGO_BIN_EXE_pinetboot"));
    let serving = Serving::start_as(roots.arguments(&mut command).arg("--require-sandbox"));
    let [nfsd] = children(serving.id())[..] else { panic!() };
    let effective = |process: u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        (field("Uid:").split_whitespace().next().unwrap().to_owned(), field("CapPrm:"))
    };
    assert_eq!(effective(serving.id()), ("65534".into(), "0000000000000000".into()));
    let without_mknod = row("layers by NFS").capabilities() - CapabilitySet::MKNOD;
    assert_eq!(effective(nfsd), ("0".into(), format!("{:016x}", without_mknod.bits())));
    boot(&serving);
    let file = Command::new("nfs-cat").arg(url(&serving.ready, "etc/hostname")).output().unwrap();
    assert_eq!(file.stdout, b"pi-aaaa0001\n", "{}", serving.log());
    serving.stop();
}

/// A root file system to serve, and a state directory.
struct Roots {
    root: Folder,
    state: Folder,
}

impl Roots {
    fn new() -> Self {
        let root = Folder::new(&[
            ("boot/firmware/config.txt", b""),
            ("boot/firmware/kernel8.img", b"k"),
            ("etc/hostname", b"pi"),
        ]);
        Self { root, state: Folder::new(&[]) }
    }

    fn serve(&self, options: &[&str]) -> Serving {
        Serving::start_as(self.arguments(&mut pinetboot()).args(options))
    }

    fn arguments<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.args(["serve", "--listen", "127.0.0.1", "--tftp-port", "0", "--nfs-port", "0"]);
        command.args(["--portmap-port", "0", "--nfs"]).arg(self.root.path());
        command.arg("--state").arg(self.state.path())
    }
}

/// The sockets of a process in a table of proc_net(5).
fn listening(process: u32, table: &str) -> usize {
    let table = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap();
    let inodes: Vec<&str> = table.lines().flat_map(|line| line.split_whitespace()).collect();
    let sockets = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let sockets = sockets.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    let inode = |link: std::path::PathBuf| {
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
    };
    sockets.filter_map(inode).filter(|inode| inodes.contains(&inode.as_str())).count()
}

/// The processes that a process has started.
fn children(process: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// Waits for the end of another process's child.
fn gone(process: u32) {
    // The descriptor of a process is readable when the process has ended (pidfd_open(2)).
    let Some(pid) = rustix::process::Pid::from_raw(process as i32) else { panic!() };
    let Ok(process) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return };
    let mut ends = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut ends, PollTimeout::from(30_000_u16)), Ok(1));
}

#[test]
#[ignore = "needs root; run by .ci/run"]
fn a_tree_for_root_alone_is_served_by_root_without_capabilities_or_not_at_all() {
    let tree = Folder::tree(&[("file", b"boot")]);
    fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let serving = Serving::start(&tree, &[]);
    let warning = serving.wait_for_log("the server stays root");
    let path = tree.path().display();
    assert!(
        warning.contains("WARN") && warning.contains(&format!("user nobody cannot read {path}")),
        "{warning}"
    );
    compare(serving.id(), &Row { user: "root".into(), capabilities: Vec::new(), seccomp: true });
    serving.stop();

    for (options, code) in
        [(&["--require-sandbox"][..], 1), (&["--user", "nobody"], 4), (&["--user", "no-such"], 2)]
    {
        let mut command = pinetboot();
        let ended = crate::common::Process::start(
            command
                .args(["serve", "--listen", "127.0.0.1", "--tftp-port", "0"])
                .args(options)
                .arg(tree.path()),
        );
        let ended = ended.wait();
        assert_eq!(ended.code, Some(code), "{options:?}: {}", ended.log);
    }
    let serving = Serving::start(&tree, &["--user", "root", "--require-sandbox"]);
    compare(serving.id(), &Row { user: "root".into(), capabilities: Vec::new(), seccomp: true });
    assert!(!serving.stop().contains("WARN"));
}

/// The page's row for what a server serves.
fn row(serves: &str) -> Row {
    let line = PAGE.lines().find(|line| line.starts_with(&format!("| {serves} |"))).unwrap();
    let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [_, user, capabilities, _, calls] = cells[..] else { panic!("{line}") };
    let capabilities =
        capabilities.split(' ').filter(|word| *word != "none").map(str::to_lowercase).collect();
    let user = if user.contains("nobody") { "nobody" } else { user };
    Row { user: user.into(), capabilities, seccomp: calls != "all" }
}

/// Compares every thread of a process with a row.
fn compare(process: u32, row: &Row) {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut count = 0;
    for thread in threads {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        let name = field("Name");
        let user = pinetboot::users::Users::read().unwrap().named(&row.user).unwrap();
        let uids: Vec<_> = field("Uid").split_whitespace().map(str::to_owned).collect();
        assert_eq!(uids, vec![user.uid.to_string(); 4], "{name}");
        let wanted = row.capabilities().bits();
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            let has = u64::from_str_radix(&field(set), 16).unwrap();
            assert_eq!(has, wanted, "{name}: {set} {has:x}, not {wanted:x}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{name}: {set}");
        }
        assert_eq!(field("NoNewPrivs"), "1", "{name}");
        assert_eq!(field("Seccomp"), if row.seccomp { "2" } else { "0" }, "{name}");
        count += 1;
    }
    assert!(count > 0);
}
