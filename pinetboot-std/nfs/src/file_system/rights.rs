//! The rights of a caller to a file: RFC 1813, section 3.3.4 (ACCESS).

use core::ops::{BitAnd, BitOr, BitOrAssign};

/// A set of rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u32);

impl Rights {
    /// No right.
    pub const NONE: Self = Self(0);
    /// To read a file, or list a directory.
    pub const READ: Self = Self(0x01);
    /// To look up a name in a directory.
    pub const LOOKUP: Self = Self(0x02);
    /// To rewrite a file's content, or a directory's entries.
    pub const MODIFY: Self = Self(0x04);
    /// To write beyond a file's end, or add entries to a directory.
    pub const EXTEND: Self = Self(0x08);
    /// To delete an entry of a directory.
    pub const DELETE: Self = Self(0x10);
    /// To execute a file.
    pub const EXECUTE: Self = Self(0x20);
    /// All rights.
    pub const ALL: Self = Self(0x3f);

    /// The rights of these protocol bits; unknown bits are ignored.
    pub(crate) fn of_bits(bits: u32) -> Self {
        Self(bits) & Self::ALL
    }

    /// The protocol bits.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// These rights without `others`.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

impl BitOrAssign for Rights {
    fn bitor_assign(&mut self, others: Self) {
        *self = *self | others;
    }
}

impl BitAnd for Rights {
    type Output = Self;

    fn bitand(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }
}
