//! `fleet`: whole boots of many Pis at once, from DISCOVER to the first program of their root.
//!
//! The Pis are hosts on the cable, each with its MAC address (`pi`, on one packet socket): the server resolves each by ARP. A Pi that
//! runs already, the kernel's own address there, asks for the attributes of its root all the time.

pub(crate) mod dhcp;
mod peer;
mod pi;
mod report;
mod root;
mod shown;
mod tftp;
pub(crate) mod wire;

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nfs3_types::nfs3::{GETATTR3args, GETATTR3res, NFS_PROGRAM};
use serde::{Deserialize, Serialize};

use self::peer::{Peer, Target};
use self::pi::Pi;
use self::wire::{To, Wire};
use crate::Failed;
use crate::cli;
use crate::compare;
use crate::nfs::client::Client;
use crate::results::Facts;
use crate::server::Server;
use crate::world;

/// All results of `fleet`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Results {
    facts: Facts,
    /// KiB.
    kernel: u64,
    /// Pis that are switched on at once; 0 stands for all.
    #[serde(default)]
    wave: usize,
    samples: Vec<Sample>,
}

/// One boot of all Pis.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Sample {
    server: String,
    pis: usize,
    /// The Pis are new to the server.
    first: bool,
    /// Seconds from the power to a complete config.txt, the last byte of the boot files, and the first program: of the median, of 99
    /// in 100, and of the last one that got so far.
    config: [f64; 3],
    files: [f64; 3],
    root: [f64; 3],
    failed: usize,
    /// The reasons, each with the number of Pis.
    why: Vec<(String, usize)>,
    /// Packets that were sent again: of DHCP, of TFTP, and for the root.
    again: [u64; 3],
    /// Milliseconds of the running Pi's GETATTR: median, 99 in 100, longest.
    getattr: [f64; 3],
    /// Processor time of the server for each Pi, in milliseconds.
    cpu: f64,
    /// KiB of the server's memory for each Pi, all mounted and idle.
    memory: f64,
    /// Bytes of boot files.
    bytes: u64,
    /// Documents of the page, the event stream and the metrics that were read meanwhile.
    #[serde(default)]
    documents: u64,
    /// Verdicts on Pis in the server's log: each is a false one.
    #[serde(default)]
    verdicts: usize,
}

/// Refuses more Pis than the neighbour table has places for: beyond, the kernel answers neither ARP nor broadcasts. The table is the
/// host's, and seen only outside of the namespaces.
pub(crate) fn check_neighbours(options: &cli::Fleet) -> Result<(), Failed> {
    let most = counts(options).into_iter().max().map_or(0, usize::from);
    match pinetboot::net::most_neighbours() {
        Some(places) if most + SPARE_NEIGHBOURS > places => Err(format!(
            "the neighbour table has {places} places, too few for {most} Pis: sysctl net.ipv4.neigh.default.gc_thresh3={0} \
             net.ipv4.neigh.default.gc_thresh2={1}",
            4 * most.max(1024),
            2 * most.max(1024)
        )
        .into()),
        _ => Ok(()),
    }
}

fn counts(options: &cli::Fleet) -> Vec<u16> {
    if options.pis.is_empty() { vec![1, 50, 200, 1000] } else { options.pis.clone() }
}

/// Runs the chosen servers and writes the report.
pub(crate) fn run(options: &cli::Fleet) -> Result<(), Failed> {
    let peers = Peer::find(&options.peers)?;
    let counts = counts(options);
    let most = counts.iter().copied().max().map_or(1, usize::from);
    set_up()?;
    fs::create_dir_all(&options.out)
        .map_err(|error| format!("no directory {}: {error}", options.out.display()))?;
    let wave = options.wave.map_or(0, usize::from);
    let mut results = Results { facts: compare::facts(), kernel: options.kernel, wave, samples: Vec::new() };
    world::pin_client()?;
    let runs = counts.into_iter().flat_map(|count| (0..options.rounds).map(move |_| count));
    for count in runs {
        for peer in &peers {
            let made = options.dir.as_deref().map_or_else(tempfile::tempdir, tempfile::tempdir_in);
            let place = made.map_err(|error| format!("no directory for what is served: {error}"))?;
            allow_all(place.path())?;
            peer::write_trees(place.path(), most, options.kernel)
                .map_err(|error| format!("cannot write the trees: {error}"))?;
            let pis = Pis { count: count.into(), wave, patience: Duration::from_secs(options.patience) };
            let measured = measure(*peer, place.path(), pis, &mut |sample| {
                eprintln!("{}", report::line(&sample));
                results.samples.push(sample);
            });
            measured.map_err(|failed| format!("{}: {failed}", peer.name()))?;
            report::write(&results, &options.out)?;
        }
    }
    print!("{}", report::markdown(&results));
    if options.check { check(&results.samples) } else { Ok(()) }
}

