//! What is shown while a fleet boots: readers of the page as in a browser, of the event stream, and of the metrics.
//!
//! They run on the clients' core, so their work counts for nothing but the server's answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::Failed;
use crate::world::SERVER;

/// The port of the page.
pub(super) const PORT: u16 = 8080;
/// The page's token.
pub(super) const TOKEN: &str = "0123456789abcdef";

/// Reads until `done`; the number of documents.
pub(super) fn read(done: &AtomicBool) -> Result<u64, Failed> {
    let documents = AtomicU64::new(0);
    let count = |answer: std::io::Result<()>| {
        if answer.is_ok() {
            documents.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        // A browser with the page: at each change it loads the part that changes.
        scope.spawn(|| follow("/changes", done, || count(get("/part"))));
        scope.spawn(|| follow("/api/v1/events", done, || count(Ok(()))));
        while !done.load(Ordering::Relaxed) {
            count(get("/metrics"));
            thread::sleep(SCRAPE);
        }
    });
    match documents.into_inner() {
        0 => Err("the server showed nothing".into()),
        documents => Ok(documents),
    }
}

/// Calls `changed` at each event of a stream.
fn follow(path: &str, done: &AtomicBool, changed: impl Fn()) {
    let Ok(stream) = ask(path) else { return };
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while !done.load(Ordering::Relaxed) {
        // A timeout leaves what came of a line.
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => {
                if line.starts_with(b"data:") {
                    changed();
                }
                line.clear();
            }
            Err(_) => {}
        }
    }
}

fn get(path: &str) -> std::io::Result<()> {
    let mut stream = ask(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

fn ask(path: &str) -> std::io::Result<TcpStream> {
    let address = SocketAddr::from((SERVER, PORT));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {SERVER}:{PORT}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    )?;
    Ok(stream)
}

/// Prometheus asks every 15 s by default.
const SCRAPE: Duration = Duration::from_secs(5);
