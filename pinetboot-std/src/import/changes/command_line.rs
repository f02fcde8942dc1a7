//! The kernel's command line: what is about the SD card and its first boot goes. The server adds the root.

use super::{Context, Edit, Release};
use pinetboot_image::ImageError;

/// Rewrites every `cmdline.txt` that a Pi may get.
pub(super) fn plan(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let mut edits = Vec::new();
    for path in paths(context.boot) {
        let Some(text) = context.view.text(&path)? else { continue };
        let (line, dropped) = without_card(&text, added(context.release));
        if line != text.trim_end() {
            let what = match dropped.as_slice() {
                [] => "network parameters added".to_owned(),
                words => format!("without {}", words.join(" ")),
            };
            edits.push(Edit::write(path, format!("{line}\n"), what));
        }
    }
    Ok(edits)
}

/// The command line as the image has it: the one that is used, where there are several.
pub(crate) fn as_found(context: &Context<'_>) -> Result<String, ImageError> {
    for path in paths(context.boot).iter().rev() {
        if let Some(text) = context.view.text(path)? {
            return Ok(text.trim_end().to_owned());
        }
    }
    Ok(String::new())
}

/// Ubuntu 25.10 and later boot from `current/`, and from `new/` to try a kernel; what counts most is last.
fn paths(boot: &str) -> [String; 3] {
    ["cmdline.txt", "new/cmdline.txt", "current/cmdline.txt"].map(|name| format!("{boot}/{name}"))
}

/// A line without the words that an SD card needs, with those of the network, and which were dropped.
fn without_card<'a>(text: &'a str, added: &[&str]) -> (String, Vec<&'a str>) {
    // The firmware takes the first line only.
    let words = text.lines().next().unwrap_or_default().split_whitespace();
    let (dropped, mut kept): (Vec<_>, Vec<_>) = words.partition(|word| is_for_card(word));
    for word in added {
        if !kept.contains(word) {
            kept.push(word);
        }
    }
    (kept.join(" "), dropped)
}

/// `init=` starts raspberrypi-sys-mods' firstboot, which powers a Pi off that has no card; `resize` and `fsck` are for a
/// card's file system; `systemd.run` is what Imager 1 adds, `ds=nocloud` what Imager 2 adds (cloud-init finds its seed in
/// /boot/firmware without); `fixrtc` reads the card's time.
fn is_for_card(word: &str) -> bool {
    let name = word.split_once('=').map_or(word, |(name, _)| name);
    let starts = |prefix: &str| name.starts_with(prefix);
    match name {
        "root" | "rootfstype" | "rootflags" | "init" | "resize" | "fixrtc" | "ro" | "rw" | "rootwait" => true,
        // raspi-config's overlay file system, and Debian's overlayroot: all writes would go to memory.
        "overlayroot" => true,
        "boot" => word == "boot=overlay",
        "nfsroot" | "ip" => true, // from an import before, or by hand: the server knows better
        "systemd.unit" => word.ends_with("=kernel-command-line.target"),
        "ds" => word.starts_with("ds=nocloud"),
        _ => starts("fsck.") || starts("systemd.run") || word == "sdhci.debug_quirks2=4",
    }
}

/// Notes about words that the import removes, or that stay in an unknown system.
pub(super) fn notes(context: &Context<'_>) -> Result<Vec<String>, ImageError> {
    let line = as_found(context)?;
    let words = || line.lines().next().unwrap_or_default().split_whitespace();
    let is_changed = context.release != Release::Unknown;
    let mut notes = Vec::new();
    if let Some(word) = words().find(|word| word.starts_with("overlayroot") || *word == "boot=overlay") {
        notes.push(match is_changed {
            true => {
                format!("{word} removed from the command line: each Pi writes to its layer on the server")
            }
            false => format!(
                "{word} stays in the command line: a Pi writes to its memory, and its layer stays empty"
            ),
        });
    }
    if let Some(word) = words().find(|word| word.starts_with("nfsroot=")) {
        notes.push(match is_changed {
            true => format!("{word} removed from the command line: the server writes its own"),
            false => format!("{word} stays in the command line: a Pi mounts that root, not this server's"),
        });
    }
    Ok(notes)
}

/// Ubuntu's initramfs does the DHCP, and leaves what cloud-init would make a network configuration of: a second DHCP on
/// the interface that the root is mounted through (cloud-init, `net/cmdline.py`).
const fn added(release: Release) -> &'static [&'static str] {
    match release {
        Release::Ubuntu2404 | Release::Ubuntu2604 => &["network-config=disabled"],
        _ => &[],
    }
}
