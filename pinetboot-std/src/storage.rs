//! Storage of boot files: directory trees, looked up by the Pi's rules, with some files rendered for each Pi.
//!
//! ```text
//! request -> the kernel's memory (Reach::Memory) -> answer
//!               | not there
//!               v
//!            a thread (pool, Reach::Disk) -> the client goes on (Arrivals)
//! ```
//!
//! A loop never waits for a disk: names and bytes that the kernel has in memory are answered at once, everything else is the
//! work of another thread while the client waits. A disk that hangs holds up only those who want its files.

mod decisions;
mod later;
mod medium;
mod miss;
mod pending;
mod pieces;
mod pool;
mod prefix;
mod recent;
mod replaced;
mod shared;
mod tree;
mod trees;
mod upload;
mod writing;

use std::net::SocketAddrV4;
use std::rc::Rc;
use std::sync::Arc;

use pinetboot_core::{BootPath, File, OpenError, OpenRequest, Storage};

use crate::net::Control;
use decisions::Busy;
use later::Arrivals;
pub use medium::{Medium, Reach};
pub use miss::Miss;
use pending::{Answer, Pending};
pub use pieces::Budget;
pub use pool::Pool;
use pool::Task;
pub use prefix::Prefixes;
use shared::{Files, SharedFile};
pub use shared::{OnDisk, Version};
pub use tree::{BootTree, TreeError};
pub use trees::{Base, Sources, Trees};
pub use upload::{Incoming, UploadQuota, UploadRules, Uploads};
pub use writing::Writing;

/// The storage of a TFTP worker: trees to read, and a directory for uploads if configured.
#[derive(Debug)]
pub struct BootStorage {
    trees: Arc<Trees>,
    uploads: Option<Arc<Uploads>>,
    files: Files,
    /// Other threads for what may wait; `None`: the loop waits.
    disk: Option<Disk>,
    opening: Pending<Result<Found, Miss>>,
    creating: Pending<Result<Incoming, Miss>>,
}

/// The threads that wait for the disk, and the way back to the loop.
#[derive(Debug, Clone)]
struct Disk {
    pool: Pool,
    arrivals: Arc<Arrivals>,
}

impl BootStorage {
    /// A storage whose loop waits for the disk.
    pub fn new(trees: Arc<Trees>, uploads: Option<Uploads>, budget: Budget) -> Self {
        let (opening, creating) = (Pending::new(), Pending::new());
        let uploads = uploads.map(Arc::new);
        Self { trees, uploads, files: Files::new(budget), disk: None, opening, creating }
    }

    /// The same; the threads of `pool` wait for the disk, and wake the loop with this control.
    #[must_use]
    pub fn with_pool(self, pool: Pool, control: Control) -> Self {
        Self { disk: Some(Disk { pool, arrivals: Arc::new(Arrivals::new(control)) }), ..self }
    }

    /// The trees to read.
    pub const fn trees(&self) -> &Arc<Trees> {
        &self.trees
    }

    /// The directory for uploads, if configured.
    pub fn uploads(&self) -> Option<&Uploads> {
        self.uploads.as_deref()
    }

    /// Replaces the directory for uploads; `None`: uploads are refused.
    pub fn set_uploads(&mut self, uploads: Option<Uploads>) {
        self.uploads = uploads.map(Arc::new);
    }

    fn opened(&mut self, found: Found, client: SocketAddrV4) -> Opened {
        let content = match found.content {
            FoundContent::OnDisk(file) => Content::OnDisk(self.files.share(file, self.disk.as_ref())),
            FoundContent::Made(bytes) => Content::Made(bytes),
        };
        Opened { content, client, _busy: found.busy }
    }
}

impl Storage for BootStorage {
    type File = Opened;
    type Upload = Writing;
    type Refusal = Miss;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Self::File, Miss> {
        let request = &request.with_path(self.trees.strip(request.path));
        let Some(disk) = &self.disk else {
            let found = open_whole(&self.trees, request)?;
            return Ok(self.opened(found, request.peer));
        };
        match self.opening.answer(request) {
            Answer::Here(answer) => {
                let found = answer.map_err(Miss::timed_out)?.map_err(Miss::known)?;
                return Ok(self.opened(found, request.peer));
            }
            Answer::Later => return Err(OpenError::Later.into()),
            Answer::None => {}
        }
        if !request.whole {
            match self.trees.open(request, Reach::Memory) {
                Ok(found) => return Ok(self.opened(found, request.peer)),
                Err(miss) if miss.error != OpenError::Later => return Err(miss),
                Err(_) => {}
            }
        }
        let task = disk.task(request, "trees");
        if !self.opening.is_full() && !disk.pool.is_full(task.client) {
            let (trees, owned) = (Arc::clone(&self.trees), Owned::new(request));
            let run = move || owned.with(|request| open_whole(&trees, request));
            let later = disk.pool.run(task.clone(), &disk.arrivals, run);
            let forgotten = self.opening.add(request, later);
            if !forgotten.is_empty() {
                disk.pool.discard(&task, forgotten);
            }
        }
        Err(OpenError::Later.into())
    }

    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<Self::Upload, Miss> {
        let Some(uploads) = &self.uploads else { return Err(OpenError::Denied.into()) };
        let request = &request.with_path(self.trees.strip(request.path));
        let place = || request.path.components().collect();
        let Some(disk) = &self.disk else {
            let incoming = uploads.create(request)?;
            return Ok(Writing::new(incoming, None, request.peer, place()));
        };
        match self.creating.answer(request) {
            Answer::Here(answer) => {
                let incoming = answer.map_err(Miss::timed_out)?;
                return Ok(Writing::new(incoming?, Some(disk.clone()), request.peer, place()));
            }
            Answer::Later => return Err(OpenError::Later.into()),
            Answer::None => {}
        }
        let task = disk.task(request, "uploads");
        if !self.creating.is_full() && !disk.pool.is_full(task.client) {
            let (uploads, owned) = (Arc::clone(uploads), Owned::new(request));
            let run = move || owned.with(|request| uploads.create(request));
            let later = disk.pool.run(task.clone(), &disk.arrivals, run);
            let forgotten = self.creating.add(request, later);
            if !forgotten.is_empty() {
                disk.pool.discard(&task, forgotten);
            }
        }
        Err(OpenError::Later.into())
    }

