//! The tables.

use std::fmt::Write;

use super::goals;
use crate::peer::PINETBOOT;
use crate::point::{Group, Point, Unit};
use crate::results::{NULL, PING_PONG, Results, Sample, Spread, Value};

/// All points and servers, in Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let points = points(results, group);
        if points.is_empty() {
            continue;
        }
        let table = Table { results, points: &points, servers: servers(results, &points) };
        let _ = writeln!(text, "### {}\n", group.title());
        text += &table.rates(group);
        for (title, value, digits) in group.costs() {
            text += &table.costs(title, *value, *digits);
        }
        text += &table.troubles();
    }
    text
}

/// The points of a group that have results.
pub(crate) fn points(results: &Results, group: Group) -> Vec<Point> {
    let measured = |point: &Point| results.samples.iter().any(|sample| sample.point == point.to_string());
    Point::all().into_iter().filter(|point| point.group() == group).filter(measured).collect()
}

/// The servers with results: pinetboot, the others in the order of the list, the limits.
pub(crate) fn servers(results: &Results, points: &[Point]) -> Vec<String> {
    let listed = results.facts.servers.iter().map(|(name, _)| name.as_str());
    let mut names: Vec<String> = Vec::new();
    for name in [PINETBOOT].into_iter().chain(listed).chain([NULL, PING_PONG]) {
        let is_there = points.iter().any(|point| !results.at(&point.to_string(), name).is_empty());
        if is_there && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

struct Table<'a> {
    results: &'a Results,
    points: &'a [Point],
    servers: Vec<String>,
}

impl Table<'_> {
    fn rates(&self, group: Group) -> String {
        let mut text = self.head(&format!("{}, median (lowest to highest)", group.unit().name()));
        for server in &self.servers {
            let name = match server.as_str() {
                PINETBOOT => format!("**{PINETBOOT}**"),
                PING_PONG => format!("{PING_PONG}, round trips/s"),
                name => name.into(),
            };
            text += &self.row(&name, |point| {
                let samples = self.results.at(&point.to_string(), server);
                let well = samples.iter().filter(|sample| sample.error.is_none()).map(|sample| sample.rate);
                match Spread::of(well) {
                    None if samples.is_empty() => String::new(),
                    None => "failed".into(),
                    Some(spread) => rate(point, server, spread),
                }
            });
        }
        if self.servers.iter().any(|name| goals::is_server(name)) {
            text += &self.row("*pinetboot to the best other*", |point| {
                let ratio = goals::ratio(self.results, &point.to_string(), goals::is_server);
                ratio.map_or(String::new(), |ratio| format!("*{:.2}*", ratio.median))
            });
        }
        text + "\n"
    }

    /// The medians of one cost.
    fn costs(&self, title: &str, value: Value, digits: usize) -> String {
        let median = |point: Point, server: &str| {
            let samples = self.results.at(&point.to_string(), server);
            Spread::of(samples.iter().filter_map(|sample| value(sample))).map(|spread| spread.median)
        };
        let rows: String = self
            .servers
            .iter()
            .filter(|server| self.points.iter().any(|point| median(*point, server).is_some()))
            .map(|server| {
                self.row(server, |point| {
                    median(point, server).map_or(String::new(), |value| format!("{value:.digits$}"))
                })
            })
            .collect();
        if rows.is_empty() { rows } else { self.head(title) + &rows + "\n" }
    }

    /// Points at which clients failed or had to ask again; empty if none did.
    fn troubles(&self) -> String {
        let range = |samples: &[&Sample], value: fn(&Sample) -> u64| {
            let spread = Spread::of(samples.iter().map(|sample| value(sample) as f64));
            spread.filter(|spread| spread.max > 0.0).map(|Spread { min, max, .. }| match min == max {
                true => format!("{max:.0}"),
                false => format!("{min:.0} to {max:.0}"),
            })
        };
        let rows: String = self
            .servers
            .iter()
            .filter(|server| ![PING_PONG, NULL].contains(&server.as_str()))
            .map(|server| {
                self.row(server, |point| {
                    let samples = self.results.at(&point.to_string(), server);
                    let failed = range(&samples, |sample| sample.failed);
                    let retried = range(&samples, |sample| sample.retried);
                    let wrong = range(&samples, |sample| sample.wrong)
                        .map(|wrong| format!(", {wrong} with wrong bytes"));
                    match (failed, retried) {
                        (None, None) => "0".into(),
                        (failed, retried) => {
                            let none = || "0".to_owned();
                            let wrong = wrong.unwrap_or_default();
                            format!(
                                "{}{wrong} / {}",
                                failed.unwrap_or_else(none),
                                retried.unwrap_or_else(none)
                            )
                        }
                    }
                })
            })
            .collect();
        self.head("failed clients / requests and ACKs sent again") + &rows + "\n"
    }

    fn head(&self, title: &str) -> String {
        let names: String = self.points.iter().map(|point| format!(" {} |", point.place())).collect();
        format!("| {title} |{names}\n|---|{}\n", "---|".repeat(self.points.len()))
    }

    fn row(&self, name: &str, cell: impl Fn(Point) -> String) -> String {
        let cells: String = self.points.iter().map(|point| format!(" {} |", cell(*point))).collect();
        format!("| {name} |{cells}\n")
    }
}

fn rate(point: Point, server: &str, Spread { min, median, max }: Spread) -> String {
    match point.unit() {
        Unit::Bytes if server != PING_PONG => format!("{median:.0} ({min:.0} to {max:.0})"),
        _ => format!("{:.1}k ({:.1} to {:.1})", median / 1e3, min / 1e3, max / 1e3),
    }
}
