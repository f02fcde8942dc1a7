//! `boot`: one machine, from DISCOVER to its login prompt, and where the time goes.
//!
//! The machine is user-mode Linux: a real kernel, initramfs and system, without emulated instructions. A namespace takes the part of the
//! firmware, as user-mode Linux has none: an address by DHCP, then the files in lock-step. Each server's root is the same Debian.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Failed;
use crate::cli;
use crate::compare;
use crate::nfs::client::Client;
use crate::nfs::peer::{GANESHA_CONFIG, ganesha_version};
use crate::results::Spread;
use crate::server::Server;
use crate::world;

/// The ends of the steps, by the text that the console then shows; `files` has none.
const STEPS: [(&str, &str); 7] = [
    ("address by DHCP", ""),
    ("boot files by TFTP", ""),
    ("kernel, up to its first program", "Loading, please wait"),
    ("initramfs: modules, network", "complete (dhcp from"),
    ("initramfs: mount of the root", "Running /scripts/nfs-bottom"),
    ("systemd begins", "Welcome to"),
    ("login prompt", "login: "),
];

/// The times of one boot, each since the one before, and the server's processor time in each.
struct Boot([(Duration, Duration); STEPS.len()]);

/// A server, and which of the machine's boots from it.
type Kind = (Peer, &'static str);

/// The first boot is that of a new Pi.
const WHICH: [&str; 2] = ["first", "again"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Pinetboot,
    Others,
}

impl Peer {
    const fn name(self) -> &'static str {
        match self {
            Self::Pinetboot => "pinetboot",
            Self::Others => "dnsmasq, nfs-ganesha",
        }
    }
}

/// Measures, and prints the table.
pub(crate) fn run(options: &cli::Boot) -> Result<(), Failed> {
    let root =
        fs::canonicalize(&options.root).map_err(|error| format!("{}: {error}", options.root.display()))?;
    set_up()?;
    world::pin_client()?;
    let peers: &[Peer] = match ganesha_version() {
        Some(_) => &[Peer::Pinetboot, Peer::Others],
        None => {
            eprintln!(
                "not installed: {}: apt-get install dnsmasq-base nfs-ganesha-vfs rpcbind",
                Peer::Others.name()
            );
            &[Peer::Pinetboot]
        }
    };
    let mut boots: Vec<(Kind, Boot)> = Vec::new();
    for _ in 0..options.rounds {
        for peer in peers {
            let place = tempfile::tempdir().map_err(|error| format!("no directory: {error}"))?;
            chmod(place.path(), 0o755)?;
            let server = start(*peer, place.path(), &root)?;
            for which in WHICH {
                let boot = boot(place.path(), &server)?;
                eprintln!("{}, {which}: {:.1} s", peer.name(), boot.total().as_secs_f64());
                boots.push(((*peer, which), boot));
            }
        }
    }
    print!("{}", table(peers, &boots));
    Ok(())
}

impl Boot {
    fn total(&self) -> Duration {
        self.0.iter().map(|(time, _)| *time).sum()
    }
}

fn table(peers: &[Peer], boots: &[(Kind, Boot)]) -> String {
    let kinds: Vec<Kind> = peers.iter().flat_map(|peer| WHICH.map(|which| (*peer, which))).collect();
    let facts = compare::facts();
    let mut text = format!("Commit {}, {}, {}.\n\n", facts.commit, facts.machine, facts.kernel);
    text += "| seconds, median (lowest to highest); the server's processor time |";
    kinds.iter().for_each(|(peer, which)| _ = write!(text, " {}, {which} |", peer.name()));
    text += "\n|---|";
    text += &"---:|".repeat(kinds.len());
    text.push('\n');
    let mut line = |name: &str, of: &dyn Fn(&Boot) -> (Duration, Duration)| {
        let _ = write!(text, "| {name} |");
        for kind in &kinds {
            let values = || boots.iter().filter(|(which, _)| which == kind).map(|(_, boot)| of(boot));
            let time = Spread::of(values().map(|(time, _)| time.as_secs_f64()));
            let cpu = Spread::of(values().map(|(_, cpu)| cpu.as_secs_f64()));
            if let (Some(time), Some(cpu)) = (time, cpu) {
                let _ = write!(
                    text,
                    " {:.2} ({:.2} to {:.2}); {:.3} |",
                    time.median, time.min, time.max, cpu.median
                );
            }
        }
        text.push('\n');
    };
    for (step, (name, _)) in STEPS.iter().enumerate() {
        line(name, &|boot| boot.0[step]);
    }
    line("**all**", &|boot| (boot.total(), boot.0.iter().map(|(_, cpu)| *cpu).sum()));
    text
}

