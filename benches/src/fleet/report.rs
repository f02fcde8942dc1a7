//! The results as JSON and as a table.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::peer::Peer;
use super::{Results, Sample};
use crate::Failed;

/// Writes `fleet.json` and `fleet.md`.
pub(super) fn write(results: &Results, out: &Path) -> Result<(), Failed> {
    let failed = |error: &dyn core::fmt::Display| format!("cannot write to {}: {error}", out.display());
    let json = serde_json::to_string_pretty(results).map_err(|error| failed(&error))?;
    fs::write(out.join("fleet.json"), json).map_err(|error| failed(&error))?;
    fs::write(out.join("fleet.md"), markdown(results)).map_err(|error| failed(&error))?;
    Ok(())
}

/// A line for the terminal.
pub(super) fn line(sample: &Sample) -> String {
    let Sample { server, pis, config, files, root, failed, again, getattr, cpu, memory, verdicts, .. } =
        sample;
    let boot = if sample.first { "first" } else { "again" };
    format!(
        "{pis:>5} Pis, {boot}  {server:<22} config.txt {:.2} s  files {:.2} s  root {:.2} s  failed {failed}  again {}  \
         GETATTR p99 {:.1} ms  {cpu:.1} ms of CPU  {memory:.1} KiB  verdicts {verdicts}  {:?}",
        config[2],
        files[2],
        root[2],
        shares(*again),
        getattr[1],
        sample.why
    )
}

pub(super) fn markdown(results: &Results) -> String {
    let facts = &results.facts;
    let wave = if results.wave == 0 { "All".to_owned() } else { results.wave.to_string() };
    let mut text = format!(
        "Commit {}, {}, {}. A kernel of {} KiB. {} at once. Seconds of the median / 99 in 100 / the last Pi.\n\n",
        facts.commit, facts.machine, facts.kernel, results.kernel, wave
    );
    text += "| Pis | boot | server | config.txt | last byte of the files | root, first program | failed | verdicts | asked again: DHCP + files + root | a running Pi's \
             GETATTR, ms | CPU a Pi, ms | memory a Pi, KiB | the files at 1 Gbit/s |\n";
    text += "|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    for sample in &results.samples {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} | {:.1} | {:.2} |",
            sample.pis,
            if sample.first { "first" } else { "again" },
            sample.server,
            seconds(sample.config),
            seconds(sample.files),
            seconds(sample.root),
            sample.failed,
            sample.verdicts,
            shares(sample.again),
            seconds(sample.getattr),
            sample.cpu,
            sample.memory,
            link(sample.bytes)
        );
    }
    text += &shown(&results.samples);
    for sample in results.samples.iter().filter(|sample| !sample.why.is_empty()) {
        let boot = if sample.first { "first" } else { "again" };
        let _ = write!(text, "\n{} Pis, {boot}, {}:", sample.pis, sample.server);
        let why = sample.why.iter().map(|(why, count)| format!(" {count} {why}"));
        text += &why.collect::<Vec<_>>().join(",");
        text.push('\n');
    }
    text
}

/// What page, event stream, metrics and log cost: the processor time with them to that without, of each round.
fn shown(samples: &[Sample]) -> String {
    let mut text = String::new();
    let mut kinds: Vec<_> = samples.iter().map(|sample| (sample.pis, !sample.first)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for (pis, again) in kinds {
        let of = |server: &str| -> Vec<&Sample> {
            let is_kind = |sample: &&Sample| (sample.pis, !sample.first) == (pis, again);
            samples.iter().filter(is_kind).filter(|sample| sample.server == server).collect()
        };
        let (without, with) = (of(Peer::Pinetboot.name()), of(Peer::Shown.name()));
        let mut costs: Vec<f64> =
            with.iter().zip(&without).map(|(with, without)| (with.cpu / without.cpu - 1.0) * 100.0).collect();
        costs.sort_by(f64::total_cmp);
        let (Some(first), Some(last), Some(middle)) =
            (costs.first(), costs.last(), costs.get(costs.len() / 2))
        else {
            continue;
        };
        let [without_median, with_median] = [&without, &with].map(|samples| {
            let mut values: Vec<f64> = samples.iter().map(|sample| sample.cpu).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        });
        let documents: u64 = with.iter().map(|sample| sample.documents).sum();
        let boot = if again { "again" } else { "first" };
        let _ = write!(
            text,
            "\n{pis} Pis, {boot}: page, event stream, metrics and log take {middle:+.1} % ({first:+.1} to {last:+.1}, {} rounds; medians \
             {without_median:.2} and {with_median:.2} ms a Pi), for {documents} documents.\n",
            costs.len()
        );
    }
    text
}

fn seconds(spread: [f64; 3]) -> String {
    spread.map(|value| format!("{value:.2}")).join(" / ")
}

fn shares(counts: [u64; 3]) -> String {
    counts.map(|count| count.to_string()).join(" + ")
}

/// Seconds that the bytes take on a link of 1 Gbit/s in blocks of 1468 bytes, which are 1538 on the wire.
fn link(bytes: u64) -> f64 {
    bytes as f64 * 1538.0 / 1468.0 * 8.0 / 1e9
}
