//! Template values.

use std::collections::BTreeMap;

/// The values of a Pi and of this server; `None` for an unknown value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    /// This server's address, as the Pi reaches it.
    pub server: Option<String>,
    /// The last eight digits of the Pi's serial number: `bd989ae1`.
    pub serial: Option<String>,
    /// The Pi's MAC address: `2c:cf:67:01:02:03`.
    pub mac: Option<String>,
    /// The Pi's root file system, with options that the kernel and klibc's nfsmount accept:
    /// `192.168.1.2:/bd989ae1,vers=3,tcp,nolock`.
    pub nfsroot: Option<String>,
    /// The Pi's host name.
    pub hostname: Option<String>,
    /// The values of the configuration, by name.
    pub vars: BTreeMap<String, String>,
}

/// Fills the values into a text. The second value names the unknown ones, which become empty. Other braces stay.
pub fn fill(text: &str, values: &Values) -> (String, Vec<&'static str>) {
    let Values { server, serial, mac, nfsroot, hostname, vars } = values;
    let known =
        [("server", server), ("serial", serial), ("mac", mac), ("nfsroot", nfsroot), ("hostname", hostname)];
    let (mut filled, mut rest, mut unknown) = (String::with_capacity(text.len()), text, Vec::new());
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let found = known.iter().find_map(|(name, value)| {
            let after = after.strip_prefix(name)?.strip_prefix('}')?;
            Some((*name, *value, after))
        });
        match found {
            Some((name, value, after)) => {
                match value {
                    Some(value) => filled.push_str(value),
                    None if unknown.contains(&name) => {}
                    None => unknown.push(name),
                }
                rest = after;
            }
            None => match after.split_once('}').and_then(|(name, after)| Some((vars.get(name)?, after))) {
                Some((value, after)) => {
                    filled.push_str(value);
                    rest = after;
                }
                None => {
                    filled.push('{');
                    rest = after;
                }
            },
        }
    }
    filled.push_str(rest);
    (filled, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_and_other_braces_stay() {
        let values = Values {
            server: Some("10.0.0.1".into()),
            hostname: Some("{serial}".into()),
            vars: BTreeMap::from([("room".into(), "lab {mac}".into())]),
            ..Values::default()
        };
        assert_eq!(fill("{room}{roo}{room", &values).0, "lab {mac}{roo}{room");
        let (filled, unknown) = fill("{server}{{server}} ${HOME} {x} {hostname} {mac}{mac} {serve", &values);
        assert_eq!(
            filled, "10.0.0.1{10.0.0.1} ${HOME} {x} {serial}  {serve",
            "what is filled in is not filled again"
        );
        assert_eq!(unknown, ["mac"]);
    }
}
