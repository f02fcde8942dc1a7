//! Server and clients on a network that loses, doubles and delays packets, on a virtual clock.
//!
//! Every seed is a world of its own. `PINETBOOT_SEED=7 cargo test --test simulator -- --nocapture` plays one again and
//! prints its packets.

mod common;

use core::cell::RefCell;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::{env, thread};

use common::keeping::Keeping;
use common::rng::Rng;
use common::watch::Referee;
use common::world::{Link, Ports, Task, Weather, World};
use common::{Memory, content};
use pinetboot_core::tftp::netascii::{Decoded, Encoded};
use pinetboot_core::tftp::{Client, Limits, Mode, Options, Outcome, Probe, Request, Server};
use pinetboot_core::{Instant, Net, Upload};

#[test]
fn in_perfect_weather_no_block_is_sent_twice() {
    for_seeds(0..200, |seed, verbose| {
        let played = simulate(Rng::new(seed), Weather::default(), Scenery::Peaceful, verbose);
        assert!(played.failed.is_empty(), "{:?}", played.failed);
        assert_eq!(played.blocks, played.blocks_needed);
    });
}

/// At most one packet in fifty is lost: everything must go through.
#[test]
fn in_fair_weather_everything_goes_through() {
    for_seeds(1000..2200, |seed, verbose| {
        let mut rng = Rng::new(seed);
        let weather = Weather {
            loss: rng.pick(&[0, 0, 5, 20]),
            doubling: rng.pick(&[0, 20, 200]),
            lateness: rng.pick(&[0, 20, 200, 1000]),
            late_by: rng.pick(&[5, 50, 300]),
        };
        let played = simulate(rng, weather, Scenery::Hostile, verbose);
        assert!(played.failed.is_empty(), "{weather:?}: {:?}", played.failed);
        assert!(played.took <= Duration::from_secs(300), "{weather:?}: took {:?}", played.took);
    });
}

/// Half of the packets may be lost: what goes through is right, and all comes to an end.
#[test]
fn in_foul_weather_nothing_goes_wrong() {
    for_seeds(10_000..10_600, |seed, verbose| {
        let mut rng = Rng::new(seed);
        let weather = Weather {
            loss: rng.pick(&[50, 200, 500]),
            doubling: rng.pick(&[0, 100, 500]),
            lateness: rng.pick(&[0, 100, 500]),
            late_by: rng.pick(&[50, 1000, 10_000]),
        };
        simulate(rng, weather, Scenery::Hostile, verbose);
    });
}

/// A network that keeps prepared datagrams changes no packet: neither its bytes, nor its time, nor the order.
#[test]
fn prepared_or_not_the_same_packets_are_sent() {
    let prepared = std::sync::atomic::AtomicUsize::new(0);
    for_seeds(20_000..20_150, |seed, verbose| {
        let mut rng = Rng::new(seed);
        let weather = Weather {
            loss: rng.pick(&[0, 0, 20, 200]),
            doubling: rng.pick(&[0, 20, 200]),
            lateness: rng.pick(&[0, 20, 500]),
            late_by: rng.pick(&[5, 50, 1000]),
        };
        let forgets = rng.pick(&[0, 0, 100, 500]);
        let plain = simulate(rng.clone(), weather, Scenery::Hostile, verbose);
        let kept = simulate_on::<true>(rng, weather, Scenery::Hostile, forgets, verbose);
        assert_eq!(plain.prepared, [0, 0]);
        assert!(plain.sent == kept.sent, "other packets are sent");
        if forgets == 0 && weather.loss == 0 && kept.failed.is_empty() {
            prepared.fetch_add(kept.prepared[1], std::sync::atomic::Ordering::Relaxed);
        }
    });
    let prepared = prepared.into_inner();
    assert!(prepared > 1000 || env::var_os("PINETBOOT_SEED").is_some(), "only {prepared} were prepared");
}

