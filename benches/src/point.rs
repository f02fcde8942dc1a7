//! The points of the comparison.

use std::fmt;

use crate::results::Value;

/// One point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// This many clients that each fetch a big file in blocks of 1024 bytes, one at a time, as Pis do.
    Clients(usize),
    /// The same on the [test bed](crate::bed), which measures the server alone; `apart`: the clients on a core of their own.
    Xdp { clients: usize, apart: bool },
    /// One client that asks for a window of `blocks` blocks of 1468 bytes.
    Window { blocks: u16, offload: bool },
    /// One client that asks for a window of 4, as EDK2 does, and acknowledges like EDK2 on a network that reorders one packet of fifty.
    Edk2,
    /// This many clients that each make the requests of a boot.
    Storm(usize),
    /// A hundred clients that fetch small files from all over a tree of this many files.
    Tree(usize),
    /// Ten clients that fetch files of this length in bytes.
    File(u64),
}

impl Point {
    /// All of them, in the order of the report.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::from([1, 10, 100, 500, 1000].map(Self::Clients));
        all.extend([1, 10, 100, 500, 1000].map(|clients| Self::Xdp { clients, apart: true }));
        all.extend([10, 100, 500, 1000].map(|clients| Self::Xdp { clients, apart: false }));
        all.extend([4, 16, 64].map(|blocks| Self::Window { blocks, offload: true }));
        all.extend([4, 16, 64].map(|blocks| Self::Window { blocks, offload: false }));
        all.push(Self::Edk2);
        all.push(Self::Storm(100));
        all.extend([10, 1000, 10_000, 100_000].map(Self::Tree));
        all.extend([64 << 10, 1 << 20, 64 << 20, 1 << 30, 4 << 30].map(Self::File));
        all
    }

    /// The points that `name` stands for: one point, or a group.
    pub(crate) fn named(name: &str) -> Result<Vec<Self>, String> {
        // For a comparison of builds or options: other servers take minutes for it.
        let crowd = Self::Storm(1000);
        if name == crowd.to_string() {
            return Ok(vec![crowd]);
        }
        let points: Vec<_> = Self::all()
            .into_iter()
            .filter(|point| point.to_string() == name || point.group().name() == name)
            .collect();
        if points.is_empty() {
            let all = Self::all().into_iter().map(|point| point.to_string()).collect::<Vec<_>>().join(" ");
            return Err(format!(
                "no such point; known: {all}; and the groups clients xdp windows edk2 storm trees files"
            ));
        }
        Ok(points)
    }

    /// The group that it belongs to.
    pub(crate) const fn group(self) -> Group {
        match self {
            Self::Clients(_) => Group::Clients,
            Self::Xdp { .. } => Group::Xdp,
            Self::Window { .. } => Group::Windows,
            Self::Edk2 => Group::Edk2,
            Self::Storm(_) => Group::Storm,
            Self::Tree(_) => Group::Trees,
            Self::File(_) => Group::Files,
        }
    }

    /// The part of the name that differs within the group.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Clients(1) | Self::Xdp { clients: 1, .. } => "1 client".into(),
            Self::Clients(clients) | Self::Xdp { clients, apart: true } => format!("{clients} clients"),
            Self::Xdp { clients, apart: false } => format!("{clients}, one core"),
            Self::Window { blocks, offload: true } => format!("{blocks}"),
            Self::Window { blocks, offload: false } => format!("{blocks}, no offload"),
            Self::Edk2 => "4".into(),
            Self::Storm(clients) => format!("{clients} clients"),
            Self::Tree(files) => format!("{files} files"),
            Self::File(len) if len >> 30 > 0 => format!("{} GiB", len >> 30),
            Self::File(len) if len >> 20 > 0 => format!("{} MiB", len >> 20),
            Self::File(len) => format!("{} KiB", len >> 10),
        }
    }

    /// Whether other servers are measured there too, or only how pinetboot's cost grows.
    pub(crate) const fn is_for_all(self) -> bool {
        !matches!(self, Self::Tree(_) | Self::File(_))
    }

    /// The number of clients.
    pub(crate) const fn clients(self) -> usize {
        match self {
            Self::Clients(clients) | Self::Xdp { clients, .. } | Self::Storm(clients) => clients,
            Self::Window { .. } | Self::Edk2 => 1,
            Self::Tree(_) => 100,
            Self::File(_) => 10,
        }
    }

    /// Bytes per block.
    pub(crate) const fn block_size(self) -> u16 {
        match self {
            Self::Window { .. } | Self::Edk2 => 1468,
            _ => LOCK_STEP,
        }
    }

    /// Blocks per acknowledgement that are asked for.
    pub(crate) const fn window(self) -> u16 {
        match self {
            Self::Window { blocks, .. } => blocks,
            Self::Edk2 => 4,
            _ => 1,
        }
    }

    /// The unit of the point's rate.
    pub(crate) const fn unit(self) -> Unit {
        self.group().unit()
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clients(1) => write!(f, "1-client"),
            Self::Clients(clients) => write!(f, "{clients}-clients"),
            Self::Xdp { clients, apart: true } => write!(f, "xdp-{clients}"),
            Self::Xdp { clients, apart: false } => write!(f, "xdp-{clients}-one-core"),
            Self::Window { blocks, offload: true } => write!(f, "window-{blocks}"),
            Self::Window { blocks, offload: false } => write!(f, "window-{blocks}-no-gso"),
            Self::Edk2 => write!(f, "edk2"),
            Self::Storm(100) => write!(f, "storm"),
            Self::Storm(clients) => write!(f, "storm-{clients}"),
            Self::Tree(files) => write!(f, "tree-{files}"),
            Self::File(len) if len >> 30 > 0 => write!(f, "file-{}g", len >> 30),
            Self::File(len) if len >> 20 > 0 => write!(f, "file-{}m", len >> 20),
            Self::File(len) => write!(f, "file-{}k", len >> 10),
        }
    }
}

