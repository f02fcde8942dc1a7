//! The ends of log lines that name a rule without a verdict: such a boot goes on.

/// A rule, and the words before its number.
pub(crate) type Line = (u8, &'static str);

pub(crate) const FIXED_ADDRESS: Line = (11, "; no DHCP: a fixed address in the EEPROM");
pub(crate) const ONE_SERIAL: Line = (
    66,
    "two boards have the serial number bd989ae1: d8:3a:dd:e8:27:1e and d8:3a:dd:00:00:00. The second board is named",
);

#[allow(dead_code, reason = "for the page of all rules")]
pub(crate) const ALL: [Line; 2] = [FIXED_ADDRESS, ONE_SERIAL];
