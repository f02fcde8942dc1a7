//! `trace!` to `error!`: to `log`, to `defmt`, to both or to neither.
//!
//! A format holds only `{}`, which both understand, and the arguments have `Display`.

macro_rules! define {
    ($dollar:tt $($name:ident)*) => {$(
        #[allow(unused_macros, reason = "the family is whole, whichever levels are in use")]
        macro_rules! $name {
            ($format:literal $dollar(, $arg:expr)* $dollar(,)?) => {{
                #[cfg(feature = "log")]
                ::log::$name!($format $dollar(, $arg)*);
                #[cfg(feature = "defmt")]
                ::defmt::$name!($format $dollar(, ::defmt::Display2Format(&$arg))*);
                $dollar( let _ = &$arg; )*
            }};
        }
    )*};
}

define!($ trace debug info warn error);
