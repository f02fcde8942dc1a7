//! An answer for a path.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::reply::{Reply, reply, text};
use super::{metrics, page};
use crate::live::{Live, Status};
use crate::pis::{Pis, pi};

/// The paths, and what they show.
#[derive(Debug)]
pub(super) struct Routes {
    live: Live,
    pis: Pis,
    serving: String,
    /// The number of the last change, for streams.
    changes: watch::Sender<u64>,
    /// A stream began.
    begun: Notify,
    /// The last document, for all streams.
    document: Mutex<Option<Document>>,
}

/// The document of the status, as it was.
#[derive(Debug)]
struct Document {
    made: Instant,
    /// The number of events before.
    events: u64,
    bytes: Bytes,
}

impl Routes {
    pub(super) fn new(live: Live, pis: Pis, serving: String) -> Self {
        Self {
            live,
            pis,
            serving,
            changes: watch::Sender::new(0),
            begun: Notify::new(),
            document: Mutex::default(),
        }
    }

    /// Tells streams of changes, without end: at most one in [`INTERVAL`]. Without a stream the thread sleeps.
    pub(super) async fn follow(&self) {
        let mut told = self.live.events();
        let mut quiet = Instant::now();
        loop {
            if self.changes.receiver_count() == 0 {
                self.begun.notified().await;
            }
            sleep(INTERVAL).await;
            let events = self.live.events();
            if events != told || quiet.elapsed() >= LONGEST_QUIET {
                (told, quiet) = (events, Instant::now());
                self.changes.send_modify(|number| *number += 1);
            }
        }
    }

    /// The answer to a request that may be answered.
    pub(super) fn answer<B>(self: &Arc<Self>, request: &Request<B>) -> Response<Reply> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only");
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match request.uri().path() {
            "/api/v1/status" => whole(JSON, self.document(false)),
            "/api/v1/events" => self.events(),
            "/" => of_page(page::page("pinetboot", "/part", page::all(&self.status()))),
            "/part" => of_page(page::all(&self.status()).into_text()),
            "/changes" => self.changes(),
            "/metrics" => whole(metrics::TYPE, metrics::text(&self.live, &self.pis)),
            path => {
                self.of_pi(path).unwrap_or_else(|| text(StatusCode::NOT_FOUND, "no such page, or no such Pi"))
            }
        }
    }

    /// The answer for a path that names a Pi.
    fn of_pi(&self, path: &str) -> Option<Response<Reply>> {
        let (kind, id) = path.rsplit_once('/')?;
        let status = self.live.pi(&self.pis, pi(id)?, true)?;
        Some(match kind {
            "/api/v1/pis" => whole(JSON, json(&status)),
            "/pi" => of_page(page::page(&status.name, &format!("/part/{}", status.id), page::one(&status))),
            "/part" => of_page(page::one(&status).into_text()),
            _ => return None,
        })
    }

    fn status(&self) -> Status {
        self.live.status(&self.pis, &self.serving)
    }

    /// The document of the status. Streams of one change share it, and so do requests between two events.
    fn document(&self, is_stream: bool) -> Bytes {
        let events = self.live.events();
        let mut last = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && last.made.elapsed() < KEEP
            && (is_stream || last.events == events)
        {
            return last.bytes.clone();
        }
        let bytes = Bytes::from(json(&self.status()));
        *last = Some(Document { made: Instant::now(), events, bytes: bytes.clone() });
        bytes
    }

    /// The documents, one after the other, whenever one changes.
    fn events(self: &Arc<Self>) -> Response<Reply> {
        let routes = Arc::clone(self);
        self.stream(move || [b"data: ".as_slice(), &routes.document(true), b"\n\n"].concat().into())
    }

    /// An empty event whenever the page changes: the page then loads its part.
    fn changes(&self) -> Response<Reply> {
        self.stream(|| Bytes::from_static(b"data: \n\n"))
    }

    /// An event at the beginning and at each change.
    fn stream(&self, event: impl Fn() -> Bytes + Send + 'static) -> Response<Reply> {
        let (send, parts) = mpsc::channel(1);
        let mut changes = self.changes.subscribe();
        self.begun.notify_one();
        tokio::spawn(async move {
            let mut part = event();
            // A client that does not read gets the next event when it does.
            while send.send(part).await.is_ok() {
                let changed = tokio::select! {
                    changed = timeout(PING, changes.changed()) => changed,
                    () = send.closed() => return,
                };
                part = match changed {
                    Ok(Ok(())) => event(),
                    Ok(Err(_)) => return,
                    Err(_) => Bytes::from_static(b": still here\n\n"),
                };
            }
        });
        reply(StatusCode::OK, "text/event-stream", Reply::Stream(parts))
    }
}

/// A page, or a part of it, with the policy of the page.
fn of_page(html: String) -> Response<Reply> {
    let mut page = whole("text/html; charset=utf-8", html);
    if let Ok(policy) = HeaderValue::from_str(&page::POLICY) {
        page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    page
}

fn whole(kind: &'static str, body: impl Into<Bytes>) -> Response<Reply> {
    reply(StatusCode::OK, kind, Reply::Whole(body.into()))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Plain values with names as keys: nothing here can fail.
    serde_json::to_vec(value).unwrap_or_default()
}

const JSON: &str = "application/json";
const KEEP: Duration = Duration::from_millis(250);
const INTERVAL: Duration = Duration::from_millis(500);
/// Times in a state go on without an event.
const LONGEST_QUIET: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(15);
