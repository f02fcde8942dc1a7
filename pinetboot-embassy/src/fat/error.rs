//! What is wrong with a card.

use core::fmt;

/// Each variant with its text, which defmt keeps out of flash.
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)+) => {
        /// The reason why a card or file cannot be read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Error {
            $($(#[$doc])* $name,)+
        }

        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)+
                })
            }
        }

        #[cfg(feature = "defmt")]
        impl defmt::Format for Error {
            fn format(&self, f: defmt::Formatter<'_>) {
                match self {
                    $(Self::$name => defmt::write!(f, $text),)+
                }
            }
        }
    };
}

errors! {
    /// Nothing answers: there is no card.
    Absent => "there is none",
    /// The card answers with errors, or no longer.
    Device => "the card answers with errors, or no longer",
    /// The card has no volume that is read here.
    NoVolume => "no FAT16, FAT32 or exFAT file system on the card",
    /// The file system contradicts itself.
    Damaged => "the file system is damaged",
    /// The file has 4 GiB or more.
    TooLarge => "the file has 4 GiB or more",
    /// The file or the card changed since the file was opened.
    Changed => "the file was changed meanwhile, or the card",
}