    fn resumed(&mut self) -> Option<SocketAddrV4> {
        self.disk.as_ref()?.arrivals.pop()
    }
}

impl Disk {
    /// The task of a request. A directory of the tree may be another file system, which hangs by itself.
    fn task(&self, request: &OpenRequest<'_>, tree: &str) -> Task {
        let file = pinetboot_core::pi::Lookup::new(request.path).file();
        let mut parts = file.components();
        let directory = parts.next().filter(|_| parts.next().is_some());
        Task {
            client: *request.peer.ip(),
            place: request.path.components().collect(),
            directory: self.pool.number(directory),
            tree: self.pool.number(tree),
        }
    }
}

/// Opens a file, and reads its beginning, or all of it if asked.
fn open_whole(trees: &Trees, request: &OpenRequest<'_>) -> Result<Found, Miss> {
    let mut found = trees.open(request, Reach::Disk)?;
    if let FoundContent::OnDisk(file) = &mut found.content {
        if request.whole && file.version.len <= NETASCII {
            let bytes = file.read_whole(Reach::Disk);
            let bytes = bytes.map_err(|reason| Miss::new(OpenError::Failed, &file.place, reason))?;
            found.content = FoundContent::Made(bytes.unwrap_or_default().into());
        } else {
            file.read_first();
        }
    }
    Ok(found)
}

/// A request that outlives its datagram.
struct Owned {
    path: String,
    peer: SocketAddrV4,
    asked: Option<std::net::Ipv4Addr>,
    len: Option<u64>,
    whole: bool,
}

impl Owned {
    fn new(request: &OpenRequest<'_>) -> Self {
        let OpenRequest { path, peer, asked, len, whole, .. } = *request;
        Self { path: path.to_string(), peer, asked, len, whole }
    }

    fn with<T, E: From<OpenError>>(
        &self,
        run: impl FnOnce(&OpenRequest<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = BootPath::parse(self.path.as_bytes()).map_err(|_| OpenError::Denied)?;
        let mut request = OpenRequest::new(path, self.peer).with_asked(self.asked).with_len(self.len);
        request.whole = self.whole;
        run(&request)
    }
}

/// A file that was found, and is not yet shared.
#[derive(Debug)]
pub struct Found {
    content: FoundContent,
    /// Keeps the decisions of the file's boot in force while the file is open.
    busy: Option<Busy>,
}

/// Its bytes.
#[derive(Debug)]
pub enum FoundContent {
    /// A file on disk.
    OnDisk(OnDisk),
    /// A file rendered for this Pi, or whole in memory.
    Made(Arc<[u8]>),
}

/// An open file of a transfer.
#[derive(Debug)]
pub struct Opened {
    content: Content,
    client: SocketAddrV4,
    /// Keeps the decisions of the file's boot in force while the file is open.
    _busy: Option<Busy>,
}

#[derive(Debug)]
enum Content {
    /// A file on disk; transfers of the same version share it.
    OnDisk(Rc<SharedFile>),
    /// A file in memory.
    Made(Arc<[u8]>),
}

impl File for Opened {
    type Error = std::io::Error;

    fn len(&self) -> u64 {
        match &self.content {
            Content::OnDisk(file) => file.version().len,
            Content::Made(bytes) => bytes.len() as u64,
        }
    }

    fn is_ready(&mut self, offset: u64, len: u16) -> bool {
        match &self.content {
            Content::OnDisk(file) => file.is_ready(offset, len.into(), self.client),
            Content::Made(_) => true,
        }
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        match &self.content {
            Content::OnDisk(file) => file.read(offset, buf),
            Content::Made(bytes) => {
                let mut bytes: &[u8] = bytes;
                bytes.read_exact_at(offset, buf).await.map_err(std::io::Error::other)
            }
        }
    }
}

/// The longest file in mode netascii, in bytes: such a file is read whole when it is opened. Only programs for people ask so.
pub const NETASCII: u64 = 1 << 20;
