//! A file system in memory whose operations hang for as long as a test wants (FUSE; needs root and `/dev/fuse`).
//!
//! Nothing is cached by the kernel, so that every look-up, opening and reading comes here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, SessionACL, TimeOrNow,
    WriteFlags,
};

/// A mounted file system. Dropping the value answers all hanging operations with EIO and unmounts.
pub(crate) struct SickDisk {
    shared: Arc<Shared>,
    /// `None` once it is unmounted.
    session: Option<BackgroundSession>,
    path: PathBuf,
    /// The mount point, if it is the disk's own.
    own: Option<tempfile::TempDir>,
}

/// An operation that can hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Lookup,
    Open,
    Read,
    /// Closing a file waits for this.
    Flush,
    ReadDirectory,
    Create,
    Write,
    Rename,
}

impl SickDisk {
    /// Mounts a file system with these files; directories come with them.
    #[track_caller]
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = Self::at(directory.path(), files);
        disk.own = Some(directory);
        disk
    }

    /// The same, at this directory.
    #[track_caller]
    pub(crate) fn at(path: &Path, files: &[(&str, &[u8])]) -> Self {
        let shared = Arc::new(Shared::default());
        shared.state().nodes.push(Node::new(0, "", FileType::Directory, &[]));
        files.iter().for_each(|(path, content)| shared.state().add(path, content));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("sick-disk".into())];
        config.acl = SessionACL::All;
        let disk = Disk(Arc::clone(&shared));
        let session = fuser::spawn_mount(disk, path, &config).expect("root, and /dev/fuse");
        Self { shared, session: Some(session), path: path.into(), own: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of a file; `None` if the file does not exist.
    pub(crate) fn content(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.shared.state();
        state.find(path).map(|index| state.nodes[index].content.clone())
    }

    /// From now on this operation hangs on files of this name, until [`release`](Self::release).
    pub(crate) fn hang(&self, operation: Operation, name: &str) {
        self.shared.state().hangs.push((operation, name.into()));
    }

    /// From now on this operation takes this long on files of this name.
    pub(crate) fn delay(&self, operation: Operation, name: &str, time: Duration) {
        self.shared.state().delays.push((operation, name.into(), time));
    }

    /// Waits until `count` operations hang.
    #[track_caller]
    pub(crate) fn wait_for_hanging(&self, count: usize) {
        let limit = Duration::from_secs(60);
        let few = |state: &mut State| state.hanging.len() < count;
        let (state, waited) =
            self.shared.changed.wait_timeout_while(self.shared.state(), limit, few).unwrap();
        assert!(!waited.timed_out(), "{} operations hang, not {count}", state.hanging.len());
    }

    /// The number of operations that hang now.
    pub(crate) fn hanging(&self) -> usize {
        self.shared.state().hanging.len()
    }

    /// Finishes all hanging operations; none hangs from now on.
    pub(crate) fn release(&self) {
        let mut state = self.shared.state();
        state.hangs.clear();
        let hanging = std::mem::take(&mut state.hanging);
        drop(state);
        hanging.into_iter().for_each(|finish| finish());
    }
}

impl Drop for SickDisk {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_gone = true;
        let hanging = std::mem::take(&mut state.hanging);
        drop(state);
        drop(hanging); // a reply that is dropped is EIO
        let Some(session) = self.session.take() else { return };
        // A process may still have files open: the mount goes now, the rest when they are closed.
        let _gone = nix::mount::umount2(self.path(), nix::mount::MntFlags::MNT_DETACH);
        drop(session);
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The node with inode number `n` is at `n - 1`.
    nodes: Vec<Node>,
    hangs: Vec<(Operation, String)>,
    delays: Vec<(Operation, String, Duration)>,
    hanging: Vec<Box<dyn FnOnce() + Send>>,
    is_gone: bool,
}

struct Node {
    parent: usize,
    name: String,
    kind: FileType,
    content: Vec<u8>,
    is_unlinked: bool,
}

impl Node {
    fn new(parent: usize, name: &str, kind: FileType, content: &[u8]) -> Self {
        Self { parent, name: name.into(), kind, content: content.into(), is_unlinked: false }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Finishes an operation on a file of this name: now, later, or never.
    fn finish(&self, operation: Operation, name: &str, finish: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        if state.is_gone {
            return;
        }
        if state.hangs.iter().any(|(hangs, of)| (*hangs, of.as_str()) == (operation, name)) {
            state.hanging.push(Box::new(finish));
            self.changed.notify_all();
            return;
        }
        let delay = state.delays.iter().find(|(slow, of, _)| (*slow, of.as_str()) == (operation, name));
        let delay = delay.map(|(_, _, time)| *time);
        drop(state);
        match delay {
            Some(time) => drop(thread::spawn(move || {
                thread::sleep(time); // the disk is slow, not the test
                finish();
            })),
            None => finish(),
        }
    }

    fn name(&self, inode: INodeNo) -> String {
        self.state().nodes[index(inode)].name.clone()
    }
}

impl State {
    fn add(&mut self, path: &str, content: &[u8]) {
        let mut parent = 0;
        let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
        for directory in directories.split('/').filter(|name| !name.is_empty()) {
            parent = self.child(parent, directory).unwrap_or_else(|| {
                self.nodes.push(Node::new(parent, directory, FileType::Directory, &[]));
                self.nodes.len() - 1
            });
        }
        self.nodes.push(Node::new(parent, name, FileType::RegularFile, content));
    }

