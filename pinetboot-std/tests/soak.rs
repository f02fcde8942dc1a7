//! Honest boots and roots, and attacks at the same time, while disks and the network fail now and then: no boot fails, and
//! memory, descriptors, threads and log stay bounded. `.ci/run soak` runs it for SOAK_MINUTES, 1 by default.
#![cfg(feature = "nfs")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod common;
mod namespace;
#[path = "../nfs/tests/nfs_client/mod.rs"]
mod nfs_client;
#[path = "hostile/world.rs"]
mod world;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nfs3_types::nfs3::{createhow3, nfsstat3, stable_how};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pinetboot_core::tftp::{Options, Outcome};

use common::peer::bytes;
use common::{Fetch, Operation, SickDisk};
use namespace::{PINETBOOT, Process, SOON, dhcp_client, discover_of};
use nfs_client::{Client, mode};
use world::{PI, SERVER, World, flood, paced};

const SERIAL: &str = "0badcaf1";

static XID: AtomicU32 = AtomicU32::new(0);

#[test]
#[ignore = "needs root, network namespaces, overlayfs and /dev/fuse; run by .ci/run"]
fn no_boot_fails_and_nothing_grows() {
    let minutes = std::env::var("SOAK_MINUTES").map_or(1.0, |minutes| minutes.parse().unwrap());
    let end = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
    let soak = Soak::new();
    let mut figures = Figures::default();
    let stop = AtomicBool::new(false);
    let forged = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            soak.world.attacker.enter(|| forged.store(flood(300, 0, &stop, forged_packet), Ordering::Relaxed))
        });
        scope.spawn(|| soak.world.attacker.enter(|| made_up_pis(&stop)));
        scope.spawn(|| soak.world.attacker.enter(|| garbage(&stop)));
        let _stops = Stop(&stop);
        let mut server = soak.serve();
        while Instant::now() < end {
            soak.boot(&mut figures);
            soak.disk_hangs(&mut figures);
            soak.disk_is_full(&mut figures);
            soak.interface_goes(&mut figures);
            figures.look_at(&server);
            if figures.rounds % 3 == 0 {
                match figures.rounds / 3 % 3 {
                    // Dropping the process is SIGKILL.
                    0 => drop(server),
                    1 => has_failed(server, kill_mounter, &mut figures),
                    _ => has_failed(server, end_thread, &mut figures),
                }
                figures.log += fs::metadata(soak.log()).unwrap().len();
                server = soak.serve();
            }
        }
        soak.boot(&mut figures);
        figures.look_at(&server);
        figures.log += fs::metadata(soak.log()).unwrap().len();
        server.stop();
    });
    let forged = forged.load(Ordering::Relaxed);
    println!("{minutes} minutes, {forged} forged packets: {figures:?}");
    assert!(figures.boots > 0);
    assert!(figures.memory_kib < 128 * 1024, "memory");
    assert!(figures.descriptors < 1024, "descriptors");
    assert!(figures.threads < 128, "threads");
    assert!(figures.log < (minutes * 1_000_000.0) as u64, "log");
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Counts, and the highest values seen.
#[derive(Debug, Default)]
struct Figures {
    rounds: u32,
    boots: u32,
    roots: u32,
    full: u32,
    /// Ends of the server after the end of a part of it.
    failures: u32,
    memory_kib: u64,
    descriptors: usize,
    threads: usize,
    /// Bytes.
    log: u64,
}

impl Figures {
    fn look_at(&mut self, server: &Process) {
        let of = |name: &str| fs::read_dir(format!("/proc/{}/{name}", server.id())).unwrap().count();
        self.rounds += 1;
        self.memory_kib = self.memory_kib.max(server.peak_memory());
        self.descriptors = self.descriptors.max(of("fd"));
        self.threads = self.threads.max(of("task"));
    }
}

