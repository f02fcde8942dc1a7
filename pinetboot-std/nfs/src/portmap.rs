//! The portmapper, version 2 (RFC 1833, section 3): returns the port of a program.
//!
//! Without a portmapper Debian's initramfs finds neither NFS nor MOUNT. This one knows this server only: registrations are refused,
//! and calls are not forwarded (CALLIT), since forwarding portmappers serve to flood hosts. On a system with a portmapper, the
//! server registers there: [`register`](super::register).

use nfs3_types::portmap::{IPPROTO_TCP, IPPROTO_UDP, mapping};
use nfs3_types::xdr_codec::List;
use nfs3_types::{mount, nfs3};

use super::arguments::Arguments;
use super::observe::CallRefusal;
use super::reply::Reply;

pub(super) use nfs3_types::portmap::{PROGRAM, VERSION};

/// The mappings of programs to ports.
#[derive(Clone, Debug, Default)]
pub(super) struct Mappings(Vec<mapping>);

impl Mappings {
    /// NFS and MOUNT on `port`, over TCP and UDP; NFS over UDP only with `udp`.
    pub(super) fn of_programs(port: u16, udp: bool) -> Self {
        let programs = [(nfs3::PROGRAM, nfs3::VERSION), (mount::PROGRAM, 1), (mount::PROGRAM, 3)];
        let mappings = programs.into_iter().flat_map(|(prog, vers)| both(prog, vers, port));
        Self(
            mappings
                .filter(|known| udp || (known.prog, known.prot) != (nfs3::PROGRAM, IPPROTO_UDP))
                .collect(),
        )
    }

    /// Adds the portmapper itself.
    pub(super) fn with_portmap(mut self, port: u16) -> Self {
        self.0.extend(both(PROGRAM, VERSION, port));
        self
    }

    pub(super) fn as_slice(&self) -> &[mapping] {
        &self.0
    }

    pub(super) fn answer(
        &self,
        procedure: u32,
        mut arguments: Arguments<'_>,
        reply: &mut Reply,
    ) -> Result<(), CallRefusal> {
        match procedure {
            NULL => {}
            SET | UNSET => reply.put(&false),
            GETPORT => {
                let asked: mapping = arguments.fixed()?;
                let known = |known: &&mapping| {
                    (known.prog, known.vers, known.prot) == (asked.prog, asked.vers, asked.prot)
                };
                reply.put(&self.0.iter().find(known).map_or(0, |known| known.port));
            }
            DUMP => reply.put(&List(self.0.clone())),
            _ => return Err(CallRefusal::NoSuchProcedure),
        }
        Ok(())
    }
}

fn both(prog: u32, vers: u32, port: u16) -> [mapping; 2] {
    [IPPROTO_TCP, IPPROTO_UDP].map(|prot| mapping { prog, vers, prot, port: port.into() })
}

const NULL: u32 = 0;
pub(super) const SET: u32 = 1;
pub(super) const UNSET: u32 = 2;
pub(super) const GETPORT: u32 = 3;
const DUMP: u32 = 4;