/// Blocks of 8 bytes, so that their numbers begin again at 0 on the way.
#[test]
fn more_than_65535_blocks_go_through() {
    let mut rng = Rng::new(0);
    let content: Vec<u8> = (0..65537 * 8 + 5).map(|_| rng.next() as u8).collect();
    let weather = Weather { loss: 1, ..Weather::default() };
    let world = World::new(rng, weather, Rc::new(RefCell::new(Referee::default())), false);
    let mut link = world.link(Ports::Fresh);
    link.bind(69);
    let address = link.address(69);
    let storage = Memory { room: Some(1 << 20), ..Memory::default() }.with_bytes("down", content.clone());
    let mut places = [const { None }; 4];
    let mut server = Server::<_, _, _, 4>::new(link, storage.clone(), (), Limits::default(), &mut places);
    let mut link = world.link(Ports::Fresh);
    let transfer = async {
        let options = common::options("blksize=8 windowsize=64");
        let mut kept = Kept::default();
        let down = client(&mut link, address).get(&Request::octet(b"down", options), &mut kept).await;
        assert_eq!(down.unwrap().outcome, Outcome::Complete { bytes: content.len() as u64 });
        assert!(kept.bytes == content, "what was read is not what was there");
        let up = client(&mut link, address).put(&Request::octet(b"up", options), content.as_slice()).await;
        assert_eq!(up.unwrap().outcome, Outcome::Complete { bytes: content.len() as u64 });
        assert!(storage.written("up").as_ref() == Some(&content), "what was written is not what was sent");
    };
    let serve = async { server.run().await.map(drop).unwrap_or_default() };
    world.run(vec![Some(Box::pin(serve)), Some(Box::pin(transfer))], LIMIT);
    assert_eq!(server.transfers(), 0);
}

/// Whether clients vanish, strangers ask and nonsense arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scenery {
    Peaceful,
    Hostile,
}

/// What came of a world.
struct Played {
    /// Transfers of clients that did not vanish.
    failed: Vec<String>,
    took: Duration,
    blocks: usize,
    /// How many there would be if none were sent twice.
    blocks_needed: usize,
    /// Every packet: time, addresses and bytes.
    sent: Vec<(Instant, SocketAddrV4, SocketAddrV4, Vec<u8>)>,
    /// DATA packets that the server prepared, and those of them that it sent.
    prepared: [usize; 2],
}

/// One world: a server, several clients with several transfers each, and who else there is.
fn simulate(rng: Rng, weather: Weather, scenery: Scenery, verbose: bool) -> Played {
    simulate_on::<false>(rng, weather, scenery, 0, verbose)
}

