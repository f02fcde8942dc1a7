//! Who uses an image: layers of Pis, and the inventory.

use std::collections::BTreeMap;
use std::path::Path;

use super::at;
use crate::config::Settings;
use crate::exit::{Exit, Failed};
use crate::roots::State;

/// The users of all images, by the image's name.
#[derive(Debug, Default)]
pub(super) struct Users {
    /// Pis with a layer on the image.
    layers: BTreeMap<String, Vec<String>>,
    /// Tables of the configuration that name the image.
    tables: BTreeMap<String, Vec<String>>,
}

impl Users {
    /// Reads the layers of a state, and the inventory of a configuration.
    pub(super) fn find(state: &State, config: Option<&Path>) -> Result<Self, Failed> {
        let mut users = Self::default();
        let layers = state.layer_names();
        let layers = layers
            .map_err(|(place, error)| Failed::new(Exit::Tree, format!("{}: {error}", place.display())))?;
        for (pi, image) in layers {
            users.layers.entry(image).or_default().push(pi.to_string());
        }
        if let Some(config) = config {
            let settings = Settings::read(config)?;
            let pis = settings.pi.iter().map(|(name, entry)| (format!("pi.{name}"), entry.image.clone()));
            let groups =
                settings.group.iter().map(|(name, group)| (format!("group.{name}"), group.image.clone()));
            for (table, image) in pis.chain(groups) {
                if let Some(image) = image {
                    users.tables.entry(image).or_default().push(table);
                }
            }
        }
        Ok(users)
    }

    /// The Pis with a layer on an image.
    pub(super) fn layers_on(&self, image: &str) -> &[String] {
        self.layers.get(image).map_or(&[], Vec::as_slice)
    }

    /// The tables of the configuration that name an image.
    pub(super) fn tables_of(&self, image: &str) -> &[String] {
        self.tables.get(image).map_or(&[], Vec::as_slice)
    }

    /// Fails if a Pi uses an image.
    pub(super) fn refuse_if_used(&self, image: &str, dir: &Path, done: &str) -> Result<(), Failed> {
        let dir = at(dir);
        let (layers, tables) = (self.layers_on(image), self.tables_of(image));
        let why = match (layers, tables) {
            ([], []) => return Ok(()),
            ([first, ..], _) => format!(
                "{} on it: {}. A layer is of no use without its image; to discard one: pinetboot roots reset {first} --image \
                 {image} --dir {dir}",
                if layers.len() == 1 {
                    "1 Pi has a layer".to_owned()
                } else {
                    format!("{} Pis have layers", layers.len())
                },
                short(layers)
            ),
            ([], tables) => format!("the configuration names it in {}", short(tables)),
        };
        Err(Failed::new(Exit::Usage, format!("{image} cannot be {done}: {why}")))
    }
}

/// The first names of a list, and the number of the rest.
pub(super) fn short(names: &[String]) -> String {
    let shown = names.iter().take(MOST_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MOST_SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}

const MOST_SHOWN: usize = 8;
