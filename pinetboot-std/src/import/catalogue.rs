//! The list of Raspberry Pi Imager: operating systems by name, with address and SHA-256.

use serde::Deserialize;

use super::download::{self, is_sha256};
use crate::exit::{Exit, Failed};

/// An operating system of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The address of its image.
    pub(super) url: String,
    /// The SHA-256 of the file at that address.
    pub(super) sha256: Option<String>,
}

/// Whether a text may be a name of the list.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Finds an operating system in the list at an address.
///
/// # Errors
///
/// If the list cannot be fetched or has no such name; the message has the similar ones.
pub(super) fn find(list: &str, name: &str) -> Result<Entry, Failed> {
    let text = download::fetch(list, MOST_LIST)?;
    let text = text.ok_or_else(|| Failed::new(Exit::Failure, format!("{list}: not found")))?;
    look_up(&text, name).map_err(|why| Failed::new(Exit::Usage, format!("{name}: {why}")))
}

fn look_up(text: &str, name: &str) -> Result<Entry, String> {
    let list: Items =
        serde_json::from_str(text).map_err(|error| format!("the list of images cannot be read: {error}"))?;
    let mut all = Vec::new();
    gather(list.os_list, 0, &mut all);
    if let Some((_, entry)) = all.iter().find(|(known, _)| known == name) {
        return Ok(entry.clone());
    }
    let first = name.split('-').next().unwrap_or(name);
    let similar: Vec<_> =
        all.iter().map(|(known, _)| known.as_str()).filter(|known| known.contains(first)).collect();
    let names: Vec<_> =
        if similar.is_empty() { all.iter().map(|(known, _)| known.as_str()).collect() } else { similar };
    let shown = names.iter().take(MOST_SHOWN).copied().collect::<Vec<_>>().join(", ");
    Err(format!("no such file, and no such name in Raspberry Pi Imager's list, which has: {shown}"))
}

fn gather(items: Vec<Item>, depth: usize, all: &mut Vec<(String, Entry)>) {
    for item in items {
        if let Some(url) = item.url.filter(|url| download::is_url(url)) {
            let sha256 = item.image_download_sha256.filter(|sum| is_sha256(sum));
            let entry = Entry { url, sha256: sha256.map(|sum| sum.to_ascii_lowercase()) };
            all.extend(short_name(&entry.url).map(|name| (name, entry.clone())));
            all.push((slug(&item.name), entry));
        }
        if depth < MOST_DEPTH {
            gather(item.subitems, depth + 1, all);
        }
    }
}

/// The name of a Raspberry Pi OS by the directory of its address: `raspios-lite` of `/raspios_lite_arm64/images/..`.
fn short_name(url: &str) -> Option<String> {
    let directory = url.split('/').find(|part| part.starts_with("raspios_"))?;
    let name = directory.replace("oldstable", "legacy").replace('_', "-");
    Some(name.strip_suffix("-arm64").map_or_else(|| name.clone(), str::to_owned))
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
    #[serde(default)]
    subitems: Vec<Self>,
}

/// The address of the list.
pub(super) const LIST: &str = "https://downloads.raspberrypi.com/os_list_imagingutility_v4.json";
const MOST_LIST: u64 = 16 << 20;
const MOST_DEPTH: usize = 8;
const MOST_SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_have_names() {
        let sum = "0".repeat(64);
        let list = format!(
            r#"{{"imager": {{}}, "os_list": [
                {{"name": "Raspberry Pi OS (64-bit)", "url": "https://x.org/raspios_arm64/images/raspios_arm64-2026-04-14/a.img.xz",
                  "image_download_sha256": "{sum}", "extract_size": 1}},
                {{"name": "Raspberry Pi OS (other)", "subitems": [
                    {{"name": "Raspberry Pi OS Lite (64-bit)", "url": "https://x.org/raspios_lite_arm64/images/b.img.xz"}},
                    {{"name": "Legacy", "url": "https://x.org/raspios_oldstable_lite_armhf/images/c.img.xz"}}]}},
                {{"name": "Erase", "url": "internal://format"}},
                {{"name": "Ubuntu Server 24.04.3 LTS (64-bit)", "url": "https://x.org/u.img.xz"}}]}}"#
        );
        let url = |name: &str| look_up(&list, name).map(|entry| entry.url);
        assert!(url("raspios").unwrap().ends_with("a.img.xz"));
        assert_eq!(look_up(&list, "raspios").unwrap().sha256, Some(sum));
        assert!(url("raspios-lite").unwrap().ends_with("b.img.xz"));
        assert!(url("raspios-legacy-lite-armhf").unwrap().ends_with("c.img.xz"));
        assert!(url("ubuntu-server-24-04-3-lts-64-bit").unwrap().ends_with("u.img.xz"));
        let why = url("raspios-light").unwrap_err();
        assert!(why.contains("raspios-lite") && !why.contains("ubuntu"), "{why}");
        assert!(look_up("<html>", "x").unwrap_err().contains("cannot be read"));
    }
}
