//! What is said of a Pi on each page: its state, the file under way, its verdict.

use indicatif::DecimalBytes;

use super::html::Html;
use crate::live::{PiStatus, VerdictStatus};

/// Pis by what the operator has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Stuck,
    Boots,
    Up,
    Unseen,
}

impl Kind {
    /// All of them, in the order of the page.
    pub(super) const ALL: [Self; 4] = [Self::Stuck, Self::Boots, Self::Up, Self::Unseen];

    pub(super) fn of(pi: &PiStatus) -> Self {
        match pi.state.as_str() {
            _ if pi.verdict.is_some() => Self::Stuck,
            "up" | "root-in-use" | "disk-in-use" => Self::Up,
            "unseen" => Self::Unseen,
            _ => Self::Boots,
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Stuck => "Stuck",
            Self::Boots => "Booting",
            Self::Up => "Up",
            Self::Unseen => "Not seen yet",
        }
    }

    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Boots => "moves",
            Self::Up => "up",
            Self::Unseen => "unseen",
        }
    }
}

/// State, time, model and address; the file under way.
pub(super) fn state(html: &mut Html, pi: &PiStatus) {
    html.markup("<p><strong>").text(pi.state.replace('-', " ")).markup("</strong>");
    if let Some(for_ms) = pi.state_ms {
        html.markup(" for ").text(time(for_ms));
    }
    html.markup("</p>");
    let known: Vec<&str> = pi.model.iter().chain(&pi.address).map(String::as_str).collect();
    if !known.is_empty() {
        html.markup("<p><small>").text(known.join(", ")).markup("</small></p>");
    }
    if let Some(transfer) = &pi.transfer {
        html.markup("<p>")
            .text(own_name(pi, &transfer.file))
            .markup(" <small>")
            .text(DecimalBytes(transfer.bytes));
        if let Some(length) = transfer.length.filter(|length| *length > 0) {
            html.markup(" of ").text(DecimalBytes(length)).markup("</small></p>");
            html.markup("<p><progress aria-label=\"file under way\" max=\"").text(length);
            html.markup("\" value=\"").text(transfer.bytes).markup("\"></progress></p>");
        } else {
            html.markup("</small></p>");
        }
    }
}

/// What was seen, and for each rule the cause and the remedy.
pub(super) fn verdict(html: &mut Html, verdict: &VerdictStatus) {
    html.markup("<div class=\"verdict\"><p><strong>Stuck:</strong> ").text(&verdict.seen);
    if !verdict.details.is_empty() {
        html.markup(": ").text(verdict.details.join(", "));
    }
    html.markup(" <small>(").text(verdict.certainty.replace('-', " ")).markup(")</small></p>");
    let most = if verdict.certainty == "one-of" { usize::MAX } else { 1 };
    let texts = verdict.causes.iter().zip(&verdict.remedies);
    for (rule, (cause, remedy)) in verdict.rules.iter().zip(texts).take(most) {
        html.markup("<p>[").text(rule).markup("] ").text(cause);
        html.markup(" <strong>Do:</strong> ").text(remedy).markup("</p>");
    }
    html.markup("</div>");
}

/// The name of a file without the Pi's own directory.
pub(super) fn own_name<'a>(pi: &PiStatus, file: &'a str) -> &'a str {
    file.strip_prefix(pi.id.as_str()).map_or(file, |rest| rest.trim_start_matches('/'))
}

/// `3.2 s`, `5 min`, `2 h`, `3 d`
pub(super) fn time(millis: u64) -> String {
    crate::text::duration(millis)
}
