//! The transfers that an appliance serves at a time, and the sockets that they take.

/// The most transfers at a time.
pub const TRANSFERS: usize = 4;

/// Sockets of the stack that [`run`](crate::run) takes: one that listens and one for each transfer, and two for DHCP.
pub const SOCKETS: usize = TRANSFERS + 3;
