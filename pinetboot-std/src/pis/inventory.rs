//! The inventory of Pis: `[pi.SERIAL]` in the configuration file.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failed};
use crate::images;
use crate::space::Size;

/// The settings of one Pi.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PiEntry {
    /// The host name: one label (RFC 1123), at most 63 bytes.
    pub name: Option<String>,
    /// The imported image to boot, instead of the current one.
    pub image: Option<String>,
    /// The directory with the Pi's boot files, instead of the shared tree.
    pub tree: Option<PathBuf>,
    /// Arguments to append to the kernel's command line.
    pub cmdline_extra: Option<String>,
    /// The old name of `cmdline-extra`, still read; `None` in an [`Inventory`].
    words: Option<String>,
    /// The limit of the Pi's layer, instead of `max-root-size` for all.
    pub max_root_size: Option<Size>,
    /// The fixed address: the Pi's root is mounted from this address only, and `--dhcp lease` reserves the address.
    pub address: Option<Ipv4Addr>,
}

/// The Pis that the configuration names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory(HashMap<Prefix, PiEntry>);

impl Inventory {
    /// The inventory of the file's tables.
    ///
    /// # Errors
    ///
    /// The invalid tables and their faults.
    pub(crate) fn of(written: &BTreeMap<String, PiEntry>) -> Result<Self, Failed> {
        let mut inventory = Self::default();
        let faults: Vec<_> = written
            .iter()
            .filter_map(|(key, entry)| {
                let why = inventory.add(key, entry).err()?;
                Some(Failed::new(Exit::Usage, format!("[pi.{key}]: {why}")))
            })
            .collect();
        Failed::all(faults)?;
        Ok(inventory)
    }

    fn add(&mut self, key: &str, entry: &PiEntry) -> Result<(), String> {
        let pi = pi(key).ok_or(
            "name the table after the Pi's serial number (bd989ae1) or MAC address (2c-cf-67-01-02-03)",
        )?;
        let entry = renamed(entry.clone())?;
        check(&entry)?;
        if let Some(name) = &entry.name
            && self.0.values().any(|other| other.name.as_ref() == Some(name))
        {
            return Err(format!("another Pi has the name {name} too"));
        }
        if let Some(address) = entry.address
            && let Some(other) = self.at(address)
        {
            return Err(format!("[pi.{other}] has the address {address} too"));
        }
        if self.0.insert(pi, entry).is_some() {
            return Err("this Pi is listed twice".into());
        }
        Ok(())
    }

    /// The settings of a Pi.
    pub fn entry(&self, pi: Prefix) -> Option<&PiEntry> {
        self.0.get(&pi)
    }

    /// The Pi with this fixed address.
    pub fn at(&self, address: Ipv4Addr) -> Option<Prefix> {
        self.0.iter().find(|(_, entry)| entry.address == Some(address)).map(|(pi, _)| *pi)
    }

    /// All Pis and their settings.
    pub fn entries(&self) -> impl Iterator<Item = (Prefix, &PiEntry)> {
        self.0.iter().map(|(pi, entry)| (*pi, entry))
    }

    /// The host name of a Pi: the inventory's, else `pi-SERIAL`.
    pub fn host_name(&self, pi: Prefix) -> String {
        self.entry(pi).and_then(|entry| entry.name.clone()).unwrap_or_else(|| format!("pi-{pi}"))
    }
}

/// Whether a table has the old name of `cmdline-extra`.
pub(crate) fn has_old_name(written: &BTreeMap<String, PiEntry>) -> bool {
    written.values().any(|entry| entry.words.is_some())
}

/// Parses a Pi's directory name, or all sixteen digits of a serial number.
pub fn pi(text: &str) -> Option<Prefix> {
    let low_half = match text.len() {
        16 if text.bytes().all(|digit| digit.is_ascii_hexdigit()) => text.get(8..)?,
        _ => text,
    };
    Prefix::parse(&low_half.replace(':', "-"))
}

/// Moves the value of an old name to the new one.
fn renamed(mut entry: PiEntry) -> Result<PiEntry, &'static str> {
    let old = entry.words.take();
    if old.is_some() && entry.cmdline_extra.is_some() {
        return Err("words is the old name of cmdline-extra: give cmdline-extra only");
    }
    Ok(PiEntry { cmdline_extra: old.or(entry.cmdline_extra.take()), ..entry })
}

pub(super) fn check(entry: &PiEntry) -> Result<(), String> {
    if let Some(name) = &entry.name
        && !is_host_name(name)
    {
        return Err(format!("{name} is not a host name: at most 63 letters, digits and -"));
    }
    if let Some(image) = &entry.image
        && !images::is_name(image)
    {
        return Err(format!("{image} is not an image name"));
    }
    if entry.image.is_some() && entry.tree.is_some() {
        return Err("give image or tree, not both: an image has its own boot files".into());
    }
    if entry.cmdline_extra.iter().any(|extra| extra.chars().any(char::is_control)) {
        return Err("cmdline-extra must be one line".into());
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
        let inventory =
            of("[pi.BD989AE1]\nname = 'kitchen'\ncmdline-extra = 'quiet'\n[pi.0c8f7e5c00000001]\n\
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
            ("[pi.bd989ae1]\nname = 'a_b'", "not a host name"),
            ("[pi.bd989ae1]\nname = 'a'\n[pi.bd989ae2]\nname = 'a'", "another Pi"),
            ("[pi.bd989ae1]\n[pi.BD989AE1]", "twice"),
            (
                "[pi.bd989ae1]\naddress = '10.0.0.7'\n[pi.bd989ae2]\naddress = '10.0.0.7'",
                "address 10.0.0.7 too",
            ),
            ("[pi.bd989ae1]\ncmdline-extra = \"a\\nb\"", "one line"),
            ("[pi.bd989ae1]\nwords = 'a'\ncmdline-extra = 'b'", "old name of cmdline-extra"),
            ("[pi.bd989ae1]\nimage = '../x'", "not an image"),
            ("[pi.bd989ae1]\nimage = 'x'\ntree = '/y'", "not both"),
        ] {
            let message = of(text).unwrap_err().message;
            assert!(message.contains(why), "{text}: {message}");
        }
        let both = of("[pi.kitchen]\n[pi.bd989ae1]\nname = 'a_b'").unwrap_err().message;
        assert!(both.contains("[pi.kitchen]") && both.contains("[pi.bd989ae1]"), "{both}");
        assert!(toml::from_str::<Settings>("[pi.bd989ae1]\nnmae = 'x'").is_err());
    }

    #[test]
    fn an_old_name_is_read_and_noticed() {
        let new: Settings = toml::from_str("[pi.bd989ae1]\ncmdline-extra = 'quiet'").unwrap();
        let old: Settings = toml::from_str("[pi.bd989ae1]\nwords = 'quiet'").unwrap();
        assert_eq!(Inventory::of(&old.pi).unwrap(), Inventory::of(&new.pi).unwrap());
        assert!(has_old_name(&old.pi) && !has_old_name(&new.pi));
    }
}
