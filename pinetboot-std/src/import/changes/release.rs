//! Recognition of the system in an image.

use super::view::View;
use pinetboot_image::ImageError;

/// A release that the steps know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Raspberry Pi OS 12.
    RaspiosBookworm,
    /// Raspberry Pi OS 13.
    RaspiosTrixie,
    /// Ubuntu 24.04 for the Pi.
    Ubuntu2404,
    /// Ubuntu 25.10 and 26.04 for the Pi: both boot by turns from `current/` and `new/`.
    Ubuntu2604,
    /// Debian 12 and later.
    Debian,
    /// Any other system, which is imported unchanged.
    Unknown,
}

/// A recognised system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The release.
    pub release: Release,
    /// A short name: `raspios-trixie`, `ubuntu-24.04`, `debian-12`.
    pub id: String,
    /// PRETTY_NAME of os-release(5); empty if missing.
    pub pretty_name: String,
}

impl System {
    /// Recognises a system by its os-release(5), and Raspberry Pi OS by its `rpi-issue`, for it calls itself Debian (64
    /// bit) or Raspbian (32 bit).
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn recognise(view: &dyn View) -> Result<Self, ImageError> {
        let os_release = match view.text("etc/os-release")? {
            Some(text) => text,
            None => view.text("usr/lib/os-release")?.unwrap_or_default(),
        };
        let field = |name: &str| {
            let value = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        let (id, version, codename) = (field("ID"), field("VERSION_ID"), field("VERSION_CODENAME"));
        let is_raspios = id == "raspbian" || view.has("etc/rpi-issue")?;
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        let release = match (id.as_str(), codename.as_str(), version.as_str()) {
            (_, "bookworm", _) if is_raspios => Release::RaspiosBookworm,
            (_, "trixie", _) if is_raspios => Release::RaspiosTrixie,
            ("ubuntu", _, "24.04") => Release::Ubuntu2404,
            ("ubuntu", _, "25.10" | "26.04") => Release::Ubuntu2604,
            // Debian's testing has no version.
            ("debian", ..) if !is_raspios && major.is_none_or(|major| major >= 12) => Release::Debian,
            _ => Release::Unknown,
        };
        let is_dietpi = view.has("boot/dietpi")? && id == "debian";
        let short = if is_dietpi {
            format!("dietpi-{}", major.unwrap_or_default())
        } else if id.is_empty() {
            "unknown".into()
        } else if is_raspios {
            format!("raspios-{codename}")
        } else if version.is_empty() {
            format!("{id}-{codename}")
        } else {
            format!("{id}-{version}")
        };
        Ok(Self { release, id: short, pretty_name: field("PRETTY_NAME") })
    }
}

/// Whether the system's kernels mount an NFS root by themselves, as those of Raspberry Pi OS do: then the initramfs, and
/// with it 22 MB for each boot, is not needed.
///
/// # Errors
///
/// If the image cannot be read.
pub(crate) fn kernel_mounts_root(view: &dyn View, release: Release) -> Result<bool, ImageError> {
    let configurations: Vec<_> =
        view.list("boot")?.into_iter().filter(|name| name.starts_with("config-")).collect();
    if configurations.is_empty() {
        return Ok(matches!(release, Release::RaspiosBookworm | Release::RaspiosTrixie));
    }
    for name in configurations {
        let text = view.text(&format!("boot/{name}"))?.unwrap_or_default();
        let has = |option: &str| text.lines().any(|line| line.strip_prefix(option) == Some("=y"));
        let network = has("CONFIG_BCMGENET") || has("CONFIG_MACB") || has("CONFIG_USB_LAN78XX");
        if !(has("CONFIG_ROOT_NFS") && has("CONFIG_IP_PNP_DHCP") && network) {
            return Ok(false);
        }
    }
    Ok(true)
}
