//! The list of Raspberry Pi Imager: operating systems by name, with address and SHA-256.
//!
//! The list is a tree of items: an item has the address of an image (`url`), or items (`subitems`), or the address of another list
//! (`subitems_url`), which has the key `os_list` alone (rpi-imager, `src/imagewriter.cpp`). Other lists are fetched only if a name is
//! not in the first one, or for all names. Nothing is kept from one command to the next: a download needs the network in any case, and
//! an old list names images that are gone.

use indicatif::DecimalBytes;
use serde::{Deserialize, Serialize};
use tracing::Level;

use super::download::{self, is_sha256};
use crate::exit::{Exit, Failed};
use crate::output::{Output, tell};
use crate::text::shown;

/// An operating system of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Entry {
    /// The name for `import`: one that is made of the address, else of the title.
    pub(super) name: String,
    title: String,
    /// The address of its image.
    pub(super) url: String,
    /// The SHA-256 of the file at that address.
    pub(super) sha256: Option<String>,
    /// The SHA-256 of the unpacked image.
    pub(super) image_sha256: Option<String>,
    /// The file's length.
    bytes: Option<u64>,
    released: Option<String>,
    /// Imager's tags of boards, as `pi5-64bit`; empty: not said.
    devices: Vec<String>,
}

/// A list, without those that it names.
#[derive(Debug, Default)]
struct Catalogue {
    entries: Vec<Entry>,
    /// Addresses of other lists.
    others: Vec<String>,
}

/// Whether a text may be a name of the list.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Finds an operating system in the list at an address.
///
/// # Errors
///
/// If the list cannot be fetched or read, or has no such name; the message has the similar ones.
pub(super) fn find(list: &str, name: &str) -> Result<Entry, Failed> {
    let name = &name.to_ascii_lowercase();
    let failed = |failed: Failed| {
        Failed::new(
            failed.exit,
            format!("{name}: no such file, and as a name of an image: {}", failed.message),
        )
    };
    let mut catalogue = Catalogue::of_https(list).map_err(failed)?;
    if let Some(entry) = catalogue.get(name) {
        return Ok(entry.clone());
    }
    let missing = catalogue.add_others(list);
    if let Some(entry) = catalogue.get(name) {
        return Ok(entry.clone());
    }
    let near = catalogue.near(name);
    let mut message = format!(
        "{name}: no such file, and no such name in Raspberry Pi Imager's list. The nearest: {}. All names: pinetboot images available",
        near.join(", ")
    );
    if let Some(first) = missing.first() {
        message += &format!(". {} of its further lists cannot be read: {first}", missing.len());
    }
    Err(Failed::new(if missing.is_empty() { Exit::Usage } else { Exit::Failure }, message))
}

/// Prints all names of the list at an address.
///
/// # Errors
///
/// If the list cannot be fetched or read. Further lists that cannot be read are named in a warning.
pub fn print(list: &str, json: bool, out: &mut Output) -> Result<Exit, Failed> {
    let mut catalogue = Catalogue::of_https(list)?;
    for missing in catalogue.add_others(list) {
        tell(Level::WARN, format_args!("pinetboot: left out: {missing}"));
    }
    let images = &catalogue.entries;
    if json {
        out.json(&serde_json::json!({ "list": list, "images": images }))?;
        return Ok(Exit::Success);
    }
    let width = images.iter().map(|image| image.name.len()).max().unwrap_or(0).min(MOST_WIDTH);
    for Entry { name, title, bytes, released, .. } in images {
        let bytes = bytes.map(|bytes| format!("  {}", DecimalBytes(bytes))).unwrap_or_default();
        let released = released.as_deref().map(|day| format!("  {}", shown(day))).unwrap_or_default();
        writeln!(out, "{name:width$}  {}{released}{bytes}", shown(title))?;
    }
    out.finish()?;
    Ok(Exit::Success)
}

impl Catalogue {
    /// The list at an https address: its sums prove the images.
    fn of_https(list: &str) -> Result<Self, Failed> {
        if is_https(list) {
            return Self::fetch(list);
        }
        let why = format!(
            "{list}: http has no protection against changes on the way, of the sums in the list neither. Give an https address"
        );
        Err(Failed::new(Exit::Usage, why))
    }

