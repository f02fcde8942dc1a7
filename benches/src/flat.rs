//! `flat`: the cost of a request with little to look through, and with much: a tree of files, a file, an inventory, and leases.
//!
//! Each server starts with the small amount and the large one in turn, and does the same work. Processor time says what that took,
//! whatever else the machine does.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nfs3_types::nfs3::{
    LOOKUP3args, LOOKUP3res, NFS_PROGRAM, READ3args, READ3res, diropargs3, filename3, nfs_fh3,
};
use nfs3_types::xdr_codec::Opaque;

use crate::Failed;
use crate::cli;
use crate::compare;
use crate::fleet::{self, dhcp, wire};
use crate::nfs::client::Client;
use crate::results::Spread;
use crate::server::Server;
use crate::world;

/// One figure: its name and unit, and a value of each round for the small amount and for the large one.
type Figure = (&'static str, &'static str, [Vec<f64>; 2]);

/// What a server starts with.
struct Amount {
    files: u64,
    file: u64,
    pis: u32,
    leases: u32,
}

const AMOUNTS: [Amount; 2] = [
    Amount { files: 10, file: 1 << 20, pis: 10, leases: 10 },
    Amount { files: 1_000_000, file: 64 << 30, pis: 100_000, leases: 10_000 },
];

/// Measures, and prints the table.
pub(crate) fn run(options: &cli::Flat) -> Result<(), Failed> {
    fleet::set_up()?;
    world::pin_client()?;
    let made = options.dir.as_deref().map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    let place = made.map_err(|error| format!("no directory for what is served: {error}"))?;
    let written = AMOUNTS.iter().zip(["small", "large"]).try_for_each(|(amount, name)| {
        eprintln!("writing {} files", amount.files);
        write(&place.path().join(name), amount)
    });
    written.map_err(|error| format!("cannot write what is served: {error}"))?;
    let mut figures = Vec::new();
    for _ in 0..options.rounds {
        for (which, name) in ["small", "large"].iter().enumerate() {
            eprintln!("{name}");
            measure(&place.path().join(name), &AMOUNTS[which], &mut |name, unit, value| {
                eprintln!("  {name}: {value:.1} {unit}");
                let known = figures.iter().position(|(known, ..): &Figure| *known == name);
                let at = known.unwrap_or_else(|| {
                    figures.push((name, unit, Default::default()));
                    figures.len() - 1
                });
                figures[at].2[which].push(value);
            })?;
        }
    }
    print!("{}", table(&figures));
    Ok(())
}

fn table(figures: &[Figure]) -> String {
    let facts = compare::facts();
    let mut text = format!("Commit {}, {}, {}.\n\n", facts.commit, facts.machine, facts.kernel);
    text += "| processor time, median (lowest to highest) | | small | large | ratio |\n|---|---|---:|---:|---:|\n";
    for (name, unit, values) in figures {
        let [small, large] = values.each_ref().map(|values| Spread::of(values.iter().copied()));
        let (Some(small), Some(large)) = (small, large) else { continue };
        let show = |spread: &Spread| format!("{:.1} ({:.1} to {:.1})", spread.median, spread.min, spread.max);
        let ratio = large.median / small.median;
        let _ = writeln!(text, "| {name} | {unit} | {} | {} | {ratio:.2} |", show(&small), show(&large));
    }
    text
}