struct Soak {
    world: World,
    /// The boot files.
    disk: SickDisk,
    /// A small disk for the Pis' layers.
    state: tempfile::TempDir,
    root: tempfile::TempDir,
    files: tempfile::TempDir,
}

impl Soak {
    fn new() -> Self {
        let files: &[(&str, &[u8])] = &[
            ("config.txt", b"arm_64bit=1\n"),
            ("cmdline.txt", b"root=/dev/nfs\n"),
            ("kernel8.img", &[7; 300_000]),
            ("hung", &[7; 3000]),
        ];
        let [state, root, files_of_test] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let image = files_of_test.path().join("disk");
        fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        let run = |command: &mut Command| assert!(command.status().unwrap().success());
        run(Command::new("mke2fs").args(["-q", "-t", "ext4", "-m", "0"]).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(state.path()));
        fs::create_dir_all(root.path().join("etc/ssh")).unwrap();
        fs::write(root.path().join("etc/hostname"), "raspberrypi\n").unwrap();
        Self { world: World::new(), disk: SickDisk::new(files), state, root, files: files_of_test }
    }

    fn log(&self) -> std::path::PathBuf {
        self.files.path().join("log")
    }

    fn serve(&self) -> Process {
        let mut command: Command = self.world.server.command("sh");
        command.args(["-c", "exec \"$@\" 2>\"$LOG\"", "sh", PINETBOOT, "serve"]).env("LOG", self.log());
        command.args([
            "--dhcp",
            "lease",
            "--force",
            "--interface",
            "eth0",
            "--nfs-port",
            "2049",
            "--disk-reserve",
            "1M",
        ]);
        command
            .arg("--nfs")
            .arg(self.root.path())
            .arg("--state")
            .arg(self.state.path())
            .arg(self.disk.path());
        let mut server = Process::start(command);
        server.line("ready ", SOON);
        server
    }

    /// The Pi boots: files, and a cycle on its root.
    fn boot(&self, figures: &mut Figures) {
        for _ in 0..3 {
            self.fetch_all();
            figures.boots += 1;
        }
        if let Err(error) = self.root() {
            panic!("{error:?}, {figures:?}: {}", fs::read_to_string(self.log()).unwrap());
        }
        figures.roots += 1;
    }

    fn fetch_all(&self) {
        self.world.pi.enter(|| {
            for name in ["config.txt", "kernel8.img"] {
                let name = format!("{SERIAL}/{name}");
                let outcome = Fetch::new(SERVER, &name, Options::RASPBERRY_PI, |_| ()).by(PI).run();
                assert!(matches!(outcome, Outcome::Complete { .. }), "{name}: {outcome:?}");
            }
        });
    }

    /// Mounts the root, and makes, writes, reads and removes a file.
    fn root(&self) -> Result<(), (&'static str, nfsstat3)> {
        self.world.pi.enter(|| {
            let mut client = Client::connect_reserved(SocketAddrV4::new(*SERVER.ip(), 2049));
            // A call with the number of an earlier one would get the earlier answer.
            client.xid = XID.fetch_add(1000, Ordering::Relaxed);
            let root = client.mount(&format!("/{SERIAL}")).expect("the Pi's root");
            let how = createhow3::UNCHECKED(mode(0o644));
            let made = client.create(&root, "file", how).map_err(|status| ("CREATE", status))?;
            let file = made.obj.unwrap();
            let written = client.write(&file, 0, b"written", stable_how::FILE_SYNC);
            let read = client.read(&file, 0, 100).map_err(|status| ("READ", status));
            client.remove(&root, "file").map_err(|status| ("REMOVE", status))?;
            written.map_err(|status| ("WRITE", status))?;
            assert_eq!(read?.0, b"written");
            Ok(())
        })
    }

    /// A client asks for a file that hangs; the Pi boots meanwhile, and that client gets its file in the end.
    fn disk_hangs(&self, figures: &mut Figures) {
        self.disk.hang(Operation::Read, "hung");
        self.world.attacker.enter(|| {
            let client = world::socket(Ipv4Addr::new(10, 77, 0, 2), 0);
            client.send_to(&bytes("RRQ hung octet"), SERVER).unwrap();
        });
        self.disk.wait_for_hanging(1);
        self.boot(figures);
        self.disk.release();
    }

