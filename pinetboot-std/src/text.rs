//! Text for a terminal: what another machine chose reaches it through [`shown`], [`lines`] or [`line`].

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
                    char => put(f, char)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    })
}

/// Text with parts that other machines chose: as [`shown`], but line ends stay, and backslashes, which parts that were escaped before
/// have.
pub(crate) fn lines(text: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        text.chars().try_for_each(|char| if char == '\n' { f.write_char(char) } else { put(f, char) })
    })
}

/// A line with parts that other machines chose: as [`lines`], and line ends are escaped.
pub(crate) fn line(text: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| text.chars().try_for_each(|char| put(f, char)))
}

/// Whether a text has no character that [`line`] changes.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(|char| char.is_control() || is_mark(char))
}

/// A text without the secrets of boots: of a name as `bd989ae1-6749b0c2f3a09d51e744` ([`Tokens`](crate::roots)) the part behind the Pi is
/// left out.
pub(crate) fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('-') {
        shown.push_str(before);
        shown.push('-');
        let digits = after.bytes().take_while(u8::is_ascii_hexdigit).count();
        let ends = !after.as_bytes().get(digits).is_some_and(u8::is_ascii_alphanumeric);
        rest = match after.get(digits..) {
            Some(further) if digits == SECRET && ends => {
                shown.push_str("..");
                further
            }
            _ => after,
        };
    }
    shown.push_str(rest);
    shown
}

/// Writes a character, escaped if a terminal could act on it.
fn put(f: &mut fmt::Formatter<'_>, char: char) -> fmt::Result {
    if char.is_control() || is_mark(char) {
        write!(f, "{}", char.escape_default())
    } else {
        f.write_char(char)
    }
}

/// Whether a character ends a line, or changes the direction of the text around (Unicode Standard Annex 9).
const fn is_mark(char: char) -> bool {
    matches!(char, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A time in milliseconds: `3.2 s`, `45 s`, `5 min`, `2 h`, `3 d`.
#[cfg(feature = "web")]
pub(crate) fn duration(millis: u64) -> String {
    match millis / 1000 {
        0..=9 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Breaks a text into lines of at most `width` columns; every line but the first begins with `indent`. The text is escaped as by
/// [`lines`].
///
/// A longer word gets a line for itself. Line ends in the text stay.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> String {
    let (text, mut wrapped) = (lines(text).to_string(), String::new());
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

/// Digits of the secret in the name of a root or a disk.
const SECRET: usize = 20;

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
    fn text_with_foreign_parts_cannot_act_on_a_terminal() {
        let text = "Warning: \x1b[2J\u{9b}1m\u{202e}k.img\r\\x1b\nTo do: Küche";
        let safe = "Warning: \\u{1b}[2J\\u{9b}1m\\u{202e}k.img\\r\\x1b\nTo do: Küche";
        assert_eq!(lines(text).to_string(), safe);
        assert_eq!(wrap(text, 100, ""), safe);
        assert_eq!(line(text).to_string(), safe.replace('\n', "\\n"));
    }

    #[test]
    fn a_secret_of_a_boot_is_left_out_and_other_names_stay() {
        for (text, shown) in [
            ("/bd989ae1-6749b0c2f3a09d51e744", "/bd989ae1-.."),
            (
                "nfsroot=10.0.0.1:/dc-a6-32-01-36-c2-6749b0c2f3a09d51e744,vers=3",
                "nfsroot=10.0.0.1:/dc-a6-32-01-36-c2-..,vers=3",
            ),
            (
                "nbd://10.0.0.1:10809/bd989ae1-6749b0c2f3a09d51e744 ip=dhcp",
                "nbd://10.0.0.1:10809/bd989ae1-.. ip=dhcp",
            ),
            ("/bd989ae1-6749b0c2f3a09d51e744/etc", "/bd989ae1-../etc"),
            ("/bd989ae1-6749b0c2f3a09d51e7441", "/bd989ae1-6749b0c2f3a09d51e7441"),
            ("root=PARTUUID=4a3c1b2d-02 --", "root=PARTUUID=4a3c1b2d-02 --"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrap("one two three four", 8, "  "), "one two\n  three\n  four");
        assert_eq!(wrap("  one two", 8, "  "), "  one\n  two");
        assert_eq!(wrap("one\ntwo a-very-long-word", 9, ""), "one\ntwo\na-very-long-word");
    }
}