/// The same; the server's network keeps prepared datagrams, and forgets some in a thousand.
fn simulate_on<const KEEPS: bool>(
    mut rng: Rng,
    weather: Weather,
    scenery: Scenery,
    forgets: u64,
    verbose: bool,
) -> Played {
    let referee = Rc::new(RefCell::new(Referee::default()));
    let world = World::new(Rng::new(rng.next()), weather, referee.clone(), verbose);
    let ports = rng.pick(&[Ports::One, Ports::Fresh, Ports::Pool]);
    let mut link = world.link(ports);
    link.bind(69);
    let address = link.address(69);

    let mut storage = Memory { room: Some(1 << 20), ..Memory::default() };
    let clients: Vec<Vec<Job>> = (0..rng.within(1..5))
        .map(|client| {
            (0..rng.within(1..4)).map(|job| Job::random(&mut rng, &format!("{client}-{job}"))).collect()
        })
        .collect();
    for job in clients.iter().flatten().filter(|job| !job.write) {
        storage = storage.with(&job.name, job.len);
    }
    let hostile = scenery == Scenery::Hostile;
    if hostile && rng.chance(500) {
        disturb(&world, &mut rng, address, &clients[0][0].name);
    }

    let mut places: Vec<_> = (0..16).map(|_| None).collect();
    let mut net = Keeping::<_, KEEPS>::new(link, Rng::new(1), forgets);
    let mut server =
        Server::<_, _, _, 16>::new(&mut net, storage.clone(), (), Limits::default(), &mut places);
    let failed = RefCell::new(Vec::new());
    let serve = async { server.run().await.map(drop).unwrap_or_default() };
    let mut tasks: Vec<Option<Task<'_>>> = vec![Some(Box::pin(serve))];
    for jobs in &clients {
        let mut link = world.link(Ports::Fresh);
        let vanishes = (hostile && rng.chance(100)).then(|| Instant::from_millis(rng.within(0..3000)));
        link.vanishes = vanishes.unwrap_or(Instant::MAX);
        let (failed, storage) = (&failed, &storage);
        tasks.push(Some(Box::pin(async move {
            for job in jobs {
                match job.run(&mut link, address, storage).await {
                    Some(outcome @ Outcome::Complete { .. }) => assert_eq!(outcome, job.complete()),
                    Some(outcome) => failed.borrow_mut().push(format!("{job:?}: {outcome:?}")),
                    None => return, // vanished
                }
            }
        })));
    }
    world.run(tasks, LIMIT);
    assert_eq!(server.transfers(), 0, "the server thinks that someone is still there");
    for file in storage.finished.borrow().iter() {
        let job = clients.iter().flatten().find(|job| job.name == file.name).expect("a file that was sent");
        assert!(file.bytes == job.content(), "{} is not what was sent", file.name);
    }
    let blocks_needed = clients.iter().flatten().map(Job::blocks).sum();
    let (took, blocks) = (world.now() - Instant::ZERO, referee.borrow().blocks);
    let sent = core::mem::take(&mut referee.borrow_mut().sent);
    let prepared = [net.prepared, net.sent];
    Played { failed: failed.into_inner(), took, blocks, blocks_needed, sent, prepared }
}

/// Someone who asks and never answers, and datagrams without sense to the ports in use.
fn disturb(world: &World, rng: &mut Rng, server: SocketAddrV4, file: &str) {
    let ghost = |number| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 200), number);
    for number in 0..rng.within(0..4) as u16 {
        let at = Instant::from_millis(rng.within(0..1000));
        let asked = rng.pick(&["", " tsize=0 blksize=1468", " windowsize=64 blksize=1468"]);
        let request = common::bytes(&format!("RRQ {file} octet{asked}"));
        for repeat in 0..rng.within(1..4) {
            world.inject(
                at + Duration::from_millis(repeat * 700),
                ghost(number + 1),
                server,
                request.clone(),
            );
        }
    }
    for _ in 0..rng.within(0..20) {
        let at = Instant::from_millis(rng.within(0..2000));
        let host = rng.within(1..5) as u8;
        let port = if host == 1 { rng.pick(&[69, 1001, 1002, 49152]) } else { rng.pick(&[49152, 49153]) };
        let mut bytes: Vec<u8> = (0..rng.within(0..600)).map(|_| rng.next() as u8).collect();
        for (byte, opcode) in bytes.iter_mut().zip([0, rng.within(0..8) as u8, 0, rng.within(0..3) as u8]) {
            *byte = opcode;
        }
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), port);
        world.inject(at, ghost(100 + rng.within(0..3) as u16), to, bytes);
    }
}

/// A file to be sent one way or the other.
#[derive(Debug)]
struct Job {
    name: String,
    len: u64,
    write: bool,
    mode: Mode,
    options: Options,
    /// Whether to look for it first, as a Pi does.
    probe: bool,
}

impl Job {
    fn random(rng: &mut Rng, name: &str) -> Self {
        let block_size = rng.pick(&[None, None, Some(8), Some(64), Some(1024), Some(1468), Some(65464)]);
        let mut options = Options::default();
        options.block_size = block_size;
        options.timeout_secs = rng.pick(&[None, None, None, Some(1), Some(2), Some(5)]);
        options.transfer_size = rng.pick(&[None, Some(0)]);
        options.window_size = rng.pick(&[None, None, Some(1), Some(2), Some(4), Some(16), Some(64)]);
        let block = u64::from(block_size.unwrap_or(512).min(1468));
        let blocks = match rng.within(0..10) {
            0 => 0,
            1..8 => rng.within(0..8),
            _ => rng.within(8..80),
        };
        let len = (blocks * block + rng.pick(&[0, 0, 1, block - 1])).saturating_sub(rng.within(0..2));
        let mode = if rng.chance(150) { Mode::Netascii } else { Mode::Octet };
        Self { name: name.into(), len, write: rng.chance(300), mode, options, probe: rng.chance(200) }
    }

