//! An answer for a path.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::actions::{Actions, Form};
use super::guard::{Came, Guard};
use super::html::Html;
use super::images::{self, Disk};
use super::page::Page;
use super::reply::{Reply, reply, text};
use super::{all, lines, metrics, one, page};
use crate::live::{Live, PiStatus, Status};
use crate::logging::{LogLine, Tail};
use crate::pis::{Pis, pi};

/// The paths, and what they show.
#[derive(Debug)]
pub(super) struct Routes {
    live: Live,
    pis: Pis,
    serving: String,
    tail: Tail,
    disk: Disk,
    /// None: without a token, or without roots.
    actions: Option<Actions>,
    /// The number of the last change, for streams.
    changes: watch::Sender<u64>,
    /// A stream began.
    begun: Notify,
    /// Microseconds that documents took since the last change.
    spent: AtomicU64,
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
    pub(super) fn new(
        (live, pis): (Live, Pis),
        serving: String,
        (tail, disk): (Tail, Disk),
        actions: Option<Actions>,
    ) -> Self {
        Self {
            live,
            pis,
            serving,
            tail,
            disk,
            actions,
            changes: watch::Sender::new(0),
            begun: Notify::new(),
            spent: AtomicU64::new(0),
            document: Mutex::default(),
        }
    }

    /// Tells streams of changes, without end: at most one in [`INTERVAL`], and fewer where documents of many Pis take long. Without a
    /// stream the thread sleeps.
    pub(super) async fn follow(&self) {
        let mut told = self.live.events();
        let mut quiet = Instant::now();
        loop {
            if self.changes.receiver_count() == 0 {
                self.begun.notified().await;
            }
            sleep(pause(Duration::from_micros(self.spent.swap(0, Ordering::Relaxed)))).await;
            let events = self.live.events();
            if events != told || quiet.elapsed() >= LONGEST_QUIET {
                (told, quiet) = (events, Instant::now());
                self.changes.send_modify(|number| *number += 1);
            }
        }
    }

