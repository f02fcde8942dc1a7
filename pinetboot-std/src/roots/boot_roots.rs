//! Roots as TFTP needs them: the image of a Pi, the name of its root, and the boot files in its layer.
//!
//! Layers are the concern of the process of NFS. That process opens the directory of the boot files and hands over its descriptor, once
//! for each boot.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pinetboot_core::pi::Prefix;

#[cfg(feature = "web")]
use super::actions::Action;
use super::base_image::{BaseImage, BaseImages, NoBaseImage};
use super::layer::State;
use super::messages::{Reply, Request};
use super::packets;
#[cfg(feature = "nfs")]
use super::token::Tokens;
use crate::config::NfsMode;

/// The roots, beside the process that serves them.
pub struct BootRoots {
    mode: NfsMode,
    base_images: BaseImages,
    #[cfg(feature = "nfs")]
    tokens: Tokens,
    server: Mutex<OwnedFd>,
}

/// The directory of a Pi's boot files in its layer.
#[derive(Debug)]
pub struct BootDirectory {
    /// The open directory.
    pub directory: OwnedFd,
    /// Its path, in the mount namespace of the layers.
    pub path: PathBuf,
}

impl BootRoots {
    /// The roots of the process at the other end of a socket of packets. `state` has the key of tokens.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn new(
        mode: NfsMode,
        base_images: BaseImages,
        state: &State,
        server: OwnedFd,
    ) -> io::Result<Self> {
        #[cfg(feature = "nfs")]
        let tokens = Tokens::load(state.dir())?;
        #[cfg(not(feature = "nfs"))]
        let _no_root_is_served = state;
        Ok(Self {
            mode,
            base_images,
            #[cfg(feature = "nfs")]
            tokens,
            server: Mutex::new(server),
        })
    }

    /// The way in which Pis share a base image.
    pub const fn mode(&self) -> NfsMode {
        self.mode
    }

    /// The base images.
    pub(crate) const fn base_images(&self) -> &BaseImages {
        &self.base_images
    }

    /// The base image of a Pi with this image in the inventory.
    ///
    /// # Errors
    ///
    /// If the Pi has none.
    pub fn base_image_for(&self, image: Option<&str>) -> Result<BaseImage, NoBaseImage> {
        self.base_images.base_image_for(image)
    }

    /// The name of a Pi's root in one boot, with a token that is valid for this boot and this client's address.
    pub fn name_for(&self, pi: Prefix, boot: u32, address: Ipv4Addr) -> String {
        #[cfg(feature = "nfs")]
        return self.tokens.name(pi, boot, address);
        #[cfg(not(feature = "nfs"))]
        {
            let _no_root_is_served = (boot, address);
            pi.to_string()
        }
    }

    /// The directory of a Pi's boot files, if the Pi's layer changes them. A layer that is
    /// marked for a reset is left out, if the Pi `is_there` and not up at another address.
    ///
    /// # Errors
    ///
    /// If the process of NFS has ended, or cannot open the directory.
    pub fn boot_directory(
        &self,
        pi: Prefix,
        base_image: &BaseImage,
        is_there: bool,
    ) -> Result<Option<BootDirectory>, String> {
        if self.mode != NfsMode::Overlay {
            return Ok(None);
        }
        match self.ask(&Request::Boot { pi, image: base_image.name.clone(), is_there })? {
            (None, _) => Ok(None),
            (Some(path), Some(directory)) => Ok(Some(BootDirectory { directory, path: path.into() })),
            (Some(_), None) => Err("the process of NFS sent no descriptor".into()),
        }
    }

    /// Binds the sockets of NFS to an interface again, which was removed and made again.
    ///
    /// # Errors
    ///
    /// If the process of NFS has ended, or cannot bind them.
    pub(crate) fn bind_again(&self, interface: &str) -> Result<(), String> {
        self.ask(&Request::BindAgain { interface: interface.to_owned() }).map(drop)
    }

    /// Does what the operator asks for, who has this token; what was done.
    ///
    /// # Errors
    ///
    /// If the process of NFS has ended, has another token, or failed.
    #[cfg(feature = "web")]
    pub(crate) fn act(&self, token: &str, action: Action) -> Result<String, String> {
        let (said, _) = self.ask(&Request::Act { token: token.to_owned(), action })?;
        said.ok_or_else(|| "the process of NFS does not say what it did".into())
    }

    fn ask(&self, request: &Request) -> Result<(Option<String>, Option<OwnedFd>), String> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = packets::send(&*server, request, None).and_then(|()| packets::receive(&*server));
        drop(server);
        let ended = |error: Option<io::Error>| {
            let why = error.map_or_else(String::new, |error| format!(": {error}"));
            format!("the process of NFS does not answer{why}")
        };
        let (reply, directory): (Reply, _) =
            asked.map_err(|error| ended(Some(error)))?.ok_or_else(|| ended(None))?;
        Ok((reply?, directory))
    }
}

impl fmt::Debug for BootRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootRoots")
            .field("mode", &self.mode)
            .field("base_images", &self.base_images)
            .finish_non_exhaustive()
    }
}

/// Time for which a [`BootDirectory`] may be used: a layer without calls rests after a longer time, and its mount goes.
pub const BOOT_DIRECTORY_VALID: Duration = Duration::from_secs(240);
