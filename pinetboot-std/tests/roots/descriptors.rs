//! Many Pis that read many files, under Linux's usual limit of open files.

use std::fs;
use std::iter;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use pinetboot_core::tftp::{Options, Outcome};

use super::bounds::base_image;
use super::common::crowd::allow_files;
use super::common::{Fetch, Serving};
use super::nfs_client::Client;

const PIS: u32 = 200;
const FILES: u32 = 160;
/// Soft and hard, as in a shell of Debian.
const LIMIT: &str = "--nofile=1024:20000";

fn serve(dir: &std::path::Path, limit: &str) -> Serving {
    let mut command = Command::new("prlimit");
    command.arg(limit).arg(env!("CARGO_BIN_EXE_pinetboot")).args(["serve", "-v", "--listen", "127.0.0.1"]);
    command.args(["--tftp-port", "0", "--nfs-port", "0", "--portmap-port", "0", "--nfs-insecure", "--nfs"]);
    Serving::start_as(command.arg(dir.join("root")).arg("--state").arg(dir.join("state")))
}

/// The soft limit of open files of a process (proc_pid_limits(5)).
fn limit(process: u32) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

fn nfsd(serving: &Serving) -> u32 {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", serving.id())).unwrap();
    children.trim().parse().unwrap()
}

#[test]
#[ignore = "needs root and overlayfs"]
fn each_process_raises_and_divides_its_own_limit() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    base_image(dir.path());
    let serving = serve(dir.path(), LIMIT);
    assert_eq!(limit(serving.id()), (64 + 2 * 2048) * 5 / 4);
    assert!(limit(nfsd(&serving)) >= 2 * (96 + 2 * 1024));
    assert!(!serving.stop().contains("open files"));
    let serving = serve(dir.path(), "--nofile=256:256");
    let log = serving.stop();
    assert!(log.contains("it allows 96 transfers") && log.contains("it allows 16 Pis with a layer"), "{log}");
}

#[test]
#[ignore = "needs root and overlayfs"]
fn two_hundred_pis_read_their_files_under_the_usual_limit() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    base_image(dir.path());
    let files = dir.path().join("root/opt/files");
    fs::create_dir(&files).unwrap();
    (0..FILES).for_each(|number| fs::write(files.join(number.to_string()), number.to_string()).unwrap());
    allow_files(4096);
    let serving = serve(dir.path(), LIMIT);
    let port = serving.ready.split("nfs 127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap();
    let (port, tftp, next) = (port.parse().unwrap(), serving.address(), AtomicU32::new(0));
    let read = |pi: u32| {
        let address = Ipv4Addr::from(0x7f01_0001 + pi);
        for name in ["config.txt", "kernel8.img"] {
            let name = format!("{pi:08x}/{name}");
            let outcome = Fetch::new(tftp, &name, Options::RASPBERRY_PI, |_| ()).by(address).run_through();
            assert!(matches!(outcome, Outcome::Complete { .. }), "{name}: {outcome:?}");
        }
        // The last ACK proves the client's address.
        serving.settle_with(address);
        let mut client = Client::connect_from(address, port);
        client.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let root = client.mount(&format!("/{pi:08x}")).unwrap_or_else(|why| panic!("{pi}: {why:?}"));
        let opt = client.lookup(&root, "opt").unwrap();
        let files = client.lookup(&opt, "files").unwrap();
        for number in 0..FILES {
            let file = client.lookup(&files, &number.to_string()).unwrap();
            let content = client.read(&file, 0, 100).unwrap().0;
            assert_eq!(content, number.to_string().as_bytes(), "{pi}");
        }
        client
    };
    let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|pi| *pi < PIS);
    let work = || iter::from_fn(take).map(&read).collect::<Vec<_>>();
    let clients = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Result<Vec<_>, _>>()
    });
    let Ok(clients) = clients else { panic!("{}", serving.stop()) };
    let clients: Vec<_> = clients.into_iter().flatten().collect();
    assert_eq!(clients.len(), PIS as usize, "all are connected");
    let open = fs::read_dir(format!("/proc/{}/fd", nfsd(&serving))).unwrap().count() as u64;
    assert!(open <= limit(nfsd(&serving)) * 2 / 3, "{open} open");
    drop(clients);
    let log = serving.stop();
    assert!(!log.contains("Too many open files") && !log.contains("ERROR"), "{log}");
}
