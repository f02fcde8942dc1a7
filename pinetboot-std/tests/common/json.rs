//! JSON, as far as a log line uses it: an object of texts and numbers. Strict, so that a malformed line shows.

use std::collections::BTreeMap;

/// The fields of an object; texts without their quotes.
#[track_caller]
pub(crate) fn fields(line: &str) -> BTreeMap<String, String> {
    let mut left = line.strip_prefix('{').unwrap_or_else(|| panic!("no object: {line}"));
    let mut fields = BTreeMap::new();
    loop {
        let (name, rest) = string(left, line);
        let rest = rest.strip_prefix(':').unwrap_or_else(|| panic!("no value for {name}: {line}"));
        let (value, rest) = value(rest, line);
        assert!(fields.insert(name, value).is_none(), "a name twice: {line}");
        left = match rest.split_at_checked(1) {
            Some((",", rest)) => rest,
            Some(("}", "")) => return fields,
            _ => panic!("neither , nor the end at {rest:?}: {line}"),
        };
    }
}

fn value<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    if text.starts_with('"') {
        return string(text, line);
    }
    let end = text.find([',', '}']).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    let known = ["true", "false", "null"].contains(&value) || value.parse::<f64>().is_ok();
    assert!(known, "no value: {value:?} in {line}");
    (value.into(), rest)
}

fn string<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let inner = text.strip_prefix('"').unwrap_or_else(|| panic!("no text at {text:?}: {line}"));
    let mut string = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (string, &inner[at + 1..]),
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some(plain @ ('"' | '\\' | '/')) => string.push(plain),
                Some('n') => string.push('\n'),
                Some('t') => string.push('\t'),
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).map(|(_, digit)| digit).collect();
                    string.push(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).unwrap());
                }
                other => panic!("no escape: {other:?} in {line}"),
            },
            control if control < ' ' => panic!("an unescaped control character: {line:?}"),
            plain => string.push(plain),
        }
    }
    panic!("a text without end: {line}");
}