/// All Pis are healthy: a verdict of pinetboot on one of them is false, and none fails.
fn check(samples: &[Sample]) -> Result<(), Failed> {
    let mut ours = samples.iter().filter(|sample| sample.server.starts_with("pinetboot"));
    match ours.find(|sample| sample.verdicts > 0 || sample.failed > 0) {
        Some(Sample { server, pis, verdicts, failed, .. }) => {
            Err(format!("{server}: of {pis} healthy Pis {failed} failed, and {verdicts} got a verdict")
                .into())
        }
        None => Ok(()),
    }
}

/// The Pis of a measurement.
#[derive(Debug, Clone, Copy)]
struct Pis {
    count: usize,
    /// Pis that are switched on at once; 0 stands for all.
    wave: usize,
    /// The time for a wave.
    patience: Duration,
}

/// Boots all Pis twice at one server.
fn measure(peer: Peer, place: &Path, pis: Pis, measured: &mut dyn FnMut(Sample)) -> Result<(), Failed> {
    let (server, target) = peer.start(place)?;
    let mut wire = Wire::open("c")?;
    await_dhcp(&target, &mut wire)?;
    let mut told = 0;
    for boot in 0..2 {
        let (running, mut sample) = boot_all(peer, boot, pis, &server, &target, &mut wire)?;
        let verdicts = peer::verdicts(place);
        for line in verdicts.get(told..).unwrap_or_default().iter().take(5) {
            eprintln!("  {line}");
        }
        sample.verdicts = verdicts.len() - told;
        told = verdicts.len();
        sample.server = peer.name().into();
        sample.getattr = spread(running.into_iter().map(|time| time.as_secs_f64() * 1e3).collect());
        measured(sample);
    }
    Ok(())
}

/// Boots one Pi more, up to its first file: a DHCP server may look around before it answers.
fn await_dhcp(target: &Target, wire: &mut Wire) -> Result<(), Failed> {
    let mut scout = Pi::new(SCOUT, 9);
    let begun = Instant::now();
    scout.power_on(begun, wire);
    while !scout.has_config() {
        wire.wait(TICK);
        while let Some((to, frame)) = wire.receive() {
            let frame = frame.to_vec();
            if to == To::Pi(SCOUT) || matches!(to, To::Address(address) if scout.address == Some(address)) {
                scout.receive(Instant::now(), &frame, target, wire);
            }
        }
        scout.tick(Instant::now(), target, wire);
        if let Some(why) = scout.failure() {
            return Err(format!("no file for a first Pi: {why}").into());
        }
    }
    eprintln!("  a first Pi has config.txt after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

fn boot_all(
    peer: Peer,
    boot: u16,
    pis: Pis,
    server: &Server,
    target: &Target,
    wire: &mut Wire,
) -> Result<(Vec<Duration>, Sample), Failed> {
    let mut up = Client::mount(&target.path)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            world::run_at_once();
            let mut times = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let (client, root) = &mut up;
                let begun = Instant::now();
                let arguments = GETATTR3args { object: root.clone() };
                let answered: Result<GETATTR3res, Failed> =
                    client.call(NFS_PROGRAM::NFSPROC3_GETATTR as u32, &arguments);
                answered?;
                times.push(begun.elapsed());
                thread::sleep(BETWEEN);
            }
            Ok(times)
        });
        let readers = (peer == Peer::Shown).then(|| scope.spawn(|| shown::read(&done)));
        let (cpu, memory) = (server.cpu(), server.memory());
        let mut fleet = Fleet::new(pis.count, boot);
        fleet.run(target, wire, pis);
        done.store(true, Ordering::Relaxed);
        let times: Result<Vec<Duration>, Failed> =
            running.join().unwrap_or_else(|_| Err("the running Pi panicked".into()));
        let documents = readers
            .map_or(Ok(0), |readers| readers.join().unwrap_or_else(|_| Err("the readers panicked".into())))?;
        let cpu = server.cpu().saturating_sub(cpu).as_secs_f64() * 1e3 / pis.count as f64;
        let memory = server.memory().saturating_sub(memory) as f64 / pis.count as f64;
        Ok((times?, Sample { cpu, memory, documents, first: boot == 0, ..fleet.sample() }))
    })
}

/// All Pis.
struct Fleet {
    pis: Vec<Pi>,
    by_address: HashMap<std::net::Ipv4Addr, usize>,
}

