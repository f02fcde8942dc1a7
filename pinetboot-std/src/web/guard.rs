//! Which requests are answered.
//!
//! * The control socket's mode decides, and nothing else.
//! * By TCP the Host header has to be an address, `localhost`, or this machine's name: a page elsewhere whose name is turned to this
//!   address (DNS rebinding) has its own name there.
//! * With a token: `Authorization: Bearer TOKEN`, or the cookie that `/?token=TOKEN` sets.

use std::net::IpAddr;

use super::reply::{Reply, text};
use crate::web_token::WebToken;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};

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
    token: Option<WebToken>,
    host: String,
}

impl Guard {
    pub(super) fn new(token: Option<WebToken>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
        Self { token, host }
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
        let Some(token) = &self.token else {
            // Without a token the configuration has loopback addresses alone.
            return if here.is_loopback() { None } else { Some(refusal()) };
        };
        if let Some(given) = request.uri().query().and_then(|query| query.strip_prefix("token="))
            && token.is(given)
        {
            return Some(with_cookie(given));
        }
        if given(request).is_some_and(|given| token.is(given.token)) { None } else { Some(refusal()) }
    }

    /// The token of a request that may act. A page elsewhere has neither the form's key nor this page's origin, if a browser sends
    /// the cookie with its request at all.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub(super) fn may_act<'a, B>(
        &self,
        request: &'a Request<B>,
        came: Came,
        form_key: Option<&str>,
    ) -> Result<Given<'a>, &'static str> {
        let (Some(token), Came::Tcp { .. }) = (&self.token, came) else {
            return Err("Actions require a token: start the server with --web-token, or use the commands");
        };
        let given = given(request).filter(|given| token.is(given.token)).ok_or("No token")?;
        let of = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let origin = of(header::ORIGIN).and_then(|origin| origin.split_once("://"));
        let is_own = origin.is_some_and(|(_, origin)| Some(origin) == of(header::HOST));
        if given.is_cookie && !(is_own && form_key == Some(token.form_key())) {
            return Err("The form is not one of this page: load the page again");
        }
        Ok(given)
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

/// A token in a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) token: &'a str,
    /// A browser sent it by itself.
    pub(super) is_cookie: bool,
}

fn given<B>(request: &Request<B>) -> Option<Given<'_>> {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(token) = bearer.and_then(|value| value.strip_prefix("Bearer ")) {
        return Some(Given { token, is_cookie: false });
    }
    let cookies = request.headers().get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = cookies.flat_map(|cookies| cookies.split("; "));
    let token = cookies.find_map(|cookie| cookie.strip_prefix(COOKIE))?;
    Some(Given { token, is_cookie: true })
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
        let guard = Guard::new(Some(WebToken::new(TOKEN)));
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

    #[test]
    fn only_a_form_of_this_page_or_a_bearer_acts() {
        let guard = Guard::new(Some(WebToken::new(TOKEN)));
        let key = WebToken::new(TOKEN).form_key().to_owned();
        let may = |came, key: Option<&str>, headers: &[(&'static str, &str)]| {
            let mut request = Request::builder().uri("/actions").header("host", "10.0.0.1:8080");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            guard.may_act(&request.body(()).unwrap(), came, key).is_ok()
        };
        let (cookie, own) =
            (("cookie", "pinetboot-token=0123456789abcdef"), ("origin", "http://10.0.0.1:8080"));
        assert!(may(LAN, Some(&key), &[cookie, own]));
        assert!(may(LAN, None, &[("authorization", "Bearer 0123456789abcdef")]));
        assert!(!may(LAN, None, &[cookie, own]), "no key");
        assert!(!may(LAN, Some("0"), &[cookie, own]), "another key");
        assert!(!may(LAN, Some(&key), &[cookie]), "no origin");
        assert!(!may(LAN, Some(&key), &[cookie, ("origin", "http://evil.example")]));
        assert!(!may(LAN, Some(&key), &[cookie, ("origin", "null")]));
        assert!(!may(LAN, Some(&key), &[("cookie", "pinetboot-token=wrong"), own]));
        assert!(!may(Came::Control, Some(&key), &[cookie, own]), "the group of the control socket reads");
        let open = Guard::new(None);
        let request = Request::builder().uri("/actions").body(()).unwrap();
        assert!(open.may_act(&request, HERE, Some(&key)).is_err(), "no token, no action");
    }
}
