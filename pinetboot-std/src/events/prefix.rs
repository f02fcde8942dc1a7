//! The name of a Pi's directory in a message between the server's processes.

use std::borrow::Cow;

use pinetboot_core::pi::Prefix;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(pi: &Prefix, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(pi)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Prefix, D::Error> {
    parse(&Cow::<str>::deserialize(deserializer)?)
}

fn parse<E: Error>(name: &str) -> Result<Prefix, E> {
    Prefix::parse(name).ok_or_else(|| E::custom("no serial number and no MAC address"))
}

/// A Pi that may be unknown.
pub(crate) mod option {
    use super::{Cow, Deserialize, Deserializer, Prefix, Serializer, parse};

    pub(crate) fn serialize<S: Serializer>(pi: &Option<Prefix>, serializer: S) -> Result<S::Ok, S::Error> {
        match pi {
            Some(pi) => serializer.collect_str(pi),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Prefix>, D::Error> {
        Option::<Cow<'_, str>>::deserialize(deserializer)?.map(|name| parse(&name)).transpose()
    }
}

/// Pis with addresses.
pub(crate) mod addresses {
    use std::net::Ipv4Addr;

    use super::{Cow, Deserialize, Deserializer, Prefix, Serializer, parse};

    type Pairs = Vec<(Prefix, Option<Ipv4Addr>)>;

    pub(crate) fn serialize<S: Serializer>(pis: &Pairs, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pis.iter().map(|(pi, address)| (pi.to_string(), address)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        let pairs = Vec::<(Cow<'_, str>, Option<Ipv4Addr>)>::deserialize(deserializer)?;
        pairs.into_iter().map(|(name, address)| Ok((parse(&name)?, address))).collect()
    }
}