/// Writes a tree, a root, an inventory and leases.
fn write(place: &Path, amount: &Amount) -> std::io::Result<()> {
    let (tree, root) = (place.join("tree"), place.join("root"));
    fs::create_dir_all(&tree)?;
    fs::write(tree.join("config.txt"), "arm_64bit=1\n")?;
    for directory in ["etc", "boot/firmware", "files"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::write(root.join("boot/firmware/config.txt"), "arm_64bit=1\n")?;
    for number in 0..amount.files {
        let directory = root.join(format!("files/{}", number / IN_DIRECTORY));
        if number % IN_DIRECTORY == 0 {
            fs::create_dir(&directory)?;
        }
        File::create(directory.join(number.to_string()))?;
    }
    File::create(root.join("sparse"))?.set_len(amount.file)?;
    let mut inventory = "[pi.bd989ae1]\naddress = \"10.77.0.2\"\n".to_owned();
    for pi in 0..amount.pis {
        let _ = writeln!(inventory, "[pi.{:08x}]\nname = \"pi-{pi}\"", FIRST_PI + pi);
    }
    fs::write(place.join("pinetboot.toml"), inventory)?;
    let mut leases = String::new();
    for lease in 0..amount.leases {
        let [_, _, third, last] = lease.to_be_bytes();
        let mac = format!("02:00:00:00:{third:02x}:{last:02x}");
        let _ = writeln!(leases, "{mac} 10.77.{}.{last} 4000000000", 16 + u32::from(third));
    }
    fs::write(place.join("leases"), leases)?;
    Command::new("chmod").args(["-R", "a+rX"]).arg(place).status().map(drop)
}

fn measure(
    place: &Path,
    amount: &Amount,
    figure: &mut dyn FnMut(&'static str, &'static str, f64),
) -> Result<(), Failed> {
    let _none_yet = fs::remove_dir_all(place.join("state"));
    let leases = place.join("leases.now");
    fs::copy(place.join("leases"), &leases).map_err(|error| error.to_string())?;
    let mut command = world::at_server(env::current_exe().unwrap_or_default());
    command.args([
        "pinetboot",
        "serve",
        "--quiet",
        "--user",
        "root",
        "--dhcp",
        "lease",
        "--dhcp-clients",
        "all",
    ]);
    command.args(["--lease-range", "10.77.16.0-10.77.240.255", "--nfs-insecure", "--nfs-mode", "overlay"]);
    command.arg("--lease-file").arg(&leases).arg("--nfs").arg(place.join("root"));
    command.arg("--state").arg(place.join("state")).arg("--config").arg(place.join("pinetboot.toml"));
    command.arg(place.join("tree")).stdin(Stdio::null()).stdout(Stdio::null());
    let server = Server::spawn("pinetboot", command, || Client::mount("/").is_ok())?;
    let wire = Wires::open()?;
    wire.await_dhcp()?;
    figure("start", "ms", settle(&server).as_secs_f64() * 1e3);

    let mut cost = |name, count: u32, work: &mut dyn FnMut(u32) -> Result<(), Failed>| {
        let before = settle(&server);
        (0..count).try_for_each(work)?;
        let took = settle(&server).saturating_sub(before);
        figure(name, "us", took.as_secs_f64() * 1e6 / f64::from(count));
        Ok::<_, Failed>(())
    };
    cost("MNT of a root that is mounted", 100, &mut |_| Client::mount("/").map(drop))?;
    let (mut client, root) = Client::mount("/")?;
    let files = lookup(&mut client, &root, "files")?;
    let directories = amount.files.div_ceil(IN_DIRECTORY);
    cost("LOOKUP of a directory and a file", LOOKUPS, &mut |turn| {
        let number = u64::from(turn) * (amount.files / u64::from(LOOKUPS)).max(1) % amount.files;
        let directory = (number / IN_DIRECTORY) % directories;
        let directory = lookup(&mut client, &files, &directory.to_string())?;
        lookup(&mut client, &directory, &number.to_string()).map(drop)
    })?;
    let file = lookup(&mut client, &root, "sparse")?;
    cost("READ of 4 KiB", READS, &mut |turn| {
        let piece = amount.file / 4096;
        let offset = u64::from(turn) * (piece / u64::from(READS)).max(1) % piece * 4096;
        let arguments = READ3args { file: file.clone(), offset, count: 4096 };
        match client.call::<READ3res<'_>>(NFS_PROGRAM::NFSPROC3_READ as u32, &arguments)? {
            READ3res::Ok(read) if read.data.0.len() == 4096 => Ok(()),
            _ => Err("a READ failed".into()),
        }
    })?;
    cost("request of a Pi's config.txt", 300, &mut |turn| {
        fetch(&format!("{:08x}/config.txt", FIRST_PI + turn % amount.pis))
    })?;
    cost("DISCOVER of a new client", CLIENTS, &mut |turn| {
        wire.discover(turn);
        if turn + 1 < CLIENTS { Ok(()) } else { wire.await_offers() }
    })?;
    let before = settle(&server);
    server.reload()?;
    thread::sleep(STILL);
    figure("reload", "ms", settle(&server).saturating_sub(before).as_secs_f64() * 1e3);
    Ok(())
}

