//! `pinetboot mounter`: mounts layers for a server, which has not the right to.
//!
//! The server asks over standard input, a socket. The server may be in the hands of an attacker, who can write anything into the
//! state directory: so no link leads out of that directory, and the base image has to be one of those that
//! the server was started with.

use std::io::{self, BufReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use rustix::process::set_parent_process_death_signal;
use rustix::thread::{CapabilitySet, set_name};

use super::adopt::{self, Mounted, Parts};
use super::base_image::{BaseImage, BaseImages};
use super::layer::State;
use super::lines::{read_line, write_line};
use super::mounts::{Answer, LONGEST, Request};
use super::overlayfs::detach;
use super::quota;
use crate::beneath::beneath;
use crate::exit::{Exit, Failed};
use crate::images::Images;
use crate::pis::pi;
use crate::sandbox::{self, Calls, Remains};

/// Options of `mounter`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The state directory (required)
    #[arg(long, value_name = "DIR")]
    state: PathBuf,

    /// The directory of the images [default: none]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,

    /// The base image, if it is the only one [default: none]
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
}

/// Mounts and detaches layers until standard input ends.
///
/// # Errors
///
/// If the rights that are not needed cannot be given up, or standard input fails.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let failed = |error: io::Error| Failed::new(Exit::Failure, format!("mounter: {error}"));
    // Else "exe", in ps(1) and in messages about the holder of a port.
    set_name(c"pinetboot-mount").map_err(|errno| failed(errno.into()))?;
    let mounter = Mounter::new(options).map_err(failed)?;
    give_up_rights().map_err(failed)?;
    mounter.serve().map_err(failed)?;
    Ok(Exit::Success)
}

/// Leaves a process that can mount, and has no network.
fn give_up_rights() -> io::Result<()> {
    // ctrl-C signals this process too: it ends after the server, which detaches its mounts.
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect::<SigSet>().thread_block()?;
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    sandbox::enter(&Remains { account: None, capabilities: RIGHTS, paths: None, calls: Calls::Mounts })?;
    Ok(())
}

struct Mounter {
    state: State,
    /// The state directory.
    top: OwnedFd,
    base_images: BaseImages,
}

impl Mounter {
    fn new(options: &Args) -> io::Result<Self> {
        let top = open(&options.state, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let base_images = match &options.base {
            Some(base) => BaseImages::One(BaseImage::at(base)?),
            None => {
                BaseImages::Images(Images::at(options.images.as_deref().ok_or(io::ErrorKind::InvalidInput)?))
            }
        };
        Ok(Self { state: State::at(&options.state), top, base_images })
    }

    fn serve(&self) -> io::Result<()> {
        let mut socket = BufReader::new(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?));
        write_line(socket.get_mut(), &Answer::Ok(None))?;
        while let Some(request) = read_line(&mut socket, LONGEST)? {
            let answer: Answer = self.answer(&request).map_err(|error| error.to_string());
            write_line(socket.get_mut(), &answer)?;
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> io::Result<Option<(Mounted, bool)>> {
        let (Request::Mount { pi: name, image, .. } | Request::Detach { pi: name, image }) = request;
        // The name of a Pi and of an image: no path.
        let layer = pi(name).and_then(|pi| self.state.layer(pi, image)).ok_or(io::ErrorKind::NotFound)?;
        let below = layer.place.strip_prefix(self.state.dir()).map_err(io::Error::other)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let part = |name| beneath(&self.top, &below.join(name), flags).map(|fd| (through(&fd), fd));
        let (merged, _open) = part("merged")?;
        match request {
            Request::Mount { limit, .. } => {
                let base_image = self
                    .base_images
                    .named(image)
                    .ok_or_else(|| io::Error::other(format!("{image} is not a base image of this server")))?;
                let ((upper, _upper), (work, _work)) = (part("upper")?, part("work")?);
                let parts = Parts { upper: &upper, work: &work, merged: &merged };
                // Before files are in a new layer: they belong to no project otherwise.
                let is_enforced = quota::limit(&upper, &work, *limit);
                let mounted = adopt::mount(&base_image, &layer.facts, &parts)?;
                Ok(Some((mounted, is_enforced)))
            }
            Request::Detach { .. } => {
                detach(&merged);
                Ok(None)
            }
        }
    }
}

/// A path to an open directory, which no link can redirect.
fn through(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// overlayfs changes the files of a layer with the rights of the process that mounted it (Documentation/filesystems/overlayfs.rst,
/// "Permission model"): those of a file server, trusted.* attributes, and file capabilities that are copied with a file.
const RIGHTS: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_ADMIN);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::facts::LayerFacts;
    use super::*;

    fn refused(mounter: &Mounter, pi: &str, image: &str) -> String {
        let (pi, image) = (pi.to_owned(), image.to_owned());
        mounter.answer(&Request::Mount { pi, image, limit: None }).unwrap_err().to_string()
    }

    #[test]
    fn a_server_in_wrong_hands_gets_layers_on_its_base_images_and_nothing_else() {
        let (state, base) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let options =
            Args { state: state.path().to_owned(), images: None, base: Some(base.path().to_owned()) };
        let mounter = Mounter::new(&options).unwrap();
        let one = BaseImage::at(base.path()).unwrap().name;
        // Whatever root a record names.
        let facts = toml::to_string(&LayerFacts { root: "/etc".into(), ..LayerFacts::default() }).unwrap();
        for name in ["one", &one] {
            let layer = state.path().join("pis/bd989ae1").join(name);
            for part in ["work", "merged"] {
                fs::create_dir_all(layer.join(part)).unwrap();
            }
            fs::write(layer.join("layer.toml"), &facts).unwrap();
        }
        assert_eq!(refused(&mounter, "bd989ae1", "one"), "one is not a base image of this server");
        let layer = state.path().join("pis/bd989ae1").join(&one);
        symlink("/etc", layer.join("upper")).unwrap();
        assert!(
            refused(&mounter, "bd989ae1", &one).contains("cross-device"),
            "the link leads out of the state"
        );
        fs::remove_dir(layer.join("merged")).unwrap();
        symlink("../../../..", layer.join("merged")).unwrap();
        assert!(refused(&mounter, "bd989ae1", &one).contains("cross-device"));
        for (pi, image) in
            [("..", "one"), ("bd989ae1/..", "one"), ("bd989ae1", "../one"), ("bd989ae1", "two")]
        {
            assert_eq!(refused(&mounter, pi, image), "entity not found", "{pi} {image}");
        }
    }
}
