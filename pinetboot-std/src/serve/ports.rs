//! A trial of the ports, before work that takes long.

use std::net::{SocketAddrV4, TcpListener};

use super::{bind, dhcp};
use crate::config::{Config, NfsMode};
use crate::exit::Failed;
use crate::handed::Handed;
use crate::net::{BindError, LinuxNet};

/// Opens the ports of TFTP, DHCP and NFS, and closes them again.
///
/// # Errors
///
/// All ports that are taken, each with its holder and the remedy.
pub(crate) fn try_ports(config: &Config) -> Result<(), Failed> {
    let tftp = LinuxNet::listen_together(&config.listen, &config.net, 1, &mut Handed::default());
    let tftp = tftp.err().map(|failure| bind::cannot_bind_tftp(&failure));
    let dhcp = config.dhcp.iter().flat_map(|dhcp| {
        config
            .net
            .interfaces
            .iter()
            .filter_map(|interface| dhcp::listen(dhcp, interface, &mut Handed::default()).err())
    });
    let nfs = (config.root.mode != NfsMode::Off).then(|| {
        config.listen_addresses().into_iter().filter_map(|address| {
            let address = SocketAddrV4::new(address, config.root.nfs_port);
            let error = TcpListener::bind(address).err()?;
            Some(bind::cannot_bind(
                &BindError { address, error },
                "serve boot files only with --nfs-mode off",
            ))
        })
    });
    let disk = (!config.disk_images().is_empty()).then(|| {
        config.listen_addresses().into_iter().filter_map(|address| {
            let address = SocketAddrV4::new(address, config.disk.port);
            let error = TcpListener::bind(address).err()?;
            Some(bind::cannot_bind(&BindError { address, error }, "choose another port with --disk-port"))
        })
    });
    let nfs = nfs.into_iter().flatten().chain(disk.into_iter().flatten());
    Failed::all(tftp.into_iter().chain(dhcp).chain(nfs))
}
