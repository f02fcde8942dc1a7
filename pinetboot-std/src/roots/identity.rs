//! The identity of a Pi on a shared base image: host name, machine-id and SSH host keys.
//!
//! The identity is written into a new layer once; later changes are the Pi's own. It is stored beside the layers, so a Pi keeps
//! its identity when its layer is reset or another image booted.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use pinetboot_core::pi::Prefix;
use rustix::rand::{GetRandomFlags, getrandom};

use super::host_key::HostKey;
use super::layer::unsynced_dir;
use crate::beneath::beneath;
use crate::durable::{self, Staged};

/// New parts of an identity, staged beside their places.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct NewIdentity(Vec<Staged>);

impl NewIdentity {
    /// Puts the parts in their places, once they are on the disk.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn put(&self) -> io::Result<()> {
        self.0.iter().try_for_each(Staged::put)
    }
}

/// Writes the identity in `kept` into a tree, without a sync; creates the identity of a new Pi, and stages its parts.
///
/// # Errors
///
/// The system's.
pub(super) fn enrol(root: &OwnedFd, kept: &Path, name: &str) -> io::Result<NewIdentity> {
    unsynced_dir(kept)?;
    let mut new = NewIdentity::default();
    let Some(etc) = find(root, "etc")? else { return Ok(new) }; // not a known system
    put(&etc, "hostname", format!("{name}\n").as_bytes(), 0o644)?;
    let hosts = read(&etc, "hosts")?.unwrap_or_else(|| "127.0.0.1\tlocalhost\n".into());
    put(&etc, "hosts", with_host(&hosts, name).as_bytes(), 0o644)?;

    let place = kept.join("machine-id");
    let machine_id = match fs::read(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let machine_id = random_machine_id()?.into_bytes();
            new.0.push(durable::stage(&place, &machine_id, 0o644)?);
            machine_id
        }
        machine_id => machine_id?,
    };
    put(&etc, "machine-id", &machine_id, 0o444)?;

    let Some(ssh) = find(root, "etc/ssh")? else { return Ok(new) };
    let (private, public) = host_key(kept, &mut new)?;
    put(&ssh, HOST_KEY, &private, 0o600)?;
    put(&ssh, HOST_KEY_PUB, &public, 0o644)?;
    // This unit would remove the keys (raspberrypi-sys-mods, regenerate_ssh_host_keys).
    for target in ["multi-user.target.wants", "sysinit.target.wants"] {
        if let Some(wants) = find(root, &format!("etc/systemd/system/{target}"))? {
            remove(&wants, "regenerate_ssh_host_keys.service")?;
        }
    }
    Ok(new)
}

/// Removes the identity from a tree, so that it can be the base image of many Pis.
///
/// # Errors
///
/// The system's.
pub(super) fn anonymise(root: &OwnedFd, name_as_before: Option<&str>) -> io::Result<()> {
    let Some(etc) = find(root, "etc")? else { return Ok(()) };
    if let Some(name) = name_as_before {
        put(&etc, "hostname", format!("{name}\n").as_bytes(), 0o644)?;
        if let Some(hosts) = read(&etc, "hosts")? {
            put(&etc, "hosts", with_host(&hosts, name).as_bytes(), 0o644)?;
        }
    }
    // Empty, not missing: systemd requires an existing file on a read-only root (machine-id(5)).
    put(&etc, "machine-id", b"", 0o444)?;
    if let Some(ssh) = find(root, "etc/ssh")? {
        for entry in fs::read_dir(through(&ssh))?.flatten() {
            let name = entry.file_name();
            if let Some(name) =
                name.to_str().filter(|name| name.starts_with("ssh_host_") && name.contains("_key"))
            {
                remove(&ssh, name)?;
            }
        }
    }
    Ok(())
}

/// Reads a small text file of an untrusted tree: a link that leads out of the tree is not followed.
///
/// # Errors
///
/// The system's.
pub(super) fn read(directory: &OwnedFd, name: &str) -> io::Result<Option<String>> {
    let file = match beneath(directory, Path::new(name), OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT | Errno::EXDEV | Errno::ELOOP) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    Ok(String::from_utf8(text).ok())
}

