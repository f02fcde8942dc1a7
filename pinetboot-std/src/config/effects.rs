//! Settings that have no effect beside the others.

use super::{BootFiles, DhcpClients, DhcpMode, DiskConfig, NfsMode, Settings};

/// The settings that were given and have no effect, each with the reason.
pub(super) fn without_effect(settings: &Settings) -> Vec<(&'static str, &'static str)> {
    let dhcp = settings.dhcp.unwrap_or_default();
    let mode = settings.nfs_mode.unwrap_or_default();
    let is_on = |switch: Option<bool>| switch == Some(true);
    let of_dhcp = [
        ("dhcp-clients", settings.dhcp_clients.is_some()),
        ("dhcp-delay", settings.dhcp_delay.is_some()),
        ("boot-server", settings.boot_server.is_some()),
        ("boot-file", !settings.boot_file.is_empty()),
        ("force", is_on(settings.force)),
    ];
    let of_uploads =
        [("overwrite", is_on(settings.overwrite)), ("upload-max-size", settings.upload_max_size.is_some())];
    let disks = DiskConfig::are_in(settings);
    let of_disks = [
        ("disk-mode", settings.disk_mode.is_some()),
        ("disk-port", settings.disk_port.is_some()),
        ("disk-size", settings.disk_size.is_some()),
        ("init", settings.init.is_some()),
    ];
    let of_nfs = [
        ("state", settings.state.is_some() && dhcp != DhcpMode::Lease && !disks),
        ("max-pis", settings.max_pis.is_some() && !disks),
        ("max-root-size", settings.max_root_size.is_some()),
        ("nfs-port", settings.nfs_port.is_some()),
        ("nfs-insecure", is_on(settings.nfs_insecure)),
        ("nfs-udp", is_on(settings.nfs_udp)),
        ("nfs-sync", settings.nfs_sync.is_some()),
        ("portmap-port", settings.portmap_port.is_some()),
        ("no-rewrite", is_on(settings.no_rewrite) && !disks),
    ];
    let of_layers =
        [("max-pis", settings.max_pis.is_some()), ("max-root-size", settings.max_root_size.is_some())];
    let clients = settings.dhcp_clients.unwrap_or_default();
    let is_for_pis = BootFiles::parse(&settings.boot_file).is_ok_and(|files| files.is_for_pis());
    let are_pis = matches!(clients, DhcpClients::Pi | DhcpClients::Listed);
    let for_pxe = [("boot-file", !settings.boot_file.is_empty() && are_pis && !is_for_pis)];
    let for_leases = [("force", is_on(settings.force))];
    let mut found = Vec::new();
    let mut group = |applies: bool, settings: &[(&'static str, bool)], why: &'static str| {
        let given = settings.iter().filter(|(_, given)| applies && *given);
        found.extend(given.map(|(name, _)| (*name, why)));
    };
    group(dhcp == DhcpMode::Off, &of_dhcp, "DHCP is off");
    let only_for_pis =
        "no Pi boots by it: --dhcp-clients pxe and all answer others, and arm64=NAME is for UEFI on a Pi";
    group(dhcp != DhcpMode::Off, &for_pxe, only_for_pis);
    group(dhcp == DhcpMode::Proxy, &for_leases, "a proxy leases no addresses");
    group(settings.allow_upload.is_none(), &of_uploads, "uploads are refused without allow-upload");
    group(!disks, &of_disks, "no Pi has a disk");
    group(mode == NfsMode::Off, &of_nfs, "NFS is off");
    let has_no_layers = matches!(mode, NfsMode::SharedRo | NfsMode::Rw);
    group(has_no_layers, &of_layers, "only --nfs-mode overlay gives each Pi a layer");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_does_nothing_is_found() {
        for (text, expected) in [
            ("", &[][..]),
            ("dhcp = 'proxy'\nboot-file = 'x64=x.efi'", &["boot-file"]),
            ("dhcp = 'proxy'\nboot-file = 'x.efi'", &[]),
            ("dhcp = 'proxy'\nboot-file = 'x.efi'\ndhcp-clients = 'pxe'\nforce = false", &[]),
            ("dhcp = 'proxy'\nforce = true", &["force"]),
            ("boot-server = '10.0.0.1'\noverwrite = true", &["boot-server", "overwrite"]),
            ("allow-upload = '/srv'\noverwrite = true", &[]),
            ("nfs-mode = 'off'\nstate = '/x'\nnfs-udp = false", &["state"]),
            ("disk-port = 1\ninit = '/x'", &["disk-port", "init"]),
            ("disk-port = 1\nnfs-mode = 'off'\nstate = '/x'\n[pi.00000001]\ndisk = '/i'", &[]),
            ("nfs-mode = 'shared-ro'\nmax-pis = 4\nstate = '/x'", &["max-pis"]),
        ] {
            let found = without_effect(&toml::from_str(text).unwrap());
            let names: Vec<_> = found.into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, expected, "{text}");
        }
    }
}
