//! The inventory of Pis: `[pi.SERIAL]` and `[group.NAME]` in the configuration file.
//!
//! Each setting of a Pi is that of the first table that has it: the Pi's own; then groups with a percentage; groups that name the
//! Pi by its serial number or MAC address; groups with a pattern; groups without members, which are all Pis. Among equals the first
//! by name. Variables are joined, one by one in the same order.

mod group;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};

use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use crate::disk_mode::DiskMode;
use crate::exit::{Exit, Failed};
use crate::images;
use crate::space::Size;
pub use group::GroupEntry;
use group::{Closeness, Group};

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
    /// The image of a card: the Pi boots from a disk of its own on that, instead of the shared tree.
    pub disk: Option<PathBuf>,
    /// The place of what the Pi writes to its disk, instead of `disk-mode` for all.
    pub disk_mode: Option<DiskMode>,
    /// Arguments to append to the kernel's command line.
    pub cmdline_extra: Option<String>,
    /// The old name of `cmdline-extra`, still read; `None` in an [`Inventory`].
    words: Option<String>,
    /// The limit of the Pi's layer, instead of `max-root-size` for all.
    pub max_root_size: Option<Size>,
    /// The fixed address: the Pi's root is mounted from this address only, and `--dhcp lease` reserves the address.
    pub address: Option<Ipv4Addr>,
    /// Directories that a new layer takes over from the Pi's layer on the image before: absolute paths.
    pub keep: Option<Vec<String>>,
    /// Values for templates: `{NAME}` becomes the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
}

impl PiEntry {
    /// The settings of the root, without those of the boot files.
    #[must_use]
    pub(super) fn of_root(self) -> Self {
        Self { cmdline_extra: None, vars: BTreeMap::new(), ..self }
    }

    /// Takes the settings that are missing here from another table.
    fn complete(&mut self, other: &Self) {
        let Self { image, tree, disk, disk_mode, cmdline_extra, max_root_size, keep, vars, .. } =
            other.clone();
        // An image has its own boot files: the nearer table decides for one of the two.
        if self.image.is_none() && self.tree.is_none() && self.disk.is_none() {
            (self.image, self.tree, self.disk) = (image, tree, disk);
        }
        self.disk_mode = self.disk_mode.or(disk_mode);
        self.cmdline_extra = self.cmdline_extra.take().or(cmdline_extra);
        self.max_root_size = self.max_root_size.or(max_root_size);
        self.keep = self.keep.take().or(keep);
        for (name, value) in vars {
            self.vars.entry(name).or_insert(value);
        }
    }
}

/// The Pis that the configuration names, and the groups.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    pis: HashMap<Prefix, PiEntry>,
    /// The Pi of each host name.
    names: HashMap<String, Prefix>,
    /// The Pi of each fixed address.
    addresses: HashMap<Ipv4Addr, Prefix>,
    groups: Vec<Group>,
}

impl Inventory {
    /// The inventory of the file's tables.
    ///
    /// # Errors
    ///
    /// The invalid tables and their faults.
    pub(crate) fn of(
        written: &BTreeMap<String, PiEntry>,
        groups: &BTreeMap<String, GroupEntry>,
    ) -> Result<Self, Failed> {
        let mut inventory = Self::default();
        let mut faults: Vec<_> = written
            .iter()
            .filter_map(|(key, entry)| {
                let why = inventory.add(key, entry).err()?;
                Some(Failed::new(Exit::Usage, format!("[pi.{key}]: {why}")))
            })
            .collect();
        match Group::all(groups) {
            Ok(groups) => inventory.groups = groups,
            Err((name, why)) => faults.push(Failed::new(Exit::Usage, format!("[group.{name}]: {why}"))),
        }
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
            && self.names.insert(name.clone(), pi).is_some()
        {
            return Err(format!("another Pi has the name {name} too"));
        }
        if let Some(address) = entry.address
            && let Some(other) = self.addresses.insert(address, pi)
        {
            return Err(format!("[pi.{other}] has the address {address} too"));
        }
        if self.pis.insert(pi, entry).is_some() {
            return Err("this Pi is listed twice".into());
        }
        Ok(())
    }

    /// The Pi's own table.
    pub fn entry(&self, pi: Prefix) -> Option<&PiEntry> {
        self.pis.get(&pi)
    }

    /// The settings of a Pi, with those of its groups.
    pub fn settings(&self, pi: Prefix) -> PiEntry {
        let mut settings = self.entry(pi).cloned().unwrap_or_default();
        if self.groups.is_empty() {
            return settings;
        }
        let host_name = settings.name.clone();
        let mut groups: Vec<(Closeness, &Group)> = self
            .groups
            .iter()
            .filter_map(|group| Some((group.has(pi, host_name.as_deref())?, group)))
            .collect();
        groups.sort_by_key(|(closeness, _)| *closeness); // stable: by name among equals
        for (_, group) in groups {
            settings.complete(&group.settings);
        }
        settings
    }

    /// Whether a table or a group names the Pi without a pattern.
    pub fn lists(&self, pi: Prefix) -> bool {
        self.pis.contains_key(&pi) || self.groups.iter().any(|group| group.lists(pi))
    }

    /// The tables of Pis and groups, by name: `pi.bd989ae1`, `group.lab`.
    pub fn tables(&self) -> impl Iterator<Item = (String, &PiEntry)> {
        let mut pis: Vec<_> = self.entries().collect();
        pis.sort_unstable_by_key(|(pi, _)| *pi);
        let pis = pis.into_iter().map(|(pi, entry)| (format!("pi.{pi}"), entry));
        pis.chain(self.groups.iter().map(|group| (format!("group.{}", group.name()), &group.settings)))
    }

