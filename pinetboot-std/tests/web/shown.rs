//! What is shown of a Pi whose files were fetched.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;

use pinetboot_core::tftp::Options;
use serde_json::Value;

use super::http::{get, page_of};
use crate::common::{Ended, Folder, Serving, fetch, run};

/// A directory for the socket, and a tree.
fn tree() -> (Folder, Folder) {
    let place = Folder::new(&[]);
    let tree = Folder::new(&[("config.txt", b"arm_64bit=1\n"), ("kernel8.img", &[7; 3_000_000])]);
    (place, tree)
}

fn status(control: &Path, arguments: &[&str]) -> Ended {
    run([&["status", "--control", control.to_str().unwrap()][..], arguments].concat())
}

fn text(ended: &Ended) -> String {
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    String::from_utf8(ended.stdout.clone()).unwrap()
}

#[test]
fn a_pi_is_shown_with_its_state_files_and_phases() {
    let (place, tree) = tree();
    let control = place.join("control");
    let options = ["--control", control.to_str().unwrap(), "--web", "127.0.0.1:0", "--log-format", "json"];
    let serving = Serving::start(tree.path(), &options);
    assert!(text(&status(&control, &[])).starts_with("no Pi yet"));
    fetch(serving.address(), "bd989ae1/config.txt", Options::RASPBERRY_PI).unwrap();
    fetch(serving.address(), "bd989ae1/missing.dtb", Options::RASPBERRY_PI).unwrap_err();
    fetch(serving.address(), "bd989ae1/kernel8.img", Options::RASPBERRY_PI).unwrap();
    serving.settle();

    let document: Value = serde_json::from_str(&text(&status(&control, &["--json"]))).unwrap();
    assert_eq!(document["schema"], 1);
    let pi = &document["pis"][0];
    for (key, value) in
        [("id", "bd989ae1"), ("name", "bd989ae1"), ("serial", "bd989ae1"), ("state", "kernel-sent")]
    {
        assert_eq!(pi[key], value, "{key}: {document:#}");
    }
    assert_eq!(pi["address"], "127.0.0.1");
    assert_eq!(pi["boots"][0]["id"], "bd989ae1.1");
    assert_eq!(pi["boots"][0]["phases"][0]["phase"], "files");
    assert!(pi["boots"][0]["files"].is_null() && pi["transfer"].is_null(), "{pi:#}");

    let whole: Value = serde_json::from_str(&text(&status(&control, &["--json", "BD989AE1"]))).unwrap();
    let files = whole["boots"][0]["files"].as_array().unwrap();
    let names: Vec<_> = files.iter().map(|file| file["file"].as_str().unwrap()).collect();
    assert_eq!(names, ["bd989ae1/config.txt", "bd989ae1/kernel8.img"]);
    assert_eq!(files[1]["bytes"], 3_000_000);
    let shown = text(&status(&control, &["127.0.0.1"]));
    assert!(shown.contains("kernel sent") && shown.contains("boot 1: files "), "{shown}");

    let page = page_of(&serving);
    assert_eq!(
        serde_json::from_str::<Value>(&get(page, "/api/v1/pis/bd989ae1").1).unwrap()["id"],
        "bd989ae1"
    );
    let (head, metrics) = get(page, "/metrics");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    for line in [
        "pinetboot_boots_total 1",
        "pinetboot_tftp_transfers_total{result=\"whole\"} 2",
        "pinetboot_tftp_refused_total 1",
        "pinetboot_tftp_sent_bytes_total 3000012",
        "pinetboot_boot_phase_seconds_count{phase=\"files\"} 1",
        "pinetboot_pis{state=\"kernel-sent\"} 1",
    ] {
        assert!(metrics.lines().any(|metric| metric == line), "{line}\n{metrics}");
    }
    let families: Vec<_> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for text in [
        include_str!("../../packaging/prometheus/alerts.yaml"),
        include_str!("../../packaging/prometheus/grafana.json"),
    ] {
        let names = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        let names: Vec<_> = names.filter(|name| name.starts_with("pinetboot_")).collect();
        assert!(names.len() > 3);
        for name in names {
            assert!(families.contains(&name.trim_end_matches("_bucket")), "{name}");
        }
    }
    let log = serving.stop();
    assert!(!log.contains("control socket"), "{log}");
    let line = log.lines().find(|line| line.contains(" files: 2 in ")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["span"]["id"], "bd989ae1.1", "{line}");
}

#[test]
fn without_a_server_status_and_watch_say_so() {
    let place = Folder::new(&[]);
    for command in ["status", "watch"] {
        let ended = run([command, "--control", place.join("control").to_str().unwrap()]);
        assert_eq!(ended.code, Some(5), "{}", ended.log);
        assert!(ended.log.contains("no server runs here"), "{}", ended.log);
    }
}

