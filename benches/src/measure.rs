//! One run: one server, or one limit, at one point.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::Failed;
use crate::bed::Bed;
use crate::limits::{self, Responder};
use crate::load::storm::{REQUESTS, Storm};
use crate::load::transfer::{Ask, Habit, Want};
use crate::load::xdp::XdpLoad;
use crate::load::{Load, Plan, Tally};
use crate::peer::Peer;
use crate::point::{LOCK_STEP, Point, Unit};
use crate::results::{NULL, PING_PONG, Sample};
use crate::server::Server;
use crate::tree::Entry;
use crate::world::{self, CoreTime};

/// The lengths of the parts of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// The time before the measurement, after all clients are served.
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// The time in which the first answers must come.
    pub(crate) start: Duration,
}

/// The files that are served at a point.
pub(crate) struct Served {
    pub(crate) tree: std::path::PathBuf,
    /// The files that clients fetch, in turn.
    pub(crate) files: Vec<Entry>,
}

/// Measures a server.
pub(crate) fn server(point: Point, peer: &Peer, served: &Served, times: Times) -> Result<Sample, Failed> {
    let server = Server::start(&peer.name, peer.command(&served.tree))?;
    run(point, &peer.name, &server, served, times)
}

/// Measures the load client against the null responder.
pub(crate) fn null(point: Point, served: &Served, times: Times) -> Result<Sample, Failed> {
    let responder = Responder::Null { block_size: point.block_size(), window: point.window() };
    let server = Server::start(NULL, responder.command()?)?;
    run(point, NULL, &server, served, times)
}

/// Measures round trips.
pub(crate) fn ping_pong(point: Point, times: Times) -> Result<Sample, Failed> {
    let _server = Server::start(PING_PONG, Responder::PingPong.command()?)?;
    let rate = limits::ping_pong(times.window / 2)?;
    Ok(Sample {
        point: point.to_string(),
        server: PING_PONG.into(),
        rate,
        clients_busy: 0.0,
        ..Sample::default()
    })
}

fn run(point: Point, name: &str, server: &Server, served: &Served, times: Times) -> Result<Sample, Failed> {
    let memory_idle = server.memory();
    let mut sample = match point {
        Point::Storm(_) => storm(point, server)?,
        Point::Xdp { clients, apart } => xdp(clients, apart, server, served, times)?,
        _ => steady(point, server, served, times)?,
    };
    sample.memory_idle = Some(memory_idle);
    sample.point = point.to_string();
    sample.server = name.into();
    Ok(sample)
}

/// Clients that fetch without end: the measurement takes the middle of the run.
fn steady(point: Point, server: &Server, served: &Served, times: Times) -> Result<Sample, Failed> {
    let clients = point.clients();
    let mut plan =
        Endless { point, files: &served.files, turn: 0, clients, failed: vec![false; clients + 1] };
    // One client more, silent at first.
    let mut load = Load::new(clients + 1)?;
    load.reorders = (point == Point::Edk2).then_some(50);
    let began = Instant::now();
    load.begin(&mut plan)?;
    load.run(&mut plan, |load, now| load.unanswered() == 0 || now.duration_since(began) > times.start)?;
    let first_answer = percentile(&mut load.first_answers, 0.99);
    let window = load.window();

    let warm = Instant::now() + times.warm_up;
    load.run(&mut plan, |_, now| now >= warm)?;
    let before = Snapshot::take(&load, server);
    let until = Instant::now() + times.window;
    load.run(&mut plan, |_, now| now >= until)?;
    let after = Snapshot::take(&load, server);
    let memory = server.memory();

    let failed = (0..clients)
        .filter(|client| plan.failed[*client] || after.blocks[*client] == before.blocks[*client])
        .count();
    let mut sample = after.since(&before, point);
    sample.failed = failed as u64;
    sample.wrong = load.tally.wrong;
    sample.retried = load.tally.retried;
    sample.duplicates = load.tally.duplicates;
    let (blocks, more) = (load.tally.blocks as f64, load.tally.duplicates as f64);
    sample.data_per_block = (point == Point::Edk2 && blocks > 0.0).then(|| (blocks + more) / blocks);
    sample.memory = Some(memory);
    sample.first_answer = first_answer;
    sample.window = Some(window);
    if let Point::Clients(10..) = point {
        sample.slowest = slowest(&before.blocks[..clients], &after.blocks[..clients]);
        sample.new_request = new_request(&mut load, &mut plan, times.window / 2)?;
    }
    load.leave();
    Ok(sample)
}

