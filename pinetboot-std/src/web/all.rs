//! All Pis: those that are stuck, those that boot, those that are up, the others.

use super::html::Html;
use super::state::{Kind, state, time, verdict};
use crate::live::{PiStatus, Status};

/// The changing part of the first page.
pub(super) fn all(status: &Status) -> Html {
    let mut html = Html::default();
    let of = |kind| status.pis.iter().filter(move |pi| Kind::of(pi) == kind);
    html.markup("<p>Pis: ").text(status.pis.len()).markup(", up: ").text(of(Kind::Up).count());
    html.markup(", stuck: ").text(of(Kind::Stuck).count()).markup(". <small>Version ");
    html.text(&status.server.version).markup(", serving ").text(&status.server.serving);
    html.markup(", since ").text(time(status.server.uptime_ms)).markup("</small></p>");
    if status.pis.is_empty() {
        html.markup(
            "<p>No Pi yet: each appears here with its first DHCP message or request for a file. If a Pi is on and does not, \
             run <code>pinetboot probe</code> on another machine of its network.</p>",
        );
    }
    for kind in Kind::ALL {
        let pis: Vec<&PiStatus> = of(kind).collect();
        if pis.is_empty() {
            continue;
        }
        html.markup("<h2>").markup(kind.title()).markup(" <small>").text(pis.len()).markup("</small></h2>");
        html.markup(match kind {
            Kind::Stuck => "<ul class=\"pis wide\">",
            _ => "<ul class=\"pis\">",
        });
        for pi in pis {
            html.markup("<li class=\"").markup(kind.class()).markup("\"><h3><a href=\"/pi/").text(&pi.id);
            html.markup("\">").text(&pi.name).markup("</a></h3>");
            state(&mut html, pi);
            if let Some(seen) = &pi.verdict {
                verdict(&mut html, seen);
            }
            html.markup("</li>");
        }
        html.markup("</ul>");
    }
    html
}
