//! Checks the appliance's pinetboot.toml before packing; the board itself can report an error by its LED alone.

use std::fmt::Write as _;

use pinetboot_config::{Address, Config, Dhcp, FILE_NAME};

use super::files::PackFiles;
use crate::config::Settings;
use crate::exit::{Exit, Failed};

/// Fails if the files include an invalid pinetboot.toml.
pub(super) fn check(tree: &PackFiles) -> Result<(), Failed> {
    let Some(source) = tree.files.iter().find(|file| file.name == FILE_NAME) else { return Ok(()) };
    let failed = |why: String| Failed::new(Exit::Tree, format!("{}: {why}", source.path.display()));
    let bytes = source.read().map_err(|error| failed(error.to_string()))?;
    describe(&bytes).map(drop).map_err(failed)
}

/// Describes a board with this file in one line; an error if the file is invalid.
pub(super) fn describe(file: &[u8]) -> Result<String, String> {
    let Config { dhcp, address, upload, trees } =
        Config::parse(file).map_err(|error| match is_of_serve(file) {
            true => format!("{error}. The file has settings of 'pinetboot serve', and a board has others"),
            false => error.to_string(),
        })?;
    let mut text = match dhcp {
        Dhcp::Off => "no DHCP".to_owned(),
        Dhcp::Proxy => "proxy DHCP beside the network's DHCP server".to_owned(),
        Dhcp::Lease(network) => {
            let (first, last) = network.range();
            format!("DHCP server for {first} to {last}")
        }
    };
    let _cannot_fail = match address {
        Address::Dhcp => write!(text, "; the board's address comes from DHCP"),
        Address::Static { address, prefix_len, .. } => {
            write!(text, "; the board's address is {address}/{prefix_len}")
        }
    };
    if upload.is_some() {
        text.push_str("; new boot files are received by TFTP");
    }
    for tree in &trees {
        let _cannot_fail = write!(text, "; {} boots from {}/", tree.pi, tree.directory);
    }
    Ok(text)
}

/// Whether a file has settings of `serve`, whose file may have the same name.
fn is_of_serve(file: &[u8]) -> bool {
    std::str::from_utf8(file).is_ok_and(|text| toml::from_str::<Settings>(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_board_does_is_said_in_a_line() {
        for (file, text) in [
            ("", "DHCP server for 10.55.0.128 to 10.55.0.254; the board's address is 10.55.0.1/24"),
            (
                "dhcp = 'proxy'",
                "proxy DHCP beside the network's DHCP server; the board's address comes from DHCP",
            ),
            (
                "dhcp = 'off'\naddress = '10.0.0.9/8'\nupload = 'a-key-of-ours-7'\n[pi.BD989AE1]\ntree = 'kitchen'",
                "no DHCP; the board's address is 10.0.0.9/8; new boot files are received by TFTP; bd989ae1 boots from kitchen/",
            ),
        ] {
            assert_eq!(describe(file.as_bytes()).as_deref(), Ok(text));
        }
        assert_eq!(describe(b"\ndhpc = 'off'").unwrap_err(), "line 2: unknown setting 'dhpc'");
        assert!(describe(b"tree = '/srv/tftp'").unwrap_err().ends_with("a board has others"));
    }
}