/// The same on the test bed, which counts packets.
fn xdp(
    clients: usize,
    apart: bool,
    server: &Server,
    served: &Served,
    times: Times,
) -> Result<Sample, Failed> {
    let bed = Bed::new(clients, LOCK_STEP, apart)?;
    let mut load = XdpLoad::new(bed, clients, &served.files[0], LOCK_STEP)?;
    let began = Instant::now();
    load.begin()?;
    load.run(|load, now| load.unanswered() == 0 || now.duration_since(began) > times.start)?;
    let warm = Instant::now() + times.warm_up;
    load.run(|_, now| now >= warm)?;

    let (server_core, client_core) = world::cores();
    let counters = |load: &XdpLoad| {
        let cores = [server_core, client_core].map(CoreTime::of);
        (Instant::now(), load.blocks(), server.cpu(), cores)
    };
    let before = counters(&load);
    let until = Instant::now() + times.window;
    load.run(|_, now| now >= until)?;
    let after = counters(&load);
    let memory = server.memory();
    let ends = load.end(STANDS_STILL)?;

    let seconds = after.0.duration_since(before.0).as_secs_f64();
    let blocks = (after.1 - before.1) as f64;
    let server = after.2.saturating_sub(before.2).as_secs_f64();
    let core = after.3[0].busy.saturating_sub(before.3[0].busy).as_secs_f64();
    let network = after.3[1].softirq.saturating_sub(before.3[1].softirq).as_secs_f64();
    let each: Vec<_> = ends.iter().flatten().copied().collect();
    Ok(Sample {
        rate: blocks / seconds,
        cpu: (blocks > 0.0).then(|| server * 1e6 / blocks),
        core: (blocks > 0.0).then(|| core * 1e6 / blocks),
        server_busy: Some(server / seconds),
        clients_busy: network / seconds,
        others_busy: (core - server).max(0.0) / seconds,
        memory: Some(memory),
        failed: (clients - each.len()) as u64,
        wrong: load.tally.wrong,
        retried: load.tally.retried,
        duplicates: load.tally.duplicates,
        slowest: slowest(&vec![0; each.len()], &each),
        ..Sample::default()
    })
}

/// At intervals, one client more asks whether a file exists.
fn new_request(load: &mut Load, plan: &mut Endless<'_>, time: Duration) -> Result<Option<f64>, Failed> {
    let newcomer = plan.clients;
    load.first_answers.clear();
    let until = Instant::now() + time;
    while Instant::now() < until {
        plan.clients = newcomer + 1;
        load.begin_one(newcomer, plan);
        plan.clients = newcomer;
        let next = Instant::now() + NEW_REQUESTS;
        load.run(plan, |load, now| now >= next && (!load.is_busy(newcomer) || now >= until))?;
    }
    Ok(percentile(&mut load.first_answers, 0.99))
}

/// Clients that each go through one boot: the measurement takes the whole run.
fn storm(point: Point, server: &Server) -> Result<Sample, Failed> {
    let clients = point.clients();
    let mut plan = Storm::new(clients);
    let mut load = Load::new(clients)?;
    let before = Snapshot::take(&load, server);
    load.begin(&mut plan)?;
    load.run(&mut plan, |load, _| load.under_way() == 0)?;
    let after = Snapshot::take(&load, server);
    let mut sample = after.since(&before, point);
    debug_assert_eq!(load.tally.complete + load.tally.failed, (clients * REQUESTS) as u64);
    sample.failed = load.tally.failed;
    sample.wrong = load.tally.wrong;
    sample.retried = load.tally.retried;
    sample.duplicates = load.tally.duplicates;
    sample.first_answer = percentile(&mut load.first_answers, 0.99);
    Ok(sample)
}

/// Every client fetches one file after the other.
struct Endless<'a> {
    point: Point,
    files: &'a [Entry],
    turn: usize,
    /// Clients from this number on make no requests.
    clients: usize,
    failed: Vec<bool>,
}

