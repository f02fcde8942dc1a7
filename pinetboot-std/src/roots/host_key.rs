//! Generates SSH host keys of type ed25519 (RFC 8032), in OpenSSH's file formats.
//!
//! Formats: the public line and key blob of RFC 8709 and RFC 4253, section 6.6; the private file of OpenSSH's
//! `PROTOCOL.key`, without a passphrase. Not done: other key types, which sshd's default configuration does not require.

use std::fs::File;
use std::io::{self, Read};

use base64ct::{Base64, Encoding};
use ed25519_compact::{KeyPair, Seed};

/// A key pair.
pub(super) struct HostKey {
    pair: KeyPair,
    /// Both check numbers of the private file; equal after decryption.
    check: [u8; 4],
}

impl HostKey {
    /// Generates a key from 32 bytes of the kernel's random numbers.
    ///
    /// # Errors
    ///
    /// If `/dev/urandom` cannot be read.
    pub(super) fn generate() -> io::Result<Self> {
        let (mut seed, mut check) = ([0; 32], [0; 4]);
        let mut random = File::open("/dev/urandom")?;
        random.read_exact(&mut seed)?;
        random.read_exact(&mut check)?;
        Ok(Self::new(seed, check))
    }

    fn new(seed: [u8; 32], check: [u8; 4]) -> Self {
        Self { pair: KeyPair::from_seed(Seed::new(seed)), check }
    }

    /// The content of `ssh_host_ed25519_key.pub`.
    pub(super) fn public_file(&self) -> String {
        format!("{KEY_TYPE} {}\n", Base64::encode_string(&self.public_blob()))
    }

    /// The content of `ssh_host_ed25519_key`.
    pub(super) fn private_file(&self) -> String {
        let mut secret = [self.check, self.check].concat();
        secret.extend(self.public_blob());
        string(&mut secret, self.pair.sk.as_slice()); // the seed, then the public key
        string(&mut secret, b""); // the comment
        secret.extend((1..).take(secret.len().next_multiple_of(BLOCK) - secret.len()));

        let mut file = b"openssh-key-v1\0".to_vec();
        string(&mut file, b"none"); // the cipher
        string(&mut file, b"none"); // the key derivation, and its options
        string(&mut file, b"");
        file.extend(1u32.to_be_bytes()); // one key
        string(&mut file, &self.public_blob());
        string(&mut file, &secret);

        let text = Base64::encode_string(&file);
        let mut pem = String::from("-----BEGIN OPENSSH PRIVATE KEY-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(COLUMNS));
            pem.push_str(line);
            pem.push('\n');
            rest = after;
        }
        pem.push_str("-----END OPENSSH PRIVATE KEY-----\n");
        pem
    }

    fn public_blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        string(&mut blob, KEY_TYPE.as_bytes());
        string(&mut blob, self.pair.pk.as_slice());
        blob
    }
}

/// Appends a `string` of RFC 4251, section 5: its length in 4 bytes, then its bytes.
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

const KEY_TYPE: &str = "ssh-ed25519";
/// The block size of the cipher `none`, in bytes.
const BLOCK: usize = 8;
/// Characters in a line of the private file, as `ssh-keygen` writes them.
const COLUMNS: usize = 70;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    /// RFC 8032, section 7.1, test 1.
    fn known() -> HostKey {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
            0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        HostKey::new(seed, [1, 2, 3, 4])
    }

    #[test]
    fn the_public_key_is_that_of_rfc_8032() {
        let public = known().public_file();
        // 00 00 00 0b "ssh-ed25519" 00 00 00 20 d7 5a 98 01 .. 51 1a
        assert_eq!(
            public,
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea\n"
        );
    }

    #[test]
    fn the_private_file_has_lines_of_70_and_whole_blocks() {
        let file = known().private_file();
        let lines: Vec<_> = file.lines().collect();
        let (inner, last) = (&lines[1..lines.len() - 2], lines[lines.len() - 2]);
        assert!(inner.iter().all(|line| line.len() == COLUMNS) && (1..=COLUMNS).contains(&last.len()));
        let bytes = Base64::decode_vec(&[inner.concat().as_str(), last].concat()).unwrap();
        assert!(bytes.starts_with(b"openssh-key-v1\0"));
        assert!(bytes.ends_with(&[0, 0, 0, 0, 1, 2, 3, 4, 5]), "an empty comment, and the padding counts");
        assert_eq!(&bytes[bytes.len() - 136..][..8], [1, 2, 3, 4, 1, 2, 3, 4]);
        assert_ne!(HostKey::generate().unwrap().private_file(), HostKey::generate().unwrap().private_file());
    }

    #[test]
    fn ssh_keygen_reads_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let private = directory.path().join("key");
        let key = HostKey::generate().unwrap();
        fs::write(&private, key.private_file()).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
        let public = directory.path().join("other.pub");
        fs::write(&public, key.public_file()).unwrap();
        let keygen = |option: &str, file: &std::path::Path| {
            let output = Command::new("ssh-keygen").arg(option).arg("-f").arg(file).output();
            output.map(|output| {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                String::from_utf8(output.stdout).unwrap()
            })
        };
        let Ok(derived) = keygen("-y", &private) else {
            eprintln!("SKIPPED: ssh-keygen is not installed");
            return;
        };
        assert_eq!(derived.trim_end(), key.public_file().trim_end());
        let fingerprint = keygen("-l", &public).unwrap();
        assert!(fingerprint.starts_with("256 SHA256:") && fingerprint.contains("(ED25519)"), "{fingerprint}");
        assert_eq!(keygen("-l", &private).unwrap().split(' ').nth(1), fingerprint.split(' ').nth(1));
    }
}
