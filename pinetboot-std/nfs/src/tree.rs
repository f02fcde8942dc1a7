//! A directory of this machine as a served file system.
//!
//! The kernel's handles identify files, so files keep their identity over a rename and a restart. The kernel checks permissions: each
//! thread acts as the user of its call ([`identity`]). A name is always one component, and symbolic links are never followed, so
//! no path leads out of the directory. File systems mounted inside are not entered.
//!
//! Changes of names and attributes are on stable storage when they are answered ([`stable`]), unless that is switched off; content is once
//! COMMIT or a stable WRITE is answered.

mod attributes;
mod changes;
mod descriptors;
mod error;
mod identity;
pub(crate) mod kernel;
mod listing;
mod making;
mod numbers;
mod open_files;
mod opening;
mod root;
mod stable;

use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, Access, AtFlags, FileType, OFlags};
use rustix::io::{self, Errno};
use rustix::thread::CapabilitySet;

use self::attributes::refusal;
pub(super) use self::descriptors::{make_room, quarter};
pub use self::error::OpenError;
use self::identity::{act_as, act_as_root};
use self::listing::Listings;
use self::making::{initial, mode};
pub use self::numbers::FileNumbers;
use self::open_files::{OpenFile, OpenFiles};
use self::root::Root;
use super::file_system::{
    Attributes, Caller, CreateHow, Device, DirectoryEntry, FileId, FileKind, FileSystem, Found, FsError,
    Listed, Node, Place, Result, Rights, SetAttributes, Stable, Usage,
};

/// A directory with its content.
#[derive(Debug)]
pub struct DirectoryTree {
    root: Root,
    disk: u64,
    link_max: u32,
    files: Arc<OpenFiles>,
    listings: Listings,
    /// Changes of names and attributes are written before they are answered.
    sync: bool,
    numbers: FileNumbers,
}

impl DirectoryTree {
    /// Requires root, or CAP_DAC_READ_SEARCH, CAP_SETUID, CAP_SETGID, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID and
    /// CAP_MKNOD. Keeps up to `most_open` files open.
    ///
    /// # Errors
    ///
    /// The missing requirement.
    pub fn open(path: &Path, most_open: usize) -> core::result::Result<Self, OpenError> {
        let no_handles = |error: Errno| OpenError::NoHandles(error.into());
        let directory = Root::open(path).map_err(|error| OpenError::Directory(error.into()))?;
        let root = Root::new(path, directory).map_err(no_handles)?;
        let directory = root.get().map_err(no_handles)?;
        // Without the capability the kernel has several errors, or opens some files and not others (Linux 6.11).
        if let Ok(sets) = rustix::thread::capabilities(None) {
            let lacks = REQUIRED.difference(sets.effective);
            if !lacks.is_empty() {
                return Err(OpenError::Lacks(lacks.iter_names().map(|(name, _)| name).collect()));
            }
        }
        match kernel::open(directory.as_fd(), root.id(), OFlags::PATH) {
            Ok(_) => {}
            Err(Errno::PERM) => return Err(OpenError::Refused(Errno::PERM.into())),
            Err(error) => return Err(no_handles(error)),
        }
        // On a separate thread, since the test changes the thread's identity.
        let tried = std::thread::spawn(|| act_as(&Caller::NOBODY).and_then(|()| act_as_root())).join();
        if !matches!(tried, Ok(Ok(()))) {
            return Err(OpenError::Refused(Errno::PERM.into()));
        }
        let disk = fs::fstat(directory.as_fd()).map_err(|error| OpenError::Directory(error.into()))?.st_dev;
        let link_max = nix::unistd::fpathconf(directory, nix::unistd::PathconfVar::LINK_MAX).ok().flatten();
        let link_max = link_max.and_then(|most| u32::try_from(most).ok()).unwrap_or(u32::MAX);
        Ok(Self {
            root,
            disk,
            link_max,
            files: OpenFiles::new(most_open),
            listings: Listings::new().map_err(|error| OpenError::Directory(error.into()))?,
            sync: true,
            numbers: FileNumbers::default(),
        })
    }

    /// Whether changes of names and attributes are on stable storage when they are answered, as RFC 1813 demands. Without this, the
    /// changes of the last seconds before a power cut may be lost, which clients rely on not to happen: a package manager, a database.
    #[must_use]
    pub fn with_sync(self, sync: bool) -> Self {
        Self { sync, ..self }
    }

    /// Gives files these numbers; the default is the kernel's.
    #[must_use]
    pub fn with_numbers(self, numbers: FileNumbers) -> Self {
        Self { numbers, ..self }
    }