impl Fleet {
    fn new(count: usize, boot: u16) -> Self {
        Self { pis: (0..count).map(|number| Pi::new(number, boot)).collect(), by_address: HashMap::new() }
    }

    /// Boots all, wave by wave, until all have ended.
    fn run(&mut self, target: &Target, wire: &mut Wire, pis: Pis) {
        let wave = if pis.wave == 0 { pis.count } else { pis.wave };
        for first in (0..pis.count).step_by(wave) {
            self.run_wave(first..(first + wave).min(pis.count), target, wire, pis.patience);
        }
    }

    fn run_wave(&mut self, wave: Range<usize>, target: &Target, wire: &mut Wire, patience: Duration) {
        let begun = Instant::now();
        for number in wave.clone() {
            self.pis[number].power_on(begun, wire);
            if number % 32 == 31 {
                self.take_in(target, wire);
            }
        }
        let mut tick = Instant::now();
        while begun.elapsed() < patience && !self.pis[wave.clone()].iter().all(Pi::has_ended) {
            wire.wait(TICK);
            self.take_in(target, wire);
            let now = Instant::now();
            if now.saturating_duration_since(tick) >= TICK {
                tick = now;
                for pi in self.pis[wave.clone()].iter_mut().filter(|pi| !pi.has_ended()) {
                    pi.tick(now, target, wire);
                }
            }
        }
    }

    /// Handles frames, but no more than some between two ticks.
    fn take_in(&mut self, target: &Target, wire: &mut Wire) {
        let mut memory = Vec::with_capacity(2048);
        for _ in 0..AT_ONCE {
            let Some((to, frame)) = wire.receive() else { return };
            memory.clear();
            memory.extend_from_slice(frame);
            let number = match to {
                To::Pi(number) => Some(number),
                To::Address(address) => self.by_address.get(&address).copied(),
            };
            let Some((number, pi)) = number.and_then(|number| Some((number, self.pis.get_mut(number)?)))
            else {
                continue;
            };
            let before = pi.address;
            pi.receive(Instant::now(), &memory, target, wire);
            if let Some(address) = pi.address.filter(|_| before.is_none()) {
                self.by_address.insert(address, number);
            }
        }
    }

    fn sample(&self) -> Sample {
        let times = |of: fn(&Pi) -> Option<Instant>| {
            let ended =
                self.pis.iter().filter_map(|pi| Some(of(pi)?.saturating_duration_since(pi.times.power?)));
            spread(ended.map(|time| time.as_secs_f64()).collect())
        };
        let mut why: Vec<(String, usize)> = Vec::new();
        for pi in self.pis.iter().filter(|pi| pi.times.root.is_none()) {
            let reason = pi.failure().unwrap_or("not ready in time");
            match why.iter_mut().find(|(known, _)| known == reason) {
                Some((_, count)) => *count += 1,
                None => why.push((reason.into(), 1)),
            }
        }
        Sample {
            pis: self.pis.len(),
            config: times(|pi| pi.times.config),
            files: times(|pi| pi.times.files),
            root: times(|pi| pi.times.root),
            failed: why.iter().map(|(_, count)| count).sum(),
            why,
            again: [0, 1, 2].map(|of| self.pis.iter().map(|pi| pi.again[of]).sum()),
            bytes: self.pis.iter().map(|pi| pi.bytes).sum(),
            ..Sample::default()
        }
    }
}

/// Median, 99 in 100, and the largest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |part: f64| {
        let index = ((values.len() as f64 * part).ceil() as usize).saturating_sub(1);
        values.get(index).copied().unwrap_or_default()
    };
    [at(0.5), at(0.99), at(1.0)]
}

/// Makes the network of the cable large enough for all Pis.
pub(crate) fn set_up() -> Result<(), Failed> {
    for arguments in [
        "addr del 10.77.0.2/24 dev c",
        "addr add 10.77.0.2/16 dev c",
        "-n server addr del 10.77.0.1/24 dev s",
        "-n server addr add 10.77.0.1/16 dev s",
    ] {
        world::ip(arguments)?;
    }
    Ok(())
}

/// Other users read what is served.
fn allow_all(place: &Path) -> Result<(), Failed> {
    let status = Command::new("chmod").arg("755").arg(place).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("cannot change the mode of {}", place.display()).into()),
    }
}

/// Neighbours of this machine, and of its other namespaces: the table is one for all.
const SPARE_NEIGHBOURS: usize = 200;
/// The number of the Pi that tries whether the server is ready.
const SCOUT: usize = 0xff_ff00;
/// The pause of the running Pi between two calls.
const BETWEEN: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_millis(100);
/// Frames between two looks at the clock.
const AT_ONCE: usize = 4096;
