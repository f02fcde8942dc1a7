//! Hardware addresses, which identify clients.

use core::fmt;

/// A hardware address as it stands in a message: a type, and 0 to 16 bytes (RFC 2131, `htype`, `hlen` and `chaddr`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct HardwareAddress {
    kind: u8,
    len: u8,
    /// Zeros after `len`.
    bytes: [u8; Self::MAX_LEN],
}

impl HardwareAddress {
    /// The most bytes that fit a message.
    pub const MAX_LEN: usize = 16;

    /// The type of Ethernet and of what behaves like it (RFC 1700, "Hardware Types").
    pub const ETHERNET: u8 = 1;

    /// The address of no client: [`LeaseServer`](super::LeaseServer) answers no message without an address.
    pub(super) const NONE: Self = Self { kind: 0, len: 0, bytes: [0; Self::MAX_LEN] };

    /// An Ethernet address.
    pub const fn ethernet(mac: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = mac;
        Self { kind: Self::ETHERNET, len: 6, bytes: [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] }
    }

    /// An address of any type; `None` if it is longer than 16 bytes.
    pub fn new(kind: u8, address: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        bytes.get_mut(..address.len())?.copy_from_slice(address);
        Some(Self { kind, len: u8::try_from(address.len()).ok()?, bytes })
    }

    /// Its type, [`ETHERNET`](Self::ETHERNET) mostly.
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }

    /// The address, if it is Ethernet's.
    pub fn mac(&self) -> Option<[u8; 6]> {
        if self.kind == Self::ETHERNET { self.as_bytes().try_into().ok() } else { None }
    }

    /// All sixteen bytes of `chaddr`.
    pub(super) const fn field(&self) -> &[u8; Self::MAX_LEN] {
        &self.bytes
    }

    /// FNV-1a: spreads clients over a pool of addresses.
    pub(super) fn hash(&self) -> u32 {
        self.as_bytes()
            .iter()
            .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
    }
}

/// `e4:5f:01:09:02:f7`; a type other than Ethernet's stands before it, as in `7/00:11`.
impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != Self::ETHERNET {
            write!(f, "{}/", self.kind)?;
        }
        for (index, byte) in self.as_bytes().iter().enumerate() {
            let colon = if index > 0 { ":" } else { "" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn any_length_that_fits_is_one() {
        let pi = HardwareAddress::ethernet([0xe4, 0x5f, 0x01, 0x09, 0x02, 0xf7]);
        assert_eq!(HardwareAddress::new(1, pi.as_bytes()), Some(pi));
        assert_eq!((pi.to_string().as_str(), pi.mac().is_some()), ("e4:5f:01:09:02:f7", true));
        assert_eq!(HardwareAddress::new(7, &[0, 0x11]).unwrap().to_string(), "7/00:11");
        assert_eq!(HardwareAddress::new(6, &[0; 6]).unwrap().mac(), None, "not Ethernet");
        assert_eq!(HardwareAddress::new(1, &[]).unwrap().to_string(), "");
        assert!(HardwareAddress::new(1, &[1; 16]).is_some_and(|long| long.as_bytes() == [1; 16]));
        assert_eq!(HardwareAddress::new(1, &[1; 17]), None);
    }
}
