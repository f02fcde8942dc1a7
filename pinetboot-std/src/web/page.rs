//! The frame of each page: style, script, header, log. Markup from the server, so that a browser without JavaScript shows the state, too; it
//! loads the page again every 5 s. With JavaScript the part is replaced at each change, and the log grows.

use std::sync::LazyLock;

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

use super::html::Html;
use super::lines;
use crate::logging::LogLine;

const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// The content security policy: this style and this script, and nothing from elsewhere.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| Base64::encode_string(&Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; connect-src 'self'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'",
        hash(CSS),
        hash(JS)
    )
});

/// A page.
pub(super) struct Page<'a> {
    /// In the browser's tab.
    pub(super) title: &'a str,
    /// The path, if it is one of the header.
    pub(super) place: &'a str,
    /// The changing part.
    pub(super) part: Html,
    /// The paths of the changing part, and of the stream of changes; `None`: the page does not change.
    pub(super) live: Option<(String, String)>,
    /// Forms below the changing part.
    pub(super) actions: Html,
    /// Lines of the log.
    pub(super) log: Option<&'a [LogLine]>,
}

impl Page<'_> {
    pub(super) fn into_text(self) -> String {
        let mut html = Html::default();
        html.markup("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>")
            .text(self.title);
        html.markup("</title><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
        html.markup("<link rel=\"icon\" href=\"data:,\">");
        if self.live.is_some() {
            html.markup("<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>");
        }
        html.markup("<style>")
            .markup(CSS)
            .markup("</style></head><body><header><h1><a href=\"/\">pinetboot</a></h1>");
        html.markup("<nav aria-label=\"Pages\">");
        for (path, name) in [("/", "Pis"), ("/images", "Images and disk")] {
            html.markup("<a href=\"").text(path).markup(match path == self.place {
                true => "\" aria-current=\"page\">",
                false => "\">",
            });
            html.markup(name).markup("</a>");
        }
        html.markup("</nav><small id=\"live\" role=\"status\"></small></header><main><div id=\"part\"");
        if let Some((part, changes)) = &self.live {
            html.markup(" data-part=\"").text(part).markup("\" data-changes=\"").text(changes).markup("\"");
        }
        html.markup(">").html(self.part).markup("</div>").html(self.actions);
        if let Some(log) = self.log {
            html.markup(
                "<h2 id=\"log-title\">Log</h2><ol id=\"log\" tabindex=\"0\" aria-labelledby=\"log-title\">",
            );
            html.html(lines::items(log)).markup("</ol>");
        }
        html.markup("</main><script>").markup(JS).markup("</script></body></html>\n");
        html.into_text()
    }
}
