//! What a running server shows: `status`, `watch`, the page and the metrics, and what hostile clients of them cannot do.
#![cfg(feature = "web")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod common;

#[path = "web/hooks.rs"]
mod hooks;
#[path = "web/hostile.rs"]
mod hostile;
#[path = "web/http.rs"]
mod http;
#[path = "web/schema.rs"]
mod schema;
#[path = "web/shown.rs"]
mod shown;
#[path = "web/tls.rs"]
mod tls;
