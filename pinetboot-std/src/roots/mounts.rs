//! The mounts of layers: made by this process, or by a process that does nothing else.
//!
//! A process that mounts has all of root's power, so the process that reads packets gives up the system calls for mounts. Before, that
//! process starts itself once more as `pinetboot mounter`: in the same mount namespace, without a network, with two requests. A request
//! names a Pi and an image; `mounter` makes all paths itself.

use std::io::{self, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::adopt::{self, Mounted, Parts};
use super::base_image::{BaseImage, BaseImages};
use super::layer::{Layer, State};
use super::lines::{read_line, write_line};
use super::overlayfs::detach;
use super::quota;

/// The process that mounts.
#[derive(Debug, Default)]
pub enum Mounts {
    /// This one.
    #[default]
    Here,
    /// Another one, asked over a socket.
    Process(Mutex<BufReader<UnixStream>>),
}

/// A request to the process that mounts: a line of JSON.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Request {
    /// Mount a layer over its base image.
    Mount {
        /// The Pi, by the name of its directory.
        pi: String,
        /// The image.
        image: String,
        /// The limit of the layer in bytes.
        limit: Option<u64>,
    },
    /// Detach the mount of a layer.
    Detach {
        /// The Pi, by the name of its directory.
        pi: String,
        /// The image.
        image: String,
    },
}

/// The answer: the way of a mount, and whether the file system enforces its limit; or the reason of a failure.
pub(super) type Answer = Result<Option<(Mounted, bool)>, String>;

impl Mounts {
    /// Starts the process that mounts layers of this state, on these base images. Call this in the mount namespace of the layers, with
    /// CAP_SYS_ADMIN.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn start(state: &State, base_images: &BaseImages) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("mounter").arg("--state").arg(state.dir());
        match base_images {
            BaseImages::Images(images) => command.arg("--images").arg(images.dir()),
            BaseImages::One(base_image) => command.arg("--base").arg(&base_image.root),
        };
        // The process ends when this end of the pair closes, however this process ends.
        let _ends_by_itself =
            command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).spawn()?;
        let mut socket = BufReader::new(ours);
        // The first answer: the process has given up its rights.
        let ready: Answer = read_line(&mut socket, LONGEST)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        ready.map_err(io::Error::other)?;
        Ok(Self::Process(Mutex::new(socket)))
    }

    /// Calls `ended` if the process that mounts ends before this one.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn watch(&self, ended: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let Self::Process(socket) = self else { return Ok(()) };
        let socket = lock(socket).get_ref().try_clone()?;
        thread::Builder::new().name("mounts".into()).spawn(move || {
            // No event but the end, which is told in any case.
            let mut end = [PollFd::new(socket.as_fd(), PollFlags::empty())];
            while poll(&mut end, PollTimeout::NONE) == Err(Errno::EINTR) {}
            ended();
        })?;
        Ok(())
    }

    /// Mounts a layer with a limit in bytes. Returns whether the file system enforces the limit, too.
    pub(super) fn mount(
        &self,
        layer: &Layer,
        base_image: &BaseImage,
        limit: Option<u64>,
    ) -> io::Result<(Mounted, bool)> {
        match self {
            Self::Here => {
                let (upper, work, merged) = (layer.upper(), layer.work(), layer.merged());
                let parts = Parts { upper: &upper, work: &work, merged: &merged };
                let is_enforced = quota::limit(&upper, &work, limit);
                adopt::mount(base_image, &layer.facts, &parts).map(|mounted| (mounted, is_enforced))
            }
            Self::Process(socket) => {
                let (pi, image) = (layer.pi.to_string(), layer.image.clone());
                let mounted = ask(&mut lock(socket), &Request::Mount { pi, image, limit })?;
                Ok(mounted.unwrap_or((Mounted::InPlace, false)))
            }
        }
    }

    pub(super) fn detach(&self, layer: &Layer) {
        match self {
            Self::Here => detach(&layer.merged()),
            Self::Process(socket) => {
                let (pi, image) = (layer.pi.to_string(), layer.image.clone());
                let _ends_with_the_namespace = ask(&mut lock(socket), &Request::Detach { pi, image });
            }
        }
    }
}

fn ask(socket: &mut BufReader<UnixStream>, request: &Request) -> io::Result<Option<(Mounted, bool)>> {
    write_line(socket.get_mut(), request)?;
    let answer: Answer = read_line(socket, LONGEST)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    answer.map_err(io::Error::other)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of a message at most.
pub(super) const LONGEST: u64 = 8192;
