//! What each Pi has of its own: machine id, SSH host keys, random seed, name. A tree for many has none of them.

use super::storage::removed;
use super::{Context, Edit, Release};
use pinetboot_image::ImageError;

/// An empty file: each Pi's first boot makes an id and keeps it in its own layer. Empty is not `uninitialized`, with which
/// every boot of a tree that cannot be written would be a first boot (machine-id(5)).
pub(super) fn machine_id(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let mut edits = Vec::new();
    if context.view.read("etc/machine-id")?.is_none_or(|id| !id.is_empty()) {
        edits.push(Edit::write("etc/machine-id", "", "empty: each Pi makes its own"));
    }
    if context.view.has("var/lib/dbus/machine-id")? {
        edits.push(Edit::link("var/lib/dbus/machine-id", "/etc/machine-id"));
    }
    Ok(edits)
}

/// Randomness that all have is none.
pub(super) fn random_seed(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    removed(context, vec!["var/lib/systemd/random-seed".into()])
}

/// No keys in the tree, and a unit that makes those that are missing. Raspberry Pi OS' own, which goes, would remove keys
/// that are there, as of someone who keeps them by Pi (raspberrypi-sys-mods, `regenerate_ssh_host_keys`).
pub(super) fn ssh_host_keys(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let view = context.view;
    if !view.has("usr/bin/ssh-keygen")? || !view.has_unit("ssh.service")? {
        return Ok(Vec::new());
    }
    let keys = view.list("etc/ssh")?;
    let mut paths: Vec<_> = keys
        .iter()
        .filter(|name| {
            name.starts_with("ssh_host_") && (name.ends_with("_key") || name.ends_with("_key.pub"))
        })
        .map(|name| format!("etc/ssh/{name}"))
        .collect();
    paths.extend(
        ["multi-user", "sysinit"].map(|target| {
            format!("etc/systemd/system/{target}.target.wants/regenerate_ssh_host_keys.service")
        }),
    );
    let mut edits = removed(context, paths)?;
    let path = "etc/systemd/system/pinetboot-ssh-keys.service";
    edits.push(Edit::write(path, SSH_KEYS_UNIT, "makes the host keys that a Pi lacks"));
    edits.push(Edit::link(
        "etc/systemd/system/multi-user.target.wants/pinetboot-ssh-keys.service",
        format!("/{path}"),
    ));
    Ok(edits)
}

const SSH_KEYS_UNIT: &str = "\
[Unit]
Description=SSH host keys of this machine
Before=ssh.service

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
";

/// Ubuntu looks for its seed on a card of the name `system-boot`, and in this directory (cloud-init,
/// `DataSourceNoCloud.seed_dirs`). Raspberry Pi OS looks in /boot/firmware anyway.
pub(super) fn cloud_init_seed(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let mut edits = Vec::new();
    for name in ["meta-data", "user-data", "vendor-data"] {
        if let Some(content) = context.view.read(&format!("{}/{name}", context.boot))? {
            let path = format!("var/lib/cloud/seed/nocloud/{name}");
            edits.push(Edit::Write {
                path,
                content,
                permissions: 0o600, // there may be passwords in it
                owner: (0, 0),
                what: format!("as in /{}", context.boot),
            });
        }
    }
    Ok(edits)
}

pub(super) fn hostname(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let Some(name) = &context.wishes.hostname else { return Ok(Vec::new()) };
    let hosts = context.view.text("etc/hosts")?.unwrap_or_default();
    // Without this line sudo cannot find out who it is.
    let own = format!("127.0.1.1\t{name}");
    let mut lines: Vec<_> =
        hosts.lines().filter(|line| line.split_whitespace().next() != Some("127.0.1.1")).collect();
    lines.push(&own);
    let mut edits = vec![
        Edit::write("etc/hostname", format!("{name}\n"), name.clone()),
        Edit::write("etc/hosts", lines.join("\n") + "\n", own.replace('\t', " ")),
    ];
    let has_cloud_init = !context.view.list("etc/cloud")?.is_empty();
    if has_cloud_init && context.release != Release::RaspiosBookworm {
        let path = "etc/cloud/cloud.cfg.d/90-pinetboot.cfg";
        edits.push(Edit::write(path, "preserve_hostname: true\n", "cloud-init leaves the name alone"));
    }
    Ok(edits)
}

/// Whether a machine may be called so: a label of RFC 1123.
pub fn is_host_name(name: &str) -> bool {
    name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.is_empty()
        && !name.starts_with('-')
        && !name.ends_with('-')
}
