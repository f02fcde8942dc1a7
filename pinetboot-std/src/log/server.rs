//! Lines about the program: how it starts and ends, and what the operator should know of the configuration.

use tracing::{debug, error, info, warn};

use crate::events::{Server, Transfers};

pub(super) fn log(fact: &Server) {
    match fact {
        // Standard output has the same, for scripts that wait.
        Server::Ready { serving } => debug!("ready, serving {serving}"),
        Server::DhcpOff => info!(
            "DHCP is off: a Pi finds this server only if the network's DHCP server names it in option 66, or its own \
             bootloader does in TFTP_IP ('pinetboot router-config' shows how)"
        ),
        Server::NoConfig { tree } => {
            warn!(
                "there is no config.txt in {tree} nor in a directory of it: a Pi 5 will not boot from here"
            );
        }
        Server::NoRoots => info!("the images have boot files only: no root is served by NFS"),
        Server::NoOverlayRoot { root } => warn!(
            "{root} has no overlayroot: Pis will have it read-only, with no place to write to. Install the package \
             overlayroot there, or use --nfs-mode overlay"
        ),
        Server::WritableRoot => info!("the root is served to be written to: one Pi may have it, no other"),
        Server::BootFilesElsewhere { tree } => info!(
            "Serving boot files from {tree}. Kernel upgrades made on a Pi go to its own /boot/firmware and will not be \
             booted; omit TREE to serve those"
        ),
        Server::Portmapper { port: None } => info!("the system's portmapper tells where NFS is"),
        Server::Portmapper { port: Some(port) } => {
            info!("the portmapper is on port {port}: Pis look for it on port 111 only");
        }
        Server::RootsServed { how } => info!("NFS: {how}"),
        Server::FewDescriptors { allowed, transfers } => warn!(
            "this process may open only {allowed} files at once, too few for {transfers} transfers: raise the limit \
             (ulimit -n, LimitNOFILE=) or give a smaller --max-transfers"
        ),
        Server::NeedsRestart => {
            warn!("what was changed about addresses, ports, transfers, roots or the log takes a restart");
        }
        Server::Reloaded { serving } => info!("serving {serving} from here on"),
        Server::NotReloaded { error } => error!("nothing changes: {error}"),
        Server::Panicked { thread } => error!("the {thread} thread panicked"),
        Server::Network { what } => warn!("{what}"),
        Server::Stopped(Transfers { open, rejected }) => {
            match open {
                0 => info!("stopped"),
                open => info!("stopped, ending {open} transfers"),
            }
            debug!("{rejected} datagrams were no part of any transfer");
        }
    }
}