    /// Checks a caller's access to the file's content. The owner always has it, and root, as in the kernel.
    fn may_use(&self, caller: &Caller, id: &FileId, file: &OpenFile, any_of: &[Access]) -> Result<()> {
        if caller.uid == 0 || self.stat(id, file)?.uid == caller.uid {
            return Ok(());
        }
        act_as(caller)?;
        match any_of.iter().any(|&access| kernel::allows(file.as_fd(), access)) {
            true => Ok(()),
            false => Err(FsError::Denied),
        }
    }

    fn change(&self, caller: &Caller, id: &FileId, file: &OpenFile, changes: &SetAttributes) -> Result<()> {
        if let Some(size) = changes.size {
            self.may_use(caller, id, file, &[Access::WRITE_OK])?;
            let writer = self.writer(id, file)?;
            act_as(caller)?;
            fs::ftruncate(writer, size).map_err(refusal)?;
        }
        if changes::beside_size(changes) {
            act_as(caller)?;
            changes::apply(file.as_fd(), changes).map_err(refusal)?;
        }
        match changes.size.is_some() || changes::beside_size(changes) {
            true => self.settle_attributes(id, file),
            false => Ok(()),
        }
    }

    /// Closes the file of a name that is about to be removed.
    fn forget_name(&self, dir: &OpenFile, name: &CString) {
        if let Ok(id) = kernel::of_name(dir.as_fd(), name) {
            self.files.forget(&id);
        }
    }
}

impl FileSystem for DirectoryTree {
    fn root(&self) -> FileId {
        *self.root.id()
    }

    fn disk(&self) -> u64 {
        self.disk
    }

    fn attributes(&self, id: &FileId) -> Result<Attributes> {
        let file = self.file(id)?;
        self.stat(id, &file)
    }

    fn access(&self, caller: &Caller, id: &FileId, wanted: Rights) -> Result<Rights> {
        let file = self.file(id)?;
        let attributes = self.stat(id, &file)?;
        act_as(caller)?;
        let directory = attributes.kind == FileKind::Directory;
        let mut granted = Rights::NONE;
        for (access, rights) in [
            (Access::READ_OK, Rights::READ),
            (
                Access::WRITE_OK,
                Rights::MODIFY | Rights::EXTEND | if directory { Rights::DELETE } else { Rights::NONE },
            ),
            (Access::EXEC_OK, if directory { Rights::LOOKUP } else { Rights::EXECUTE }),
        ] {
            let asked = wanted & rights;
            if asked != Rights::NONE && kernel::allows(file.as_fd(), access) {
                granted |= asked;
            }
        }
        Ok(granted)
    }

    fn set_attributes(&self, caller: &Caller, id: &FileId, changes: &SetAttributes) -> Result<()> {
        let file = self.file(id)?;
        self.change(caller, id, &file, changes)
    }

    fn lookup(&self, caller: &Caller, dir_id: &FileId, name: &[u8]) -> Result<Found> {
        let dir = self.file(dir_id)?;
        let name = c_string(name)?;
        act_as(caller)?;
        let place = match name.as_bytes() {
            b".." => self.parent(dir_id, &dir),
            _ => self.open_name(&dir, &name),
        };
        let place = place.map_err(refusal)?;
        let found = self.found(place.as_fd()).map_err(refusal)?;
        self.files.keep(found.id, self.files.place(place));
        Ok(found)
    }

    fn read_link(&self, _: &Caller, id: &FileId) -> Result<Vec<u8>> {
        let file = self.file(id)?;
        match fs::readlinkat(&*file, c"", Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            // readlink(2)'s error for other files than links.
            Err(Errno::NOENT) => Err(FsError::Invalid),
            Err(error) => Err(refusal(error)),
        }
    }

