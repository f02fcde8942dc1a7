//! What is measured: the points of the comparison.

use std::fmt;
use std::str::FromStr;

/// One point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// So many clients that each fetch a big file in blocks of 1024 bytes, one at a time: what Pis do.
    Clients(usize),
    /// One client that asks for a window of so many blocks of 1468 bytes.
    Window { blocks: u16, offload: bool },
    /// A hundred clients that each make the requests of a boot.
    Storm,
    /// A hundred clients that fetch small files out of so many, all over the tree.
    Tree(usize),
    /// Ten clients that fetch files of this size.
    File(u64),
}

impl Point {
    /// All of them, in the order of the report.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::from([1, 10, 100, 500, 1000].map(Self::Clients));
        all.extend([4, 16, 64].map(|blocks| Self::Window { blocks, offload: true }));
        all.extend([4, 16, 64].map(|blocks| Self::Window { blocks, offload: false }));
        all.push(Self::Storm);
        all.extend([10, 1000, 10_000, 100_000].map(Self::Tree));
        all.extend([64 << 10, 1 << 20, 64 << 20, 1 << 30, 4 << 30].map(Self::File));
        all
    }

    /// The points that this is a name for: one of them, or a group.
    pub(crate) fn named(name: &str) -> Result<Vec<Self>, String> {
        let points: Vec<_> = Self::all()
            .into_iter()
            .filter(|point| point.to_string() == name || point.group() == name)
            .collect();
        if points.is_empty() {
            let all = Self::all().into_iter().map(|point| point.to_string()).collect::<Vec<_>>().join(" ");
            return Err(format!("there are: {all}; and the groups clients windows storm trees files"));
        }
        Ok(points)
    }

    /// The group that it belongs to.
    pub(crate) const fn group(self) -> &'static str {
        match self {
            Self::Clients(_) => "clients",
            Self::Window { .. } => "windows",
            Self::Storm => "storm",
            Self::Tree(_) => "trees",
            Self::File(_) => "files",
        }
    }

    /// Whether other servers are measured there too, or only how pinetboot's cost grows.
    pub(crate) const fn is_for_all(self) -> bool {
        !matches!(self, Self::Tree(_) | Self::File(_))
    }

    /// How many clients there are.
    pub(crate) const fn clients(self) -> usize {
        match self {
            Self::Clients(clients) => clients,
            Self::Window { .. } => 1,
            Self::Storm | Self::Tree(_) => 100,
            Self::File(_) => 10,
        }
    }

    /// Bytes per block.
    pub(crate) const fn block_size(self) -> u16 {
        match self {
            Self::Window { .. } => 1468,
            _ => 1024,
        }
    }

    /// Blocks per acknowledgement that are asked for.
    pub(crate) const fn window(self) -> u16 {
        match self {
            Self::Window { blocks, .. } => blocks,
            _ => 1,
        }
    }

    /// What its rate counts.
    pub(crate) const fn unit(self) -> Unit {
        match self {
            Self::Clients(_) | Self::File(_) => Unit::Blocks,
            Self::Window { .. } => Unit::Bytes,
            Self::Storm | Self::Tree(_) => Unit::Requests,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clients(1) => write!(f, "1-client"),
            Self::Clients(clients) => write!(f, "{clients}-clients"),
            Self::Window { blocks, offload: true } => write!(f, "window-{blocks}"),
            Self::Window { blocks, offload: false } => write!(f, "window-{blocks}-no-gso"),
            Self::Storm => write!(f, "storm"),
            Self::Tree(files) => write!(f, "tree-{files}"),
            Self::File(len) if len >> 30 > 0 => write!(f, "file-{}g", len >> 30),
            Self::File(len) if len >> 20 > 0 => write!(f, "file-{}m", len >> 20),
            Self::File(len) => write!(f, "file-{}k", len >> 10),
        }
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let point = Self::all().into_iter().find(|point| point.to_string() == name);
        point.ok_or_else(|| format!("{name} is no point"))
    }
}

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Blocks,
    Bytes,
    Requests,
}

impl Unit {
    /// As people say it.
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
            assert_eq!(point.to_string().parse(), Ok(point));
            assert!(Point::named(point.group()).is_ok_and(|group| group.contains(&point)));
        }
        assert!(Point::named("2-clients").is_err());
    }
}
