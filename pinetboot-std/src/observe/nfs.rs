//! Facts about NFS, from the NFS server: of mounts and calls, for the Pi whose root they are about.

use std::net::SocketAddrV4;
use std::path::Path;

use nfs3_types::mount::mountstat3;

use crate::bus::Bus;
use crate::events::{Fact, Nfs, Root};
use crate::nfs::{
    CallRefusal, CallRefused, Closing, Disconnected, Event, HandleRefusal, HandleRefused, MountRefused,
    Mounted, Observer, Trouble, Unmounted,
};
use crate::roots::RootExports;

/// Tells the bus what happens at the NFS server.
#[derive(Debug, Clone)]
pub struct NfsObserver {
    bus: Bus,
    exports: RootExports,
}

impl NfsObserver {
    /// An observer that tells this bus, of these exports.
    pub const fn new(bus: Bus, exports: RootExports) -> Self {
        Self { bus, exports }
    }

    fn tell(&self, client: &SocketAddrV4, fact: impl Into<Fact>) {
        self.bus.emit(*client.ip(), fact);
    }

    fn mount_refused(&self, refused: &MountRefused<'_>) {
        let MountRefused { client, path, why, status, .. } = refused;
        let pi = self.exports.pi_of(path, *client.ip());
        let failed = matches!(status, mountstat3::MNT3ERR_SERVERFAULT);
        self.tell(client, Root::MountRefused { pi, path: shown(path), why: (*why).to_owned(), failed });
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
                self.tell(peer, Nfs::Disconnected { peer: *peer, why: closing(why), for_memory });
            }
            Event::Mounted(Mounted { client, path, export, .. }) => {
                self.exports.mounted(*export, *client.ip(), path);
            }
            Event::MountRefused(refused) => self.mount_refused(refused),
            Event::Unmounted(Unmounted { client, path, .. }) => {
                self.tell(client, Nfs::Unmounted { path: path.map(shown) });
            }
            Event::CallRefused(refused) => self.tell(&refused.client, call_refused(refused)),
            Event::HandleRefused(HandleRefused { client, why, .. }) => {
                // That a client is not the Pi, the exports have told.
                let why = match why {
                    HandleRefusal::Forged => {
                        "this server did not make the handle, or its key is lost: restart the Pi"
                    }
                    HandleRefusal::Unknown => "the layer that the handle is of is gone: restart the Pi",
                    _ => return,
                };
                self.tell(client, Nfs::HandleRefused { peer: *client, why: why.to_owned() });
            }
            Event::FirstRead(first) => self.tell(&first.client, Nfs::FirstRead),
            Event::Trouble(trouble) => self.bus.emit(None, Nfs::Trouble { what: self::trouble(trouble) }),
        }
    }
}

fn call_refused(refused: &CallRefused) -> Nfs {
    let CallRefused { client, program, version, procedure, why, .. } = *refused;
    let (why, remedy) = match why {
        CallRefusal::NoSuchVersion { low, high } if program == NFS => (
            format!("NFS version {version} is not served, only {low} to {high}"),
            Some("Write vers=3 into the mount options of the command line (nfsroot=..,vers=3)"),
        ),
        CallRefusal::NoSuchVersion { low, high } if program == MOUNT => (
            format!("MOUNT version {version} is not served, only {low} to {high}"),
            Some("Write vers=3 into the mount options of the command line (nfsroot=..,vers=3)"),
        ),
        CallRefusal::PortNotReserved => (
            "the source port is above 1023, so any user of that host may have sent the call".into(),
            Some("Mount as root, or accept all ports with --nfs-insecure"),
        ),
        CallRefusal::UdpOff => (
            "NFS is not served over UDP".into(),
            Some("Write tcp into the mount options, or serve UDP with --nfs-udp"),
        ),
        // Linux asks for the side protocol NFSACL at each mount, rpcinfo for versions of the portmapper: both are normal.
        CallRefusal::RpcVersion(version) => (format!("RPC version {version} is not served, only 2"), None),
        CallRefusal::NoSuchProgram => (format!("the program {program} is not served on this port"), None),
        CallRefusal::NoSuchVersion { low, high } => {
            (format!("version {version} is not served, only {low} to {high}"), None)
        }
        CallRefusal::NoSuchProcedure => (format!("there is no procedure {procedure}"), None),
        CallRefusal::GarbageArguments => ("the arguments are not those of the procedure".into(), None),
        CallRefusal::BadCredentials => ("the credentials are not those of AUTH_SYS".into(), None),
        CallRefusal::Flavor(flavor) => {
            (format!("credentials of flavor {flavor} are not accepted, only AUTH_NONE and AUTH_SYS"), None)
        }
    };
    Nfs::CallRefused { peer: client, program, version, procedure, why, remedy }
}

fn closing(why: &Closing) -> String {
    match why {
        Closing::Client => "closed by the client".into(),
        Closing::Broken(error) => format!("broken: {error}"),
        Closing::RecordTooLong => "a record is longer than any call".into(),
        Closing::Idle => "no call for six minutes".into(),
        Closing::Stuck => "the client took no answer for a minute".into(),
        Closing::MadeRoom => "the idlest, where another needed its place".into(),
        Closing::Memory => "all clients together hold too much memory".into(),
        Closing::Panicked => "a call met a bug of the server".into(),
        Closing::Stopped => "the server stops".into(),
    }
}

fn trouble(trouble: &Trouble<'_>) -> String {
    match trouble {
        Trouble::Accept(error) => format!("cannot accept a connection: {error}; the idlest one was closed"),
        Trouble::Serve { peer, error } => format!("cannot serve {peer}: {error}"),
        Trouble::Arm(error) => format!("a connection is not attended to any more: epoll: {error}"),
        Trouble::Wait(error) => format!("a worker ends: epoll: {error}"),
        Trouble::Memory { peer, held } => {
            format!("all clients together hold {held} bytes; the connection of {peer} is closed")
        }
        Trouble::Unregister(error) => {
            format!("the system's portmapper goes on telling of a server that is gone: {error}")
        }
        Trouble::Panicked => "a thread panicked, and goes on with the next call".into(),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// RPC program numbers (RFC 1813, sections 2.1 and 5.0).
const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;
