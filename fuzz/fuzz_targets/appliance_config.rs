//! The appliance's configuration: an accepted file is TOML with the same values, and names hosts of one network.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinetboot_config::{Address, Config, Dhcp};

fuzz_target!(|file: &[u8]| {
    let Ok(config) = Config::parse(file) else {
        assert!(Config::parse(file).is_err_and(|error| !error.to_string().is_empty()));
        return;
    };
    let text = str::from_utf8(file).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let value = |name| table.get(name).map(|value| value.as_str().unwrap());
    match config.dhcp {
        Dhcp::Off => assert_eq!(value("dhcp"), Some("off")),
        Dhcp::Proxy => assert_eq!(value("dhcp"), Some("proxy")),
        Dhcp::Lease(network) => {
            assert!(value("dhcp").is_none_or(|value| value == "lease"));
            assert!(network.router.is_none_or(|router| network.contains(router)));
        }
    }
    match config.address {
        Address::Dhcp => assert!(value("address").is_none_or(|value| value == "dhcp")),
        Address::Static { address, prefix_len, .. } => {
            let written = format!("{address}/{prefix_len}");
            let is_written = value("address").is_none_or(|value| same(value, &written));
            assert!(is_written, "{written}");
        }
    }
    let pis = table.get("pi").map(|pis| pis.as_table().unwrap());
    let trees =
        pis.into_iter().flatten().map(|(_, pi)| pi.get("tree").map_or("", |tree| tree.as_str().unwrap()));
    let mut trees: Vec<_> = trees.collect();
    let mut read: Vec<_> = config.trees.iter().map(|tree| tree.directory).collect();
    trees.sort_unstable();
    read.sort_unstable();
    assert_eq!(trees, read);
});

/// The number may have leading zeros, and a plus.
fn same(written: &str, read: &str) -> bool {
    let split =
        |text: &str| text.split_once('/').and_then(|(a, b)| Some((a.to_owned(), b.parse::<u8>().ok()?)));
    split(written) == split(read)
}
