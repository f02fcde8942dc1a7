//! The token in the path of a Pi's root: `/bd989ae1-6749b0c2f3a09d51e744`.
//!
//! Eight hexadecimal digits name the boot (its beginning, in seconds since 1970), twelve are a seal over the Pi, the boot and the
//! address that fetched the command line. The server stores only a key, so a token survives a restart in the middle of a boot.
//! The seal has 48 bits, and each wrong guess is a mount that is refused and logged.

use std::hash::Hasher;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use pinetboot_core::pi::Prefix;
use pinetboot_nfs::load_key;
use siphasher::sip::SipHasher24;

use crate::pis::{Token, pi};

/// Makes tokens and checks them.
#[derive(Clone)]
pub(crate) struct Tokens {
    key: [u8; 16],
}

impl Tokens {
    /// Tokens with the key in `directory`; creates a missing key.
    ///
    /// # Errors
    ///
    /// The system's, with the path.
    pub(crate) fn load(directory: &Path) -> io::Result<Self> {
        load_key(&directory.join(KEY_FILE)).map(|key| Self { key })
    }

    /// The name of a Pi's root in one boot, for the client at an address.
    pub(crate) fn name(&self, pi: Prefix, boot: u32, address: Ipv4Addr) -> String {
        format!("{pi}-{boot:08x}{:012x}", self.seal(pi, boot, address))
    }

    /// The Pi and the token in the first name of a path. `addresses` are the client's current and former ones: a Pi may get another
    /// address between its bootloader and its kernel.
    pub(crate) fn parse(&self, name: &str, addresses: &[Ipv4Addr]) -> Option<(Prefix, Option<Token>)> {
        if let Some(pi) = pi(name) {
            return Some((pi, None));
        }
        let (pi_name, token) = name.rsplit_once('-')?;
        let pi = pi(pi_name)?;
        let digits = |part: Option<&str>| u64::from_str_radix(part?, 16).ok();
        let plain = token.len() == LEN && token.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !plain {
            return None;
        }
        let boot = u32::try_from(digits(token.get(..8))?).ok()?;
        let seal = digits(token.get(8..))?;
        let good = addresses.iter().any(|address| self.seal(pi, boot, *address) == seal);
        Some((pi, Some(if good { Token::Good(boot) } else { Token::Wrong })))
    }

    fn seal(&self, pi: Prefix, boot: u32, address: Ipv4Addr) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(pi.to_string().as_bytes());
        hasher.write(&boot.to_be_bytes());
        hasher.write(&address.octets());
        hasher.finish() >> 16
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// Digits of a token.
const LEN: usize = 20;
const KEY_FILE: &str = "boot-token.key";

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
    const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);

    #[test]
    fn a_token_is_good_for_its_pi_boot_and_address_and_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let tokens = Tokens::load(directory.path()).unwrap();
        for pi in [Prefix::Serial(0xbd98_9ae1), Prefix::Mac([0x2c, 0xcf, 0x67, 1, 2, 3])] {
            let name = tokens.name(pi, 0x6749_b0c2, HERE);
            let again = Tokens::load(directory.path()).unwrap();
            assert_eq!(again.parse(&name, &[HERE]), Some((pi, Some(Token::Good(0x6749_b0c2)))), "{name}");
            assert_eq!(again.parse(&name, &[THERE, HERE]), Some((pi, Some(Token::Good(0x6749_b0c2)))));
            assert_eq!(again.parse(&name, &[THERE]), Some((pi, Some(Token::Wrong))));
            let other = name.replace("6749b0c2", "6749b0c3");
            assert_eq!(again.parse(&other, &[HERE]), Some((pi, Some(Token::Wrong))));
        }
        let other = Tokens::load(tempfile::tempdir().unwrap().path()).unwrap();
        let name = tokens.name(Prefix::Serial(1), 1, HERE);
        assert_eq!(other.parse(&name, &[HERE]), Some((Prefix::Serial(1), Some(Token::Wrong))));
    }

    #[test]
    fn a_name_without_a_token_is_a_pis_or_none() {
        let tokens = Tokens { key: [1; 16] };
        assert_eq!(tokens.parse("bd989ae1", &[HERE]), Some((Prefix::Serial(0xbd98_9ae1), None)));
        let mac = Prefix::Mac([0x2c, 0xcf, 0x67, 1, 2, 3]);
        assert_eq!(tokens.parse("2c-cf-67-01-02-03", &[HERE]), Some((mac, None)));
        for name in
            ["", "etc", "bd989ae1-", "bd989ae1-12", "bd989ae1-+749b0c2f3a09d51e744", "x-6749b0c2f3a09d51e744"]
        {
            assert_eq!(tokens.parse(name, &[HERE]), None, "{name}");
        }
    }
}
