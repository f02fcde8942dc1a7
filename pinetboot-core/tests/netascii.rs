//! Mode netascii: what is encoded decodes to the same, wherever it is cut.

mod common;

use core::convert::Infallible;

use common::rng::Rng;
use pinetboot_core::tftp::netascii::{Decoded, Encoded};
use pinetboot_core::{File, Upload, block_on};
use proptest::collection::vec;
use proptest::prelude::*;

/// Line ends, and bytes between them; NUL, which stands after a CR on the wire, among them.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => Just(b'\n'),
        3 => Just(b'\r'),
        1 => Just(0),
        4 => any::<u8>(),
    ];
    vec(byte, 0..600)
}

/// RFC 764, by the book.
fn encoded(text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for byte in text {
        match byte {
            b'\n' => wire.extend(b"\r\n"),
            b'\r' => wire.extend(b"\r\0"),
            other => wire.push(*other),
        }
    }
    wire
}

fn read(file: &mut Encoded<&[u8]>, offset: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; len];
    block_on(file.read_exact_at(offset as u64, &mut bytes)).expect("bytes in memory");
    bytes
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    finished: bool,
}

impl Upload for Kept {
    type Error = Infallible;

    fn expect(&mut self, _: u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        assert!(!self.finished);
        self.bytes.extend(bytes);
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Infallible> {
        self.finished = true;
        Ok(())
    }
}

/// Decodes the pieces of a file as they come.
fn decoded<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut kept = Kept::default();
    let mut upload = Decoded::new(&mut kept);
    for piece in pieces {
        block_on(upload.write(piece)).unwrap();
    }
    block_on(upload.finish()).unwrap();
    assert!(kept.finished);
    kept.bytes
}

#[test]
fn the_pairs_of_the_rfc() {
    for (text, wire) in [
        (&b""[..], &b""[..]),
        (b"line\n", b"line\r\n"),
        (b"\n\n", b"\r\n\r\n"),
        (b"a\rb", b"a\r\0b"),
        (b"dos\r\n", b"dos\r\0\r\n"),
        (b"\0", b"\0"),
        (b"\xff\xfe", b"\xff\xfe"),
    ] {
        let mut file = block_on(Encoded::new(text)).unwrap();
        assert_eq!(file.len(), wire.len() as u64);
        assert_eq!(read(&mut file, 0, wire.len()), wire);
        assert_eq!(decoded([wire].into_iter()), text);
    }
}

#[test]
fn a_cr_that_stands_alone_is_kept() {
    for (wire, text) in [(&b"a\rb"[..], &b"a\rb"[..]), (b"\r\r\n", b"\r\n"), (b"end\r", b"end\r")] {
        assert_eq!(decoded([wire].into_iter()), text);
        assert_eq!(decoded(wire.chunks(1)), text);
    }
}

/// A file whose line ends go away after it was opened: against the contract, but no reason to hang.
#[test]
fn a_file_that_changes_does_not_hang() {
    struct Changing(u32);

    impl File for Changing {
        type Error = Infallible;

        fn len(&self) -> u64 {
            100
        }

        async fn read_exact_at(&mut self, _: u64, buf: &mut [u8]) -> Result<(), Infallible> {
            self.0 += 1;
            buf.fill(if self.0 == 1 { b'\n' } else { b'x' });
            Ok(())
        }
    }

    let mut file = block_on(Encoded::new(Changing(0))).unwrap();
    assert_eq!(file.len(), 200);
    let mut bytes = [0xaa; 200];
    block_on(file.read_exact_at(0, &mut bytes)).unwrap();
    assert_eq!(bytes[..100], [b'x'; 100]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn blocks_of_any_size_are_what_one_read_is(text in any_text(), block in 1usize..700) {
        let wire = encoded(&text);
        let mut file = block_on(Encoded::new(text.as_slice())).unwrap();
        prop_assert_eq!(file.len(), wire.len() as u64);
        for (number, expected) in wire.chunks(block).enumerate() {
            let bytes = read(&mut file, number * block, expected.len());
            prop_assert_eq!(bytes, expected, "block {}", number);
        }
    }

    /// As a window that goes back reads them, and worse.
    #[test]
    fn reads_in_any_order_are_what_one_read_is(text in any_text(), seed in any::<u64>()) {
        let wire = encoded(&text);
        let mut file = block_on(Encoded::new(text.as_slice())).unwrap();
        let mut rng = Rng::new(seed);
        let mut offset = 0;
        for _ in 0..25 {
            // On, once more, or anywhere.
            let (from, end) = match rng.within(0..4) {
                0 => (rng.within(0..wire.len() as u64 + 1) as usize, wire.len()),
                1 => (offset, (offset + 1).min(wire.len())),
                _ => (offset, wire.len()),
            };
            let len = rng.within(0..(end - from) as u64 + 1).min(300) as usize;
            prop_assert_eq!(read(&mut file, from, len), &wire[from..from + len], "{} from {}", len, from);
            offset = if rng.chance(250) { from } else { from + len };
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_however_it_is_cut(text in any_text(), seed in any::<u64>()) {
        let wire = encoded(&text);
        let mut rng = Rng::new(seed);
        let mut rest = wire.as_slice();
        let pieces = core::iter::from_fn(|| {
            let (piece, after) = rest.split_at(rng.within(0..40).min(rest.len() as u64) as usize);
            (!rest.is_empty()).then(|| { rest = after; piece })
        });
        prop_assert_eq!(decoded(pieces), text);
    }

    #[test]
    fn what_is_no_netascii_is_not_lost(bytes in any_text()) {
        let text = decoded(bytes.chunks(7));
        prop_assert_eq!(decoded(core::iter::once(bytes.as_slice())), text.clone());
        prop_assert!(text.len() <= bytes.len());
        prop_assert_eq!(decoded(core::iter::once(encoded(&text).as_slice())), text);
    }
}
