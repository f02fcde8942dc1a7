//! What is known of single Pis: `[pi.SERIAL]` in the configuration file.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failed};
use crate::images;

/// What is said of one Pi.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PiEntry {
    /// Its host name.
    pub name: Option<String>,
    /// The imported image that it boots, instead of the one in use.
    pub image: Option<String>,
    /// The directory with its boot files, instead of the one that all share.
    pub tree: Option<PathBuf>,
    /// More words for its kernel's command line.
    pub words: Option<String>,
    /// Its address, where no DHCP server of ours gives it one: only from there it gets its root.
    pub address: Option<Ipv4Addr>,
}

/// What is known of single Pis.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory(HashMap<Prefix, PiEntry>);

impl Inventory {
    /// What is written.
    ///
    /// # Errors
    ///
    /// What makes no sense in it.
    pub(crate) fn of(written: &BTreeMap<String, PiEntry>) -> Result<Self, Failed> {
        let mut pis: HashMap<Prefix, PiEntry> = HashMap::new();
        for (key, entry) in written {
            let wrong = |why: &str| Failed::new(Exit::Usage, format!("[pi.{key}]: {why}"));
            let pi = pi(key).ok_or_else(|| {
                wrong("a Pi goes by its serial number (bd989ae1) or its MAC address (2c-cf-67-01-02-03)")
            })?;
            check(entry).map_err(|why| wrong(&why))?;
            if let Some(name) = &entry.name
                && pis.values().any(|other| other.name.as_ref() == Some(name))
            {
                return Err(wrong(&format!("another Pi is called {name}, too")));
            }
            if pis.insert(pi, entry.clone()).is_some() {
                return Err(wrong("this Pi is there twice"));
            }
        }
        Ok(Self(pis))
    }

    /// What is known of a Pi.
    pub fn entry(&self, pi: Prefix) -> Option<&PiEntry> {
        self.0.get(&pi)
    }

    /// Whose address this is.
    pub fn at(&self, address: Ipv4Addr) -> Option<Prefix> {
        self.0.iter().find(|(_, entry)| entry.address == Some(address)).map(|(pi, _)| *pi)
    }

    /// All that is known.
    pub fn entries(&self) -> impl Iterator<Item = (Prefix, &PiEntry)> {
        self.0.iter().map(|(pi, entry)| (*pi, entry))
    }

    /// What a Pi is called: as the inventory has it, or after its serial number.
    pub fn host_name(&self, pi: Prefix) -> String {
        self.entry(pi).and_then(|entry| entry.name.clone()).unwrap_or_else(|| format!("pi-{pi}"))
    }
}

/// A Pi by its directory's name, or by all sixteen digits of its serial number.
pub fn pi(text: &str) -> Option<Prefix> {
    let low_half = match text.len() {
        16 if text.bytes().all(|digit| digit.is_ascii_hexdigit()) => text.get(8..)?,
        _ => text,
    };
    Prefix::parse(&low_half.replace(':', "-"))
}

fn check(entry: &PiEntry) -> Result<(), String> {
    if let Some(name) = &entry.name
        && !is_host_name(name)
    {
        return Err(format!("{name} is no host name: letters, digits and - may be in it, 63 at the most"));
    }
    if let Some(image) = &entry.image
        && !images::is_name(image)
    {
        return Err(format!("{image} is no image's name"));
    }
    if entry.image.is_some() && entry.tree.is_some() {
        return Err("an image has its boot files: give image or tree, not both".into());
    }
    if entry.words.iter().any(|words| words.chars().any(char::is_control)) {
        return Err("words have to be one line".into());
    }
    Ok(())
}

/// RFC 1123, section 2.1, one label.
fn is_host_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn of(text: &str) -> Result<Inventory, Failed> {
        Inventory::of(&toml::from_str::<Settings>(text).unwrap().pi)
    }

    #[test]
    fn a_pi_is_known_by_its_serial_or_mac() {
        let inventory = of("[pi.BD989AE1]\nname = 'kitchen'\nwords = 'quiet'\n[pi.0c8f7e5c00000001]\n\
                            address = '10.0.0.7'\n[pi.2c-cf-67-01-02-03]\nimage = 'trixie'")
        .unwrap();
        let kitchen = Prefix::Serial(0xbd98_9ae1);
        assert_eq!(inventory.host_name(kitchen), "kitchen");
        assert_eq!(inventory.host_name(Prefix::Serial(5)), "pi-00000005");
        assert_eq!(inventory.at(Ipv4Addr::new(10, 0, 0, 7)), Some(Prefix::Serial(1)));
        let mac = Prefix::Mac([0x2c, 0xcf, 0x67, 1, 2, 3]);
        assert_eq!(inventory.entry(mac).unwrap().image.as_deref(), Some("trixie"));
        assert_eq!(pi("2c:cf:67:01:02:03"), Some(mac));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            ("[pi.kitchen]", "serial number"),
            ("[pi.bd989ae1]\nname = 'a_b'", "no host name"),
            ("[pi.bd989ae1]\nname = 'a'\n[pi.bd989ae2]\nname = 'a'", "another Pi"),
            ("[pi.bd989ae1]\n[pi.BD989AE1]", "twice"),
            ("[pi.bd989ae1]\nwords = \"a\\nb\"", "one line"),
            ("[pi.bd989ae1]\nimage = '../x'", "no image"),
            ("[pi.bd989ae1]\nimage = 'x'\ntree = '/y'", "not both"),
        ] {
            let message = of(text).unwrap_err().message;
            assert!(message.contains(why), "{text}: {message}");
        }
        assert!(toml::from_str::<Settings>("[pi.bd989ae1]\nnmae = 'x'").is_err());
    }
}
