//! HTML that is put together so that text of other machines stays text: markup is what this program's source has, all else is escaped.

use std::fmt::{self, Write as _};

use crate::text::line;

/// A growing document.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup from this program's source.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, or the value of an attribute between quotes. Characters that steer a terminal or the direction of text are shown as
    /// escapes.
    pub(super) fn text(&mut self, text: impl fmt::Display) -> &mut Self {
        for char in line(&text.to_string()).to_string().chars() {
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                char => self.0.push(char),
            }
        }
        self
    }

    /// Adds a number.
    pub(super) fn number(&mut self, number: f64) -> &mut Self {
        // Writing to a string cannot fail.
        let _written = write!(self.0, "{number:.2}");
        self
    }

    /// Adds a document that was put together in the same way.
    pub(super) fn html(&mut self, html: Self) -> &mut Self {
        self.0.push_str(&html.0);
        self
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let mut html = Html::default();
        html.markup("<a title=\"").text("\"><script>alert('x')</script>&\u{202e}\u{1b}[2J").markup("\">");
        let expected =
            "<a title=\"&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;\\u{202e}\\u{1b}[2J\">";
        assert_eq!(html.into_text(), expected);
    }
}
