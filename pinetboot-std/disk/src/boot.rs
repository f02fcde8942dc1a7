//! The run of this machine, from one start to the next: what was answered in an earlier one, and not flushed, may be lost.

use std::io;

/// A number that identifies this run of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boot(pub(crate) [u8; 16]);

impl Boot {
    /// The kernel's boot identifier. Where it cannot be read, a random number: nothing is taken for the same run then.
    pub(crate) fn present() -> io::Result<Self> {
        let text = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: Vec<u8> = text
            .iter()
            .filter_map(|digit| char::from(*digit).to_digit(16))
            .filter_map(|digit| u8::try_from(digit).ok())
            .collect();
        let mut out = [0; 16];
        if digits.len() == 32 {
            for (place, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
                *place = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
            }
        } else {
            out[..8].copy_from_slice(&random()?.to_be_bytes());
        }
        Ok(Self(out))
    }

    /// A disk that is the same, without a lost write, as long as this text is: the `continuity` of a disk of this number.
    pub(crate) fn continuity(self, disk: u64) -> String {
        format!("machine's run {:032x}, disk {disk:016x}", u128::from_be_bytes(self.0))
    }
}

/// A random number.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_be_bytes(bytes))
}
