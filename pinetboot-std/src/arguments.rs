//! Command-line values that identify a Pi.

/// A serial number: 16 hexadecimal digits as in /proc/cpuinfo, or the low 8, which name the Pi's directory.
pub(crate) fn serial(text: &str) -> Result<u32, String> {
    let digits = text.trim_start_matches("0x");
    let whole = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 16);
    whole
        .map(|serial| serial as u32)
        .ok_or_else(|| "expected up to 16 hexadecimal digits, like bd989ae1".into())
}

/// A MAC address: six pairs of hexadecimal digits, separated by `:` or `-`.
pub(crate) fn mac(text: &str) -> Result<[u8; 6], String> {
    let wrong = || "expected six pairs of hexadecimal digits, like 2c:cf:67:01:02:03".to_owned();
    let pairs = text.split([':', '-']).map(|pair| match pair.as_bytes() {
        [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
            u8::from_str_radix(pair, 16).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    });
    pairs.collect::<Result<Vec<_>, _>>()?.try_into().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_and_hardware_addresses_as_people_write_them() {
        assert_eq!(serial("0c8f7e5cbd989ae1"), Ok(0xbd98_9ae1));
        assert_eq!(serial("0xBD989AE1"), Ok(0xbd98_9ae1));
        assert_eq!(mac("2c:cf:67:01:02:FF"), Ok([0x2c, 0xcf, 0x67, 1, 2, 255]));
        assert_eq!(mac("2c-cf-67-01-02-ff"), mac("2c:cf:67:01:02:ff"));
        assert!(mac("2c:cf:67:01:02").is_err());
        assert!(mac("2c:cf:67:01:02:+f").is_err());
        assert!(serial("pi5").is_err());
        assert!(serial("").is_err());
    }
}
