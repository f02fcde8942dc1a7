//! Test suites that others wrote for file systems, over a mount in an emulated machine: from our server, and from
//! NFS-Ganesha beside it.
//!
//! [pjdfstest](https://github.com/saidsay-so/pjdfstest) tests POSIX's rules for every call,
//! [fsx](https://github.com/asomers/fsx-rs) mixes reads, writes, truncations and mappings of one file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use super::ganesha::Ganesha;
use crate::debian::MINUTES;
use crate::machine::{Machine, UBoot, from_environment, lay_boot_files};
use crate::namespace::{Namespace, SOON};
use crate::shell::Shell;

/// Ours does all that NFS-Ganesha does, and its layers for single Pis nearly all.
#[test]
#[ignore = "needs root, overlayfs, QEMU, U-Boot, NFS-Ganesha, PINETBOOT_ARM64_KERNEL and .._TOOLS; run by '.ci/run guest-posix'"]
fn no_worse_than_ganesha() {
    let reports = thread::scope(|scope| {
        let ours = scope.spawn(|| [Report::of_ours("rw"), Report::of_ours("overlay")]);
        let ganesha = Report::of_ganesha();
        let [rw, overlay] = ours.join().unwrap();
        [rw, overlay, ganesha]
    });
    print(&reports);
    let [rw, overlay, ganesha] = reports;
    assert!([&rw, &overlay, &ganesha].iter().all(|report| report.passed > 300), "the suite was run");
    let only_with = |report: &Report| -> Vec<String> {
        report.failed.iter().filter(|test| !ganesha.failed.contains(test)).cloned().collect()
    };
    assert_eq!(only_with(&rw), [""; 0]);
    // The suite's character device has the number 0:0, by which overlayfs marks what was removed.
    let mut unexplained = only_with(&overlay);
    unexplained.retain(|test| !test.ends_with("::char"));
    assert_eq!(unexplained, [""; 0]);
}

/// The suite's result.
struct Report {
    server: &'static str,
    passed: usize,
    skipped: usize,
    failed: Vec<String>,
    /// Seconds, nearly all of them the emulated machine's.
    took: Vec<f64>,
}

impl Report {
    fn of_ours(mode: &'static str) -> Self {
        let (network, tree) = (network(), tree());
        let state = tempfile::tempdir().unwrap();
        // As on an SD card: that the root is here is the server's to say.
        lay_boot_files(&tree.path().join("boot/firmware"), &format!("{CONSOLE} root=/dev/mmcblk0p2"));
        let root = ["--nfs-mode", mode, "--state", state.path().to_str().unwrap(), "--nfs"];
        let _server = network.serve(tree.path(), &[&DHCP[..], &root].concat());
        Self::of(mode, &network)
    }

    fn of_ganesha() -> Self {
        let (network, tree, boot) = (network(), tree(), tempfile::tempdir().unwrap());
        let root = format!("root=/dev/nfs nfsroot=10.77.0.1:{},vers=3,tcp,nolock rw", tree.path().display());
        lay_boot_files(boot.path(), &format!("{CONSOLE} {root}"));
        let _ganesha = Ganesha::start(&network, tree.path());
        let _server = network.serve(boot.path(), &DHCP);
        Self::of("ganesha", &network)
    }

    fn of(server: &'static str, network: &Namespace) -> Self {
        let mut guest = Shell::on(UBoot::start(&Machine::new(network)).boot("5e9f2a01"));
        guest.run("cd /mnt && cp passwd group /etc && mkdir /tmp/second && mkdir -m 755 suite load", SOON);
        let mut took = Vec::new();
        for (_, command) in LOADS {
            let began = Instant::now();
            guest.run(&format!("cd /mnt/load; {command}"), MINUTES);
            took.push(began.elapsed().as_secs_f64());
        }
        guest.run("rmdir /mnt/load", SOON); // so nothing has stayed behind in it
        let (_, said) = guest.try_run("cd /mnt; ./pjdfstest -c pjdfstest.toml -p suite 2>&1", MINUTES);
        let said = without_colours(&said);

        let count = |how: &str| {
            let summary = said.lines().find_map(|line| line.strip_prefix("Summary: ")).unwrap_or_default();
            let number = summary.split(", ").find_map(|part| part.strip_suffix(how));
            number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("how many{how}? {said}"))
        };
        let failed = said.lines().filter_map(|line| line.strip_suffix("FAILED"));
        let failed: Vec<_> = failed.map(|name| name.trim().to_owned()).collect();
        assert_eq!(failed.len(), count(" failed"), "{said}");
        Self { server, passed: count(" passed"), skipped: count(" skipped"), failed, took }
    }
}

