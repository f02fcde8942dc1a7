//! A client of HTTP, as plain as it gets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::common::Serving;

/// The address of the page, by the server's line of readiness.
pub(crate) fn page_of(serving: &Serving) -> SocketAddr {
    serving.ready.split(" web ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Sends bytes, and hears the answer until the server closes the connection; what was heard before an error.
pub(crate) fn exchange(to: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The server may close before all is sent.
    let _sent = stream.write_all(request);
    let mut answer = Vec::new();
    let _closed = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Gets a path; the head and the body.
pub(crate) fn get(to: SocketAddr, path: &str) -> (String, String) {
    let answer = exchange(to, format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.to_owned(), body.to_owned())
}
