//! The interface that the root is mounted through: nobody may take it down or configure it anew.

use super::{Context, Edit};
use pinetboot_image::ImageError;

/// NetworkManager leaves alone what the kernel configured, until it is restarted, as by an upgrade: NetworkManager.conf(5),
/// "keep-configuration [..] does not have any effect on service restart". `unmanaged-devices` cannot be overruled. Wi-Fi
/// stays managed.
pub(super) fn network_manager(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    if context.view.list("etc/NetworkManager")?.is_empty() {
        return Ok(Vec::new());
    }
    let content = "[keyfile]\nunmanaged-devices=interface-name:eth0;interface-name:end0\n";
    let what = "eth0 is the root's: not managed";
    Ok(vec![Edit::write("etc/NetworkManager/conf.d/90-pinetboot.conf", content, what)])
}

/// systemd's generator makes a configuration for systemd-networkd of `ip=` on the command line; a Pi with its root on NFS
/// hangs then (systemd issue 21967). By itself, networkd keeps what there is where the root is on the network
/// (systemd.network(5), `KeepConfiguration=`).
pub(super) fn generator(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    masked(context, "systemd-network-generator.service")
}

/// No interface is networkd's to bring up: nothing to wait for.
pub(super) fn wait_online(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    masked(context, "systemd-networkd-wait-online.service")
}

/// ifupdown takes its interfaces down when the system stops, before the root is released: a stop that never ends.
pub(super) fn ifupdown(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    if !context.view.has_unit("networking.service")? {
        return Ok(Vec::new());
    }
    let path = "etc/systemd/system/networking.service.d/90-pinetboot.conf";
    Ok(vec![Edit::write(path, "[Service]\nExecStop=\n", "interfaces stay up to the end")])
}

/// The kernel did the DHCP, and has the name servers in a file of `resolv.conf`'s form. NetworkManager lets a link that is
/// not its own be (NetworkManager.conf(5), `rc-manager`).
pub(super) fn resolv_conf(_: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    Ok(vec![Edit::link("etc/resolv.conf", "/proc/net/pnp")])
}

fn masked(context: &Context<'_>, unit: &str) -> Result<Vec<Edit>, ImageError> {
    Ok(if context.view.has_unit(unit)? { vec![Edit::mask(unit)] } else { Vec::new() })
}