    /// The Pi with this fixed address.
    pub fn at(&self, address: Ipv4Addr) -> Option<Prefix> {
        self.addresses.get(&address).copied()
    }

    /// All Pis and their settings.
    pub fn entries(&self) -> impl Iterator<Item = (Prefix, &PiEntry)> {
        self.pis.iter().map(|(pi, entry)| (*pi, entry))
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
    if entry.disk.is_some() && (entry.image.is_some() || entry.tree.is_some()) {
        return Err("give disk, image or tree, one of them: a disk has its own boot files".into());
    }
    if entry.cmdline_extra.iter().any(|extra| extra.chars().any(char::is_control)) {
        return Err("cmdline-extra must be one line".into());
    }
    for place in entry.keep.iter().flatten() {
        let path = Path::new(place);
        let is_clean = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
        if !path.is_absolute() || !is_clean || path.components().count() < 2 {
            return Err(format!("keep: {place:?} is not an absolute path of a directory, like \"/home\""));
        }
    }
    for (name, value) in &entry.vars {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(format!("vars: {name:?} is not a name: use lower-case letters, digits, - and _"));
        }
        if BUILT_IN.contains(&name.as_str()) {
            return Err(format!("vars: {{{name}}} is a value of the server: choose another name"));
        }
        if value.chars().any(char::is_control) {
            return Err(format!("vars.{name} must be one line"));
        }
    }
    Ok(())
}

/// The names of the server's own values in templates.
const BUILT_IN: &[&str] = &["server", "serial", "mac", "nfsroot", "hostname"];

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
        let settings = toml::from_str::<Settings>(text).unwrap();
        Inventory::of(&settings.pi, &settings.group)
    }

    #[test]
    fn the_closest_table_has_the_word() {
        let inventory =
            of("[group.defaults]\nimage = 'v1'\nvars.room = 'none'\nvars.zone = 'eu'\nkeep = ['/home']\n\
             [group.lab]\nmembers = ['lab-*', 'bd98*', '0a0b0c0d']\ninherits = 'base'\nvars.room = 'lab'\n\
             [group.base]\nmembers = ['none']\ncmdline-extra = 'quiet'\n\
             [group.canary]\nmembers = ['lab-*']\npercent = 100\nimage = 'v2'\n\
             [pi.00000001]\nname = 'lab-1'\n[pi.00000002]\nname = 'lab-2'\nimage = 'mine'\nvars.room = 'own'")
            .unwrap();
        let of = |serial| inventory.settings(Prefix::Serial(serial));
        let canary = of(1);
        assert_eq!((canary.image.as_deref(), canary.cmdline_extra.as_deref()), (Some("v2"), Some("quiet")));
        assert_eq!((canary.vars["room"].as_str(), canary.vars["zone"].as_str()), ("lab", "eu"));
        assert_eq!((of(2).image.as_deref(), of(2).vars["room"].as_str()), (Some("mine"), "own"));
        let by_pattern = of(0xbd98_9ae1);
        assert_eq!((by_pattern.image.as_deref(), by_pattern.vars["room"].as_str()), (Some("v1"), "lab"));
        assert_eq!(of(7).keep.as_deref(), Some(&["/home".to_owned()][..]), "a Pi of no other group");
        assert!(
            inventory.lists(Prefix::Serial(0x0a0b_0c0d)) && !inventory.lists(Prefix::Serial(0xbd98_9ae1))
        );
        // A nearer tree puts a farther image aside.
        let settings: Settings =
            toml::from_str("[group.a]\nimage = 'x'\n[pi.00000001]\ntree = '/t'").unwrap();
        let entry = Inventory::of(&settings.pi, &settings.group).unwrap().settings(Prefix::Serial(1));
        assert_eq!((entry.image, entry.tree), (None, Some("/t".into())));
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
    fn the_time_is_linear_in_the_number_of_pis() {
        let pis = (1..=40_000_u32).map(|number| {
            let (name, address) = (format!("pi-{number}"), Ipv4Addr::from_bits(0x0a00_0000 | number));
            (
                format!("{number:08x}"),
                PiEntry { name: Some(name), address: Some(address), ..PiEntry::default() },
            )
        });
        let began = std::time::Instant::now();
        let inventory = Inventory::of(&pis.collect(), &BTreeMap::new()).unwrap();
        for number in 1..=40_000 {
            let address = Ipv4Addr::from_bits(0x0a00_0000 | number);
            assert_eq!(inventory.at(address), Some(Prefix::Serial(number)));
        }
        // With a search through all Pis for each, 10,000 took 5.8 s of a processor in a debug build.
        assert!(began.elapsed().as_secs() < 30);
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
            ("[pi.bd989ae1]\nkeep = ['home']", "absolute path"),
            ("[pi.bd989ae1]\nkeep = ['/']", "absolute path"),
            ("[pi.bd989ae1]\nkeep = ['/a/../b']", "absolute path"),
            ("[pi.bd989ae1]\nvars.mac = 'x'", "value of the server"),
            ("[pi.bd989ae1]\nvars.Room = 'x'", "not a name"),
            ("[group.a]\npercent = 0", "[group.a]: percent"),
            ("[group.a]\ninherits = 'b'", "[group.b] is missing"),
            ("[group.a]\ninherits = 'b'\n[group.b]\ninherits = 'a'", "inherits from itself"),
            ("[group.a]\nmembers = ['a b']", "no serial number"),
            ("[group.a]\nimage = '../x'", "[group.a]: ../x is not an image"),
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
        assert_eq!(Inventory::of(&old.pi, &old.group).unwrap(), Inventory::of(&new.pi, &new.group).unwrap());
        assert!(has_old_name(&old.pi) && !has_old_name(&new.pi));
    }
}
