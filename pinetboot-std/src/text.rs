//! Text for a terminal.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};

/// A name that another machine chose, as `ls -b` shows names: control characters of ASCII and of ISO 6429's C1 set, line
/// separators and marks that change the direction of text are escaped, and so are bytes that are not UTF-8. A terminal takes the
/// rest for text and nothing else.
pub(crate) fn shown(name: &(impl AsRef<OsStr> + ?Sized)) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for chunk in name.as_ref().as_encoded_bytes().utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '\\' => f.write_str("\\\\")?,
                    char if char.is_control() || is_mark(char) => write!(f, "{}", char.escape_default())?,
                    char => f.write_char(char)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    })
}

/// Whether a text has no character that [`escaped`] changes.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(|char| char.is_control() || is_mark(char))
}

/// The same characters as in [`shown`] escaped, in a text that may be shown again: no backslash is added to a backslash.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            char if char.is_control() || is_mark(char) => escaped.extend(char.escape_default()),
            char => escaped.push(char),
        }
    }
    escaped
}

/// Whether a character ends a line, or changes the direction of the text around (Unicode Standard Annex 9).
const fn is_mark(char: char) -> bool {
    matches!(char, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Breaks a text into lines of at most `width` columns; every line but the first begins with `indent`.
///
/// A longer word gets a line for itself. Line ends in the text stay.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut wrapped = String::new();
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            wrapped.push('\n');
            wrapped.push_str(indent);
        }
        let mut column = if index > 0 { indent.len() } else { 0 };
        for (index, word) in line.split(' ').enumerate() {
            let len = word.chars().count();
            if index > 0 && column + 1 + len > width {
                wrapped.push('\n');
                wrapped.push_str(indent);
                column = indent.len();
            } else if index > 0 {
                wrapped.push(' ');
                column += 1;
            }
            wrapped.push_str(word);
            column += len;
        }
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_name_cannot_act_on_a_terminal() {
        let text = |bytes: &[u8]| shown(OsStr::from_bytes(bytes)).to_string();
        assert_eq!(text(b"etc/hosts"), "etc/hosts");
        assert_eq!(text("Küche 日本".as_bytes()), "Küche 日本");
        assert_eq!(text(b"\x1b]0;owned\x07"), "\\u{1b}]0;owned\\u{7}");
        assert_eq!(text(b"a\r\nUnchanged: everything"), "a\\r\\nUnchanged: everything");
        assert_eq!(
            text("\u{9b}2J \u{202e}gpj.exe \u{2028}".as_bytes()),
            "\\u{9b}2J \\u{202e}gpj.exe \\u{2028}"
        );
        assert_eq!(text(b"\xff\\x"), "\\xff\\\\x");
    }

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrap("one two three four", 8, "  "), "one two\n  three\n  four");
        assert_eq!(wrap("  one two", 8, "  "), "  one\n  two");
        assert_eq!(wrap("one\ntwo a-very-long-word", 9, ""), "one\ntwo\na-very-long-word");
    }
}