#[test]
fn an_unknown_pi_is_an_error() {
    let (place, tree) = tree();
    let control = place.join("control");
    let serving = Serving::start(tree.path(), &["--control", control.to_str().unwrap()]);
    let ended = status(&control, &["kitchen"]);
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    assert!(ended.log.contains("knows no Pi kitchen"), "{}", ended.log);
    serving.stop();
}

/// Looked at as a browser reads it: tags are those of the program, nothing comes from elsewhere, foreign text is text.
#[test]
fn the_page_shows_the_state_and_runs_no_foreign_text() {
    let (place, tree) = tree();
    let hostile = "<img src=x onerror=alert(1)>&'.dtbo";
    tree.write(hostile, b"x");
    let control = place.join("control");
    let serving =
        Serving::start(tree.path(), &["--control", control.to_str().unwrap(), "--web", "127.0.0.1:0"]);
    fetch(serving.address(), "bd989ae1/config.txt", Options::RASPBERRY_PI).unwrap();
    fetch(serving.address(), &format!("bd989ae1/{hostile}"), Options::RASPBERRY_PI).unwrap();
    fetch(serving.address(), "bd989ae1/kernel8.img", Options::RASPBERRY_PI).unwrap();
    serving.settle();
    let page = page_of(&serving);
    for path in ["/", "/pi/bd989ae1", "/part", "/part/bd989ae1"] {
        let (head, html) = get(page, path);
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        assert!(
            head.contains("content-security-policy: default-src 'none'; style-src 'sha256-"),
            "{path}: {head}"
        );
        assert!(html.contains("kernel sent") && html.contains("bd989ae1"), "{path}: {html}");
        // Addresses in the log are text; those that a browser follows are of this server.
        for attribute in [" href=\"", " src=\"", " action=\"", " data-part=\"", " data-changes=\""] {
            for value in html.split(attribute).skip(1) {
                let is_here = value.starts_with('/') && !value.starts_with("//");
                assert!(is_here || value.starts_with("data:,\""), "{path}: {attribute}{value}");
            }
        }
        assert!(!html.contains("url(") && !html.contains("@import"), "{path}: {html}");
        assert!(!html.contains("<img") && !html.contains("style="), "{path}: {html}");
        balanced(&html);
    }
    let (_, one) = get(page, "/pi/bd989ae1");
    assert!(one.contains("<th scope=\"row\">&lt;img src=x onerror=alert(1)&gt;&amp;"), "{one}");
    assert!(one.contains("<rect") && one.contains("kernel8.img"), "{one}");
    for path in ["/pi/none", "/pi/", "/part/../x", "/pi/cafe0001", "/x/bd989ae1", "/changes/none"] {
        assert!(get(page, path).0.starts_with("HTTP/1.1 404 "), "{path}");
    }
    serving.stop();
}

/// The page has the last lines, and a stream of the next ones.
#[test]
fn the_log_is_shown_and_goes_on() {
    let (place, tree) = tree();
    let control = place.join("control");
    let serving =
        Serving::start(tree.path(), &["--control", control.to_str().unwrap(), "--web", "127.0.0.1:0"]);
    let page = page_of(&serving);
    fetch(serving.address(), "bd989ae1/kernel8.img", Options::RASPBERRY_PI).unwrap();
    fetch(serving.address(), "bd989ae2/kernel8.img", Options::RASPBERRY_PI).unwrap();
    serving.settle();
    let log =
        |html: &str| html.split("<ol id=\"log\"").nth(1).unwrap().split("</ol>").next().unwrap().to_owned();
    let all = log(&get(page, "/").1);
    assert!(all.contains("bd989ae1 files: 1 in") && all.contains("bd989ae2 files: 1 in"), "{all}");
    let one = log(&get(page, "/pi/bd989ae1").1);
    assert!(one.contains("bd989ae1 files: 1 in") && !one.contains("bd989ae2"), "{one}");
    // A stream that goes on after the first line has the others at once, each once.
    for (path, header) in [("/changes?after=1", ""), ("/changes?after=9999", "Last-Event-ID: 1\r\n")] {
        let mut stream = TcpStream::connect(page).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {page}\r\n{header}\r\n").unwrap();
        let lines = BufReader::new(stream).lines().map(|line| line.unwrap());
        let lines: Vec<_> = lines.take_while(|line| line != "data: ").collect();
        let text = lines.join("\n");
        assert!(text.contains("event: log"), "{text}");
        assert_eq!(text.matches("bd989ae2 files: 1 in").count(), 1, "{text}");
    }
    serving.stop();
}

/// Each element that is opened is closed, in order.
fn balanced(html: &str) {
    const EMPTY: [&str; 5] = ["!DOCTYPE", "meta", "link", "rect", "br"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap_or_else(|| panic!("a tag without an end: {after}"));
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
        rest = after;
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "{html}"),
            None if EMPTY.contains(&name) || tag.ends_with('/') => {}
            None => {
                open.push(name);
                if ["script", "style"].contains(&name) {
                    rest = rest.split_once(&format!("</{name}>")).unwrap().1;
                    open.pop();
                }
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
}
