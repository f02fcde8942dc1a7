//! Changes to a system that was made for an SD card, so that it boots from the network.
//!
//! Each [`Step`] is one small change for one reason. The step reads the image through a [`View`] and returns edits, which are
//! applied after the copy, or only listed. The reasons come from the sources of pi-gen, raspberrypi-sys-mods, userconf-pi,
//! rpi-swap, cloud-init, initramfs-tools, klibc and systemd; each step names its source.

mod account;
mod command_line;
mod edit;
mod fstab;
mod identity;
mod network;
mod release;
mod storage;
mod view;

pub use account::{Account, Password, is_user_name};
pub(crate) use command_line::as_found as command_line_as_found;
pub(crate) use edit::directories;
pub use edit::{Edit, apply};
pub(crate) use fstab::boot_place;
pub use identity::is_host_name;
pub(crate) use release::kernel_mounts_root;
pub use release::{Release, System};
pub use view::View;

use pinetboot_image::ImageError;

/// The input of a step.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The system's files, before any change.
    pub view: &'a dyn View,
    /// The recognised release.
    pub release: Release,
    /// The mount point of the boot partition, relative to the root, like `boot/firmware`.
    pub boot: &'a str,
    /// Settings from the command line.
    pub wishes: &'a Wishes,
}

/// Settings from the command line.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The host name.
    pub hostname: Option<String>,
    /// The user to create.
    pub account: Option<Account>,
}

/// One change to a system.
pub struct Step {
    /// The step's name in lists.
    pub name: &'static str,
    /// The releases that need the step.
    releases: &'static [Release],
    /// Returns the edits for one system; none if the system needs no change.
    plan: fn(&Context<'_>) -> Result<Vec<Edit>, ImageError>,
}

/// The edits of one step.
#[derive(Debug)]
pub struct Planned {
    /// The step's name.
    pub step: &'static str,
    /// The edits, at least one.
    pub edits: Vec<Edit>,
}

/// Plans the edits of all steps.
///
/// # Errors
///
/// If the image cannot be read, or the system cannot have a requested setting.
pub fn plan(context: &Context<'_>) -> Result<Vec<Planned>, ImageError> {
    let mut planned = Vec::new();
    for step in STEPS.iter().filter(|step| step.releases.contains(&context.release)) {
        let edits = (step.plan)(context)?;
        if !edits.is_empty() {
            planned.push(Planned { step: step.name, edits });
        }
    }
    Ok(planned)
}

/// Notes for the user: files of the image that have no effect on a network root.
///
/// # Errors
///
/// If the image cannot be read.
pub fn notes(context: &Context<'_>) -> Result<Vec<String>, ImageError> {
    let mut notes = command_line::notes(context)?;
    notes.extend(fstab::notes(context)?);
    let has = |name: &str| context.view.has(&format!("{}/{name}", context.boot));
    if has("firstrun.sh")? {
        notes.push(
            "firstrun.sh, made by Raspberry Pi Imager, does not run on a network root: give --hostname, --user and \
             --ssh-key instead"
                .into(),
        );
    }
    if has("custom.toml")? {
        notes.push(
            "custom.toml has no effect on a network root: give --hostname, --user and --ssh-key instead"
                .into(),
        );
    }
    if context.release == Release::Ubuntu2604 {
        notes.push("Ubuntu 26.04 is experimental: no boot of it by this server has been observed".into());
    }
    Ok(notes)
}

use Release::{Debian, RaspiosBookworm as Bookworm, RaspiosTrixie as Trixie, Ubuntu2404, Ubuntu2604};

const ALL: &[Release] = &[Bookworm, Trixie, Ubuntu2404, Ubuntu2604, Debian];
const RASPIOS: &[Release] = &[Bookworm, Trixie];
const UBUNTU: &[Release] = &[Ubuntu2404, Ubuntu2604];

/// Every step, in the order of execution.
pub const STEPS: &[Step] = &[
    Step { name: "command-line", releases: ALL, plan: command_line::plan },
    Step { name: "fstab", releases: ALL, plan: fstab::plan },
    Step { name: "resize", releases: RASPIOS, plan: storage::resize },
    Step { name: "resize", releases: &[Debian], plan: storage::resize_of_dietpi },
    Step { name: "swap", releases: RASPIOS, plan: storage::swap },
    Step { name: "initramfs", releases: ALL, plan: storage::initramfs },
    Step { name: "eeprom-update", releases: ALL, plan: storage::eeprom_update },
    Step { name: "network-manager", releases: ALL, plan: network::network_manager },
    Step { name: "network-generator", releases: ALL, plan: network::generator },
    Step { name: "network-wait", releases: UBUNTU, plan: network::wait_online },
    Step { name: "network-stop", releases: &[Debian], plan: network::ifupdown },
    Step { name: "name-servers", releases: RASPIOS, plan: network::resolv_conf },
    Step { name: "machine-id", releases: ALL, plan: identity::machine_id },
    Step { name: "random-seed", releases: ALL, plan: identity::random_seed },
    Step { name: "ssh-host-keys", releases: ALL, plan: identity::ssh_host_keys },
    Step { name: "cloud-init-seed", releases: UBUNTU, plan: identity::cloud_init_seed },
    Step { name: "hostname", releases: ALL, plan: identity::hostname },
    Step { name: "user", releases: RASPIOS, plan: account::by_userconf },
    Step { name: "user", releases: &[Ubuntu2404, Ubuntu2604, Debian], plan: account::by_hand },
    Step { name: "ssh", releases: &[Bookworm, Trixie, Debian], plan: account::enable_ssh },
];

#[cfg(test)]
mod tests;
