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
    let layers = state.layers_of(pi);
    match (image, layers.as_slice()) {
        (Some(image), layers) => layers
            .iter()
            .find(|layer| layer.image == image)
            .cloned()
            .ok_or_else(|| format!("{pi} has no layer on {image}")),
        (None, [layer]) => Ok(layer.clone()),
        (None, []) => Err(format!("{pi} has no layer")),
        (None, layers) => {
            let images: Vec<_> = layers.iter().map(|layer| layer.image.as_str()).collect();
            Err(format!("{pi} has layers on {}: choose one with --image", images.join(" and ")))
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
