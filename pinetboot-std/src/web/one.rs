//! One Pi: what is known, its latest boot beside the last good one, and the boots before.

use indicatif::DecimalBytes;

use super::html::Html;
use super::state::{Kind, own_name, state, time, verdict};
use crate::live::{BootStatus, PiStatus};

/// The changing part of a Pi's page.
pub(super) fn one(pi: &PiStatus) -> Html {
    let mut html = Html::default();
    html.markup("<section class=\"pi ")
        .markup(Kind::of(pi).class())
        .markup("\"><h2>")
        .text(&pi.name)
        .markup("</h2>");
    state(&mut html, pi);
    for (name, value) in
        [("serial ", &pi.serial), ("MAC address ", &pi.mac), ("root ", &pi.root), ("image ", &pi.image)]
    {
        if let Some(value) = value {
            html.markup("<p><small>").markup(name).markup("</small> ").text(value).markup("</p>");
        }
    }
    if let Some(bytes) = pi.space_bytes {
        let bytes = DecimalBytes(bytes).to_string();
        html.markup("<p><small>space of its changes </small> ").text(&bytes).markup("</p>");
    }
    if let Some(seen) = &pi.verdict {
        verdict(&mut html, seen);
    }
    html.markup("</section>");
    let Some((latest, before)) = pi.boots.split_last() else { return html };
    timeline(&mut html, pi, latest);
    if !before.is_empty() {
        html.markup("<h2>Boots before</h2><ul>");
        for boot in before.iter().rev() {
            html.markup("<li>").text(&boot.id).markup(": ").text(end(boot));
            for phase in &boot.phases {
                html.markup(", ").text(&phase.phase).markup(" ");
                html.text(phase.took_ms.map_or_else(|| "-".into(), time));
            }
            html.markup("</li>");
        }
        html.markup("</ul>");
    }
    html
}

/// How far a boot came.
fn end(boot: &BootStatus) -> String {
    let kernel_sent = || boot.phases.iter().any(|phase| phase.phase == "files" && phase.took_ms.is_some());
    match (&boot.verdict, boot.up) {
        (Some(verdict), _) => format!("stuck, {}", verdict.seen),
        (None, true) => "up".into(),
        (None, false) if kernel_sent() => "kernel sent".into(),
        (None, false) => "no end was seen".into(),
    }
}

/// Phases and files as bars, above those of the last good boot.
fn timeline(html: &mut Html, pi: &PiStatus, boot: &BootStatus) {
    let good = pi.last_good.as_ref();
    let whole = [Some(boot), good].into_iter().flatten().map(length).max().unwrap_or(0).max(1);
    html.markup("<h2>Boot ").text(&boot.id);
    if let Some(good) = good {
        html.markup(" <small>beside the last good one, ").text(&good.id).markup(", in grey</small>");
    }
    html.markup("</h2><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Timeline\"><table><thead><tr>");
    html.markup("<th scope=\"col\">phase or file</th><th scope=\"col\">when</th><th scope=\"col\" class=\"n\">took</th>");
    html.markup("<th scope=\"col\" class=\"n\">last good</th></tr></thead><tbody>");
    let mut row = |name: &str,
                   kind: &'static str,
                   now: (u64, Option<u64>),
                   before: Option<(u64, Option<u64>)>| {
        html.markup("<tr><th scope=\"row\">").text(name).markup(
            "</th><td class=\"bar\"><svg viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
        );
        bar(html, kind, "1\" height=\"5", now, whole);
        if let Some(before) = before {
            bar(html, "good", "7\" height=\"2", before, whole);
        }
        html.markup("</svg></td><td class=\"n\">").text(now.1.map_or_else(|| "under way".into(), time));
        html.markup("</td><td class=\"n\">");
        html.text(before.and_then(|before| before.1).map_or_else(|| "-".into(), time)).markup("</td></tr>");
    };
    for phase in &boot.phases {
        let before = good.and_then(|good| good.phases.iter().find(|before| before.phase == phase.phase));
        let before = before.map(|before| (before.from_ms, before.took_ms));
        row(&phase.phase, "phase", (phase.from_ms, phase.took_ms), before);
    }
    for file in &boot.files {
        let before = good.and_then(|good| good.files.iter().find(|before| before.file == file.file));
        let before = before.map(|before| (before.from_ms, Some(before.took_ms)));
        let kind = if file.whole { "file" } else { "cut" };
        row(own_name(pi, &file.file), kind, (file.from_ms, Some(file.took_ms)), before);
    }
    html.markup("</tbody></table></div>");
}

/// Milliseconds from the beginning of a boot to the end of its last phase or file.
fn length(boot: &BootStatus) -> u64 {
    let phases = boot.phases.iter().map(|phase| phase.from_ms + phase.took_ms.unwrap_or(0));
    phases.chain(boot.files.iter().map(|file| file.from_ms + file.took_ms)).max().unwrap_or(0)
}

/// A bar of a time with its duration; `place` is the attribute `y` and what follows it.
fn bar(
    html: &mut Html,
    class: &'static str,
    place: &'static str,
    (from, took): (u64, Option<u64>),
    whole: u64,
) {
    let part = |millis: u64| millis as f64 * 100.0 / whole as f64;
    html.markup("<rect class=\"").markup(class).markup("\" y=\"").markup(place).markup("\" x=\"");
    html.number(part(from)).markup("\" width=\"").number(part(took.unwrap_or(0)).max(0.4)).markup("\"/>");
}
