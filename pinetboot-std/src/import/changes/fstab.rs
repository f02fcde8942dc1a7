//! `/etc/fstab` without the card's file systems: systemd would wait for them, and then enter emergency mode.

use super::{Context, Edit, Release};
use pinetboot_image::ImageError;

pub(super) fn plan(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let text = context.view.text("etc/fstab")?.unwrap_or_default();
    let (fstab, dropped) = rewrite(&text, context.boot);
    let what = format!("/{} mounted on itself; {dropped} of the card's lines commented out", context.boot);
    Ok(if fstab == text { Vec::new() } else { vec![Edit::write("etc/fstab", fstab, what)] })
}

/// Notes about lines that stay.
pub(super) fn notes(context: &Context<'_>) -> Result<Vec<String>, ImageError> {
    if context.release == Release::Unknown {
        return Ok(Vec::new());
    }
    let text = context.view.text("etc/fstab")?.unwrap_or_default();
    let own = text.lines().filter(|line| names_device(line) && !is_on_card(line));
    let source = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    Ok(own
        .map(|line| format!("{} stays in /etc/fstab: no boot waits for it (nofail, noauto)", source(line)))
        .collect())
}

/// Adds a bind mount of the boot directory on itself: its files are in the root, but the packages of kernel and firmware,
/// `raspberrypi-sys-mods` and cloud-init work only on a mount point.
fn rewrite(text: &str, boot: &str) -> (String, usize) {
    let mut dropped = 0;
    let mut lines = Vec::new();
    let own = format!("/{boot} /{boot} none bind 0 0");
    for line in text.lines().filter(|line| *line != own) {
        if is_on_card(line) {
            dropped += 1;
            lines.push(format!("# on the card: {line}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.push(own);
    (lines.join("\n") + "\n", dropped)
}

/// Whether a boot would wait for a line's device. A disk of the owner's, with `nofail` or `noauto`, is none of the card's.
fn is_on_card(line: &str) -> bool {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [source, place, kind, options @ ..] = fields.as_slice() else { return false };
    let is_awaited = !options.first().is_some_and(|options| {
        options.split(',').any(|option| ["nofail", "noauto", "x-systemd.automount"].contains(&option))
    });
    let is_system = *place == "/" || place.starts_with("/boot") || *kind == "swap";
    !source.starts_with('#') && (is_system || (names_device(line) && is_awaited))
}

fn names_device(line: &str) -> bool {
    ["PARTUUID=", "UUID=", "LABEL=", "PARTLABEL=", "/dev/"]
        .iter()
        .any(|name| line.trim_start().starts_with(name))
}

/// The mount point of the boot partition, without a leading slash.
pub(crate) fn boot_place(fstab: &str) -> Option<String> {
    fstab.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [source, place, "vfat", ..] = fields.as_slice() else { return None };
        let place = place.strip_prefix('/').filter(|_| !source.starts_with('#'))?;
        let clean = place == "boot" || place.strip_prefix("boot/").is_some_and(is_plain);
        clean.then(|| place.to_owned())
    })
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
