//! The answers to [`BootRoots`](super::BootRoots): the directories of boot files in layers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::OFlag;
use pinetboot_core::pi::Prefix;

use super::messages::{Reply, Request};
use super::{Overlay, Roots, packets};
use crate::beneath::beneath;
use crate::web_token::WebToken;

impl Roots {
    /// Answers the requests of a socket of packets, until its end. An action is done for who has the token of the page. `bind_again` binds
    /// the sockets of NFS to an interface again.
    ///
    /// # Errors
    ///
    /// The system's, and `InvalidData` for a message that is no request.
    pub(crate) fn serve_requests(
        &self,
        socket: &OwnedFd,
        token: Option<&WebToken>,
        bind_again: impl Fn(&str) -> io::Result<()>,
    ) -> io::Result<()> {
        while let Some((request, _)) = packets::receive(socket)? {
            let answered = match request {
                Request::Boot { pi, image, is_there } => {
                    self.boot_directory(pi, &image, is_there).map(|found| match found {
                        Some((path, directory)) => (Some(path.display().to_string()), Some(directory)),
                        None => (None, None),
                    })
                }
                Request::BindAgain { interface } => bind_again(&interface).map(|()| (None, None)),
                Request::Act { token: given, action } if token.is_some_and(|token| token.is(&given)) => {
                    self.act(&action).map(|said| (Some(said), None))
                }
                Request::Act { .. } => Err(io::Error::other("the token is not that of the page")),
            };
            let (reply, directory): (Reply, _) = match answered {
                Ok((said, directory)) => (Ok(said), directory),
                Err(error) => (Err(error.to_string()), None),
            };
            packets::send(socket, &reply, directory.as_ref().map(AsFd::as_fd))?;
        }
        Ok(())
    }

    fn boot_directory(
        &self,
        pi: Prefix,
        image: &str,
        is_there: bool,
    ) -> io::Result<Option<(PathBuf, OwnedFd)>> {
        let Some(overlay) = self.overlay_for_boot(pi, image, is_there) else { return Ok(None) };
        let place = &overlay.layer().facts.boot;
        let path = overlay.layer().merged().join(place);
        let failed = |error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
        let open = |overlay: &Arc<Overlay>| {
            // The Pi writes to this tree: no link leads out of it.
            Ok(beneath(&overlay.open_root()?, place, OFlag::O_PATH | OFlag::O_DIRECTORY)?)
        };
        let directory = open(&overlay).map_err(failed)?;
        Ok(Some((path, directory)))
    }
}
