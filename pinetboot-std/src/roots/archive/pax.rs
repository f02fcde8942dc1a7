//! Records of pax headers: `LENGTH KEY=VALUE\n` (POSIX.1-2017, pax, "pax Extended Header").
//!
//! The crate `tar` splits records at line ends, which values of extended attributes may hold.

use std::io;

/// A key and its value.
pub(super) type Record<'a> = (String, &'a [u8]);

/// Appends a record.
pub(super) fn put(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend(len.to_string().into_bytes());
    records.push(b' ');
    records.extend(key);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

/// All records, in their order.
///
/// # Errors
///
/// If a record is malformed.
pub(super) fn parse(mut records: &[u8]) -> io::Result<Vec<Record<'_>>> {
    let mut parsed = Vec::new();
    while !records.is_empty() {
        let (record, rest) = first(records).ok_or(io::ErrorKind::InvalidData)?;
        parsed.push(record);
        records = rest;
    }
    Ok(parsed)
}

fn first(records: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = records.iter().take(20).position(|byte| *byte == b' ')?;
    let len: usize = str::from_utf8(records.get(..space)?).ok()?.parse().ok()?;
    let record = records.get(space + 1..len)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let key = String::from_utf8(record.get(..equals)?.to_vec()).ok()?;
    Some(((key, record.get(equals + 1..)?), records.get(len..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let mut records = Vec::new();
        let values: Vec<Vec<u8>> =
            [0, 1, 5, 6, 7, 90, 91, 92, 93, 990, 991].iter().map(|len| vec![b'\n'; *len]).collect();
        for value in &values {
            put(&mut records, b"a=", value);
        }
        let parsed = parse(&records).unwrap();
        assert_eq!(parsed.len(), values.len());
        for ((key, value), before) in parsed.iter().zip(&values) {
            assert_eq!((key.as_str(), *value), ("a", [b"=".as_slice(), before].concat().as_slice()));
        }
        let posix = b"30 mtime=1321711775.972059463\n";
        assert_eq!(parse(posix).unwrap(), [("mtime".to_owned(), b"1321711775.972059463".as_slice())]);
        for wrong in [
            b"9 a=b\n".as_slice(),
            b"6 a=b",
            b"x a=b\n",
            b"0 a=b\n",
            b"1 a=b\n",
            b"99999999999999999999 a=b\n",
            b"6  ab \n",
        ] {
            assert!(parse(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }
}
