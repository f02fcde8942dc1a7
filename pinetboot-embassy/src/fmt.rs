//! `debug!` to `error!`: to `defmt` on a board, to `log` on Linux, to both or to nothing.
//!
//! A format has only `{}` in it, which both understand. The values have `Display` for the one, and `defmt::Format`
//! for the other, so that no code for formatting is on the board.

macro_rules! define {
    ($dollar:tt $($name:ident)*) => {$(
        #[allow(unused_macros, reason = "the family is whole, whichever levels are in use")]
        macro_rules! $name {
            ($format:literal $dollar(, $arg:expr)* $dollar(,)?) => {{
                #[cfg(feature = "log")]
                ::log::$name!($format $dollar(, $arg)*);
                #[cfg(feature = "defmt")]
                ::defmt::$name!($format $dollar(, $arg)*);
                $dollar( let _ = &$arg; )*
            }};
        }
    )*};
}

define!($ debug info warn error);
