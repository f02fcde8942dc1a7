//! Block numbers: 16 bits on the wire, 64 inside.

/// A block's number on the wire.
///
/// After 65535 comes 0: RFC 1350 does not say, and the Pi's bootloader (which rolls over since 2025-09-23), curl, atftp
/// and U-Boot all do it so.
pub(super) const fn wire(block: u64) -> u16 {
    block as u16
}

/// The first block at or after `from` that is `number` on the wire.
pub(super) const fn widen(number: u16, from: u64) -> u64 {
    from + number.wrapping_sub(wire(from)) as u64
}

/// How many blocks a file of `len` bytes takes: the last one is always short, and empty if need be.
///
/// > If a packet of less than 512 bytes arrives, it signals termination (RFC 1350, section 2)
pub(super) const fn count(len: u64, block_size: u16) -> u64 {
    len / block_size as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widens_across_the_rollover() {
        assert_eq!(widen(5, 5), 5);
        assert_eq!(widen(0, 65535), 65536);
        assert_eq!(widen(65535, 65536), 131_071);
        assert_eq!(wire(65536), 0);
    }

    #[test]
    fn the_last_block_is_short() {
        assert_eq!(count(0, 512), 1);
        assert_eq!(count(511, 512), 1);
        assert_eq!(count(512, 512), 2);
        assert_eq!(count(513, 512), 2);
    }
}
