//! The table.

use std::fmt::Write;

use crate::peer::PINETBOOT;
use crate::point::{Point, Unit};
use crate::results::{PING_PONG, Results, Sample, Spread};

/// All points and servers, in Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::new();
    for group in ["clients", "windows", "storm", "trees", "files"] {
        let points: Vec<_> = Point::all()
            .into_iter()
            .filter(|point| point.group() == group)
            .filter(|point| results.samples.iter().any(|sample| sample.point == point.to_string()))
            .collect();
        if let Some(first) = points.first() {
            let _ = writeln!(text, "**{}**, median (lowest to highest)\n", first.unit().name());
            rates(&mut text, results, &points);
            costs(&mut text, results, &points);
        }
    }
    text
}

fn servers(results: &Results, points: &[Point]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for sample in &results.samples {
        if points.iter().any(|point| point.to_string() == sample.point) && !names.contains(&sample.server) {
            names.push(sample.server.clone());
        }
    }
    let rank = |name: &String| {
        let known =
            [PINETBOOT].into_iter().chain(results.facts.servers.iter().map(|(name, _)| name.as_str()));
        known.into_iter().position(|known| known == name).unwrap_or(usize::MAX)
    };
    names.sort_by_key(rank);
    names
}

fn rates(text: &mut String, results: &Results, points: &[Point]) {
    let _ = write!(text, "| |");
    for point in points {
        let _ = write!(text, " {point} |");
    }
    let _ = write!(text, "\n|---|{}\n", "---|".repeat(points.len()));
    for server in servers(results, points) {
        let _ = write!(text, "| {server} |");
        for point in points {
            let samples = results.at(&point.to_string(), &server);
            let _ = write!(text, " {} |", rate(*point, &server, &samples));
        }
        text.push('\n');
    }
    text.push('\n');
}

fn rate(point: Point, server: &str, samples: &[&Sample]) -> String {
    let Some(spread) =
        Spread::of(samples.iter().filter(|sample| sample.error.is_none()).map(|sample| sample.rate))
    else {
        return if samples.is_empty() { "".into() } else { "failed".into() };
    };
    match point.unit() {
        Unit::Bytes if server != PING_PONG => {
            format!("{:.0} ({:.0} to {:.0})", spread.median, spread.min, spread.max)
        }
        Unit::Requests if server != PING_PONG => {
            format!("{:.0} ({:.0} to {:.0})", spread.median, spread.min, spread.max)
        }
        _ => format!("{:.1}k ({:.1} to {:.1})", spread.median / 1e3, spread.min / 1e3, spread.max / 1e3),
    }
}

fn costs(text: &mut String, results: &Results, points: &[Point]) {
    let _ = writeln!(
        text,
        "| | server | us of CPU | memory MiB (idle) | failed | retried | first answer p99 ms | new request p99 ms | slowest/median | window | busy (clients) |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|---|---|---|---|---|");
    for point in points {
        for server in servers(results, points) {
            let samples = results.at(&point.to_string(), &server);
            if samples.is_empty() || server == PING_PONG {
                continue;
            }
            let median = |value: fn(&Sample) -> Option<f64>| {
                Spread::of(samples.iter().filter_map(|sample| value(sample))).map(|spread| spread.median)
            };
            let show = |value: Option<f64>, digits: usize| {
                value.map_or(String::new(), |value| format!("{value:.digits$}"))
            };
            let range = |value: fn(&Sample) -> u64| {
                let values = samples.iter().map(|sample| value(sample));
                match (values.clone().min(), values.max()) {
                    (Some(min), Some(max)) if min != max => format!("{min} to {max}"),
                    (Some(min), _) => min.to_string(),
                    _ => String::new(),
                }
            };
            let _ = writeln!(
                text,
                "| {point} | {server} | {} | {} ({}) | {} | {} | {} | {} | {} | {} | {} ({}) % |",
                show(median(|sample| sample.cpu), 1),
                show(median(|sample| sample.memory.map(|kib| kib as f64 / 1024.0)), 1),
                show(median(|sample| sample.memory_idle.map(|kib| kib as f64 / 1024.0)), 1),
                range(|sample| sample.failed),
                range(|sample| sample.retried),
                show(median(|sample| sample.first_answer), 1),
                show(median(|sample| sample.new_request), 1),
                show(median(|sample| sample.slowest), 2),
                show(median(|sample| sample.window.map(f64::from)), 0),
                show(median(|sample| sample.server_busy.map(|busy| busy * 100.0)), 0),
                show(median(|sample| Some(sample.clients_busy * 100.0)), 0),
            );
        }
    }
    text.push('\n');
}
