//! Each query of the dashboard has a series, and each alert rule is evaluated, in a Prometheus that scrapes running servers: one with disks,
//! on which a Pi is stuck, and one with roots by NFS.
//!
//! Run by `.ci/run prometheus`: root for NFS, Prometheus, and the programs that make an image. Ports are free ones of 127.0.0.0/8.
#![cfg(all(feature = "disk", feature = "web"))]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "disks/card.rs"]
#[allow(dead_code, reason = "for the image")]
mod card;
#[path = "disks/client.rs"]
#[allow(dead_code, reason = "for a connection")]
mod client;
mod common;
#[path = "web/http.rs"]
#[allow(dead_code, reason = "for an exchange")]
mod http;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use client::Client;
use common::{Serving, pinetboot};
use nix::sys::signal::Signal;
use pinetboot_core::tftp::Options;
use serde_json::Value;

/// Ends the program with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _collected = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> Serving {
    let mut command = pinetboot();
    command.args(["serve", "--listen", "127.0.0.1", "--tftp-port", "0", "--control", "none"]);
    command.args(["--web", "127.0.0.1:0", "--boot-clock", "100"]).args(arguments);
    Serving::start_as(&mut command)
}

/// Fetches the command line of a Pi, and connects to its disk, which is made then.
fn make_a_disk(serving: &Serving) {
    let files = ["config.txt", "pinetboot-initramfs", "kernel8.img", "cmdline.txt"].map(|file| {
        common::fetch(serving.address(), &format!("bd989ae1/{file}"), Options::RASPBERRY_PI).unwrap()
    });
    let line = String::from_utf8(files.last().unwrap().clone()).unwrap();
    let address = line.split("pinetboot.disk=nbd://").nth(1).unwrap().split(' ').next().unwrap();
    let (address, name) = address.split_once('/').unwrap();
    let address: SocketAddrV4 = address.parse().unwrap();
    let mut disk = Client::connect(Ipv4Addr::LOCALHOST, address, name).unwrap();
    assert_eq!((disk.write(40 << 20, &[1; 4096]).unwrap(), disk.flush().unwrap()), (0, 0));
}

/// A Pi that stops in the middle of a file (RFC 1350).
fn stop_in_a_file(server: SocketAddrV4) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.send_to(b"\0\x01bd989ae1/kernel8.img\0octet\0", server).unwrap();
    let mut packet = [0; 600];
    for block in 1..=20_u8 {
        let (_, peer) = socket.recv_from(&mut packet).unwrap();
        socket.send_to(&[0, 4, 0, block], peer).unwrap();
    }
}

fn prometheus(dir: &Path, targets: &[SocketAddr]) -> (Prometheus, SocketAddr) {
    let targets: Vec<_> = targets.iter().map(|target| format!("'{target}'")).collect();
    let alerts = Path::new("packaging/prometheus/alerts.yaml").canonicalize().unwrap();
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n- job_name: pinetboot\n  \
         static_configs: [{{targets: [{}]}}]\n",
        alerts.display(),
        targets.join(", ")
    );
    fs::write(dir.join("prometheus.yml"), text).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("series").display()))
        .args([format!("--web.listen-address={address}"), "--log.level=error".into()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let prometheus = Prometheus(child);
    while std::net::TcpStream::connect(address).is_err() {
        thread::yield_now();
    }
    (prometheus, address)
}

/// The result of a query of Prometheus' API.
fn ask(prometheus: SocketAddr, path: &str) -> Value {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {prometheus}\r\n\r\n");
    let answer = http::exchange(prometheus, request.as_bytes());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or(Value::Null)
}

/// Every `expr` in a document.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value.as_str() {
            Some(expression) if name == "expr" => found.push(expression.to_owned()),
            _ => expressions(value, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
#[ignore = "needs root, prometheus, mkfs.vfat, mcopy, mkfs.ext4 and sfdisk; run by .ci/run"]
fn each_query_of_the_dashboard_has_a_series() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    card::make(Path::new(&path("card.img")));
    fs::write(path("init"), card::program(card::ARM64, "first program")).unwrap();
    let (init, state, image) = (path("init"), path("state"), path("card.img"));
    let disks = ["--disk-port", "0", "--init", &init, "--state", &state, &image];
    // A disk is measured soon after a start, and then once a minute.
    let first = start(&disks);
    make_a_disk(&first);
    first.signal(Signal::SIGTERM);
    assert_eq!(first.wait().code, Some(0));
    let with_disks = start(&disks);
    fs::create_dir_all(files.path().join("root/sbin")).unwrap();
    fs::create_dir_all(files.path().join("root/boot/firmware")).unwrap();
    for file in ["root/sbin/init", "root/boot/firmware/config.txt"] {
        fs::write(path(file), "").unwrap();
    }
    let (root, other) = (path("root"), path("other"));
    let with_roots = start(&[
        "--nfs-mode",
        "shared-ro",
        "--nfs-port",
        "0",
        "--portmap-port",
        "0",
        "--state",
        &other,
        "--nfs",
        &root,
    ]);
    let targets = [http::page_of(&with_disks), http::page_of(&with_roots)];
    let (_prometheus, address) = prometheus(files.path(), &targets);
    stop_in_a_file(with_disks.address());

    let dashboard: Value =
        serde_json::from_str(include_str!("../packaging/prometheus/grafana.json")).unwrap();
    let mut all = Vec::new();
    expressions(&dashboard, &mut all);
    assert!(all.len() > 15, "{all:?}");
    let began = Instant::now();
    let mut empty = all;
    while !empty.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(90), "queries without a series: {empty:#?}");
        empty.retain(|expression| {
            let query = expression.replace("$instance", ".*").replace("$__rate_interval", "10s");
            let coded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let answer = ask(address, &format!("/api/v1/query?query={coded}"));
            assert_ne!(answer["status"], "error", "{query}: {answer}");
            answer["data"]["result"].as_array().is_none_or(Vec::is_empty)
        });
        // The next scrape.
        thread::sleep(Duration::from_millis(200));
    }
    // Each alert rule has been evaluated, and fires where it should.
    let firing = loop {
        let answer = ask(address, "/api/v1/rules");
        let rules = answer["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        let is = |rule: &Value, key: &str, value: &str| rule[key] == value;
        assert!(!rules.iter().any(|rule| is(rule, "health", "err")), "{answer:#}");
        if rules.len() > 3 && rules.iter().all(|rule| is(rule, "health", "ok")) {
            let active = rules.iter().filter(|rule| !is(rule, "state", "inactive"));
            break active.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{answer:#}");
        thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(firing, ["PinetbootPiStuck"]);
}
