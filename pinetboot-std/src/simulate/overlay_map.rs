//! `overlays/overlay_map.dtb`: maps a name in config.txt to the overlay of a model.
//!
//! A stock config.txt says `dtoverlay=vc4-kms-v3d`, and a Pi 5 loads `vc4-kms-v3d-pi5.dtbo`. Documented in
//! raspberrypi/documentation, configuration/device-tree.adoc; introduced with raspberrypi/linux pull request 3527.

use pinetboot_core::pi::Profile;

use super::fdt::{Fdt, text};

/// The overlay of a name on a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    /// Load the overlay of this name.
    Load(String),
    /// Load no overlay, for this reason.
    Not(String),
}

/// Looks up a name; `map` is the file's content, `None` without a file.
pub(super) fn look_up(map: Option<&[u8]>, overlay: &str, profile: &Profile) -> Mapped {
    let Some(map) = map.and_then(Fdt::parse) else { return Mapped::Load(overlay.to_owned()) };
    let platform = profile.overlay_platform;
    let mut name = overlay.to_owned();
    // A name may be renamed twice; the limit ends a circle of names.
    for _ in 0..4 {
        let Some(node) = map.node(&name) else { break };
        let properties: Vec<_> = node.collect();
        let find = |wanted| properties.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        if let Some(value) = find(platform) {
            // Empty: the same name. Otherwise a name, with parameters after a comma.
            let other = text(value).unwrap_or_default().split(',').next().unwrap_or_default();
            return Mapped::Load(if other.is_empty() { name } else { other.to_owned() });
        }
        match (find("renamed").and_then(text), find("deprecated").and_then(text)) {
            (Some(other), _) => name = other.split(',').next().unwrap_or_default().to_owned(),
            (None, Some(advice)) => return Mapped::Not(format!("the overlay is deprecated: {advice}")),
            (None, None) => return Mapped::Not(format!("the overlay is not for {platform}")),
        }
    }
    Mapped::Load(name)
}

#[cfg(test)]
mod tests {
    use pinetboot_core::pi::Model;

    use super::*;
    use crate::simulate::DeviceTree;

    #[test]
    fn names_as_the_map_has_them() {
        let map = DeviceTree::new()
            .node(
                "vc4-kms-v3d",
                &[("bcm2835", b""), ("bcm2711", b"vc4-kms-v3d-pi4\0"), ("bcm2712", b"vc4-kms-v3d-pi5\0")],
            )
            .node("uart5", &[("bcm2711", b"")])
            .node("lirc-rpi", &[("deprecated", b"use gpio-ir\0")])
            .node("pi3-disable-bt", &[("renamed", b"disable-bt\0")])
            .node("circle", &[("renamed", b"circle\0")])
            .finish();
        let load = |name: &str| Mapped::Load(name.into());
        for (name, model, mapped) in [
            ("vc4-kms-v3d", Model::Pi5, load("vc4-kms-v3d-pi5")),
            ("vc4-kms-v3d", Model::Pi4, load("vc4-kms-v3d-pi4")),
            ("vc4-kms-v3d", Model::Pi3, load("vc4-kms-v3d")),
            ("pi3-disable-bt", Model::Pi3, load("disable-bt")),
            ("not-in-the-map", Model::Pi5, load("not-in-the-map")),
            ("circle", Model::Pi5, load("circle")),
            ("uart5", Model::Pi5, Mapped::Not("the overlay is not for bcm2712".into())),
            ("lirc-rpi", Model::Pi4, Mapped::Not("the overlay is deprecated: use gpio-ir".into())),
        ] {
            let profile = model.profile();
            assert_eq!(look_up(Some(&map), name, profile), mapped, "{name} {model}");
            assert_eq!(look_up(None, name, profile), load(name));
            assert_eq!(look_up(Some(b"no map"), name, profile), load(name));
        }
    }
}
