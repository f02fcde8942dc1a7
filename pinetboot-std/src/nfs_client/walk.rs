//! Looks a file up by LOOKUP and READLINK, from the root of an export, and reads its beginning.

use super::rpc::RpcClient;
use super::xdr::{Reader, Writer};
use super::{CallError, HANDLE_MAX, Handle, NFS};

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundFile {
    /// Its path, after all links.
    pub(crate) path: String,
    /// Its permissions.
    pub(crate) mode: u32,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// Its first bytes.
    pub(crate) head: Vec<u8>,
}

/// The reason why no file was found.
#[derive(Debug)]
pub(crate) enum WalkError {
    /// A call failed.
    Call(CallError),
    /// The root is not a directory that the client may use.
    Root(CallError),
    /// None of the paths leads to a file; for the first one: the part that is missing, or the link that leads nowhere.
    Missing(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attributes {
    kind: u32,
    mode: u32,
    len: u64,
}

/// The first of these paths that leads to a regular file.
pub(super) fn find(nfs: &mut RpcClient<'_>, root: &Handle, paths: &[&str]) -> Result<FoundFile, WalkError> {
    let top = attributes(nfs, root).map_err(WalkError::Root)?;
    if top.kind != DIRECTORY {
        return Err(WalkError::Root(CallError::Status(NOTDIR)));
    }
    let mut missing = None;
    for path in paths {
        match follow(nfs, root, path) {
            Err(WalkError::Missing(part)) => missing = missing.or(Some(part)),
            found => return found,
        }
    }
    Err(WalkError::Missing(missing.unwrap_or_default()))
}

fn follow(nfs: &mut RpcClient<'_>, root: &Handle, path: &str) -> Result<FoundFile, WalkError> {
    // The directories from the root to the present one, each with its name.
    let mut way: Vec<(Vec<u8>, Handle)> = vec![(Vec::new(), root.clone())];
    let mut ahead: Vec<Vec<u8>> = parts(path.as_bytes());
    let (mut links, mut steps) = (0, 0);
    while let Some(name) = ahead.pop() {
        steps += 1;
        if steps > MOST_STEPS {
            break;
        }
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                way.truncate(way.len().saturating_sub(1).max(1));
                continue;
            }
            _ => {}
        }
        let Some((_, dir)) = way.last() else { break };
        let here = shown(&way, &name);
        let file = match lookup(nfs, dir, &name) {
            Err(CallError::Status(NOENT | NOTDIR)) => return Err(WalkError::Missing(here)),
            found => found?,
        };
        let found = attributes(nfs, &file)?;
        match found.kind {
            LINK => {
                links += 1;
                let target = read_link(nfs, &file)?;
                if links > MOST_LINKS {
                    return Err(WalkError::Missing(format!("{here}, a link in a circle")));
                }
                if target.starts_with(b"/") {
                    way.truncate(1);
                }
                ahead.extend(parts(&target));
            }
            DIRECTORY => way.push((name, file)),
            REGULAR if ahead.is_empty() => {
                let head = read(nfs, &file)?;
                return Ok(FoundFile { path: here, mode: found.mode, len: found.len, head });
            }
            _ => return Err(WalkError::Missing(format!("{here}, which is no file"))),
        }
    }
    Err(WalkError::Missing(format!("{path}, which is a directory")))
}

/// The parts of a path, the last one first.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect()
}

fn shown(way: &[(Vec<u8>, Handle)], name: &[u8]) -> String {
    let mut path = String::new();
    for name in way.iter().skip(1).map(|(name, _)| name.as_slice()).chain([name]) {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    path
}

fn attributes(nfs: &mut RpcClient<'_>, file: &Handle) -> Result<Attributes, CallError> {
    let answer = nfs.call(NFS, GETATTR, Writer::default().opaque(&file.0))?;
    let mut answer = Reader::new(&answer);
    status(&mut answer)?;
    let (kind, mode) = (answer.u32()?, answer.u32()?);
    answer.skip(12)?; // nlink, uid, gid
    let len = u64::from(answer.u32()?) << 32 | u64::from(answer.u32()?);
    Ok(Attributes { kind, mode, len })
}

fn lookup(nfs: &mut RpcClient<'_>, dir: &Handle, name: &[u8]) -> Result<Handle, CallError> {
    let answer = nfs.call(NFS, LOOKUP, Writer::default().opaque(&dir.0).opaque(name))?;
    let mut answer = Reader::new(&answer);
    status(&mut answer)?;
    Ok(Handle(answer.opaque(HANDLE_MAX)?.to_vec()))
}

fn read_link(nfs: &mut RpcClient<'_>, link: &Handle) -> Result<Vec<u8>, CallError> {
    let answer = nfs.call(NFS, READLINK, Writer::default().opaque(&link.0))?;
    let mut answer = Reader::new(&answer);
    status(&mut answer)?;
    skip_attributes(&mut answer)?;
    Ok(answer.opaque(PATH_MAX)?.to_vec())
}

/// The first bytes of a file.
fn read(nfs: &mut RpcClient<'_>, file: &Handle) -> Result<Vec<u8>, CallError> {
    let answer = nfs.call(NFS, READ, Writer::default().opaque(&file.0).u64(0).u32(HEAD))?;
    let mut answer = Reader::new(&answer);
    status(&mut answer)?;
    skip_attributes(&mut answer)?;
    answer.skip(8)?; // count, eof
    Ok(answer.opaque(HEAD as usize)?.to_vec())
}

fn status(answer: &mut Reader<'_>) -> Result<(), CallError> {
    match answer.u32()? {
        0 => Ok(()),
        status => Err(CallError::Status(status)),
    }
}

/// Skips `post_op_attr`: a flag, and the 84 bytes of `fattr3` if it is set.
fn skip_attributes(answer: &mut Reader<'_>) -> Result<(), CallError> {
    if answer.u32()? == 0 { Ok(()) } else { answer.skip(84) }
}

impl From<CallError> for WalkError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<std::io::Error> for WalkError {
    fn from(error: std::io::Error) -> Self {
        Self::Call(error.into())
    }
}

const GETATTR: u32 = 1;
const LOOKUP: u32 = 3;
const READLINK: u32 = 5;
const READ: u32 = 6;
const REGULAR: u32 = 1;
const DIRECTORY: u32 = 2;
const LINK: u32 = 5;
const NOENT: u32 = 2;
const NOTDIR: u32 = 20;
/// As Linux (MAXSYMLINKS).
const MOST_LINKS: u32 = 40;
/// More than any path has: a server may make up directories and links without end.
const MOST_STEPS: u32 = 256;
const PATH_MAX: usize = 4096;
/// Bytes to read of a file: an ELF header has 64, a line with an interpreter 256.
const HEAD: u32 = 256;
