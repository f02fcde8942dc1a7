//! `peers`: all servers at all points, in turn.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::utsname::uname;

use crate::Failed;
use crate::bed::Bed;
use crate::cli;
use crate::measure::{self, DISTURBED, Served, Times};
use crate::peer::{self, ASLEEP, PINETBOOT, Peer};
use crate::point::{Point, Unit};
use crate::results::{Facts, NULL, PING_PONG, Results, Sample};
use crate::tree;
use crate::world;

/// Measures the chosen points. The results so far are on disk after every point.
pub(crate) fn run(options: &cli::Peers) -> Result<Results, Failed> {
    let (found, absent) = Peer::find_all();
    for absent in &absent {
        eprintln!("not installed: {:<10} {}", absent.name, absent.how);
    }
    let mut peers = peer::choose(found, &options.peers)?;
    peers.extend(options.also.iter().cloned());
    let points = match options.points.as_slice() {
        [] => Point::all(),
        chosen => chosen.iter().flat_map(|points| points.0.iter().copied()).collect(),
    };
    let times = if options.quick { QUICK } else { THOROUGH };
    // The checks hold on any machine, however noisy.
    let tries = if options.check { 1 } else { 3 };
    fs::create_dir_all(&options.out)
        .map_err(|error| format!("no directory {}: {error}", options.out.display()))?;
    let json = options.out.join("results.json");

    let absent = absent.iter().map(|absent| absent.name.to_owned()).collect();
    let servers = peers.iter().map(|peer| (peer.name.clone(), peer.version.clone())).collect();
    let facts = Facts { servers, absent, ..facts() };
    let mut results = Results { facts, samples: Vec::new() };
    world::pin_client()?;
    let (server, clients) = world::cores();
    if server == clients {
        eprintln!("one core only: servers and clients share it, and no figure means much");
    }

    let boot = tree::boot_tree().map_err(|error| format!("cannot write the files to serve: {error}"))?;
    for (number, point) in points.iter().enumerate() {
        eprintln!("{point} ({} of {})", number + 1, points.len());
        let served =
            serve(*point, &boot).map_err(|error| format!("cannot write the files to serve: {error}"))?;
        let possible = match point {
            Point::Window { offload, .. } => {
                world::offload(*offload).map_err(|error| error.to_string().into())
            }
            Point::Xdp { clients, apart } => Bed::new(*clients, point.block_size(), *apart).map(drop),
            _ => Ok(()),
        };
        if let Err(failed) = possible {
            eprintln!("  left out: {failed}");
            continue;
        }
        let is_here = |peer: &&Peer| match peer.name.as_str() {
            PINETBOOT => true,
            ASLEEP => point.is_for_all() && point.clients() == 1,
            _ => point.is_for_all(),
        };
        let here: Vec<_> = peers.iter().filter(is_here).collect();
        for round in 1..=options.rounds {
            let mut add = |name: &str, measured: Result<Sample, Failed>| {
                let sample = measured.unwrap_or_else(|failed| Sample {
                    point: point.to_string(),
                    server: name.into(),
                    error: Some(failed.to_string()),
                    ..Sample::default()
                });
                show(*point, &sample, round, options.rounds);
                results.samples.push(Sample { round, ..sample });
            };
            if point.is_for_all() {
                if !matches!(point, Point::Xdp { .. }) {
                    add(PING_PONG, measure::ping_pong(*point, times));
                }
                if !matches!(point, Point::Storm(_)) {
                    add(NULL, undisturbed(|| measure::null(*point, &served, times), tries));
                }
            }
            // The first server in one round is the last in another.
            for turn in 0..here.len() {
                let peer = here[(turn + round as usize) % here.len()];
                add(&peer.name, undisturbed(|| measure::server(*point, peer, &served, times), tries));
            }
        }
        let _on = world::offload(true);
        if served.tree != boot {
            let _back = fs::remove_dir_all(&served.tree);
        }
        results.write(&json)?;
    }
    Ok(results)
}

/// Measures again where another process kept the cores busy; the least disturbed of this many counts.
fn undisturbed(measure: impl Fn() -> Result<Sample, Failed>, most: u32) -> Result<Sample, Failed> {
    let mut best = measure()?;
    for _ in 1..most {
        if best.others_busy <= DISTURBED {
            break;
        }
        let again = measure()?;
        if again.others_busy < best.others_busy {
            best = again;
        }
    }
    Ok(best)
}

fn serve(point: Point, boot: &std::path::Path) -> std::io::Result<Served> {
    Ok(match point {
        Point::Tree(files) => {
            let (tree, files) = tree::wide_tree(files)?;
            Served { tree, files }
        }
        Point::File(len) => {
            let (tree, file) = tree::deep_tree(len)?;
            Served { tree, files: vec![file] }
        }
        _ => Served { tree: boot.into(), files: vec![tree::big()] },
    })
}

/// One line for each run.
fn show(point: Point, sample: &Sample, round: u32, rounds: u32) {
    let number = match point.unit() {
        Unit::Bytes if sample.server != PING_PONG => format!("{:>9.1} {}", sample.rate, Unit::Bytes.name()),
        _ if sample.server == PING_PONG => format!("{:>9.0} round trips/s", sample.rate),
        unit => format!("{:>9.0} {}", sample.rate, unit.name()),
    };
    let mut line = format!("  {round}/{rounds} {:<14} {number}", sample.server);
    match &sample.error {
        Some(error) => line = format!("  {round}/{rounds} {:<14} {error}", sample.server),
        None => {
            let percent = |part: Option<f64>| part.map_or(0.0, |part| part * 100.0);
            let add = |value: Option<f64>, name: &str| {
                value.map_or(String::new(), |value| format!("  {name} {value:.2}"))
            };
            line += &add(sample.cpu, "us of CPU");
            line += &add(sample.core, "of its core");
            if sample.server != PING_PONG {
                line += &format!("  busy {:.0} %", percent(sample.server_busy));
                line += &format!(" (clients {:.0} %)", percent(Some(sample.clients_busy)));
                if sample.others_busy > DISTURBED {
                    line += &format!("  (others {:.0} %)", percent(Some(sample.others_busy)));
                }
            }
            line += &add(sample.first_answer, "first answer ms");
            line += &add(sample.new_request, "new one ms");
            line += &add(sample.slowest, "slowest");
            if sample.failed + sample.retried + sample.duplicates + sample.wrong > 0 {
                line += &format!(
                    "  failed {} retried {} twice {} wrong {}",
                    sample.failed, sample.retried, sample.duplicates, sample.wrong
                );
            }
        }
    }
    eprintln!("{line}");
}

pub(crate) fn facts() -> Facts {
    let commit = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let commit = commit.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor", |(_, model)| model);
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory: u64 = memory.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let kernel = uname().map_or(String::new(), |name| name.release().to_string_lossy().into_owned());
    Facts {
        commit: commit.trim().into(),
        machine: format!("{count} cores of {model}, {} GiB", memory.div_ceil(1 << 20)),
        kernel: format!("Linux {kernel}"),
        ..Facts::default()
    }
}

const THOROUGH: Times = Times {
    warm_up: Duration::from_millis(200),
    window: Duration::from_millis(1000),
    start: Duration::from_millis(3500),
};

const QUICK: Times = Times {
    warm_up: Duration::from_millis(100),
    window: Duration::from_millis(250),
    start: Duration::from_millis(1500),
};
