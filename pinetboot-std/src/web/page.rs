//! The page: all Pis, and one Pi with its boots. Markup from the server, so that a browser without JavaScript shows the state, too; it
//! loads the page again every 5 s. With JavaScript the part in `main` is replaced at each change.

use std::sync::LazyLock;

use base64ct::{Base64, Encoding};
use indicatif::DecimalBytes;
use sha2::{Digest, Sha256};

use super::html::Html;
use crate::live::{BootStatus, PiStatus, Status, VerdictStatus};

const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// The content security policy: this style and this script, and nothing from elsewhere.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| Base64::encode_string(&Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        hash(CSS),
        hash(JS)
    )
});

/// A whole page around a part, which is at `path`.
pub(super) fn page(title: &str, path: &str, part: Html) -> String {
    let mut html = Html::default();
    html.markup("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>").text(title);
    html.markup("</title><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    html.markup("<link rel=\"icon\" href=\"data:,\"><noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript><style>");
    html.markup(CSS).markup("</style></head><body><header><h1><a href=\"/\">pinetboot</a></h1>");
    html.markup("<small id=\"live\" role=\"status\"></small></header><main data-part=\"")
        .text(path)
        .markup("\">");
    let mut text = html.into_text() + &part.into_text();
    let mut end = Html::default();
    end.markup("</main><script>").markup(JS).markup("</script></body></html>\n");
    text += &end.into_text();
    text
}

/// All Pis: those that are stuck, those that move, the others.
pub(super) fn all(status: &Status) -> Html {
    let mut html = Html::default();
    let mut pis: Vec<&PiStatus> = status.pis.iter().collect();
    let is_up = |pi: &PiStatus| matches!(pi.state.as_str(), "up" | "root-in-use");
    pis.sort_by_key(|pi| (pi.verdict.is_none(), is_up(pi), pi.state == "unseen"));
    let stuck = pis.iter().filter(|pi| pi.verdict.is_some()).count();
    let up = pis.iter().filter(|pi| is_up(pi)).count();
    html.markup("<p>Pis: ").text(pis.len()).markup(", up: ").text(up).markup(", stuck: ").text(stuck);
    html.markup(". <small>Version ")
        .text(&status.server.version)
        .markup(", serving ")
        .text(&status.server.serving);
    html.markup(", since ").text(time(status.server.uptime_ms)).markup("</small></p><ul class=\"pis\">");
    for pi in pis {
        html.markup("<li class=\"")
            .markup(kind(pi))
            .markup("\"><h2><a href=\"/pi/")
            .text(&pi.id)
            .markup("\">");
        html.text(&pi.name).markup("</a></h2>");
        state(&mut html, pi);
        if let Some(seen) = &pi.verdict {
            verdict(&mut html, seen);
        }
        html.markup("</li>");
    }
    html.markup("</ul>");
    html
}

/// One Pi: what is known, and its latest boot beside the last good one.
pub(super) fn one(pi: &PiStatus) -> Html {
    let mut html = Html::default();
    html.markup("<section class=\"").markup(kind(pi)).markup("\"><h2>").text(&pi.name).markup("</h2>");
    state(&mut html, pi);
    for (name, value) in
        [("serial ", &pi.serial), ("MAC address ", &pi.mac), ("root ", &pi.root), ("image ", &pi.image)]
    {
        if let Some(value) = value {
            html.markup("<p><small>").markup(name).markup("</small> ").text(value).markup("</p>");
        }
    }
    if let Some(seen) = &pi.verdict {
        verdict(&mut html, seen);
    }
    html.markup("</section>");
    let Some((latest, before)) = pi.boots.split_last() else { return html };
    timeline(&mut html, latest, pi.last_good.as_ref());
    if !before.is_empty() {
        html.markup("<h3>Boots before</h3><ul>");
        for boot in before.iter().rev() {
            html.markup("<li>").text(&boot.id).markup(": ");
            match (&boot.verdict, boot.up) {
                (Some(verdict), _) => html.markup("stuck, ").text(&verdict.seen),
                (None, true) => html.markup("up"),
                (None, false) => html.markup("no end was seen"),
            };
            for phase in &boot.phases {
                html.markup(", ")
                    .text(&phase.phase)
                    .markup(" ")
                    .text(phase.took_ms.map_or_else(|| "-".into(), time));
            }
            html.markup("</li>");
        }
        html.markup("</ul>");
    }
    html
}

