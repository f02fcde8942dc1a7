//! What an operator does to layers and images: by a command, or by the page of a running server, which asks the process of NFS.

use std::io;

use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use super::layer::{Layer, State};
use crate::events::prefix;

/// An action of the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Action {
    /// The Pi gets the unchanged image at its next boot.
    Reset {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
    },
    /// A reset that waits for the Pi's next boot is called off.
    Keep {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
    },
    /// The image becomes the current one.
    Use {
        /// Its name.
        image: String,
    },
}

/// A Pi's layer on this image, or its only one.
///
/// # Errors
///
/// Which layers there are instead.
pub(super) fn layer_of(state: &State, pi: Prefix, image: Option<&str>) -> Result<Layer, String> {
    on_image(pi, "layer", state.layers_of(pi), image, |layer| &layer.image)
}

/// What a Pi has on this image, or its only one.
///
/// # Errors
///
/// None, or several without a choice: the message names them.
pub(crate) fn on_image<T>(
    pi: Prefix,
    what: &str,
    mut all: Vec<T>,
    image: Option<&str>,
    name: impl Fn(&T) -> &str,
) -> Result<T, String> {
    let found = match image {
        Some(image) => all.iter().position(|one| name(one) == image),
        None => (all.len() == 1).then_some(0),
    };
    match (found, image) {
        (Some(index), _) => Ok(all.swap_remove(index)),
        _ if all.is_empty() => Err(format!("{pi} has no {what}")),
        (None, image) => {
            let images = all.iter().map(name).collect::<Vec<_>>().join(" and ");
            Err(match image {
                Some(image) => format!("{pi} has no {what} on {image}: it has {what}s on {images}"),
                None => format!("{pi} has {what}s on {images}: choose one with --image"),
            })
        }
    }
}

/// Marks a layer for removal at the Pi's next boot; what was done.
///
/// # Errors
///
/// The system's.
pub(super) fn mark(layer: &Layer) -> io::Result<String> {
    let Layer { pi, image, .. } = layer;
    layer.mark()?;
    Ok(format!(
        "{pi}'s layer on {image} is reset when {pi} boots next; 'pinetboot roots reset {pi} --image {image} --cancel' calls that off"
    ))
}

/// Takes the mark away; what was done.
///
/// # Errors
///
/// The system's.
pub(super) fn unmark(layer: &Layer) -> io::Result<String> {
    let Layer { pi, image, .. } = layer;
    Ok(match layer.unmark()? {
        true => format!("{pi}'s layer on {image} is kept"),
        false => format!("{pi}'s layer on {image} was not to be reset"),
    })
}

#[cfg(feature = "nfs")]
impl super::Roots {
    /// Does it; what was done.
    ///
    /// # Errors
    ///
    /// The reason why nothing was done.
    pub(super) fn act(&self, action: &Action) -> io::Result<String> {
        let layer = |pi| layer_of(self.state(), pi, None).map_err(io::Error::other);
        match action {
            Action::Reset { pi } => mark(&layer(*pi)?),
            Action::Keep { pi } => unmark(&layer(*pi)?),
            Action::Use { image } => match self.base_images() {
                super::BaseImages::Images(images) => images.switch(image).map_err(io::Error::other),
                super::BaseImages::One(_) => {
                    Err(io::Error::other("this server serves one tree, and no images"))
                }
            },
        }
    }
}