    fn content(&self) -> Vec<u8> {
        content(0..self.len)
    }

    /// How it ends if all is well; in netascii every line end takes a byte more.
    fn complete(&self) -> Outcome {
        let ends = self.content().iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count() as u64;
        let bytes = if self.mode == Mode::Netascii { self.len + ends } else { self.len };
        Outcome::Complete { bytes }
    }

    fn blocks(&self) -> usize {
        let Outcome::Complete { bytes } = self.complete() else { return 0 };
        bytes as usize / usize::from(self.options.block_size.unwrap_or(512).min(1468)) + 1
    }

    /// Does it, each request from a port of its own. `None` if the client vanishes.
    async fn run(&self, link: &mut Link, server: SocketAddrV4, storage: &Memory) -> Option<Outcome> {
        if self.probe && !self.write {
            let mut client = client(link, server);
            match client.probe(self.name.as_bytes(), Options::RASPBERRY_PI).await.ok()? {
                Probe::Found(Some(len)) => assert_eq!(len, self.len),
                Probe::Found(None) => panic!("a server that knows tsize says no length"),
                Probe::Missing(outcome) => return Some(outcome),
            }
            let local = client.local();
            link.close(local);
        }
        let request = Request::new(self.name.as_bytes(), self.mode, self.options);
        let content = self.content();
        let mut kept = Kept::default();
        let mut client = client(link, server);
        let report = match (self.write, self.mode) {
            (false, Mode::Octet) => client.get(&request, &mut kept).await,
            (false, Mode::Netascii) => client.get(&request, &mut Decoded::new(&mut kept)).await,
            (true, Mode::Octet) => client.put(&request, content.as_slice()).await,
            (true, Mode::Netascii) => {
                let file = Encoded::new(content.as_slice()).await.expect("a file in memory");
                client.put(&request, file).await
            }
        };
        let local = client.local();
        link.close(local);
        let outcome = report.ok()?.outcome;
        if let Outcome::Complete { .. } = outcome {
            let there =
                if self.write { storage.written(&self.name) } else { kept.finished.then_some(kept.bytes) };
            assert!(there == Some(content), "{self:?} is complete but not what was sent");
        }
        Some(outcome)
    }
}

fn client(link: &mut Link, server: SocketAddrV4) -> Client<&mut Link> {
    let local = link.bind_fresh();
    Client::new(link, local, server)
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    finished: bool,
}

impl Upload for Kept {
    type Error = &'static str;

    fn expect(&mut self, _: u64) -> Result<(), Self::Error> {
        Ok(())
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.bytes.extend(bytes);
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Self::Error> {
        self.finished = true;
        Ok(())
    }
}

/// No world lasts longer than this, however bad its weather.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// Runs `simulate` for every seed, on all processors, and names those that fail.
fn for_seeds(seeds: core::ops::Range<u64>, simulate: impl Fn(u64, bool) + Sync) {
    if let Some(seed) = env::var("PINETBOOT_SEED").ok().and_then(|seed| seed.parse().ok()) {
        if seeds.contains(&seed) {
            simulate(seed, true);
        }
        return;
    }
    let threads = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let failed: Vec<u64> = thread::scope(|scope| {
        let run = |first| {
            let (simulate, seeds) = (&simulate, seeds.clone().skip(first as usize).step_by(threads as usize));
            let fails = move |seed: &u64| catch_unwind(AssertUnwindSafe(|| simulate(*seed, false))).is_err();
            scope.spawn(move || seeds.filter(fails).collect::<Vec<_>>())
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a thread that catches panics")).collect()
    });
    assert!(failed.is_empty(), "failed with PINETBOOT_SEED = {failed:?}");
}