/// The server's processor time, once it takes no more.
fn settle(server: &Server) -> Duration {
    let mut before = server.cpu();
    loop {
        thread::sleep(STILL);
        let now = server.cpu();
        if now.saturating_sub(before) < Duration::from_millis(2) {
            return now;
        }
        before = now;
    }
}

fn lookup(client: &mut Client, dir: &nfs_fh3, name: &str) -> Result<nfs_fh3, Failed> {
    let name = filename3(Opaque::borrowed(name.as_bytes()));
    let arguments = LOOKUP3args { what: diropargs3 { dir: dir.clone(), name } };
    match client.call::<LOOKUP3res>(NFS_PROGRAM::NFSPROC3_LOOKUP as u32, &arguments)? {
        LOOKUP3res::Ok(found) => Ok(found.object),
        LOOKUP3res::Err((status, _)) => Err(format!("LOOKUP: {status:?}").into()),
    }
}

/// Fetches a file of one block.
fn fetch(name: &str) -> Result<(), Failed> {
    let failed = |error: std::io::Error| format!("{name}: {error}");
    let socket = UdpSocket::bind("10.77.0.2:0").map_err(failed)?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    let request = [b"\0\x01", name.as_bytes(), b"\0octet\0"].concat();
    socket.send_to(&request, (world::SERVER, 69)).map_err(failed)?;
    let mut answer = [0; 600];
    match socket.recv_from(&mut answer).map_err(failed)? {
        (_, from) if answer[..4] == [0, 3, 0, 1] => {
            socket.send_to(&[0, 4, 0, 1], from).map(drop).map_err(|error| failed(error).into())
        }
        _ => Err(format!("{name}: no block").into()),
    }
}

/// The clients of DHCP.
struct Wires(std::cell::RefCell<wire::Wire>);

impl Wires {
    fn open() -> Result<Self, Failed> {
        wire::Wire::open("c").map(|wire| Self(wire.into()))
    }

    fn discover(&self, pi: u32) {
        let pi = pi as usize;
        self.0.borrow().send(&wire::dhcp_frame(pi, &dhcp::discover(pi, XID + pi as u32)));
    }

    /// Waits for an offer to one more client: the server looks for others at first.
    fn await_dhcp(&self) -> Result<(), Failed> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.discover(CLIENTS);
            if self.have_offers(CLIENTS..CLIENTS + 1, Duration::from_secs(1)) {
                return Ok(());
            }
        }
        Err("no offer".into())
    }

    fn await_offers(&self) -> Result<(), Failed> {
        match self.have_offers(0..CLIENTS, PATIENCE) {
            true => Ok(()),
            false => Err("a client has no offer".into()),
        }
    }

    /// Whether each of these clients has an offer within a time.
    fn have_offers(&self, clients: Range<u32>, within: Duration) -> bool {
        let (begun, mut wire) = (Instant::now(), self.0.borrow_mut());
        let mut without: BTreeSet<usize> = clients.map(|pi| pi as usize).collect();
        while !without.is_empty() && begun.elapsed() < within {
            wire.wait(Duration::from_millis(100));
            while let Some((to, frame)) = wire.receive() {
                let wire::To::Pi(pi) = to else { continue };
                let heard = wire::dhcp(frame).and_then(|message| dhcp::parse(message, XID + pi as u32));
                if matches!(heard, Some(dhcp::Heard::Offer { .. })) {
                    without.remove(&pi);
                }
            }
        }
        without.is_empty()
    }
}

const IN_DIRECTORY: u64 = 1000;
const FIRST_PI: u32 = 0xa000_0000;
const LOOKUPS: u32 = 1000;
const READS: u32 = 2000;
const CLIENTS: u32 = 500;
const XID: u32 = 0x2000_0000;
const PATIENCE: Duration = Duration::from_secs(30);
const STILL: Duration = Duration::from_millis(300);
