//! The network trait on a polled smoltcp interface.
