//! The number of transfers that an appliance serves at a time.

/// The most transfers at a time.
pub const TRANSFERS: usize = 4;
