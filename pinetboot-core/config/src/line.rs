//! The accepted subset of TOML, line by line.

/// A line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Empty, or a comment.
    Nothing,
    /// `[name]`
    Section(&'a str),
    /// `name = "value"`
    Setting { name: &'a str, value: &'a str },
}

impl<'a> Line<'a> {
    /// Parses a line; `None` if it is outside the subset.
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        // > Any control characters other than tab (U+0000 to U+0008, U+000A to U+001F, U+007F) are not permitted.
        if line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return None;
        }
        let line = line.trim_ascii();
        if is_end(line) {
            return Some(Self::Nothing);
        }
        if let Some(section) = line.strip_prefix('[') {
            let (name, rest) = section.split_once(']')?;
            return (name.split('.').all(is_key) && is_end(rest)).then_some(Self::Section(name));
        }
        let (name, rest) = line.split_once('=')?;
        let (name, quoted) = (name.trim_ascii(), rest.trim_ascii());
        let quote = *quoted.as_bytes().first().filter(|byte| matches!(byte, b'"' | b'\''))?;
        let (value, rest) = quoted.get(1..)?.split_once(char::from(quote))?;
        let is_plain = quote == b'\'' || !value.contains('\\');
        (is_key(name) && is_plain && is_end(rest)).then_some(Self::Setting { name, value })
    }
}

/// Whether `text` is a bare key of TOML.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn is_end(rest: &str) -> bool {
    let rest = rest.trim_ascii();
    rest.is_empty() || rest.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_people_write_them() {
        let setting = |value| Some(Line::Setting { name: "dhcp", value });
        for (line, parsed) in [
            ("", Some(Line::Nothing)),
            (" \t# dhcp = \"off\"", Some(Line::Nothing)),
            ("dhcp=\"off\"", setting("off")),
            ("\tdhcp  =  'off' # nothing", setting("off")),
            ("dhcp = \"#1\"", setting("#1")),
            ("dhcp = 'a\\b'", setting("a\\b")),
            ("[pi.bd989ae1]", Some(Line::Section("pi.bd989ae1"))),
            ("[a] # one", Some(Line::Section("a"))),
        ] {
            assert_eq!(Line::parse(line), parsed, "{line}");
        }
    }

    #[test]
    fn what_is_no_toml_or_too_much_of_it_is_refused() {
        for line in [
            "dhcp",
            "dhcp =",
            "dhcp = off",
            "dhcp = 1",
            "dhcp = \"off",
            "dhcp = \"off' ",
            "dhcp = \"off\" proxy",
            "dhcp = \"\"\"off\"\"\"",
            "dhcp = \"o\\u0066f\"",
            "dhcp = [\"off\"]",
            "\"dhcp\" = \"off\"",
            "a.b = \"c\"",
            "= \"off\"",
            "[pi",
            "[pi]]",
            "[[pi]]",
            "[]",
            "[pi.]",
            "[pi . x]",
            "# \u{7}",
        ] {
            assert_eq!(Line::parse(line), None, "{line}");
        }
    }
}