/// Joins the cable and the machine's network card by a bridge, which has this side's address.
fn set_up() -> Result<(), Failed> {
    for arguments in [
        "link add lan type bridge",
        "addr del 10.77.0.2/24 dev c",
        "addr add 10.77.0.2/24 dev lan",
        "tuntap add dev tap0 mode tap",
        "link set c master lan",
        "link set tap0 master lan",
        "link set tap0 up",
        "link set lan up",
        "netns add firmware",
        "link add uplink type veth peer name eth netns firmware",
        "link set uplink master lan",
        "link set uplink up",
    ] {
        world::ip(arguments)?;
    }
    Ok(())
}

fn start(peer: Peer, place: &Path, root: &Path) -> Result<Server, Failed> {
    let path = root.to_string_lossy().into_owned();
    let command = match peer {
        Peer::Pinetboot => {
            let config = place.join("pinetboot.toml");
            write(&config, "[pi.bd989ae1]\naddress = \"10.77.0.2\"\n")?;
            let mut command = world::at_server(env::current_exe().unwrap_or_default());
            command.args(["pinetboot", "serve", "--quiet", "--dhcp", "lease", "--dhcp-clients", "all"]);
            command.arg("--nfs-insecure").arg("--nfs").arg(root).arg("--state").arg(place.join("state"));
            command.arg("--config").arg(config);
            command
        }
        Peer::Others => {
            let (config, script, tree) =
                (place.join("ganesha.conf"), place.join("boot.sh"), place.join("tree"));
            write(&config, &GANESHA_CONFIG.replace("TREE", &path))?;
            write(&script, SCRIPT)?;
            let failed = |error| format!("cannot write {}: {error}", tree.display());
            fs::create_dir(&tree).map_err(failed)?;
            for name in FILES {
                symlink(root.join("boot/firmware").join(name), tree.join(name)).map_err(failed)?;
            }
            let words = fs::read_to_string(root.join("boot/firmware/cmdline.txt")).map_err(failed)?;
            let nfs = format!("root=/dev/nfs nfsroot=10.77.0.1:{path},vers=3,tcp,nolock rw ip=dhcp");
            write(&tree.join("cmdline.txt"), &format!("{} {nfs}\n", words.trim()))?;
            let mut command = world::at_server("sh");
            command.arg(script).arg(config).arg(tree).arg(place.join("leases"));
            command
        }
    };
    let path = if peer == Peer::Pinetboot { "/" } else { &path };
    let mut command = command;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Server::spawn(peer.name(), command, || Client::mount(path).is_ok())
}

/// Boots the machine, and switches it off at its login prompt.
fn boot(place: &Path, server: &Server) -> Result<Boot, Failed> {
    let files = tempfile::tempdir_in(place).map_err(|error| format!("no directory: {error}"))?;
    let files = files.path();
    write(&files.join("lease"), LEASE)?;
    chmod(&files.join("lease"), 0o755)?;
    // A DHCP server may look around before it answers.
    lease(files, SCOUT, "1")?;
    lease_ends()?;
    let (mut times, mut step) = ([(Duration::ZERO, Duration::ZERO); STEPS.len()], 0);
    let (mut at, mut cpu) = (Instant::now(), server.cpu());
    let mut end_step = || {
        let now = (Instant::now(), server.cpu());
        times[step] = (now.0 - at, now.1.saturating_sub(cpu));
        (at, cpu) = now;
        step += 1;
    };
    lease(files, MAC, "1")?;
    end_step();
    for name in FILES.iter().chain(&["cmdline.txt"]) {
        let (from, to) = (format!("{SERIAL}/{name}"), files.join(name).to_string_lossy().into_owned());
        at_firmware(&["busybox", "tftp", "-b", "1468", "-g", "-r", &from, "-l", &to, "10.77.0.1"])?;
    }
    end_step();
    lease_ends()?;
    let words = fs::read_to_string(files.join("cmdline.txt")).map_err(|error| error.to_string())?;
    let machine = Machine::start(files, &words)?;
    let (mut console, began) = (String::new(), Instant::now());
    for (_, text) in &STEPS[2..] {
        let end = loop {
            match console.find(text) {
                Some(found) => break found + text.len(),
                None if began.elapsed() > PATIENCE => {
                    return Err(format!("the console does not say {text:?}: {console}").into());
                }
                None => match machine.console.recv_timeout(Duration::from_secs(1)) {
                    Ok(more) => console += &more,
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        return Err(format!("the machine ended: {console}").into());
                    }
                },
            }
        };
        end_step();
        console.drain(..end);
    }
    Ok(Boot(times))
}

