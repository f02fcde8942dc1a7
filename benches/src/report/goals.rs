//! The goals of this project, against the results.
//!
//! Servers are compared round by round, because they take turns: a disturbance of the machine meets both.

use std::fmt::Write;

use crate::peer::{ASLEEP, DNSMASQ, PINETBOOT};
use crate::results::{NULL, PING_PONG, Results, Sample, Spread};

/// The goals as a table, as far as the results cover them.
pub(crate) fn markdown(results: &Results) -> String {
    let mut rows = String::new();
    let mut row = |goal: &str, measured: Option<String>, reached: Option<bool>| {
        if let (Some(measured), Some(reached)) = (measured, reached) {
            let _ = writeln!(
                rows,
                "| {goal} | {measured} | {} |",
                if reached { "reached" } else { "**missed**" }
            );
        }
    };

    let asleep = ratio_of(ASLEEP, results, "1-client", |server| server == PING_PONG);
    row(
        "1 client, always asleep in between: at least 95 % of ping-pong",
        percent(asleep),
        asleep.map(|spread| spread.median >= 0.95),
    );
    for (point, goal) in [
        ("1-client", 1.0),
        ("10-clients", 1.3),
        ("100-clients", 1.3),
        ("500-clients", 1.3),
        ("1000-clients", 1.3),
        ("window-4", 1.5),
        ("window-16", 2.0),
        ("window-64", 2.0),
        ("storm", 1.3),
    ] {
        let ratio = ratio(results, point, is_server);
        let reached = ratio.map(|spread| spread.median >= goal);
        row(&format!("{point}: at least {goal} times the best other"), times(ratio, results, point), reached);
    }

    for point in ["xdp-100", "xdp-1000"] {
        let ratio = ratio(results, point, |server| server == DNSMASQ);
        let reached = ratio.map(|spread| spread.median >= 2.0);
        row(&format!("{point}: at least 2 times dnsmasq"), times(ratio, results, point), reached);
    }
    for clients in [10, 100, 500, 1000] {
        for point in [format!("xdp-{clients}"), format!("xdp-{clients}-one-core")] {
            let ratio = less_time(results, &point);
            row(
                &format!("{point}: at least 1.4 times less processor time a block than dnsmasq"),
                ratio.map(|Spread { min, median, max }| format!("{median:.2} ({min:.2} to {max:.2})")),
                ratio.map(|spread| spread.median >= 1.4),
            );
        }
    }

    let many = "1000-clients";
    let most = |point: &str, value: fn(&Sample) -> Option<f64>| {
        Spread::of(results.at(point, PINETBOOT).iter().filter_map(|sample| value(sample)))
    };
    let cpu = most(many, |sample| sample.cpu);
    row(
        "1000 clients: at most 6 us of processor time a block",
        cpu.map(|cpu| format!("{:.1} us", cpu.median)),
        cpu.map(|cpu| cpu.median <= 6.0),
    );
    let failed = ["1-client", "10-clients", "100-clients", "500-clients", many]
        .iter()
        .filter_map(|point| most(point, |sample| Some(sample.failed as f64)))
        .map(|spread| spread.max)
        .reduce(f64::max);
    row(
        "no client fails",
        failed.map(|failed| format!("{failed:.0} at most")),
        failed.map(|failed| failed == 0.0),
    );
    let edk2 = most("edk2", |sample| sample.data_per_block);
    row(
        "a client like EDK2 on a network that reorders: at most 1.2 DATA a block",
        edk2.map(|edk2| format!("{:.2}", edk2.median)),
        edk2.map(|edk2| edk2.median <= 1.2),
    );
    let retried = most("storm", |sample| Some(sample.retried as f64));
    row(
        "storm: no request is asked again",
        retried.map(|retried| format!("{:.0} at most", retried.max)),
        retried.map(|retried| retried.max == 0.0),
    );
    let memory = most(many, |sample| Some((sample.memory? - sample.memory_idle?) as f64 / 1024.0));
    row(
        "1000 clients: at most 8 MiB above idle",
        memory.map(|memory| format!("{:.1} MiB", memory.median)),
        memory.map(|memory| memory.median <= 8.0),
    );
    let newcomer = most(many, |sample| sample.new_request);
    row(
        "1000 clients: a new request is answered within 20 ms (p99)",
        newcomer.map(|newcomer| format!("{:.1} ms", newcomer.median)),
        newcomer.map(|newcomer| newcomer.median <= 20.0),
    );
    let slowest = most(many, |sample| sample.slowest);
    row(
        "1000 clients: the slowest takes at most twice the median",
        slowest.map(|slowest| format!("{:.2} times", slowest.median)),
        slowest.map(|slowest| slowest.median <= 2.0),
    );

    match rows.is_empty() {
        true => String::new(),
        false => format!("| goal | measured | |\n|---|---|---|\n{rows}\n"),
    }
}

/// In each round, pinetboot's rate to that of the fastest of these.
pub(crate) fn ratio(results: &Results, point: &str, among: impl Fn(&str) -> bool) -> Option<Spread> {
    ratio_of(PINETBOOT, results, point, among)
}

/// In each round, dnsmasq's processor time for a block to pinetboot's.
fn less_time(results: &Results, point: &str) -> Option<Spread> {
    let theirs = results.at(point, DNSMASQ);
    Spread::of(results.at(point, PINETBOOT).iter().filter_map(|ours| {
        let theirs = theirs.iter().find(|theirs| theirs.round == ours.round)?;
        Some(theirs.cpu? / ours.cpu?)
    }))
}

fn ratio_of(name: &str, results: &Results, point: &str, among: impl Fn(&str) -> bool) -> Option<Spread> {
    let ours = results.at(point, name);
    Spread::of(ours.iter().filter(|ours| ours.error.is_none()).filter_map(|ours| {
        let theirs = results
            .samples
            .iter()
            .filter(|sample| sample.point == point && sample.round == ours.round && among(&sample.server))
            .map(|sample| sample.rate);
        theirs.reduce(f64::max).filter(|theirs| *theirs > 0.0).map(|theirs| ours.rate / theirs)
    }))
}

/// Whether this is one of the others, and no limit.
pub(crate) fn is_server(name: &str) -> bool {
    ![PINETBOOT, ASLEEP, PING_PONG, NULL].contains(&name)
}

fn percent(ratio: Option<Spread>) -> Option<String> {
    ratio.map(|Spread { min, median, max }| {
        format!("{:.0} % ({:.0} to {:.0})", median * 100.0, min * 100.0, max * 100.0)
    })
}

/// With the null responder's rate for comparison: its only work is to send.
fn times(of: Option<Spread>, results: &Results, point: &str) -> Option<String> {
    let limit = ratio(results, point, |server| server == NULL);
    let limit = limit.map(|limit| format!("; {:.0} % of the null responder", limit.median * 100.0));
    of.map(|Spread { min, median, max }| {
        format!("{median:.2} ({min:.2} to {max:.2}){}", limit.unwrap_or_default())
    })
}
