//! Clients that are slow, too many or too long: they end, and the services go on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pinetboot_core::tftp::Options;

use super::http::{exchange, get, page_of};
use crate::common::{Folder, Serving, fetch};

fn serve() -> (Folder, Serving) {
    let tree = Folder::new(&[("config.txt", b"arm_64bit=1\n")]);
    let control = tree.join("control").display().to_string();
    let serving = Serving::start(tree.path(), &["--control", &control, "--web", "127.0.0.1:0"]);
    (tree, serving)
}

#[test]
fn requests_without_sense_end() {
    let (_tree, serving) = serve();
    let page = page_of(&serving);
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(1000));
    for (request, status) in [
        (long.as_str(), "431"),
        (many.as_str(), "431"),
        ("\0\u{1}\u{2}\r\n\r\n", "400"),
        ("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        ("GET /api/v1/pis/../status HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        ("POST /api/v1/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n", "405"),
        ("GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n\r\n", "421"),
        ("GET /metrics HTTP/1.1\r\n\r\n", "421"),
    ] {
        let answer = exchange(page, request.as_bytes());
        let begins = request.get(..60).unwrap_or(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{begins:?}: {answer:?}");
    }
    assert!(get(page, "/metrics").0.starts_with("HTTP/1.1 200 "));
    serving.stop();
}

#[test]
fn a_crowd_of_silent_clients_keeps_nobody_from_booting() {
    let (tree, serving) = serve();
    let page = page_of(&serving);
    let begins = Instant::now();
    let mut crowd: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(page).unwrap()).collect();
    for stream in &mut crowd {
        let _closed = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: local");
    }
    for _ in 0..50 {
        fetch(serving.address(), "bd989ae1/config.txt", Options::RASPBERRY_PI).unwrap();
    }
    // The control socket has places of its own.
    let control = tree.join("control").display().to_string();
    assert_eq!(crate::common::run(["status", "--control", &control]).code, Some(0));
    for mut stream in crowd {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let _reset = stream.read_to_end(&mut Vec::new());
    }
    assert!(begins.elapsed() < Duration::from_secs(50), "silent clients end within seconds");
    assert!(get(page, "/metrics").0.starts_with("HTTP/1.1 200 "));
    serving.stop();
}