    fn child(&self, parent: usize, name: &str) -> Option<usize> {
        let is_it =
            |node: &Node| (node.parent, node.name.as_str(), node.is_unlinked) == (parent, name, false);
        (1..self.nodes.len()).find(|index| is_it(&self.nodes[*index]))
    }

    fn find(&self, path: &str) -> Option<usize> {
        path.split('/').try_fold(0, |parent, name| self.child(parent, name))
    }

    fn attributes(&self, index: usize) -> FileAttr {
        let Node { kind, content, is_unlinked, .. } = &self.nodes[index];
        FileAttr {
            ino: INodeNo(index as u64 + 1),
            size: content.len() as u64,
            blocks: content.len().div_ceil(512) as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: *kind,
            perm: if *kind == FileType::Directory { 0o755 } else { 0o644 },
            nlink: if *is_unlinked { 0 } else { 1 },
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

/// What the kernel asks.
struct Disk(Arc<Shared>);

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (shared, name) = (Arc::clone(&self.0), name.to_string_lossy().into_owned());
        self.0.finish(Operation::Lookup, &name.clone(), move || {
            let state = shared.state();
            match state.child(index(parent), &name) {
                Some(child) => reply.entry(&Duration::ZERO, &state.attributes(child), Generation(0)),
                None => reply.error(Errno::ENOENT),
            }
        });
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::ZERO, &self.0.state().attributes(index(inode)));
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.0.state();
        if let Some(size) = size {
            state.nodes[index(inode)].content.resize(size as usize, 0);
        }
        reply.attr(&Duration::ZERO, &state.attributes(index(inode)));
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.0.finish(Operation::Open, &self.0.name(inode), move || {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let shared = Arc::clone(&self.0);
        self.0.finish(Operation::Read, &self.0.name(inode), move || {
            let state = shared.state();
            let rest = state.nodes[index(inode)].content.get(offset as usize..).unwrap_or_default();
            reply.data(&rest[..rest.len().min(size as usize)]);
        });
    }

    fn flush(&self, _: &Request, inode: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.0.finish(Operation::Flush, &self.0.name(inode), move || reply.ok());
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let shared = Arc::clone(&self.0);
        self.0.finish(Operation::ReadDirectory, &self.0.name(inode), move || {
            let state = shared.state();
            let here = |(_, node): &(usize, &Node)| node.parent == index(inode) && !node.is_unlinked;
            let children = state.nodes.iter().enumerate().skip(1).filter(here);
            for (number, (child, node)) in children.enumerate().skip(offset as usize) {
                if reply.add(INodeNo(child as u64 + 1), number as u64 + 1, node.kind, &node.name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let (shared, name) = (Arc::clone(&self.0), name.to_string_lossy().into_owned());
        // The names of temporary files are made up, so that no test can name them.
        self.0.finish(Operation::Create, "", move || {
            let mut state = shared.state();
            state.nodes.push(Node::new(index(parent), &name, FileType::RegularFile, &[]));
            let attributes = state.attributes(state.nodes.len() - 1);
            reply.created(&Duration::ZERO, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
        });
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (shared, data) = (Arc::clone(&self.0), data.to_vec());
        self.0.finish(Operation::Write, "", move || {
            let mut state = shared.state();
            let (start, content) = (offset as usize, &mut state.nodes[index(inode)].content);
            content.resize(content.len().max(start + data.len()), 0);
            content[start..start + data.len()].copy_from_slice(&data);
            reply.written(data.len() as u32);
        });
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (shared, name) = (Arc::clone(&self.0), name.to_string_lossy().into_owned());
        let new_name = new_name.to_string_lossy().into_owned();
        self.0.finish(Operation::Rename, &new_name.clone(), move || {
            let mut state = shared.state();
            let Some(moved) = state.child(index(parent), &name) else { return reply.error(Errno::ENOENT) };
            if let Some(replaced) = state.child(index(new_parent), &new_name) {
                if flags.contains(RenameFlags::RENAME_NOREPLACE) {
                    return reply.error(Errno::EEXIST);
                }
                state.nodes[replaced].is_unlinked = true;
            }
            (state.nodes[moved].parent, state.nodes[moved].name) = (index(new_parent), new_name);
            reply.ok();
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.0.state();
        match state.child(index(parent), &name.to_string_lossy()) {
            Some(child) => {
                state.nodes[child].is_unlinked = true;
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: fuser::ReplyStatfs) {
        reply.statfs(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}

fn index(inode: INodeNo) -> usize {
    u64::from(inode) as usize - 1
}
