//! Which requests are answered.
//!
//! * The control socket's mode decides, and nothing else.
//! * By TCP the Host header has to be an address, `localhost`, or this machine's name: a page elsewhere whose name is turned to this
//!   address (DNS rebinding) has its own name there.
//! * With a token: `Authorization: Bearer TOKEN`, or the cookie that `/?token=TOKEN` sets.

use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::reply::{Reply, text};
use crate::exit::{Exit, Failed};

/// The socket by which a request came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Came {
    /// The control socket.
    Control,
    /// TCP.
    Tcp {
        /// This machine's address.
        here: IpAddr,
    },
}

/// The check of requests.
#[derive(Debug)]
pub(super) struct Guard {
    /// The hash of the token: a comparison of hashes takes no time that tells of the token.
    token: Option<[u8; 32]>,
    host: String,
}

impl Guard {
    pub(super) fn new(token: Option<String>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
        Self { token: token.map(|token| hash(&token)), host }
    }

    /// The refusal of a request that is not to be answered, or the redirect that sets the cookie.
    pub(super) fn refuses<B>(&self, request: &Request<B>, came: Came) -> Option<Response<Reply>> {
        let Came::Tcp { here } = came else { return None };
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.is_own(host)) {
            return Some(text(
                StatusCode::MISDIRECTED_REQUEST,
                "This server is reached by its address, as localhost, or by its host name",
            ));
        }
        let Some(token) = self.token else {
            // Without a token the configuration has loopback addresses alone.
            return if here.is_loopback() { None } else { Some(refusal()) };
        };
        if let Some(given) = request.uri().query().and_then(|query| query.strip_prefix("token="))
            && hash(given) == token
        {
            return Some(with_cookie(given));
        }
        let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let cookies =
            request.headers().get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookie =
            cookies.flat_map(|cookies| cookies.split("; ")).find_map(|cookie| cookie.strip_prefix(COOKIE));
        match bearer.or(cookie) {
            Some(given) if hash(given) == token => None,
            _ => Some(refusal()),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        // `[::1]:8080`, `10.0.0.1:8080`, `kitchen.local`.
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let name = name.to_lowercase();
        let is_ours = name == self.host || name.strip_suffix(".local") == Some(self.host.as_str());
        name.parse::<IpAddr>().is_ok() || name == "localhost" || is_ours && !self.host.is_empty()
    }
}

/// Reads the token: the first line of a file.
///
/// # Errors
///
/// The file and the fault.
pub(super) fn read_token(file: &Path) -> Result<String, Failed> {
    let failed = |why: String| Failed::new(Exit::Usage, format!("web-token {}: {why}", file.display()));
    let mut text = String::new();
    let opened = fs::File::open(file).map_err(|error| failed(error.to_string()))?;
    opened.take(4096).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    let token = text.lines().next().unwrap_or_default();
    if !(16..=256).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(failed(
            "the first line must have 16 to 256 letters and digits, as from 'openssl rand -hex 16'".into(),
        ));
    }
    Ok(token.to_owned())
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn refusal() -> Response<Reply> {
    let mut refusal =
        text(StatusCode::UNAUTHORIZED, "Open /?token=TOKEN once, or send 'Authorization: Bearer TOKEN'");
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refusal
}

fn with_cookie(token: &str) -> Response<Reply> {
    let mut redirect = text(StatusCode::SEE_OTHER, "The token is right");
    redirect.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"));
    let cookie = format!("{COOKIE}{token}; Path=/; HttpOnly; SameSite=Strict");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        redirect.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    redirect
}

const COOKIE: &str = "pinetboot-token=";

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: Came = Came::Tcp { here: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    const LAN: Came = Came::Tcp { here: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)) };
    const TOKEN: &str = "0123456789abcdef";

    fn status(guard: &Guard, came: Came, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let refusal = guard.refuses(&request.body(()).unwrap(), came);
        refusal.map_or(200, |refusal| refusal.status().as_u16())
    }

    #[test]
    fn a_foreign_host_is_refused() {
        let guard = Guard::new(None);
        for host in ["127.0.0.1", "127.0.0.1:80", "localhost:8080", "[::1]:8080", "LOCALHOST"] {
            assert_eq!(status(&guard, HERE, "/", &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "",
            ":80",
            "[::1",
            ".local",
        ] {
            let expected = if host == "[::1" { 200 } else { 421 };
            assert_eq!(status(&guard, HERE, "/", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(status(&guard, HERE, "/", &[]), 421);
        assert_eq!(status(&guard, LAN, "/", &[("host", "10.0.0.1")]), 401, "no token, no other machine");
        assert_eq!(status(&guard, Came::Control, "/", &[]), 200);
    }

    #[test]
    fn a_token_is_needed_and_enough() {
        let guard = Guard::new(Some(TOKEN.into()));
        let host = ("host", "10.0.0.1");
        assert_eq!(status(&guard, LAN, "/", &[host]), 401);
        assert_eq!(status(&guard, HERE, "/", &[("host", "localhost")]), 401);
        assert_eq!(status(&guard, LAN, "/?token=wrong", &[host]), 401);
        assert_eq!(status(&guard, LAN, "/?token=0123456789abcdef", &[host]), 303);
        assert_eq!(status(&guard, LAN, "/", &[host, ("authorization", "Bearer 0123456789abcdef")]), 200);
        assert_eq!(status(&guard, LAN, "/", &[host, ("authorization", "Bearer 0123456789abcdeF")]), 401);
        assert_eq!(
            status(&guard, LAN, "/", &[host, ("cookie", "a=b; pinetboot-token=0123456789abcdef")]),
            200
        );
        assert_eq!(
            status(
                &guard,
                LAN,
                "/",
                &[("host", "evil.example"), ("cookie", "pinetboot-token=0123456789abcdef")]
            ),
            421
        );
    }
}
