//! Packets as text: `RRQ config.txt octet tsize=0`, `DATA 1 @0 +512`, `ACK 1`, `ERROR 1 file not found`, `OACK tsize=512`.
//!
//! Both directions are written out here by hand: the crate's own parser is what is tested.

use core::ops::Range;

use pinetboot_core::tftp::Options;

/// The byte at `offset` of every file in these tests: numbers of two bytes that count up, so that a few bytes tell
/// where they are from.
pub(crate) fn byte_at(offset: u64) -> u8 {
    let [high, low] = ((offset / 2) as u16).to_be_bytes();
    if offset.is_multiple_of(2) { high } else { low }
}

pub(crate) fn content(range: Range<u64>) -> Vec<u8> {
    range.map(byte_at).collect()
}

/// `"tsize=0 blksize=1468"` as options.
pub(crate) fn options(text: &str) -> Options {
    let mut options = Options::default();
    for (name, value) in pairs(text.split_whitespace()) {
        match name {
            "tsize" => options.transfer_size = Some(value.parse().expect("a tsize")),
            "blksize" => options.block_size = Some(value.parse().expect("a blksize")),
            "timeout" => options.timeout_secs = Some(value.parse().expect("a timeout")),
            "windowsize" => options.window_size = Some(value.parse().expect("a windowsize")),
            other => panic!("no such option: {other}"),
        }
    }
    options
}

/// The bytes of a packet.
pub(crate) fn bytes(packet: &str) -> Vec<u8> {
    let mut words = packet.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let mut out = Vec::new();
    match kind {
        "RRQ" | "WRQ" => {
            out.extend([0, if kind == "RRQ" { 1 } else { 2 }]);
            text(&mut out, words.next().expect("a file name"));
            text(&mut out, words.next().expect("a mode"));
            pairs(words).for_each(|(name, value)| option(&mut out, name, value));
        }
        "DATA" => {
            out.extend([0, 3]);
            out.extend(number(words.next()));
            let mut offset = 0;
            for word in words {
                match word.split_at(1) {
                    ("@", at) => offset = at.parse().expect("an offset"),
                    ("+", len) => out.extend(content(offset..offset + len.parse::<u64>().expect("a length"))),
                    ("\"", text) => out.extend(unescape(text.trim_end_matches('"'))),
                    _ => panic!("what is {word}?"),
                }
            }
        }
        "ACK" => {
            out.extend([0, 4]);
            out.extend(number(words.next()));
        }
        "ERROR" => {
            out.extend([0, 5]);
            out.extend(number(words.next()));
            text(&mut out, &words.collect::<Vec<_>>().join(" "));
        }
        "OACK" => {
            out.extend([0, 6]);
            pairs(words).for_each(|(name, value)| option(&mut out, name, value));
        }
        "HEX" => {
            out.extend(words.map(|word| u8::from_str_radix(word, 16).expect("a byte in hexadecimal")));
        }
        other => panic!("no such packet: {other}"),
    }
    out
}

/// The text of a packet; `HEX ..` if it is none.
pub(crate) fn show(packet: &[u8]) -> String {
    decoded(packet).unwrap_or_else(|| {
        let digits: Vec<String> = packet.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("HEX {}", digits.join(" "))
    })
}

/// What stands in a DATA packet, or is kept of one: `@offset +len`, or other bytes in quotes.
pub(crate) fn show_content(payload: &[u8]) -> String {
    match (payload.len(), origin(payload)) {
        (0..3, _) => format!("+{}", payload.len()),
        (len, Some(offset)) => format!("@{offset} +{len}"),
        (0..64, None) => format!("\"{}\"", payload.escape_ascii()),
        (len, None) => format!("+{len} of other bytes"),
    }
}

fn decoded(packet: &[u8]) -> Option<String> {
    let (opcode, body) = packet.split_first_chunk::<2>()?;
    let number = |body: &[u8]| body.first_chunk().map(|two| u16::from_be_bytes(*two));
    Some(match opcode {
        [0, kind @ (1 | 2)] => {
            let mut texts = texts(body)?.into_iter();
            let (name, mode) = (texts.next()?, texts.next()?);
            let kind = if *kind == 1 { "RRQ" } else { "WRQ" };
            format!("{kind} {name} {mode}{}", show_options(texts)?)
        }
        [0, 3] => format!("DATA {} {}", number(body)?, show_content(body.get(2..)?)),
        [0, 4] if body.len() == 2 => format!("ACK {}", number(body)?),
        [0, 5] => {
            let [message] = texts(body.get(2..)?)?.try_into().ok()?;
            format!("ERROR {} {message}", number(body)?)
        }
        [0, 6] => format!("OACK{}", show_options(texts(body)?.into_iter())?),
        _ => return None,
    })
}

/// Where in a file these bytes stand.
fn origin(payload: &[u8]) -> Option<u64> {
    let number = |at: usize| payload.get(at..at + 2).map(|two| u64::from(two[0]) << 8 | u64::from(two[1]));
    let even = number(0).map(|number| number * 2);
    let odd = number(1).and_then(|number| (number * 2).checked_sub(1));
    [even, odd].into_iter().flatten().find(|at| content(*at..*at + payload.len() as u64) == payload)
}

/// Undoes `escape_ascii`, as far as it is needed.
fn unescape(text: &str) -> Vec<u8> {
    text.replace("\\r", "\r").replace("\\n", "\n").replace("\\x00", "\0").into_bytes()
}

fn pairs<'t>(words: impl Iterator<Item = &'t str>) -> impl Iterator<Item = (&'t str, &'t str)> {
    words.map(|word| word.split_once('=').expect("name=value"))
}

fn option(out: &mut Vec<u8>, name: &str, value: &str) {
    text(out, name);
    text(out, value);
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}

fn number(word: Option<&str>) -> [u8; 2] {
    word.expect("a number").parse::<u16>().expect("a number of 16 bits").to_be_bytes()
}

/// Texts, each with a NUL after it; nothing may stand after the last.
fn texts(body: &[u8]) -> Option<Vec<String>> {
    let Some(body) = body.strip_suffix(&[0]) else { return body.is_empty().then(Vec::new) };
    body.split(|byte| *byte == 0).map(|text| String::from_utf8(text.to_vec()).ok()).collect()
}

fn show_options(mut texts: impl Iterator<Item = String>) -> Option<String> {
    let mut shown = String::new();
    while let Some(name) = texts.next() {
        shown += &format!(" {name}={}", texts.next()?);
    }
    Some(shown)
}
