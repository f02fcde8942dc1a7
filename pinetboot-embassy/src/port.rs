//! The name of a socket, on every network of an appliance.

/// One of a network's sockets: those that listen come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(u8);

impl Port {
    pub(crate) const FIRST: Self = Self(0);

    pub(crate) const fn new(index: usize) -> Self {
        Self(index as u8)
    }

    /// The index of its listening port, or one past all of them.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