/// Points that make one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Clients,
    Xdp,
    Windows,
    Edk2,
    Storm,
    Trees,
    Files,
}

impl Group {
    pub(crate) const ALL: [Self; 7] =
        [Self::Clients, Self::Xdp, Self::Windows, Self::Edk2, Self::Storm, Self::Trees, Self::Files];

    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Xdp => "xdp",
            Self::Windows => "windows",
            Self::Edk2 => "edk2",
            Self::Storm => "storm",
            Self::Trees => "trees",
            Self::Files => "files",
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Clients => "Many clients, one block of 1024 bytes at a time",
            Self::Xdp => "Many clients below the sockets (XDP), the same blocks",
            Self::Windows => "One client, windows of blocks of 1468 bytes",
            Self::Edk2 => "One client like EDK2, a window of 4, one packet of fifty overtaken",
            Self::Storm => "Boot storm",
            Self::Trees => "Small files out of a tree of many",
            Self::Files => "Files of many sizes",
        }
    }

    pub(crate) const fn unit(self) -> Unit {
        match self {
            Self::Clients | Self::Xdp | Self::Files => Unit::Blocks,
            Self::Windows | Self::Edk2 => Unit::Bytes,
            Self::Storm | Self::Trees => Unit::Requests,
        }
    }

    /// The costs that the report shows besides the rate: a name, the figure, and digits after the point.
    pub(crate) const fn costs(self) -> &'static [(&'static str, Value, usize)] {
        match self {
            Self::Clients => &[
                ("server's processor time a block, us", |sample| sample.cpu, 1),
                ("server busy, % of its core", |sample| sample.server_busy.map(|busy| busy * 100.0), 0),
                (
                    "clients busy, % of theirs",
                    |sample| (sample.clients_busy > 0.0).then_some(sample.clients_busy * 100.0),
                    0,
                ),
                ("memory idle, MiB", |sample| sample.memory_idle.map(mebibytes), 1),
                ("memory with all transfers, MiB", |sample| sample.memory.map(mebibytes), 1),
                ("first answer when all ask at once, p99, ms", |sample| sample.first_answer, 1),
                ("answer to a new request meanwhile, p99, ms", |sample| sample.new_request, 1),
                ("slowest transfer to the median one", |sample| sample.slowest, 2),
            ],
            Self::Xdp => &[
                ("server's processor time a block, us", |sample| sample.cpu, 2),
                ("its core's, with the kernel's own threads, us", |sample| sample.core, 2),
                ("server busy, % of its core", |sample| sample.server_busy.map(|busy| busy * 100.0), 0),
                ("network's share of the clients' core, %", |sample| Some(sample.clients_busy * 100.0), 0),
                ("memory with all transfers, MiB", |sample| sample.memory.map(mebibytes), 1),
                ("slowest transfer to the median one", |sample| sample.slowest, 2),
            ],
            Self::Windows => &[
                ("server's processor time a block, us", |sample| sample.cpu, 1),
                ("window that the server agreed to", |sample| sample.window.map(f64::from), 0),
            ],
            Self::Edk2 => &[
                ("DATA for each block of the file", |sample| sample.data_per_block, 2),
                ("window that the server agreed to", |sample| sample.window.map(f64::from), 0),
            ],
            Self::Storm => &[
                ("server's processor time a request, us", |sample| sample.cpu, 1),
                ("first answer, p99, ms", |sample| sample.first_answer, 1),
            ],
            Self::Trees => &[("server's processor time a request, us", |sample| sample.cpu, 1)],
            Self::Files => &[("server's processor time a block, us", |sample| sample.cpu, 2)],
        }
    }
}

/// Bytes per block of clients in lock-step.
pub(crate) const LOCK_STEP: u16 = 1024;

const fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// The unit of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Blocks,
    Bytes,
    Requests,
}

impl Unit {
    /// The unit's name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Blocks => "blocks/s",
            Self::Bytes => "MB/s",
            Self::Requests => "requests/s",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_points() {
        for point in Point::all() {
            assert_eq!(Point::named(&point.to_string()), Ok(vec![point]));
            assert!(Point::named(point.group().name()).is_ok_and(|group| group.contains(&point)));
        }
        assert_eq!(Point::named("storm-1000"), Ok(vec![Point::Storm(1000)]));
        assert!(Point::named("2-clients").is_err());
    }
}
