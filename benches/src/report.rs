//! The report: tables in Markdown, and plots.

mod goals;
mod plot;
mod table;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::Failed;
use crate::peer::PINETBOOT;
use crate::point::{Group, Point};
use crate::results::{NULL, PING_PONG, Results, Spread, Value};
use plot::{Kind, Look, Plot, Series};

/// Writes all of it into a directory, and the tables to standard output.
pub(crate) fn write(results: &Results, directory: &Path) -> Result<(), Failed> {
    let failed =
        |error: std::io::Error| Failed::from(format!("cannot write into {}: {error}", directory.display()));
    fs::create_dir_all(directory).map_err(failed)?;
    results.write(&directory.join("results.json"))?;
    let text = text(results);
    fs::write(directory.join("report.md"), &text).map_err(failed)?;
    for (name, plot) in plots(results) {
        fs::write(directory.join(name), plot.svg()).map_err(failed)?;
    }
    println!("{text}");
    eprintln!("written: results.json, report.md and the plots, in {}", directory.display());
    Ok(())
}

fn text(results: &Results) -> String {
    let facts = &results.facts;
    let rounds = results.samples.iter().map(|sample| sample.round).max().unwrap_or(0);
    let servers: Vec<_> = facts.servers.iter().map(|(name, version)| format!("{name} ({version})")).collect();
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Commit {}, {rounds} rounds, on {}, {}. Servers: {}.\n",
        facts.commit,
        facts.machine,
        facts.kernel,
        servers.join(", ")
    );
    text += &goals::markdown(results);
    text += &table::markdown(results);
    text
}

fn plots(results: &Results) -> Vec<(&'static str, Plot)> {
    let rate: Value = |sample| sample.error.is_none().then_some(sample.rate);
    let cpu: Value = |sample| sample.cpu;
    let all = [
        (
            "clients.svg",
            "Blocks of 1024 bytes per second, by clients at once",
            Kind::Lines,
            Group::Clients,
            rate,
        ),
        (
            "cpu.svg",
            "The server's processor time for a block, in microseconds, by clients at once",
            Kind::Lines,
            Group::Clients,
            cpu,
        ),
        (
            "windows.svg",
            "MB/s to one client, by window in blocks of 1468 bytes",
            Kind::Bars,
            Group::Windows,
            rate,
        ),
        ("storm.svg", "Boot storm: requests per second", Kind::Bars, Group::Storm, rate),
        (
            "trees.svg",
            "Processor time for a request, in microseconds, by files in the tree",
            Kind::Lines,
            Group::Trees,
            cpu,
        ),
        (
            "files.svg",
            "Processor time for a block, in microseconds, by size of the file",
            Kind::Lines,
            Group::Files,
            cpu,
        ),
    ];
    all.into_iter()
        .map(|(name, title, kind, group, value)| (name, plot(results, title, kind, group, value)))
        .filter(|(_, plot)| !plot.series.is_empty())
        .collect()
}

fn plot(results: &Results, title: &str, kind: Kind, group: Group, value: Value) -> Plot {
    let points = table::points(results, group);
    let mut theirs = 0;
    let series = table::servers(results, &points).into_iter().filter(|name| name != PING_PONG).map(|name| {
        let look = match name.as_str() {
            PINETBOOT => Look::Ours,
            NULL => Look::Limit,
            _ => {
                theirs += 1;
                Look::Theirs(theirs - 1)
            }
        };
        let values = points
            .iter()
            .map(|point| {
                Spread::of(results.at(&point.to_string(), &name).iter().filter_map(|sample| value(sample)))
            })
            .collect();
        Series { name, values, look }
    });
    Plot {
        title: title.into(),
        kind,
        series: series.collect(),
        places: points.iter().map(Point::place).collect(),
    }
}