/// Opens a directory of the tree; `None` if it is missing.
pub(super) fn find(root: &OwnedFd, place: &str) -> io::Result<Option<OwnedFd>> {
    match beneath(root, Path::new(place), OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EXDEV | Errno::ELOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Writes a file, replacing any file of its name, without a sync.
fn put(directory: &OwnedFd, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    durable::stage(&through(directory).join(name), bytes, mode)?.put()
}

fn remove(directory: &OwnedFd, name: &str) -> io::Result<()> {
    match fs::remove_file(through(directory).join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A path to an open directory, which no link in the tree can redirect.
fn through(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// /etc/hosts with this name for 127.0.1.1, Debian's address of the host itself.
fn with_host(hosts: &str, name: &str) -> String {
    let ours = format!("127.0.1.1\t{name}\n");
    let mut lines = String::new();
    let mut said = false;
    for line in hosts.lines() {
        if line.split_ascii_whitespace().next() == Some("127.0.1.1") {
            if !said {
                lines.push_str(&ours);
            }
            said = true;
        } else {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    if !said {
        lines.push_str(&ours);
    }
    lines
}

/// The private and the public file of the SSH host key in `kept`. A new key, unless `kept` holds both.
fn host_key(kept: &Path, new: &mut NewIdentity) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let [private, public] = [HOST_KEY, HOST_KEY_PUB].map(|name| kept.join(name));
    match (fs::read(&private), fs::read(&public)) {
        (Ok(private), Ok(public)) => return Ok((private, public)),
        (Err(error), _) | (_, Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let key = HostKey::generate()?;
    let (private_file, public_file) = (key.private_file().into_bytes(), key.public_file().into_bytes());
    new.0.push(durable::stage(&public, &public_file, 0o644)?);
    new.0.push(durable::stage(&private, &private_file, 0o600)?);
    Ok((private_file, public_file))
}

/// The machine-id of a Pi without a layer: always the same for a Pi. Not secret, as the command line holds it.
pub(crate) fn machine_id_of(pi: Prefix) -> String {
    // FNV-1a of 128 bits.
    let text = format!("pinetboot machine-id {pi}");
    let hash = text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    uuid(hash)
}

/// A random machine-id and a newline, as systemd makes at a first boot.
fn random_machine_id() -> io::Result<String> {
    let mut bits = [0; 16];
    let len = getrandom(&mut bits, GetRandomFlags::empty())?;
    if len < bits.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(format!("{}\n", uuid(u128::from_be_bytes(bits))))
}

/// A UUID of version 4 (RFC 9562, section 5.4) with these bits, without dashes.
fn uuid(bits: u128) -> String {
    let version_4 = bits & !(0xf << 76) | 0x4 << 76;
    format!("{:032x}", version_4 & !(0x3 << 62) | 0x2 << 62)
}

const HOST_KEY: &str = "ssh_host_ed25519_key";
const HOST_KEY_PUB: &str = "ssh_host_ed25519_key.pub";
/// Limit of a file in bytes.
const MOST: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::fcntl::open;
    use nix::sys::stat::Mode;

    use super::*;

    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("root/etc/ssh")).unwrap();
        let root = open(&directory.path().join("root"), OFlag::O_PATH, Mode::empty()).unwrap();
        (directory, root)
    }

    #[test]
    fn a_tree_becomes_one_pis_and_anyones_again() {
        let (directory, root) = tree();
        let (etc, kept) = (directory.path().join("root/etc"), directory.path().join("kept"));
        fs::write(etc.join("hosts"), "127.0.0.1 localhost\n127.0.1.1\traspberrypi\n").unwrap();
        enrol(&root, &kept, "kitchen").unwrap().put().unwrap();
        assert_eq!(fs::read_to_string(etc.join("hostname")).unwrap(), "kitchen\n");
        assert_eq!(
            fs::read_to_string(etc.join("hosts")).unwrap(),
            "127.0.0.1 localhost\n127.0.1.1\tkitchen\n"
        );
        let id = fs::read_to_string(etc.join("machine-id")).unwrap();
        assert_eq!((id.len(), id.trim_end().len()), (33, 32), "{id}");
        let key = fs::metadata(etc.join("ssh").join(HOST_KEY)).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        // A second enrolment puts the same key.
        let before = fs::read(etc.join("ssh").join(HOST_KEY_PUB)).unwrap();
        enrol(&root, &kept, "kitchen").unwrap().put().unwrap();
        assert_eq!(fs::read(etc.join("ssh").join(HOST_KEY_PUB)).unwrap(), before);
        anonymise(&root, Some("raspberrypi")).unwrap();
        assert_eq!(fs::read_dir(etc.join("ssh")).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(etc.join("machine-id")).unwrap(), "");
        assert!(fs::read_to_string(etc.join("hosts")).unwrap().ends_with("127.0.1.1\traspberrypi\n"));
    }

    #[test]
    fn links_that_lead_out_of_the_tree_are_replaced_or_left_but_never_followed() {
        let (directory, root) = tree();
        let outside = directory.path().join("outside");
        fs::write(&outside, "mine").unwrap();
        let etc = directory.path().join("root/etc");
        for name in ["hostname", "hosts", "machine-id"] {
            symlink(&outside, etc.join(name)).unwrap();
        }
        enrol(&root, &directory.path().join("kept"), "kitchen").unwrap().put().unwrap();
        assert_eq!(fs::read_to_string(etc.join("hostname")).unwrap(), "kitchen\n");
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");

        fs::remove_dir_all(&etc).unwrap();
        fs::create_dir(directory.path().join("elsewhere")).unwrap();
        symlink("../elsewhere", &etc).unwrap();
        enrol(&root, &directory.path().join("kept"), "kitchen").unwrap().put().unwrap();
        assert_eq!(fs::read_dir(directory.path().join("elsewhere")).unwrap().count(), 0);
    }

    #[test]
    fn a_machine_id_is_a_uuid_and_each_pi_has_its_own() {
        let id = machine_id_of(Prefix::Serial(0xbd98_9ae1));
        assert_eq!((id.len(), &id[12..13]), (32, "4"));
        assert!("89ab".contains(&id[16..17]), "{id}");
        assert_ne!(id, machine_id_of(Prefix::Serial(0)));
    }
}
