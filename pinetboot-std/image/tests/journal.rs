//! Journals of real journald (252, of Debian 12), in both layouts, read as journalctl reads them; damaged ones; and values in XZ and LZ4,
//! which journald of today no longer writes.
//!
//! Beside each journal is what `journalctl --file FILE --output json --all` of the same version printed.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use liblzma::stream::{Check, Stream};
use pinetboot_image::Container;
use pinetboot_image::journal::{Journal, JournalError};
use serde_json::Value;

const FIELDS: &[&str] = &["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "_PID", "UNIT"];

fn unpacked(name: &str) -> Vec<u8> {
    let path = Path::new("tests/journal").join(format!("{name}.journal.xz"));
    let mut bytes = Vec::new();
    let file = Cursor::new(fs::read(path).unwrap());
    Container::Xz.unpack(file, &mut |piece| bytes.write_all(piece)).unwrap();
    bytes
}

/// Times, boot and fields.
type Entry = (String, String, String, Vec<Option<Vec<u8>>>);

/// Entries as text, the oldest first: times, boot and fields.
fn entries(bytes: &[u8]) -> Vec<Entry> {
    let journal = Journal::open(bytes, bytes.len() as u64, FIELDS).unwrap();
    let mut entries: Vec<_> = journal
        .entries()
        .map(|entry| {
            let entry = entry.unwrap();
            let boot = entry.boot.iter().map(|byte| format!("{byte:02x}")).collect();
            let fields = journal.fields(&entry).unwrap();
            let fields = fields.into_iter().map(|field| field.map(|value| value.to_vec())).collect();
            (entry.realtime.to_string(), entry.monotonic.to_string(), boot, fields)
        })
        .collect();
    entries.reverse();
    entries
}

/// What journalctl printed: text, or numbers for bytes that are no text.
fn expected(name: &str) -> Vec<Entry> {
    let text = fs::read_to_string(Path::new("tests/journal").join(format!("{name}.json"))).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            let bytes = |value: &Value| match value {
                Value::Null => None,
                Value::String(text) => Some(text.clone().into_bytes()),
                Value::Array(bytes) => {
                    Some(bytes.iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect())
                }
                other => panic!("{other}"),
            };
            let fields = FIELDS.iter().map(|name| bytes(&line[*name])).collect();
            (text("__REALTIME_TIMESTAMP"), text("__MONOTONIC_TIMESTAMP"), text("_BOOT_ID"), fields)
        })
        .collect()
}

#[test]
fn journals_of_journald_are_read_as_journalctl_reads_them() {
    for name in ["regular", "compact"] {
        let (found, expected) = (entries(&unpacked(name)), expected(name));
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{name}");
        }
        let boots: std::collections::BTreeSet<_> = found.iter().map(|(.., boot, _)| boot).collect();
        assert_eq!(boots.len(), 2, "{name}");
        let has = |wanted: &[u8]| {
            found.iter().any(|(.., fields)| fields[0].as_deref().is_some_and(|message| message == wanted))
        };
        assert!(has(b"two\nlines") && has(b"\x1b[2Jescape \xff"), "{name}");
        assert!(has([&[b'x'; 3000][..], b"end"].concat().as_slice()), "{name}: a value in zstd");
    }
}

#[test]
fn damage_costs_the_entries_that_are_damaged() {
    let whole = unpacked("compact");
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize
    };
    let read = |bytes: &[u8]| {
        let journal = Journal::open(bytes, bytes.len() as u64, FIELDS)?;
        let sound = journal.entries().flatten().filter(|entry| journal.fields(entry).is_ok()).count();
        assert!(sound <= bytes.len() / 64);
        Ok::<_, JournalError>(sound)
    };
    assert_eq!(read(&whole).unwrap(), expected("compact").len());
    let mut best = 0;
    for _ in 0..300 {
        let mut bytes = whole[..used + 64].to_vec();
        for _ in 0..=next() % 20 {
            let at = if next() % 4 == 0 { next() % 272 } else { next() % bytes.len() };
            bytes[at] = next() as u8;
        }
        bytes.truncate(if next() % 4 == 0 { next() % bytes.len() } else { bytes.len() });
        best = best.max(read(&bytes).unwrap_or(0));
    }
    assert!(best > 20, "{best}");
    // A power cut may leave an old header: the number of entries is not believed.
    let mut bytes = whole;
    bytes[152..160].fill(0);
    assert_eq!(read(&bytes).unwrap(), expected("compact").len());
}