impl Plan for Endless<'_> {
    fn next(&mut self, client: usize, well: bool) -> Option<Ask> {
        if !well {
            // One failure ends the client: its requests would fail without end.
            self.failed[client] = true;
            return None;
        }
        if client >= self.clients {
            return None;
        }
        // A prime, so that successive files are not neighbours in the tree.
        self.turn = (self.turn + 7919) % self.files.len();
        let file = &self.files[self.turn];
        let want = match client == self.failed.len() - 1 {
            true => Want::Probe,
            false => Want::File { len: file.len, content: file.content },
        };
        Some(Ask {
            name: file.name.as_str().into(),
            block_size: self.point.block_size(),
            window: self.point.window(),
            want,
            habit: if self.point == Point::Edk2 { Habit::Unexpected } else { Habit::Gaps },
        })
    }
}

/// All counters at one moment.
struct Snapshot {
    /// Reading the counters takes a moment, in which the clients are still.
    from: Instant,
    until: Instant,
    tally: Tally,
    blocks: Vec<u64>,
    server: Duration,
    clients: Duration,
    /// The time that all processes took from the two cores.
    everyone: Duration,
}

impl Snapshot {
    fn take(load: &Load, server: &Server) -> Self {
        let from = Instant::now();
        let clients = getrusage(UsageWho::RUSAGE_THREAD)
            .map_or(Duration::ZERO, |usage| duration(usage.user_time()) + duration(usage.system_time()));
        let (blocks, tally) = (load.blocks(), load.tally);
        let (server, everyone) = (server.cpu(), world::busy());
        Self { everyone, from, until: Instant::now(), tally, blocks, server, clients }
    }

    fn since(&self, before: &Self, point: Point) -> Sample {
        let seconds = self.from.duration_since(before.until).as_secs_f64();
        let blocks = (self.tally.blocks - before.tally.blocks) as f64;
        let requests = (self.tally.complete - before.tally.complete) as f64;
        let megabytes = (self.tally.bytes - before.tally.bytes) as f64 / 1e6;
        let server = self.server.saturating_sub(before.server).as_secs_f64();
        let clients = self.clients.saturating_sub(before.clients).as_secs_f64();
        let everyone = self.everyone.saturating_sub(before.everyone).as_secs_f64();
        let unknown = (everyone - server - clients).max(0.0);
        let (count, pieces) = match point.unit() {
            Unit::Blocks => (blocks, blocks),
            Unit::Bytes => (megabytes, blocks),
            Unit::Requests => (requests, requests),
        };
        Sample {
            rate: count / seconds,
            // The kernel drops the times of a process whose parent ignores its end: no figure is better than a wrong one.
            cpu: (pieces > 0.0 && unknown <= DISTURBED * seconds).then(|| server * 1e6 / pieces),
            server_busy: Some(server / seconds),
            clients_busy: clients / seconds,
            others_busy: unknown / seconds,
            ..Sample::default()
        }
    }
}

/// How many times as long as the median transfer the slowest takes, by the blocks that they got in the same time.
fn slowest(before: &[u64], after: &[u64]) -> Option<f64> {
    let mut blocks: Vec<_> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    blocks.sort_unstable();
    let (least, median) = (*blocks.first()?, *blocks.get(blocks.len() / 2)?);
    (least > 0).then(|| median as f64 / least as f64)
}

/// In milliseconds.
fn percentile(times: &mut [Duration], part: f64) -> Option<f64> {
    times.sort_unstable();
    let index = (times.len() as f64 * part).ceil() as usize;
    times.get(index.saturating_sub(1)).map(|time| time.as_secs_f64() * 1e3)
}

fn duration(time: TimeVal) -> Duration {
    Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000)
}

/// The share of one core that unknown processes may take. The kernel counts in hundredths of a second: a smaller share cannot
/// be told from nothing.
pub(crate) const DISTURBED: f64 = 0.1;

/// A client that gets no block for this long, longer than any server takes to repeat a lost one, has failed.
const STANDS_STILL: Duration = Duration::from_secs(8);

/// How often a new client asks while the others are served.
const NEW_REQUESTS: Duration = Duration::from_millis(3);
