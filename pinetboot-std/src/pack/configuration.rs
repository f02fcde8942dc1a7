//! The appliance's own file among those that are packed: a wrong one is found here, and not by a board's LED.

use std::fmt::Write as _;

use pinetboot_config::{Address, Config, Dhcp, FILE_NAME};

use super::tree::Tree;
use crate::exit::{Exit, Failed};

/// Refuses a tree with a wrong one.
pub(super) fn check(tree: &Tree) -> Result<(), Failed> {
    let Some(source) = tree.files.iter().find(|file| file.name == FILE_NAME) else { return Ok(()) };
    let failed = |why: String| Failed::new(Exit::Tree, format!("{}: {why}", source.path.display()));
    let bytes = source.read().map_err(|error| failed(error.to_string()))?;
    describe(&bytes).map(drop).map_err(failed)
}

/// What a board with this file does, as a line; or what is wrong with it.
pub(super) fn describe(file: &[u8]) -> Result<String, String> {
    let Config { dhcp, address, trees } = Config::parse(file).map_err(|error| error.to_string())?;
    let mut text = match dhcp {
        Dhcp::Off => "no DHCP".to_owned(),
        Dhcp::Proxy => "DHCP beside a router's".to_owned(),
        Dhcp::Lease(network) => {
            let (first, last) = network.range();
            format!("gives addresses from {first} to {last} by DHCP")
        }
    };
    let _cannot_fail = match address {
        Address::Dhcp => write!(text, "; its own address is given to it by DHCP"),
        Address::Static { address, prefix_len, .. } => {
            write!(text, "; its own address is {address}/{prefix_len}")
        }
    };
    for tree in &trees {
        let _cannot_fail = write!(text, "; {} has {}/", tree.pi, tree.directory);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_board_does_is_said_in_a_line() {
        for (file, text) in [
            ("", "gives addresses from 10.55.0.128 to 10.55.0.254 by DHCP; its own address is 10.55.0.1/24"),
            ("dhcp = 'proxy'", "DHCP beside a router's; its own address is given to it by DHCP"),
            (
                "dhcp = 'off'\naddress = '10.0.0.9/8'\n[pi.BD989AE1]\ntree = 'kitchen'",
                "no DHCP; its own address is 10.0.0.9/8; bd989ae1 has kitchen/",
            ),
        ] {
            assert_eq!(describe(file.as_bytes()).as_deref(), Ok(text));
        }
        assert_eq!(describe(b"\ndhpc = 'off'").unwrap_err(), "line 2: there is no setting 'dhpc' here");
    }
}
