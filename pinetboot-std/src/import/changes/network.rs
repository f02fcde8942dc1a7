//! The root's network interface: no service may take it down or reconfigure it.

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
    let what = "eth0 carries the root: unmanaged";
    Ok(vec![Edit::write("etc/NetworkManager/conf.d/90-pinetboot.conf", content, what)])
}

/// systemd's generator makes a configuration for systemd-networkd of `ip=` on the command line; a Pi with its root on NFS
/// hangs then (systemd issue 21967). By itself, networkd keeps what there is where the root is on the network
/// (systemd.network(5), `KeepConfiguration=`).
pub(super) fn generator(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    masked(context, "systemd-network-generator.service")
}

/// networkd brings up no interface, so the wait for one would time out.
pub(super) fn wait_online(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    masked(context, "systemd-networkd-wait-online.service")
}

/// ifupdown takes its interfaces down at shutdown, before the root is unmounted: the shutdown never ends.
pub(super) fn ifupdown(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    if !context.view.has_unit("networking.service")? {
        return Ok(Vec::new());
    }
    let path = "etc/systemd/system/networking.service.d/90-pinetboot.conf";
    Ok(vec![Edit::write(path, "[Service]\nExecStop=\n", "interfaces stay up during shutdown")])
}

/// The kernel's DHCP client keeps the name servers in /proc/net/pnp, in the format of resolv.conf(5). NetworkManager does not
/// replace a foreign link (NetworkManager.conf(5), `rc-manager`).
pub(super) fn resolv_conf(_: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    Ok(vec![Edit::link("etc/resolv.conf", "/proc/net/pnp")])
}

fn masked(context: &Context<'_>, unit: &str) -> Result<Vec<Edit>, ImageError> {
    Ok(if context.view.has_unit(unit)? { vec![Edit::mask(unit)] } else { Vec::new() })
}
