//! A range of ports in the settings: `--port-range`.

use crate::net::{self, Ports};

/// The ports of transfers, of `50000-50100`: enough for `threads` workers.
///
/// # Errors
///
/// The fault of the text.
pub(super) fn port_range(text: &str, threads: u16) -> Result<Ports, String> {
    let ends = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let (first, last): (u16, u16) =
        ends.ok_or_else(|| format!("port-range: {text} is not a range of ports, like 50000-50100"))?;
    let least = net::PORTS_OF_AN_ADDRESS * threads;
    if first < 1024 || last < first || last - first < least - 1 {
        return Err(format!("port-range: {text} must have {least} ports or more, all above 1023"));
    }
    Ok(Ports::Range { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_has_enough_of_them() {
        assert_eq!(port_range("50000-50007", 1), Ok(Ports::Range { first: 50000, last: 50007 }));
        for wrong in ["50000-50006", "50000", "1000-2000", "50007-50000", "x-y", "50000-70000"] {
            assert!(port_range(wrong, 1).is_err(), "{wrong}");
        }
        assert!(port_range("50000-50007", 2).is_err(), "for two threads");
    }
}