/// Phases and files as bars, with the durations of the last good boot.
fn timeline(html: &mut Html, boot: &BootStatus, good: Option<&BootStatus>) {
    let ends = boot.phases.iter().map(|phase| phase.from_ms + phase.took_ms.unwrap_or(0));
    let ends = ends.chain(boot.files.iter().map(|file| file.from_ms + file.took_ms));
    let whole = ends.max().unwrap_or(0).max(1) as f64;
    html.markup("<h3>Boot ")
        .text(&boot.id)
        .markup("</h3><div class=\"scroll\"><table><thead><tr><th scope=\"col\">phase or file</th>");
    html.markup("<th scope=\"col\">when</th><th scope=\"col\">took</th><th scope=\"col\">last good boot</th></tr></thead><tbody>");
    let mut row = |name: &str, kind: &'static str, from: u64, took: Option<u64>, before: Option<u64>| {
        html.markup("<tr><th scope=\"row\">").text(name).markup(
            "</th><td class=\"bar\"><svg viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" \
            aria-hidden=\"true\"><rect y=\"0\" height=\"4\" class=\"",
        );
        html.markup(kind).markup("\" x=\"").number(from as f64 * 100.0 / whole).markup("\" width=\"");
        html.number((took.unwrap_or(0) as f64 * 100.0 / whole).max(0.4))
            .markup("\"/></svg></td><td class=\"n\">");
        html.text(took.map_or_else(|| "under way".into(), time)).markup("</td><td class=\"n\">");
        html.text(before.map_or_else(|| "-".into(), time)).markup("</td></tr>");
    };
    for phase in &boot.phases {
        let before = good.and_then(|good| good.phases.iter().find(|before| before.phase == phase.phase));
        row(&phase.phase, "phase", phase.from_ms, phase.took_ms, before.and_then(|before| before.took_ms));
    }
    for file in &boot.files {
        let before = good.and_then(|good| good.files.iter().find(|before| before.file == file.file));
        let kind = if file.whole { "file" } else { "cut" };
        row(&file.file, kind, file.from_ms, Some(file.took_ms), before.map(|before| before.took_ms));
    }
    html.markup("</tbody></table></div>");
}

/// State, time, model and address; the file under way.
fn state(html: &mut Html, pi: &PiStatus) {
    html.markup("<p><strong>").text(pi.state.replace('-', " ")).markup("</strong>");
    if let Some(for_ms) = pi.state_ms {
        html.markup(" for ").text(time(for_ms));
    }
    html.markup("</p><p><small>").text(pi.model.as_deref().unwrap_or("model unknown"));
    if let Some(address) = &pi.address {
        html.markup(", ").text(address);
    }
    html.markup("</small></p>");
    if let Some(transfer) = &pi.transfer {
        html.markup("<p>").text(&transfer.file).markup(" ").text(DecimalBytes(transfer.bytes));
        if let Some(length) = transfer.length.filter(|length| *length > 0) {
            html.markup(" of ")
                .text(DecimalBytes(length))
                .markup("</p><p><progress aria-label=\"file under way\" max=\"");
            html.text(length).markup("\" value=\"").text(transfer.bytes).markup("\"></progress>");
        }
        html.markup("</p>");
    }
}

/// What was seen, and for each rule the cause and the remedy.
fn verdict(html: &mut Html, verdict: &VerdictStatus) {
    html.markup("<div class=\"verdict\"><p><strong>Stuck:</strong> ").text(&verdict.seen);
    if !verdict.details.is_empty() {
        html.markup(": ").text(verdict.details.join(", "));
    }
    html.markup(" <small>(").text(&verdict.certainty).markup(")</small></p>");
    let most = if verdict.certainty == "one-of" { usize::MAX } else { 1 };
    let texts = verdict.causes.iter().zip(&verdict.remedies);
    for (rule, (cause, remedy)) in verdict.rules.iter().zip(texts).take(most) {
        html.markup("<p>[")
            .text(rule)
            .markup("] ")
            .text(cause)
            .markup(" <strong>Do:</strong> ")
            .text(remedy)
            .markup("</p>");
    }
    html.markup("</div>");
}

fn kind(pi: &PiStatus) -> &'static str {
    match pi.state.as_str() {
        _ if pi.verdict.is_some() => "stuck",
        "up" | "root-in-use" => "up",
        "unseen" => "unseen",
        _ => "moves",
    }
}

/// `3.2 s`, `5 min`, `2 h`, `3 d`
fn time(millis: u64) -> String {
    crate::text::duration(millis)
}