    /// The disk of the layers is full: boot files come all the same, and a root can be read.
    fn disk_is_full(&self, figures: &mut Figures) {
        let filler = self.state.path().join("filler");
        let _full = fs::write(&filler, vec![0; 40 << 20]);
        self.fetch_all();
        match self.root() {
            Err((_, nfsstat3::NFS3ERR_NOSPC)) => figures.full += 1,
            // A few bytes may find room.
            other => other.unwrap(),
        }
        fs::remove_file(&filler).unwrap();
        self.boot(figures);
    }

    fn interface_goes(&self, figures: &mut Figures) {
        self.world.server.ip("link set eth0 down");
        self.world.server.ip("link set eth0 up");
        self.world.server.ip("route replace 10.96.0.0/12 via 10.77.0.2");
        self.boot(figures);
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        let _gone = umount2(self.state.path(), MntFlags::MNT_DETACH);
    }
}

/// Takes a part from a server, which then ends with the exit code for that: a service manager starts it again.
fn has_failed(server: Process, take: impl FnOnce(&Process), figures: &mut Figures) {
    take(&server);
    let (status, _) = server.finish(SOON);
    assert_eq!(status.code(), Some(11), "{status}");
    figures.failures += 1;
}

fn kill_mounter(server: &Process) {
    let mounter = descendant(server.id().cast_signed(), "mounter").expect("a mounter");
    kill(Pid::from_raw(mounter), Signal::SIGKILL).unwrap();
}

/// The process beneath another one that runs this subcommand.
fn descendant(id: i32, command: &str) -> Option<i32> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).ok()?;
    let lists = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let lists: String = lists.collect();
    lists.split_whitespace().flat_map(str::parse).find_map(|child: i32| {
        let line = fs::read(format!("/proc/{child}/cmdline")).ok()?;
        let is_it = line.split(|byte| *byte == 0).nth(1) == Some(command.as_bytes());
        if is_it { Some(child) } else { descendant(child, command) }
    })
}

fn end_thread(server: &Process) {
    #[cfg(target_arch = "x86_64")]
    common::HeldThread::fail_wait(server.id(), "tftp 0", nix::errno::Errno::EBADF);
    #[cfg(not(target_arch = "x86_64"))]
    kill_mounter(server);
}

/// Made-up Pis ask for an address.
fn made_up_pis(stop: &AtomicBool) {
    let socket = dhcp_client();
    paced(50, 0, stop, |number| {
        // The interface may be down.
        let _sent = socket.send_to(&discover_of(2, number), "10.77.0.255:67");
    });
}

/// Connections to NFS and the portmapper that say no call, or half of one.
fn garbage(stop: &AtomicBool) {
    paced(20, 0, stop, |number| {
        let port = if number.is_multiple_of(2) { 2049 } else { 111 };
        let server = SocketAddr::from((*SERVER.ip(), port));
        if let Ok(mut stream) = TcpStream::connect_timeout(&server, Duration::from_millis(200)) {
            let _closed = match number % 3 {
                0 => stream.write_all(&[number as u8; 100]),
                1 => stream.write_all(&[0x7f, 0xff, 0xff, 0xff]),
                _ => stream.write_all(&[0x80, 0, 0, 40, 1]),
            };
        }
    });
}

/// Requests that no client continues, made-up names, and garbage.
fn forged_packet(number: u32) -> Vec<u8> {
    match number % 4 {
        0 => bytes("RRQ kernel8.img octet tsize=0"),
        1 => bytes(&format!("RRQ {number:08x}/config.txt octet")),
        2 => bytes(&format!("RRQ missing-{number} octet")),
        _ => vec![number as u8; 40],
    }
}
