//! Facts about NFS, from the NFS server: mounts and calls, with the Pi of the root.

use std::net::SocketAddrV4;
use std::path::Path;

use pinetboot_nfs::{
    CallRefusal, CallRefused, Closing, Disconnected, Event, HandleRefusal, HandleRefused, LookedUp,
    MountRefused, MountStatus, Mounted, Observer, Unacknowledged, Unmounted,
};

use crate::events::{Nfs, Root};
use crate::roots::{Registry, Report, RootExports};
use crate::text::{self, without_secrets};

/// Emits the NFS server's events as facts.
#[derive(Debug, Clone)]
pub struct NfsObserver {
    registry: Registry,
    exports: RootExports,
}

impl NfsObserver {
    /// An observer for this registry and these exports.
    pub const fn new(registry: Registry, exports: RootExports) -> Self {
        Self { registry, exports }
    }

    fn tell(&self, client: &SocketAddrV4, fact: impl Into<Report>) {
        self.registry.emit(*client.ip(), fact);
    }

    fn mount_refused(&self, refused: &MountRefused<'_>) {
        let MountRefused { client, path, why, status, .. } = refused;
        let pi = self.exports.pi_of(path, *client.ip());
        let (failed, not_found) =
            (matches!(status, MountStatus::Failed), matches!(status, MountStatus::NotFound));
        self.tell(
            client,
            Root::MountRefused { pi, path: shown(path), why: (*why).to_owned(), failed, not_found },
        );
    }
}

impl Observer for NfsObserver {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Connected(connected) => {
                self.tell(&connected.peer, Nfs::Connected { peer: connected.peer })
            }
            Event::Disconnected(Disconnected { peer, why, .. }) => {
                let for_memory = matches!(why, Closing::Memory);
                let is_broken = matches!(why, Closing::Broken(_) | Closing::Stuck);
                self.tell(
                    peer,
                    Nfs::Disconnected { peer: *peer, why: why.to_string(), for_memory, is_broken },
                );
            }
            Event::Mounted(Mounted { client, path, export, .. }) => {
                self.exports.mounted(*export, *client.ip(), path);
            }
            Event::MountRefused(refused) => self.mount_refused(refused),
            Event::Unmounted(Unmounted { client, path, by_tcp, .. }) => {
                if let Some(path) = path.filter(|_| *by_tcp) {
                    self.exports.unmounted(*client.ip(), path);
                }
                self.tell(client, Nfs::Unmounted { path: path.map(shown) });
            }
            Event::CallRefused(refused) => self.tell(&refused.client, call_refused(refused)),
            Event::HandleRefused(HandleRefused { client, why, .. }) => {
                // The exports emit the other refusals themselves.
                let why = match why {
                    HandleRefusal::Forged => {
                        "the handle is not of this server, or the server's key was lost. Restart the Pi"
                    }
                    HandleRefusal::Unknown => "the layer of the handle was removed. Restart the Pi",
                    _ => return,
                };
                self.tell(client, Nfs::HandleRefused { peer: *client, why: why.to_owned() });
            }
            Event::Unacknowledged(Unacknowledged { peer, .. }) => {
                self.tell(peer, Nfs::Unacknowledged { peer: *peer });
            }
            Event::LookedUp(looked_up) => {
                if let Some(fact) = looked_up_fact(looked_up) {
                    self.tell(&looked_up.client, fact);
                }
            }
            Event::FirstRead(first) => self.tell(&first.client, Nfs::FirstRead),
            Event::FirstWrite(first) => self.tell(&first.client, Nfs::FirstWrite),
            Event::Trouble(trouble) => self.registry.emit(None, Nfs::Trouble { what: trouble.to_string() }),
            _ => {}
        }
    }
}

/// What the name of a LOOKUP shows of a boot; most show nothing.
fn looked_up_fact(looked_up: &LookedUp<'_>) -> Option<Nfs> {
    match (looked_up.name, looked_up.found) {
        (b"init", found) => Some(Nfs::InitSought { found }),
        // Linux tries /sbin/init, /etc/init, /bin/init and /bin/sh (init/main.c, kernel_init).
        (b"sbin" | b"etc" | b"bin", false) => Some(Nfs::InitSought { found: false }),
        // emergency.service and rescue.service start this program, and no other unit does (systemd, units/emergency.service.in).
        (b"systemd-sulogin-shell", true) => Some(Nfs::EmergencyShell),
        _ => None,
    }
}

fn call_refused(refused: &CallRefused) -> Nfs {
    let CallRefused { client, program, version, procedure, why, .. } = *refused;
    let remedy = match why {
        CallRefusal::NoSuchVersion { .. } if [NFS, MOUNT].contains(&program) => {
            Some("Write vers=3 into the mount options of the command line (nfsroot=..,vers=3)".into())
        }
        CallRefusal::PortNotReserved => Some("Mount as root, or accept all ports with --nfs-insecure".into()),
        CallRefusal::UdpOff => Some("Write tcp into the mount options, or serve UDP with --nfs-udp".into()),
        // Linux asks for the side protocol NFSACL at each mount, rpcinfo for versions of the portmapper: both are normal.
        _ => None,
    };
    Nfs::CallRefused { peer: client, program, version, procedure, why: refused.to_string(), remedy }
}

fn shown(path: &Path) -> String {
    without_secrets(&text::shown(path).to_string())
}

/// RPC program numbers (RFC 1813, sections 2.1 and 5.0).
const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;
