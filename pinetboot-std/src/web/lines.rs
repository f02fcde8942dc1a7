//! Lines of the log.

use super::html::Html;
use crate::logging::LogLine;

/// The items of a list.
pub(super) fn items(lines: &[LogLine]) -> Html {
    let mut html = Html::default();
    for line in lines {
        html.markup("<li class=\"").text(&line.level).markup("\"><time>").text(&line.time).markup("</time> ");
        html.text(&line.text).markup("</li>");
    }
    html
}

/// The lines about a Pi: those that begin with its name.
pub(super) fn of_pi(lines: Vec<LogLine>, name: &str) -> Vec<LogLine> {
    let is_about = |line: &LogLine| line.text.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
    lines.into_iter().filter(is_about).collect()
}
