//! The page: the report of `status.txt` for a browser, by HTTP/1.0 on port 80.
//!
//! A connection has one request and one answer, and is closed then. A browser asks again every few seconds.

use core::time::Duration;

/// The start of the answer to a request of which these bytes are there, and whether the report follows. `None`: too few bytes.
pub(crate) fn answer(request: &[u8]) -> Option<(&'static str, bool)> {
    match request {
        [b'G', b'E', b'T', b' ', b'/', b' ', ..] => Some((FOUND, true)),
        [_, _, _, _, _, _, ..] => Some((NOT_FOUND, false)),
        _ => None,
    }
}

pub(crate) const PORT: u16 = 80;

/// The longest time for one connection.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);

/// The bytes of a request that are looked at.
pub(crate) const ENOUGH: usize = 6;

const FOUND: &str = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nRefresh: 5\r\n\r\n";
const NOT_FOUND: &str = "HTTP/1.0 404 Not Found\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_has_the_report() {
        assert_eq!(answer(b"GET / HTTP/1.1\r\nHost: 10.55.0.1\r\n\r\n"), Some((FOUND, true)));
        for other in ["GET /favicon.ico HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "\r\n\r\n\r\n\r\n", "GET  / "] {
            assert_eq!(answer(other.as_bytes()), Some((NOT_FOUND, false)), "{other}");
        }
        for short in [&b""[..], b"GET /"] {
            assert_eq!(answer(short), None);
        }
        assert_eq!(answer(&b"GET / "[..ENOUGH]), Some((FOUND, true)));
    }
}
