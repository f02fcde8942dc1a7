//! What survives a reset, in RAM that nothing clears: the last verdict, the text of a panic, and an order for the next run.
//!
//! The board owns the RAM; after a power-on it holds any bytes, which the checksum tells apart.

use core::fmt::{self, Write};

use heapless::String;

use crate::config::checksum;

/// The memory that outlives a reset.
pub type KeptBytes = [u8; LEN];

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The number of the rule by which a Pi did not boot.
    pub rule: Option<u8>,
    /// The next run ignores the configuration.
    pub ignores_config: bool,
    /// The text of a panic, or its beginning; empty without a panic.
    pub panic: String<PANIC>,
}

impl Kept {
    /// What a reset left; `None` after a power-on.
    pub fn parse(bytes: &KeptBytes) -> Option<Self> {
        let (fields, sum) = bytes.split_last_chunk::<4>()?;
        let (magic, fields) = fields.split_first_chunk::<4>()?;
        if magic != MAGIC || checksum(fields) != u32::from_le_bytes(*sum) {
            return None;
        }
        let ([rule, ignores_config, len], text) = fields.split_first_chunk::<3>()?;
        let text = core::str::from_utf8(text.get(..usize::from(*len))?).ok()?;
        let rule = Some(*rule).filter(|rule| *rule > 0);
        Some(Self { rule, ignores_config: *ignores_config != 0, panic: String::try_from(text).ok()? })
    }

    /// The bytes to keep.
    pub fn emit(&self) -> KeptBytes {
        let mut bytes = [0; LEN];
        let (fields, sum) = bytes.split_at_mut(LEN - 4);
        let text = self.panic.as_bytes();
        let head = [self.rule.unwrap_or(0), self.ignores_config.into(), text.len() as u8];
        let all = MAGIC.iter().chain(&head).chain(text);
        fields.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        sum.copy_from_slice(&checksum(fields.split_at(4).1).to_le_bytes());
        bytes
    }

    /// The same with this panic.
    #[must_use]
    pub fn with_panic(mut self, panic: impl fmt::Display) -> Self {
        self.panic.clear();
        let _cut = write!(Cut(&mut self.panic), "{panic}");
        self
    }
}

/// Takes as much of a text as fits, in one line.
struct Cut<'a>(&'a mut String<PANIC>);

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            let char = if char.is_control() { ' ' } else { char };
            self.0.push(char).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

const MAGIC: &[u8; 4] = b"kept";

/// The longest text of a panic in bytes.
const PANIC: usize = 110;

const LEN: usize = 4 + 3 + PANIC + 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_no_other_bytes_are() {
        let kept = Kept { rule: Some(20), ignores_config: true, ..Kept::default() }
            .with_panic("panicked at src/main.rs:1:2:\nno");
        assert_eq!(kept.panic, "panicked at src/main.rs:1:2: no");
        let bytes = kept.emit();
        assert_eq!(Kept::parse(&bytes), Some(kept));
        for bit in 0..LEN * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Kept::parse(&bytes), None, "bit {bit}");
        }
        for power_on in [[0; LEN], [0xff; LEN], [0x55; LEN]] {
            assert_eq!(Kept::parse(&power_on), None);
        }
        assert_eq!(Kept::parse(&Kept::default().emit()), Some(Kept::default()));
    }

    #[test]
    fn a_long_panic_is_cut_at_a_character() {
        let kept = Kept::default().with_panic(std::format!("x{}", "é".repeat(PANIC)));
        assert_eq!(kept.panic.len(), PANIC - 1);
        assert_eq!(Kept::parse(&kept.emit()), Some(kept));
    }
}