#[test]
fn other_files_are_refused_with_the_reason() {
    let why = |bytes: &[u8]| Journal::open(bytes, bytes.len() as u64, FIELDS).unwrap_err().to_string();
    assert_eq!(why(b"LPKSHHRH"), "the file is shorter than a journal's header");
    assert_eq!(why(&[b'x'; 300]), "the file is no journal");
    let mut bytes = unpacked("compact");
    bytes[12] |= 0x20;
    assert_eq!(why(&bytes), "the journal has features that this program does not read: 0x20");
}

/// A journal of one entry, whose one value is stored with these flags.
fn with_value(flags: u8, stored: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 272];
    bytes[..8].copy_from_slice(b"LPKSHHRH");
    let put = |bytes: &mut Vec<u8>, kind: u8, flags: u8, content: &[u8]| {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let at = bytes.len() as u64;
        bytes.extend([kind, flags, 0, 0, 0, 0, 0, 0]);
        bytes.extend((content.len() as u64 + 16).to_le_bytes());
        bytes.extend(content);
        at
    };
    let data = put(&mut bytes, 1, flags, &[&[0; 48], stored].concat());
    let entry = put(&mut bytes, 3, 0, &[&[0; 48][..], &data.to_le_bytes(), &[0; 8]].concat());
    let array = put(&mut bytes, 6, 0, &[[0; 8], entry.to_le_bytes(), [0; 8]].concat());
    bytes[176..184].copy_from_slice(&array.to_le_bytes());
    bytes
}

#[test]
fn values_in_all_compressions_are_read() {
    let plain = format!("MESSAGE={}", "Failed to start. ".repeat(60));
    let value = plain.strip_prefix("MESSAGE=").unwrap().as_bytes();
    let read = |flags, stored: &[u8]| entries(&with_value(flags, stored)).remove(0).3.remove(0);
    assert_eq!(read(0, plain.as_bytes()).as_deref(), Some(value));
    // systemd, compress_blob_xz: a whole stream without a check.
    let stream = Stream::new_easy_encoder(6, Check::None).unwrap();
    let mut xz = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    xz.write_all(plain.as_bytes()).unwrap();
    let xz = xz.finish().unwrap();
    assert_eq!(read(1, &xz).as_deref(), Some(value));
    // systemd, compress_blob_lz4: the length in 8 bytes, and a block. Written by hand from the format: literals, then one match.
    let mut lz4 = (plain.len() as u64).to_le_bytes().to_vec();
    let literals = &plain.as_bytes()[..25]; // MESSAGE= and the first sentence
    lz4.extend([0xff, 10]);
    lz4.extend(literals);
    let more = plain.len() - 25 - 5 - 4 - 15; // the last five bytes are literals
    lz4.extend([17, 0]);
    lz4.extend(std::iter::repeat_n(255, more / 255));
    lz4.push((more % 255) as u8);
    lz4.push(0x50);
    lz4.extend(&plain.as_bytes()[plain.len() - 5..]);
    assert_eq!(read(2, &lz4).as_deref(), Some(value));
    // A claim of more than the block can yield costs no memory.
    lz4[..8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    assert_eq!(read(2, &lz4), None);
    assert_eq!(read(3, &xz), None, "two compressions at once");
    assert_eq!(read(4, &xz), None);
}
