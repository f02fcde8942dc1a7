//! The identity of a machine: machine id, SSH host keys, random seed, host name. A root shared by many Pis has none of them.

use super::storage::removed;
use super::{Context, Edit, Release};
use pinetboot_image::ImageError;

/// Empties /etc/machine-id: the first boot of each Pi generates an id and keeps it in the Pi's layer. Not `uninitialized`:
/// with that, every boot of a read-only root would count as the first (machine-id(5)).
pub(super) fn machine_id(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let mut edits = Vec::new();
    if context.view.read("etc/machine-id")?.is_none_or(|id| !id.is_empty()) {
        edits.push(Edit::write("etc/machine-id", "", "empty: each Pi generates its id"));
    }
    if context.view.has("var/lib/dbus/machine-id")? {
        edits.push(Edit::link("var/lib/dbus/machine-id", "/etc/machine-id"));
    }
    Ok(edits)
}

/// Removes the random seed, which all Pis would share.
pub(super) fn random_seed(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    removed(context, vec!["var/lib/systemd/random-seed".into()])
}

/// Removes the host keys, and adds a unit that generates missing ones. The unit of Raspberry Pi OS goes: it would delete keys
/// that the server put into a Pi's layer (raspberrypi-sys-mods, `regenerate_ssh_host_keys`).
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
    edits.push(Edit::write(path, SSH_KEYS_UNIT, "generates missing host keys"));
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
    // Without this line sudo cannot resolve the host name.
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
        edits.push(Edit::write(path, "preserve_hostname: true\n", "cloud-init keeps the host name"));
    }
    Ok(edits)
}

/// Whether `name` is a host name label (RFC 1123, section 2.1).
pub fn is_host_name(name: &str) -> bool {
    name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.is_empty()
        && !name.starts_with('-')
        && !name.ends_with('-')
}