    fn fetch(url: &str) -> Result<Self, Failed> {
        let text = download::fetch(url, MOST_LIST)?;
        let text = text.ok_or_else(|| Failed::new(Exit::Failure, format!("{url}: not found")))?;
        Self::parse(&text).map_err(|why| Failed::new(Exit::Failure, format!("{url}: {why}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let list: Items = serde_json::from_str(text)
            .map_err(|error| format!("not a list of Raspberry Pi Imager, or a damaged one: {error}"))?;
        let mut catalogue = Self::default();
        catalogue.gather(list.os_list, 0);
        Ok(catalogue)
    }

    fn gather(&mut self, items: Vec<Item>, depth: usize) {
        for item in items {
            if let Some(other) = item.subitems_url.as_ref().filter(|url| download::is_url(url)) {
                self.others.push(other.clone());
            }
            if let Some(entry) = item.entry() {
                self.add(entry);
            }
            if depth < MOST_DEPTH {
                self.gather(item.subitems, depth + 1);
            }
        }
    }

    /// Adds an entry; one in several menus is added once. The first one has the name that is made of its address.
    fn add(&mut self, mut entry: Entry) {
        if self.entries.iter().any(|known| known.url == entry.url) || self.entries.len() >= MOST_ENTRIES {
            return;
        }
        let names = [short_name(&entry.url), Some(slug(&entry.title)), download_name(&entry.url)];
        let free = names.into_iter().flatten().find(|name| !name.is_empty() && self.get(name).is_none());
        if let Some(name) = free {
            entry.name = name;
            self.entries.push(entry);
        }
    }

    /// Fetches the lists that this one names, but not those that they name. Returns why some are missing.
    fn add_others(&mut self, list: &str) -> Vec<String> {
        let mut missing = Vec::new();
        let others = std::mem::take(&mut self.others);
        for (count, other) in others.iter().enumerate() {
            if count == MOST_OTHERS {
                missing.push(format!("lists beyond the first {MOST_OTHERS}"));
                break;
            }
            // What https protects, it protects to the end.
            if is_https(list) && !is_https(other) {
                missing.push(format!("{other}: no https address, in a list from one"));
                continue;
            }
            match Self::fetch(other) {
                Ok(more) => more.entries.into_iter().for_each(|entry| self.add(entry)),
                Err(failed) => missing.push(failed.message),
            }
        }
        missing
    }

    /// The entry of a name, or of the title as a name.
    fn get(&self, name: &str) -> Option<&Entry> {
        let named = self.entries.iter().find(|entry| entry.name == name);
        named.or_else(|| self.entries.iter().find(|entry| slug(&entry.title) == name))
    }

    /// The most similar names.
    fn near(&self, name: &str) -> Vec<&str> {
        let mut all: Vec<_> = self
            .entries
            .iter()
            .map(|entry| (strsim::jaro_winkler(name, &entry.name), entry.name.as_str()))
            .collect();
        all.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        all.into_iter().take(MOST_SHOWN).map(|(_, name)| name).collect()
    }
}

impl Item {
    fn entry(&self) -> Option<Entry> {
        let sum = |sum: &Option<String>| {
            sum.as_ref().filter(|sum| is_sha256(sum)).map(|sum| sum.to_ascii_lowercase())
        };
        Some(Entry {
            name: String::new(),
            title: self.name.clone(),
            url: self.url.clone().filter(|url| download::is_url(url))?,
            sha256: sum(&self.image_download_sha256),
            image_sha256: sum(&self.extract_sha256),
            bytes: self.image_download_size,
            released: self.release_date.clone(),
            devices: self.devices.clone(),
        })
    }
}

fn is_https(url: &str) -> bool {
    url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

/// The name of a Raspberry Pi OS by the directory of its address: `raspios-lite` of `/raspios_lite_arm64/images/..`.
fn short_name(url: &str) -> Option<String> {
    let directory = url.split('/').find(|part| part.starts_with("raspios_"))?;
    let name = directory.replace("oldstable", "legacy").replace('_', "-").to_ascii_lowercase();
    let name = name.strip_suffix("-arm64").map_or_else(|| name.clone(), str::to_owned);
    Some(name).filter(|name| is_name(name))
}

/// The file's name without endings, as a name.
fn download_name(url: &str) -> Option<String> {
    let file = url.rsplit('/').next()?.split(['?', '#']).next()?;
    Some(slug(file.split(".img").next()?))
}

/// A title as a name: `ubuntu-server-24-04-3-lts-64-bit`.
fn slug(title: &str) -> String {
    let words = title.split(|char: char| !char.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

#[derive(Debug, Deserialize)]
struct Items {
    os_list: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(default)]
    name: String,
    url: Option<String>,
    image_download_sha256: Option<String>,
    extract_sha256: Option<String>,
    image_download_size: Option<u64>,
    release_date: Option<String>,
    #[serde(default)]
    devices: Vec<String>,
    #[serde(default)]
    subitems: Vec<Self>,
    subitems_url: Option<String>,
}

/// The address of the list.
pub const LIST: &str = "https://downloads.raspberrypi.com/os_list_imagingutility_v4.json";
const MOST_LIST: u64 = 16 << 20;
const MOST_DEPTH: usize = 8;
const MOST_OTHERS: usize = 64;
const MOST_ENTRIES: usize = 4096;
const MOST_SHOWN: usize = 5;
/// Of the column of names.
const MOST_WIDTH: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_have_names() {
        let sum = "A".repeat(64);
        let list = format!(
            r#"{{"imager": {{}}, "os_list": [
                {{"name": "Raspberry Pi OS (64-bit)", "url": "https://x.org/raspios_arm64/images/raspios_arm64-2026-04-14/a.img.xz",
                  "image_download_sha256": "{sum}", "extract_sha256": "short", "image_download_size": 7, "devices": ["pi5-64bit"]}},
                {{"name": "Raspberry Pi OS (other)", "subitems": [
                    {{"name": "Raspberry Pi OS (64-bit)", "url": "https://x.org/raspios_arm64/images/raspios_arm64-2026-04-14/a.img.xz"}},
                    {{"name": "Raspberry Pi OS Lite (64-bit)", "url": "https://x.org/raspios_lite_arm64/images/b.img.xz"}},
                    {{"name": "Older", "url": "https://x.org/raspios_lite_arm64/images/older.img.xz"}},
                    {{"name": "Legacy", "url": "https://x.org/raspios_oldstable_lite_armhf/images/c.img.xz"}}]}},
                {{"name": "Erase", "url": "internal://format"}},
                {{"name": "Others", "subitems_url": "https://x.org/more.json"}},
                {{"name": "Ubuntu Server 24.04.3 LTS (64-bit)", "url": "https://x.org/u.img.xz"}}]}}"#
        );
        let catalogue = Catalogue::parse(&list).unwrap();
        for (name, file) in [
            ("raspios", "a.img.xz"),
            ("raspberry-pi-os-64-bit", "a.img.xz"),
            ("raspios-lite", "b.img.xz"),
            ("older", "older.img.xz"),
            ("raspios-legacy-lite-armhf", "c.img.xz"),
            ("ubuntu-server-24-04-3-lts-64-bit", "u.img.xz"),
        ] {
            assert!(catalogue.get(name).unwrap().url.ends_with(file), "{name}");
        }
        assert_eq!(catalogue.entries.len(), 5);
        let first = catalogue.get("raspios").unwrap();
        assert_eq!((first.sha256.clone(), first.image_sha256.clone()), (Some("a".repeat(64)), None));
        assert_eq!(catalogue.others, ["https://x.org/more.json"]);
        assert_eq!(catalogue.near("raspios-light")[0], "raspios-lite");
        assert!(catalogue.get("erase").is_none());
    }

    #[test]
    fn a_list_that_is_none_is_refused() {
        for text in
            ["<html>", "", "[]", r#"{"os_list": 1}"#, r#"{"os_list": [{"name": 1}]}"#, r#"{"os_list": [{"na"#]
        {
            let why = Catalogue::parse(text).unwrap_err();
            assert!(why.contains("damaged"), "{text}: {why}");
        }
        // serde_json ends at a depth of 128.
        let deep = "{\"os_list\":".to_owned() + &"[{\"subitems\":".repeat(10_000);
        assert!(Catalogue::parse(&deep).is_err());
    }
}
