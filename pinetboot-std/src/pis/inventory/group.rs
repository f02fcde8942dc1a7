//! Groups of Pis: `[group.NAME]` in the configuration file.

use std::collections::{BTreeMap, BTreeSet};

use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use super::{PiEntry, pi};

/// The settings of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct GroupEntry {
    /// Serial numbers, MAC addresses, host names, and patterns of them with `*` and `?`; empty: all Pis.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// The part of the members that belongs to the group, 1 to 100 percent, always the same Pis.
    pub percent: Option<u8>,
    /// The group whose settings hold where this one has none.
    pub inherits: Option<String>,
    /// As in [`PiEntry`].
    pub image: Option<String>,
    /// As in [`PiEntry`].
    pub tree: Option<std::path::PathBuf>,
    /// As in [`PiEntry`].
    pub disk: Option<std::path::PathBuf>,
    /// As in [`PiEntry`].
    pub disk_mode: Option<crate::disk_mode::DiskMode>,
    /// As in [`PiEntry`].
    pub cmdline_extra: Option<String>,
    /// As in [`PiEntry`].
    pub max_root_size: Option<crate::space::Size>,
    /// As in [`PiEntry`].
    pub keep: Option<Vec<String>>,
    /// As in [`PiEntry`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
}

/// A group, ready for look-ups.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    name: String,
    members: Vec<Member>,
    percent: Option<u8>,
    /// With what it inherits.
    pub(super) settings: PiEntry,
}

#[derive(Debug, Clone, PartialEq)]
enum Member {
    Pi(Prefix),
    /// Of the name of the Pi's directory, or of its host name.
    Pattern(String),
}

/// How closely a group names a Pi, the closest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closeness {
    /// A part of its members.
    Percent,
    /// By its serial number or MAC address.
    Named,
    /// By a pattern.
    Pattern,
    /// All Pis.
    All,
}

impl Group {
    /// Prepares all groups.
    ///
    /// # Errors
    ///
    /// The table and its fault.
    pub(super) fn all(written: &BTreeMap<String, GroupEntry>) -> Result<Vec<Self>, (String, String)> {
        let mut groups = Vec::new();
        for (name, entry) in written {
            let wrong = |why: String| (name.clone(), why);
            let members: Result<Vec<_>, String> =
                entry.members.iter().map(|text| Member::parse(text)).collect();
            if entry.percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
                return Err(wrong("percent must be from 1 to 100".into()));
            }
            let settings = inherited(name, written).map_err(wrong)?;
            super::check(&settings).map_err(wrong)?;
            let members = members.map_err(wrong)?;
            groups.push(Self { name: name.clone(), members, percent: entry.percent, settings });
        }
        Ok(groups)
    }

    /// The group's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How closely the group names a Pi with this host name; `None` if the Pi is no member.
    pub(super) fn has(&self, pi: Prefix, host_name: Option<&str>) -> Option<Closeness> {
        let closest = self.members.iter().filter_map(|member| member.is(pi, host_name)).min();
        let closeness = if self.members.is_empty() { Closeness::All } else { closest? };
        match self.percent {
            None => Some(closeness),
            Some(percent) => (share(pi) < u32::from(percent)).then_some(Closeness::Percent),
        }
    }

    /// Whether the group names this Pi without a pattern.
    pub(super) fn lists(&self, pi: Prefix) -> bool {
        self.members.contains(&Member::Pi(pi))
    }
}

impl Member {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(pi) = pi(text) {
            return Ok(Self::Pi(pi));
        }
        let allowed = |char: char| char.is_ascii_alphanumeric() || "-:*?".contains(char);
        if text.is_empty() || !text.chars().all(allowed) {
            return Err(format!(
                "the member {text:?} is no serial number (bd989ae1), MAC address, host name or pattern of one (lab-*)"
            ));
        }
        Ok(Self::Pattern(text.to_ascii_lowercase().replace(':', "-")))
    }

    fn is(&self, pi: Prefix, host_name: Option<&str>) -> Option<Closeness> {
        match self {
            Self::Pi(member) => (*member == pi).then_some(Closeness::Named),
            Self::Pattern(pattern) => {
                let host_name = host_name.map(str::to_ascii_lowercase);
                let is = |name: &str| matches(pattern.as_bytes(), name.as_bytes());
                (is(&pi.to_string()) || host_name.is_some_and(|name| is(&name))).then_some(Closeness::Pattern)
            }
        }
    }
}

/// A group's settings, completed by those of the groups that it inherits from.
fn inherited(name: &str, written: &BTreeMap<String, GroupEntry>) -> Result<PiEntry, String> {
    let (mut settings, mut seen, mut next) = (PiEntry::default(), BTreeSet::new(), Some(name));
    while let Some(name) = next {
        if !seen.insert(name) {
            return Err(format!("inherits from itself, by way of {name}"));
        }
        let group = written
            .get(name)
            .ok_or_else(|| format!("inherits from {name}, and [group.{name}] is missing"))?;
        settings.complete(&group.settings());
        next = group.inherits.as_deref();
    }
    Ok(settings)
}

impl GroupEntry {
    fn settings(&self) -> PiEntry {
        PiEntry {
            image: self.image.clone(),
            tree: self.tree.clone(),
            disk: self.disk.clone(),
            disk_mode: self.disk_mode,
            cmdline_extra: self.cmdline_extra.clone(),
            max_root_size: self.max_root_size,
            keep: self.keep.clone(),
            vars: self.vars.clone(),
            ..PiEntry::default()
        }
    }
}

/// A Pi's place between 0 and 99, the same at all times: a Pi of the first 10 percent is one of the first 20 percent.
fn share(pi: Prefix) -> u32 {
    // FNV-1a, and the upper bits: neighbouring serial numbers are far apart.
    let hash = pi.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    ((hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32 % 100
}

/// Whether a pattern with `*` and `?` is that of a whole name.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(char) if *char == b'?' || Some(char) == name.get(from) => {
                at += 1;
                from += 1;
            }
            _ => match star {
                // The last star takes one character more.
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    from = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|char| *char == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("*", ""),
            ("lab-*", "lab-7"),
            ("*9ae1", "bd989ae1"),
            ("b?9*e1", "bd989ae1"),
            ("a*b*c", "axbxbc"),
        ] {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [("lab-*", "labs"), ("?", ""), ("a", "ab"), ("a*b", "abc"), ("", "a")] {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }

    #[test]
    fn a_share_is_about_its_size_and_grows_with_its_percentage() {
        let of = |percent: u32| {
            (0..2000u32).filter(|serial| share(Prefix::Serial(0x1000_0000 + serial * 3)) < percent).count()
        };
        for percent in [1, 10, 50, 99] {
            let wanted = percent as usize * 20;
            let (found, slack) = (of(percent), 20 + wanted / 5);
            assert!(found.abs_diff(wanted) <= slack, "{percent} %: {found} of 2000");
        }
        assert_eq!(of(100), 2000);
    }
}
