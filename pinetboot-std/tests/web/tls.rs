//! `on-event` by https: a server with a certificate of a private authority, behind socat.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Folder, Serving, pinetboot};

/// A web server by TLS that answers one request after the other with these statuses, the last one again and again; 0: never.
struct Web {
    port: u16,
    /// The certificate of its authority.
    authority: String,
    /// The bodies of the requests.
    asked: Receiver<Value>,
    socat: Child,
}

impl Web {
    fn new(directory: &Folder, statuses: &'static [u16]) -> Self {
        let script = "cd \"$0\"; openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout authority.key \
                      -out authority.pem; openssl req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr; \
                      printf subjectAltName=IP:127.0.0.1 >server.ext; openssl x509 -req -in server.csr -CA authority.pem \
                      -CAkey authority.key -days 2 -extfile server.ext -out server.pem; cat server.key >>server.pem";
        let made = Command::new("sh").args(["-ec", script]).arg(directory.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let authority = directory.join("authority.pem");
        fs::set_permissions(&authority, fs::Permissions::from_mode(0o644)).unwrap();
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        let behind = plain.local_addr().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (tell, asked) = channel();
        thread::spawn(move || {
            let (mut statuses, mut held) = (statuses.iter(), Vec::new());
            let mut status = 0;
            for stream in plain.incoming() {
                let Some(stream) = request(stream.unwrap(), |body| drop(tell.send(body))) else { continue };
                status = statuses.next().copied().unwrap_or(status);
                match status {
                    0 => held.push(stream),
                    status => drop(write!(
                        &stream,
                        "HTTP/1.1 {status} Status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )),
                }
            }
        });
        let listen = format!(
            "OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,verify=0,cert={}",
            directory.join("server.pem").display()
        );
        let socat = Command::new("socat")
            .args([listen, format!("TCP:{behind}")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::yield_now();
        }
        Self { port, authority: authority.to_str().unwrap().to_owned(), asked, socat }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ended = self.socat.kill();
        let _collected = self.socat.wait();
    }
}

/// Reads a request; `None`: a connection without one.
fn request(stream: TcpStream, tell: impl FnOnce(Value)) -> Option<TcpStream> {
    let mut from = BufReader::new(stream.try_clone().ok()?);
    let mut len = 0;
    let mut line = String::new();
    while from.read_line(&mut line).ok()? > 0 && line != "\r\n" {
        let value = line.to_ascii_lowercase();
        len = value.strip_prefix("content-length: ").map_or(len, |value| value.trim().parse().unwrap());
        line.clear();
    }
    let mut body = vec![0; len];
    from.read_exact(&mut body).ok()?;
    tell(serde_json::from_slice(&body).ok()?);
    Some(stream)
}

/// A server that tells its events to an address.
fn serve(tree: &Folder, address: &str, authority: Option<&str>) -> Serving {
    let mut command = pinetboot();
    command.args([
        "serve",
        "--listen",
        "127.0.0.1",
        "--tftp-port",
        "0",
        "--control",
        "none",
        "--boot-clock",
        "100",
    ]);
    command.args(["--on-event", address]).arg(tree.path());
    if let Some(authority) = authority {
        command.env("CURL_CA_BUNDLE", authority);
    }
    Serving::start_as(&mut command)
}

/// A Pi that stops in the middle of a file (RFC 1350).
fn stop_in_a_file(serving: &Serving) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.send_to(b"\0\x01bd989ae1/kernel8.img\0octet\0", serving.address()).unwrap();
    let mut packet = [0; 600];
    for block in 1..=100_u8 {
        let (_, peer) = socket.recv_from(&mut packet).unwrap();
        socket.send_to(&[0, 4, 0, block], peer).unwrap();
    }
}

fn tree() -> Folder {
    Folder::new(&[("config.txt", b"arm_64bit=1\n"), ("kernel8.img", &[7; 3_000_000])])
}

const SOON: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs curl, openssl and socat; run by .ci/run"]
fn an_event_is_posted_to_a_server_whose_authority_is_trusted() {
    let (tree, keys) = (tree(), Folder::new(&[]));
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The first answer is a fault that passes.
    let web = Web::new(&keys, &[503, 200]);
    let serving = serve(&tree, &format!("https://127.0.0.1:{}/hook", web.port), Some(&web.authority));
    stop_in_a_file(&serving);
    let first = web.asked.recv_timeout(SOON).unwrap();
    assert_eq!((&first["event"], &first["pi"]), (&Value::from("stuck"), &Value::from("bd989ae1")));
    assert_eq!(web.asked.recv_timeout(SOON).unwrap(), first, "the second attempt");
    let log = serving.stop();
    assert!(!log.contains("not delivered"), "{log}");
}

#[test]
#[ignore = "needs curl, openssl and socat; run by .ci/run"]
fn what_keeps_an_event_from_a_server_is_said_at_once() {
    let (tree, keys) = (tree(), Folder::new(&[]));
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let web = Web::new(&keys, &[404]);
    let none = keys.join("none.pem");
    for (host, path, authority, expected) in [
        ("127.0.0.1", "", None, &["(60)", "certificate", "update-ca-certificates", "CURL_CA_BUNDLE"][..]),
        ("localhost", "", Some(web.authority.as_str()), &["(60)", "localhost"]),
        ("127.0.0.1", "", none.to_str(), &["(77)", "cannot be read"]),
        ("127.0.0.1", "gone?secret=5e9f2a01", Some(web.authority.as_str()), &["returned error: 404"]),
    ] {
        let serving = serve(&tree, &format!("https://{host}:{}/{path}", web.port), authority);
        stop_in_a_file(&serving);
        let began = Instant::now();
        let line = serving.wait_for_log("not delivered to on-event: bd989ae1 stuck");
        assert!(expected.iter().all(|part| line.contains(part)), "{line}");
        assert!(!line.contains("5e9f2a01"), "an address may have a secret in it: {line}");
        // The boot clock is fast, the pauses between attempts are not: two would take 12 s.
        assert!(began.elapsed() < Duration::from_secs(12), "one attempt: {:?}", began.elapsed());
        drop(serving.stop());
    }
    assert_eq!(web.asked.try_iter().count(), 1, "a request that is refused for good is sent once");
}

#[test]
#[ignore = "needs curl, openssl and socat; run by .ci/run"]
fn a_server_that_never_answers_delays_nobody() {
    let (tree, keys) = (tree(), Folder::new(&[]));
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let web = Web::new(&keys, &[0]);
    let serving = serve(&tree, &format!("https://127.0.0.1:{}/", web.port), Some(&web.authority));
    stop_in_a_file(&serving);
    let _hangs = web.asked.recv_timeout(SOON).unwrap();
    stop_in_a_file(&serving);
    let began = Instant::now();
    drop(serving.stop());
    assert!(began.elapsed() < Duration::from_secs(8), "the end waits for no attempt: {:?}", began.elapsed());
}