fn print(reports: &[Report; 3]) {
    let row = |name: &str, cells: [String; 3]| {
        println!("{name:<38} {:>9} {:>9} {:>9}", cells[0], cells[1], cells[2])
    };
    let each = |cell: fn(&Report) -> String| [0, 1, 2].map(|at| cell(&reports[at]));
    row("", each(|report| report.server.to_owned()));
    row("pjdfstest: passed", each(|report| report.passed.to_string()));
    row("pjdfstest: failed", each(|report| report.failed.len().to_string()));
    row("pjdfstest: does not apply", each(|report| report.skipped.to_string()));
    for (at, (name, _)) in LOADS.iter().enumerate() {
        row(name, [0, 1, 2].map(|of| format!("{:.1} s", reports[of].took[at])));
    }
    for Report { server, failed, .. } in reports {
        println!("failed with {server}: {}", failed.join(", "));
    }
}

fn network() -> Namespace {
    let network = Namespace::new("posix");
    network.tap("tap0");
    network.address("tap0", "10.77.0.1/24");
    network
}

/// A directory with the suites in it.
fn tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let tools = from_environment("PINETBOOT_GUEST_TOOLS", "a directory. '.ci/guest-tools' makes it");
    for tool in ["pjdfstest", "fsx"] {
        fs::copy(tools.join(tool), tree.path().join(tool)).unwrap();
    }
    for (name, content) in FILES {
        fs::write(tree.path().join(name), content).unwrap();
    }
    tree
}

fn without_colours(said: &str) -> String {
    let mut parts = said.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

const DHCP: [&str; 6] = ["--dhcp", "lease", "--dhcp-clients", "all", "--interface", "tap0"];

/// `rescue`: .ci/guest-init mounts the root, and stays where it is.
const CONSOLE: &str = "console=tty1 console=serial0,115200 rescue";

/// The work over the mount, which has to leave no files behind.
const LOADS: [(&str, &str); 5] = [
    ("fsx: 3000 operations on a file", "RUST_LOG=warn ../fsx -N 3000 -S 1 file && rm file*"),
    ("64 MiB written and synced", "dd if=/dev/zero of=file bs=1M count=64 conv=fsync && rm file"),
    (
        "BusyBox and modules copied 4 times",
        "for i in 1 2 3 4; do cp -a /bin /lib . && diff -r /lib lib && rm -r bin lib; done",
    ),
    (
        "400 files made, renamed, removed",
        "seq 400 | while read i; do echo $i >$i && mv $i f$i; done; cat f* | wc -l | grep -qx 400 && rm f*",
    ),
    (
        "400 links, nodes and pipes",
        "touch a; seq 100 | while read i; do ln a $i && mknod c$i c 1 3 && mkfifo p$i && ln -s a s$i; done; stat -c %h a | grep -qx 101 && rm *",
    ),
];

const FILES: [(&str, &str); 3] = [
    ("passwd", "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\ntests:x:1000:1000::/:/bin/sh\n"),
    ("group", "root:x:0:\nnobody:x:65534:\ntests:x:1000:\n"),
    (
        "pjdfstest.toml",
        "[features]
secondary_fs = '/tmp/second'
rename_ctime = {}
utimensat = {}
utime_now = {}
# posix_fallocate is not among them: NFSv3 has no such thing.
[settings]
naptime = 0.05 # seconds; the time stamps of the server's file system are finer
[dummy_auth]
entries = [['nobody', 'nobody'], ['tests', 'tests']]
",
    ),
];
