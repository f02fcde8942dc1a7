//! What other firmware takes from `pinetboot-core`, without the appliance: three examples to copy from.
//!
//! | module | example |
//! |---|---|
//! | [`tftp_server`] | a TFTP server on one socket of an embassy-net stack |
//! | [`ota`] | a firmware image fetched by TFTP into NOR flash, and refused unless whole |
//! | [`dhcp`] | a DHCP server, and the upkeep of a lease, within the loop of other firmware |
//!
//! None of them allocates. CI builds them for a Cortex-M0+ and tests the last two on the host.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod dhcp;
pub mod ota;
pub mod tftp_server;