    fn read(&self, caller: &Caller, id: &FileId, offset: u64, into: &mut [u8]) -> Result<usize> {
        let file = self.file(id)?;
        // An executable file may be read: the client has to read it to execute it.
        self.may_use(caller, id, &file, &[Access::READ_OK, Access::EXEC_OK])?;
        let reader = self.reader(id, &file)?;
        if offset > MOST_OFFSET {
            return Ok(0);
        }
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match io::pread(reader, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        Ok(done)
    }

    fn write(&self, caller: &Caller, id: &FileId, offset: u64, data: &[u8], stable: Stable) -> Result<()> {
        let file = self.file(id)?;
        self.may_use(caller, id, &file, &[Access::WRITE_OK])?;
        let writer = self.writer(id, &file)?;
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > MOST_OFFSET) {
            return Err(FsError::TooLarge);
        }
        // As the caller: the writer decides whether a set-id bit stays.
        act_as(caller)?;
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            match io::pwrite(writer, rest, offset + done as u64) {
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        match stable {
            Stable::Unstable => Ok(()),
            Stable::DataSync => fs::fdatasync(writer).map_err(refusal),
            Stable::FileSync => fs::fsync(writer).map_err(refusal),
        }
    }

    fn commit(&self, id: &FileId, _: u64, _: u32) -> Result<()> {
        let file = self.file(id)?;
        // Any descriptor: on an overlay, opening for writing would copy a file without writes.
        fs::fsync(self.reader(id, &file)?).map_err(refusal)
    }

    fn create(&self, caller: &Caller, dir_id: &FileId, name: &[u8], how: &CreateHow) -> Result<Found> {
        let dir = self.file(dir_id)?;
        let name = c_string(name)?;
        act_as(caller)?;
        let created = match how {
            CreateHow::Exclusive(verifier) => self.create_exclusive(caller, &dir, &name, *verifier),
            CreateHow::Guarded(with) => self.create_or_change(caller, &dir, &name, with, true),
            CreateHow::Unchecked(with) => self.create_or_change(caller, &dir, &name, with, false),
        }?;
        self.settle_names(dir_id, &dir)?;
        Ok(created)
    }

    fn make_directory(
        &self,
        caller: &Caller,
        dir_id: &FileId,
        name: &[u8],
        with: &SetAttributes,
    ) -> Result<Found> {
        let dir = self.file(dir_id)?;
        let name = c_string(name)?;
        act_as(caller)?;
        fs::mkdirat(&*dir, &name, mode(with, 0o777)).map_err(refusal)?;
        // mkdir(2) leaves the set-id and sticky bits to chmod(2).
        let mut found = self.made(&dir, &name, caller, &initial(with, caller))?;
        let set_group_id = found.attributes.mode & 0o2000; // inherited
        if let Some(mode) = with.mode
            && mode & 0o7000 & !set_group_id != 0
        {
            let mode = Some(mode & 0o7777 | set_group_id);
            self.set_attributes(caller, &found.id, &SetAttributes { mode, ..SetAttributes::default() })?;
            found.attributes = self.attributes(&found.id)?;
        }
        self.settle_names(dir_id, &dir)?;
        Ok(found)
    }

    fn make_symlink(
        &self,
        caller: &Caller,
        dir_id: &FileId,
        name: &[u8],
        target: &[u8],
        with: &SetAttributes,
    ) -> Result<Found> {
        let dir = self.file(dir_id)?;
        let (name, target) = (c_string(name)?, c_string(target)?);
        act_as(caller)?;
        fs::symlinkat(&target, &*dir, &name).map_err(refusal)?;
        // A link's mode has no meaning and cannot be set.
        let with = initial(&SetAttributes { mode: None, ..*with }, caller);
        let found = self.made(&dir, &name, caller, &with)?;
        self.settle_names(dir_id, &dir)?;
        Ok(found)
    }

    fn make_node(
        &self,
        caller: &Caller,
        dir_id: &FileId,
        name: &[u8],
        node: Node,
        with: &SetAttributes,
    ) -> Result<Found> {
        let dir = self.file(dir_id)?;
        let name = c_string(name)?;
        let number = |device: Device| fs::makedev(device.major, device.minor);
        let (kind, device) = match node {
            Node::CharacterDevice(device) => (FileType::CharacterDevice, number(device)),
            Node::BlockDevice(device) => (FileType::BlockDevice, number(device)),
            Node::Socket => (FileType::Socket, 0),
            Node::Fifo => (FileType::Fifo, 0),
        };
        act_as(caller)?;
        fs::mknodat(&*dir, &name, kind, mode(with, 0o666), device).map_err(refusal)?;
        let found = self.made(&dir, &name, caller, &initial(with, caller))?;
        self.settle_names(dir_id, &dir)?;
        Ok(found)
    }

    fn remove(&self, caller: &Caller, dir_id: &FileId, name: &[u8]) -> Result<()> {
        let dir = self.file(dir_id)?;
        let name = c_string(name)?;
        act_as(caller)?;
        let id = kernel::of_name(dir.as_fd(), &name);
        fs::unlinkat(&*dir, &name, AtFlags::empty()).map_err(refusal)?;
        if let Ok(id) = id {
            self.files.forget(&id);
        }
        self.settle_names(dir_id, &dir)
    }

    fn remove_directory(&self, caller: &Caller, dir_id: &FileId, name: &[u8]) -> Result<()> {
        let dir = self.file(dir_id)?;
        let name = c_string(name)?;
        act_as(caller)?;
        let id = kernel::of_name(dir.as_fd(), &name);
        fs::unlinkat(&*dir, &name, AtFlags::REMOVEDIR).map_err(refusal)?;
        if let Ok(id) = id {
            self.files.forget(&id);
        }
        self.settle_names(dir_id, &dir)
    }

    fn rename(&self, caller: &Caller, from: (&FileId, &[u8]), to: (&FileId, &[u8])) -> Result<()> {
        let (from_dir, to_dir) = (self.file(from.0)?, self.file(to.0)?);
        let (from_name, to_name) = (c_string(from.1)?, c_string(to.1)?);
        act_as(caller)?;
        self.forget_name(&to_dir, &to_name);
        fs::renameat(&*from_dir, &from_name, &*to_dir, &to_name).map_err(refusal)?;
        // The new name first: a power cut in between may leave both, and never none.
        self.settle_names(to.0, &to_dir)?;
        if from.0 == to.0 { Ok(()) } else { self.settle_names(from.0, &from_dir) }
    }

    fn link(&self, caller: &Caller, id: &FileId, dir_id: &FileId, name: &[u8]) -> Result<()> {
        let (file, dir) = (self.file(id)?, self.file(dir_id)?);
        let name = c_string(name)?;
        act_as(caller)?;
        // Linking by descriptor requires a privilege that the caller may lack.
        fs::linkat(fs::CWD, changes::path_of(file.as_fd()), &*dir, &name, AtFlags::SYMLINK_FOLLOW)
            .map_err(refusal)?;
        self.settle_names(dir_id, &dir)
    }

    fn list(
        &self,
        caller: &Caller,
        id: &FileId,
        from: Place,
        full: bool,
        take: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<Listed> {
        let dir = self.file(id)?;
        if self.stat(id, &dir)?.kind != FileKind::Directory {
            return Err(FsError::NotDirectory);
        }
        let open = || self.open_by_id(id, OFlags::RDONLY | OFlags::DIRECTORY);
        let mut listing = self.listings.begin(id, from, open).map_err(refusal)?;
        let root = self.root.get().map_err(refusal)?;
        act_as(caller)?;
        if !kernel::allows(dir.as_fd(), Access::READ_OK) {
            return Err(FsError::Denied);
        }
        let end = listing.each(|mut entry, name| {
            let up = entry.name == b"..";
            let kernels = entry.file_number;
            if up && id == self.root.id() {
                // The directory above the top is hidden.
                let number = fs::fstat(&root).map_or(kernels, |stat| stat.st_ino);
                entry.file_number = self.numbers.of(number, || Ok(*id));
            } else {
                if full && !up {
                    entry.found = self.found_at(root.mount(), &dir, name, kernels);
                }
                entry.file_number = match &entry.found {
                    Some(found) => found.attributes.file_number,
                    None => self.numbers.of(kernels, || kernel::of_name(dir.as_fd(), name)),
                };
            }
            Ok(take(entry))
        });
        let end = end.map_err(refusal)?;
        Ok(Listed { verifier: self.listings.finish(listing), end })
    }

    fn usage(&self) -> Result<Usage> {
        let stat = fs::fstatvfs(self.root.get().map_err(refusal)?).map_err(refusal)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Usage {
            bytes: bytes(stat.f_blocks),
            free_bytes: bytes(stat.f_bfree),
            available_bytes: bytes(stat.f_bavail),
            files: stat.f_files,
            free_files: stat.f_ffree,
            name_max: u32::try_from(stat.f_namemax).unwrap_or(255),
            link_max: self.link_max,
        })
    }

    fn maintain(&self) {
        self.files.maintain();
        self.listings.maintain();
    }

    fn rest(&self) {
        self.files.close_all();
        self.listings.rest();
        self.root.rest();
    }
}

fn c_string(name: &[u8]) -> Result<CString> {
    CString::new(name).map_err(|_| FsError::Invalid)
}

/// Files by handle, as their users: without one of these no call can be answered.
const REQUIRED: CapabilitySet =
    CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::SETGID).union(CapabilitySet::SETUID);

/// The largest offset: offsets are signed in the kernel.
const MOST_OFFSET: u64 = i64::MAX as u64;
