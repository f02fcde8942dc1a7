//! The interface of the default route.

use std::fs;

/// The interface of the default route with the lowest metric; `None` without one.
pub fn default_route() -> Option<String> {
    let routes = fs::read_to_string("/proc/self/net/route").ok()?;
    default_route_in(&routes).map(str::to_owned)
}

/// The interface of the default route with the lowest metric, from `/proc/self/net/route`.
fn default_route_in(table: &str) -> Option<&str> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (name, destination) = (fields.next()?, fields.next()?);
        let metric: u32 = fields.nth(4)?.parse().ok()?;
        let mask = fields.next()?;
        (destination == NOWHERE && mask == NOWHERE).then_some((metric, name))
    });
    routes.min().map(|(_, name)| name)
}

/// 0.0.0.0 in `/proc/self/net/route`.
const NOWHERE: &str = "00000000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_is_the_cheapest() {
        let table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
wlan0 00000000 0101A8C0 0003 0 0 600 00000000 0 0 0
eth0 00000000 0100A8C0 0003 0 0 100 00000000 0 0 0
eth1 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
";
        assert_eq!(default_route_in(table), Some("eth0"));
        assert_eq!(default_route_in(""), None);
    }
}