    /// The answer to a request that may be answered.
    pub(super) async fn answer<B>(self: &Arc<Self>, request: &Request<B>) -> Response<Reply> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only");
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match request.uri().path() {
            "/api/v1/status" => whole(JSON, self.document(false)),
            "/api/v1/events" => self.events(),
            "/api/v1/schema" => whole("application/schema+json", SCHEMA),
            "/api/v1/log" => whole(JSON, json(&LogDocument { schema: 1, lines: self.tail.after(0) })),
            path @ ("/api/v1/images" | "/images") => match self.disk.read(self.status(), &self.pis).await {
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
                Ok(shelf) if path == "/images" => {
                    self.page(path, "Images and disk", images::page(&shelf, self.actions.as_ref()), None)
                }
                Ok(shelf) => whole(JSON, json(&shelf)),
            },
            "/" => self.page("/", "pinetboot", all::all(&self.status()), Some(("/part", "/changes"))),
            "/part" => of_page(self.timed(|| all::all(&self.status()).into_text())),
            "/changes" => self.changes(last_seen(request), None),
            "/metrics" => whole(metrics::TYPE, metrics::text(&self.live, &self.pis)),
            path => self
                .of_pi(path, last_seen(request))
                .unwrap_or_else(|| text(StatusCode::NOT_FOUND, "no such page, or no such Pi")),
        }
    }

    /// Does what a form asks for, if the guard lets it.
    pub(super) async fn act(&self, request: Request<Incoming>, came: Came, guard: &Guard) -> Response<Reply> {
        let (head, body) = request.into_parts();
        let head = Request::from_parts(head, ());
        let Some(form) = Form::read(body).await else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "A form of at most 4096 bytes");
        };
        let given = match guard.may_act(&head, came, form.field("key")) {
            Ok(given) => given,
            Err(why) => return text(StatusCode::FORBIDDEN, why),
        };
        let done = match &self.actions {
            Some(actions) => actions.run(&form, given.token).await,
            None => Err("this server has no roots and no images: nothing can be done by the page".into()),
        };
        let (status, said) = match &done {
            Ok(said) => (StatusCode::OK, said),
            Err(why) => (StatusCode::CONFLICT, why),
        };
        if !given.is_cookie {
            return text(status, said);
        }
        let mut part = Html::default();
        part.markup("<h2>")
            .markup(if done.is_ok() { "Done" } else { "Not done" })
            .markup("</h2><p>")
            .text(said);
        part.markup("</p><p><a href=\"");
        match form.field("pi") {
            Some(pi) => part.markup("/pi/").text(pi),
            None => part.markup("/images"),
        };
        part.markup("\">Back</a></p>");
        let mut page = self.page("/actions", "pinetboot", part, None);
        *page.status_mut() = status;
        page
    }

    /// The answer for a path that names a Pi.
    fn of_pi(&self, path: &str, seen: u64) -> Option<Response<Reply>> {
        let (kind, id) = path.rsplit_once('/')?;
        let status = self.live.pi(&self.pis, pi(id)?, true)?;
        Some(match kind {
            "/api/v1/pis" => whole(JSON, json(&status)),
            "/pi" => self.page_of_pi(&status),
            "/part" => of_page(one::one(&status).into_text()),
            "/changes" => self.changes(seen, Some(status.name)),
            _ => return None,
        })
    }

    /// A page with all lines of the log, if it changes.
    fn page(&self, place: &str, title: &str, part: Html, live: Option<(&str, &str)>) -> Response<Reply> {
        let log = live.map(|_| self.tail.after(0));
        let live = live.map(|(part, changes)| (part.into(), follow(changes, log.as_deref())));
        of_page(Page { title, place, part, live, actions: Html::default(), log: log.as_deref() }.into_text())
    }

    fn page_of_pi(&self, pi: &PiStatus) -> Response<Reply> {
        let lines = self.tail.after(0);
        let live = (format!("/part/{}", pi.id), follow(&format!("/changes/{}", pi.id), Some(&lines)));
        let lines = lines::of_pi(lines, &pi.name);
        let actions = self.actions.as_ref().map(|actions| actions.of_pi(&pi.id)).unwrap_or_default();
        let (title, part) = (pi.name.as_str(), one::one(pi));
        of_page(Page { title, place: "/pi", part, live: Some(live), actions, log: Some(&lines) }.into_text())
    }

    fn status(&self) -> Status {
        self.live.status(&self.pis, &self.serving)
    }

    /// Makes a document, and records the time that it took.
    fn timed<T>(&self, make: impl FnOnce() -> T) -> T {
        let begins = Instant::now();
        let made = make();
        let took = u64::try_from(begins.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.spent.fetch_add(took, Ordering::Relaxed);
        made
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
        let bytes = Bytes::from(self.timed(|| json(&self.status())));
        *last = Some(Document { made: Instant::now(), events, bytes: bytes.clone() });
        bytes
    }

    /// The documents, one after the other, whenever one changes.
    fn events(self: &Arc<Self>) -> Response<Reply> {
        let routes = Arc::clone(self);
        self.stream(move || [b"data: ".as_slice(), &routes.document(true), b"\n\n"].concat().into())
    }

    /// An empty event whenever the page changes, which then loads its part; and the new lines of the log, those of one Pi perhaps.
    fn changes(&self, mut seen: u64, pi: Option<String>) -> Response<Reply> {
        let tail = self.tail.clone();
        self.stream(move || {
            let mut new = tail.after(seen);
            seen = new.last().map_or(seen, |line| line.number);
            if let Some(name) = &pi {
                new = lines::of_pi(new, name);
            }
            let change = "data: \n\n";
            if new.is_empty() {
                return change.into();
            }
            // Text of a line has no line break: control characters are shown as escapes.
            format!("id: {seen}\nevent: log\ndata: {}\n\n{change}", lines::items(&new).into_text()).into()
        })
    }

    /// An event at the beginning and at each change.
    fn stream(&self, mut event: impl FnMut() -> Bytes + Send + 'static) -> Response<Reply> {
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

/// The time to the next change, if the documents of the last one took so long: the page of a thousand Pis that boot at once leaves the
/// processor to them.
fn pause(spent: Duration) -> Duration {
    (spent * SHARE).clamp(INTERVAL, LONGEST_QUIET)
}

/// The document of `/api/v1/log`.
#[derive(Debug, Serialize)]
struct LogDocument {
    schema: u32,
    lines: Vec<LogLine>,
}

/// The path of a stream that goes on after these lines.
fn follow(changes: &str, lines: Option<&[LogLine]>) -> String {
    let last = lines.and_then(|lines| lines.last()).map_or(0, |line| line.number);
    format!("{changes}?after={last}")
}

/// The number of the last line that a client has: the browser's own word when it connects again, else that of the page.
fn last_seen<B>(request: &Request<B>) -> u64 {
    let again = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    let first = request.uri().query().and_then(|query| query.strip_prefix("after="));
    again.or(first).and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
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

const SCHEMA: &str = include_str!("schema.json");
const JSON: &str = "application/json";
const KEEP: Duration = Duration::from_millis(250);
const INTERVAL: Duration = Duration::from_millis(500);
/// Documents take one part of so many of a processor.
const SHARE: u32 = 100;
/// Times in a state go on without an event.
const LONGEST_QUIET: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use pinetboot_core::pi::boot::State;

    use super::*;

    /// The words for states, in the schema and in the documentation.
    #[test]
    fn each_state_is_in_the_schema_and_in_the_documentation() {
        let words: Vec<String> = State::ALL.iter().map(|state| state.to_string().replace(' ', "-")).collect();
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        assert!(SCHEMA.contains(&format!("\"enum\": [ {} ]", quoted.join(", "))), "{quoted:?}");
        let page = include_str!("../../docs/monitoring.md");
        let row = page.lines().find(|line| line.starts_with("| `state` |")).unwrap();
        assert!(words.iter().all(|word| row.contains(&format!("`{word}`"))), "{row}");
    }

    #[test]
    fn documents_take_a_hundredth_of_a_processor() {
        let pauses = [0, 4, 20, 500].map(|millis| pause(Duration::from_millis(millis)).as_millis());
        assert_eq!(pauses, [500, 500, 2000, 5000]);
    }
}
