//! Messages between the server's processes: lines of JSON.

use std::io::{self, BufRead, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::text;

/// Writes a message.
///
/// # Errors
///
/// The system's.
pub(crate) fn write_line(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Reads a message of at most `most` bytes; `None` at the end.
///
/// # Errors
///
/// The system's, and `InvalidData` for a message that is too long or not of this type.
pub(crate) fn read_line<T: DeserializeOwned>(from: &mut impl BufRead, most: u64) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let len = Read::take(from, most).read_until(b'\n', &mut line)?;
    if len == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// The same from a process that may be in the hands of an attacker: characters that a terminal would obey are escaped.
///
/// # Errors
///
/// The same.
pub(crate) fn read_escaped_line<T: DeserializeOwned>(
    from: &mut impl BufRead,
    most: u64,
) -> io::Result<Option<T>> {
    let Some(mut message) = read_line(from, most)? else { return Ok(None) };
    escape(&mut message);
    Ok(Some(serde_json::from_value(message)?))
}

fn escape(value: &mut Value) {
    match value {
        Value::String(text) if !text::is_plain(text) => {
            let escaped = text::line(text).to_string();
            *text = escaped;
        }
        Value::Array(values) => values.iter_mut().for_each(escape),
        Value::Object(values) => values.values_mut().for_each(escape),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_bound_and_no_control_characters() {
        let mut line = Vec::new();
        write_line(&mut line, &vec!["a\u{1b}[2J", "b\\c"]).unwrap();
        let read: Vec<String> = read_escaped_line(&mut &line[..], 64).unwrap().unwrap();
        assert_eq!(read, ["a\\u{1b}[2J", "b\\c"]);
        assert!(read_line::<Vec<String>>(&mut &line[..], 8).is_err());
        assert!(read_line::<u8>(&mut &line[..], 64).is_err());
        assert_eq!(read_line::<u8>(&mut &b""[..], 64).unwrap(), None);
    }
}