/// Takes an address for this MAC address; asks again after so many seconds.
fn lease(files: &Path, mac: &str, again: &str) -> Result<(), Failed> {
    world::ip(&format!("-n firmware link set eth address {mac}"))?;
    world::ip("-n firmware link set eth up")?;
    let script = files.join("lease").to_string_lossy().into_owned();
    at_firmware(&[
        "busybox", "udhcpc", "-C", "-i", "eth", "-n", "-q", "-f", "-T", again, "-t", "20", "-s", &script,
    ])
}

fn lease_ends() -> Result<(), Failed> {
    world::ip("-n firmware addr flush dev eth")?;
    world::ip("-n firmware link set eth down")
}

fn at_firmware(words: &[&str]) -> Result<(), Failed> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "firmware"]).args(words).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", words.join(" ")).into()),
        Err(error) => Err(format!("cannot run ip: {error}").into()),
    }
}

/// A machine; dropping it switches it off.
struct Machine {
    child: Child,
    console: mpsc::Receiver<String>,
}

impl Machine {
    fn start(files: &Path, words: &str) -> Result<Self, Failed> {
        let image = files.join("kernel8.img");
        chmod(&image, 0o755)?;
        // A kernel that is killed leaves processes of its own behind, unless they are in a namespace that goes with it.
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "sh", "-c", "\"$@\"; exit $?", "sh"]);
        command.arg(image).args(["mem=512M", "con0=null", "con1=fd:0,fd:1"]);
        command.arg(format!("uml_dir={}", files.display())).arg(format!("eth0=tuntap,tap0,{MAC}"));
        command.arg(format!("initrd={}", files.join("initramfs8").display()));
        // The steps are read from what the initramfs says.
        command.args(
            words.split_whitespace().filter(|word| !matches!(*word, "console=serial0,115200" | "quiet")),
        );
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("cannot run user-mode Linux: {error}"))?;
        let mut out = child.stdout.take().ok_or("no console")?;
        let (sender, console) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = out.read(&mut bytes) {
                if sender.send(String::from_utf8_lossy(&bytes[..len]).into_owned()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, console })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failed> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

fn chmod(path: &Path, mode: u32) -> Result<(), Failed> {
    let set = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    set.map_err(|error| format!("{}: {error}", path.display()).into())
}

const MAC: &str = "52:54:00:12:34:60";
const SCOUT: &str = "52:54:00:12:34:6f";
const SERIAL: &str = "5e9f2a01";
const FILES: [&str; 3] = ["config.txt", "kernel8.img", "initramfs8"];
const PATIENCE: Duration = Duration::from_secs(600);

/// What udhcpc calls with a lease.
const LEASE: &str = "#!/bin/sh\n[ \"$1\" != bound ] || ip addr add \"$ip/${mask:-24}\" dev \"$interface\"\n";

/// dnsmasq without its ping of each address, which takes three seconds; all files in one directory.
const SCRIPT: &str = "\
mkdir -p /run/ganesha
rpcbind
ln -s . \"$2/5e9f2a01\"
dnsmasq --conf-file=/dev/null --pid-file= --user=root --log-facility=/dev/null --port=0 --no-ping \
--dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0,12h --dhcp-leasefile=\"$3\" --enable-tftp --tftp-root=\"$2\"
exec ganesha.nfsd -F -L /run/ganesha/log -f \"$1\" -p /run/ganesha/pid
";
