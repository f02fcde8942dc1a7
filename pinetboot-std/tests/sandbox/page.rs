//! The processes of a server, beside the table of docs/security.md.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::common::{Folder, Serving, pinetboot};

const PAGE: &str = include_str!("../../docs/security.md");

/// A row of the page's table.
struct Row {
    user: String,
    capabilities: Vec<String>,
    seccomp: bool,
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
    let root = Folder::new(&[("boot/firmware/config.txt", b""), ("etc/hostname", b"pi")]);
    for (mode, name) in [("shared-ro", "boot files and shared roots"), ("overlay", "boot files and layers")] {
        let state = Folder::new(&[]);
        let mut command = pinetboot();
        command.args([
            "serve",
            "--listen",
            "127.0.0.1",
            "--tftp-port",
            "0",
            "--nfs-port",
            "0",
            "--portmap-port",
            "0",
        ]);
        command.args(["--nfs-mode", mode, "--nfs"]).arg(root.path()).arg("--state").arg(state.path());
        let serving = Serving::start_as(&mut command);
        compare(serving.id(), &row(name));
        let children = children(serving.id());
        assert_eq!(children.len(), usize::from(mode == "overlay"), "{mode}");
        for mounter in &children {
            compare(*mounter, &row("mounts of layers"));
            let network = |process: u32| fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
            let mounts = |process: u32| fs::read_link(format!("/proc/{process}/ns/mnt")).unwrap();
            assert_ne!(network(*mounter), network(serving.id()));
            assert_eq!(mounts(*mounter), mounts(serving.id()));
        }
        serving.stop();
        for mounter in children {
            gone(mounter);
        }
    }
}

#[test]
#[ignore = "needs root; run by .ci/run"]
fn a_server_and_the_process_that_mounts_end_together() {
    for (killed, signal) in [("mounter", Signal::SIGKILL), ("server", Signal::SIGKILL)] {
        let root = Folder::new(&[("boot/firmware/config.txt", b""), ("etc/hostname", b"pi")]);
        let state = Folder::new(&[]);
        let mut command = pinetboot();
        command.args([
            "serve",
            "--listen",
            "127.0.0.1",
            "--tftp-port",
            "0",
            "--nfs-port",
            "0",
            "--portmap-port",
            "0",
            "--nfs",
        ]);
        let serving = Serving::start_as(command.arg(root.path()).arg("--state").arg(state.path()));
        let [mounter] = children(serving.id())[..] else { panic!() };
        let process = if killed == "mounter" { mounter } else { serving.id() };
        kill(Pid::from_raw(process as i32), signal).unwrap();
        let ended = serving.wait();
        if killed == "mounter" {
            assert_eq!(ended.code, Some(11));
            assert!(ended.log.contains("thread mounter ended"), "{}", ended.log);
        }
        gone(mounter);
    }
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
        let user = nix::unistd::User::from_name(&row.user).unwrap().unwrap();
        let uids: Vec<_> = field("Uid").split_whitespace().map(str::to_owned).collect();
        assert_eq!(uids, vec![user.uid.to_string(); 4], "{name}");
        let wanted = row.capabilities.iter().map(|name| 1 << number(name)).fold(0, |all: u64, one| all | one);
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

/// The number of a capability (linux/capability.h).
fn number(name: &str) -> u32 {
    let all = [
        "chown",
        "dac_override",
        "dac_read_search",
        "fowner",
        "fsetid",
        "kill",
        "setgid",
        "setuid",
        "setpcap",
        "linux_immutable",
        "net_bind_service",
        "net_broadcast",
        "net_admin",
        "net_raw",
        "ipc_lock",
        "ipc_owner",
        "sys_module",
        "sys_rawio",
        "sys_chroot",
        "sys_ptrace",
        "sys_pacct",
        "sys_admin",
        "sys_boot",
        "sys_nice",
        "sys_resource",
        "sys_time",
        "sys_tty_config",
        "mknod",
        "lease",
        "audit_write",
        "audit_control",
        "setfcap",
    ];
    all.iter().position(|known| *known == name).unwrap_or_else(|| panic!("{name}?")) as u32
}
