//! A validated import request, from the command line and the files that it names.

use std::fs::{self, File};
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use pinetboot_image::Choice;
use sha_crypt::{PasswordHasher, ShaCrypt};
use tracing::Level;

use super::Args;
use super::changes::{Account, Password, Wishes};
use super::download;
use super::source::{Source, Sums};
use crate::exit::{Exit, Failed};
use crate::output::tell;
use crate::space::Reserve;

/// A validated import request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The image.
    pub source: Source,
    /// The SHA-256s that the image must have; without one, the published one of a download.
    pub sums: Sums,
    /// The partitions to import; by default found by their content.
    pub choice: Choice,
    /// Whether an image of that name makes the import unnecessary.
    pub if_missing: bool,
    /// The directory of images.
    pub to: PathBuf,
    /// The image's name.
    pub name: String,
    /// Whether the image becomes current although another one is.
    pub current: bool,
    /// Whether to list the changes only.
    pub dry_run: bool,
    /// Whether to list them as JSON.
    pub json: bool,
    /// Whether to import only the boot partition.
    pub boot_only: bool,
    /// The disk space that the import leaves free.
    pub disk_reserve: Reserve,
    /// Settings of the imported system.
    pub wishes: Wishes,
}

impl Request {
    /// Validates the command line, reads the files that it names, and prompts for a password if needed.
    ///
    /// # Errors
    ///
    /// The first invalid argument or unreadable file.
    pub fn resolve(options: &Args) -> Result<Self, Failed> {
        let (source, listed) = Source::parse(&options.image, &options.list_url)?;
        let name = match &options.name {
            Some(name) => name.clone(),
            None => source.image_name().ok_or_else(|| {
                Failed::new(Exit::Usage, format!("{source}: makes no image name: give a --name"))
            })?,
        };
        Ok(Self {
            source,
            sums: Sums { file: options.sha256.clone().or(listed.file), image: listed.image },
            choice: Choice { boot: options.boot_partition, root: options.root_partition },
            if_missing: options.if_missing,
            to: options.to.clone(),
            name,
            current: options.current,
            dry_run: options.dry_run,
            json: options.json,
            boot_only: options.boot_only,
            disk_reserve: Reserve::new(options.disk_reserve),
            wishes: Wishes { hostname: options.hostname.clone(), account: account(options)? },
        })
    }

    /// Sets the user of these arguments; prompts for a password if needed.
    ///
    /// # Errors
    ///
    /// An unreadable file, or no password.
    pub fn set_account(&mut self, options: &Args) -> Result<(), Failed> {
        self.wishes.account = account(options)?;
        Ok(())
    }

    /// The SHA-256 that the file must have: a given one, else that which is published beside a download. `None` if that of the
    /// unpacked image is known.
    ///
    /// # Errors
    ///
    /// If the published sums cannot be fetched, or an address without TLS has none.
    pub fn published_sha256(&self) -> Result<Option<String>, Failed> {
        let Source::Url(url) = &self.source else { return Ok(self.sums.file.clone()) };
        if self.sums != Sums::default() {
            return Ok(self.sums.file.clone());
        }
        if !url.to_ascii_lowercase().starts_with("https:") {
            let message = format!(
                "{url}: http has no protection against changes on the way: give --sha256, or an https address"
            );
            return Err(Failed::new(Exit::Usage, message));
        }
        let published = download::published_sha256(url)?;
        if published.is_none() {
            tell(
                Level::WARN,
                format_args!(
                    "pinetboot: {url}: no SHA-256 is published beside it; the content is not compared"
                ),
            );
        }
        Ok(published)
    }
}

impl Wishes {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.hostname.is_none() && self.account.is_none()
    }
}

fn account(options: &Args) -> Result<Option<Account>, Failed> {
    let Some(name) = &options.user else { return Ok(None) };
    let ssh_keys = options.ssh_key.as_deref().map(ssh_keys).transpose()?;
    let password = match &options.password_file {
        Some(file) => Password { hash: hash(&password_from(file)?)?, is_secret: false },
        // A valid hash of a random password, which is then discarded.
        None if ssh_keys.is_some() => Password { hash: hash(&random()?)?, is_secret: true },
        None => Password { hash: hash(&password_from_terminal(name)?)?, is_secret: false },
    };
    Ok(Some(Account { name: name.clone(), password, ssh_keys }))
}

/// The public SSH keys in a file.
pub(crate) fn ssh_keys(path: &Path) -> Result<String, Failed> {
    let usage = |why: String| Failed::new(Exit::Usage, format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    if text.contains("PRIVATE KEY") {
        return Err(usage(
            "this file holds a private key. Give the public key's file, which ends in .pub".into(),
        ));
    }
    let is_key = |line: &str| {
        let kinds = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];
        line.split_whitespace().any(|word| kinds.iter().any(|kind| word.starts_with(kind)))
    };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).peekable();
    if lines.peek().is_none() || !lines.all(is_key) {
        return Err(usage("this file holds no public SSH keys".into()));
    }
    Ok(text)
}

/// The first line of a file, or of standard input.
fn password_from(path: &Path) -> Result<Vec<u8>, Failed> {
    let usage = |why: String| Failed::new(Exit::Usage, format!("{}: {why}", path.display()));
    let mut line = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().read_until(b'\n', &mut line)
    } else {
        File::open(path).and_then(|file| io::BufReader::new(file).read_until(b'\n', &mut line))
    };
    read.map_err(|error| usage(error.to_string()))?;
    let password = line.trim_ascii_end();
    if password.is_empty() {
        return Err(usage("the first line holds no password".into()));
    }
    Ok(password.to_vec())
}

fn password_from_terminal(user: &str) -> Result<Vec<u8>, Failed> {
    let usage = |why: &str| Failed::new(Exit::Usage, why);
    if !io::stdin().is_terminal() {
        return Err(usage("--user needs --password-file or --ssh-key if standard input is not a terminal"));
    }
    // From before the first prompt on: `rpassword` prints a prompt and hides what is typed only then.
    let _hidden = Hidden::new();
    let ask = |what: &str| {
        rpassword::prompt_password(format!("{what} for {user}: ")).map_err(|error| usage(&error.to_string()))
    };
    let password = ask("Password")?;
    if password.is_empty() {
        return Err(usage("no password was given"));
    }
    if ask("Repeat the password")? != password {
        return Err(usage("the two passwords differ"));
    }
    Ok(password.into_bytes())
}

/// The terminal of the process without echo, until the value is dropped.
struct Hidden(Option<(File, Termios)>);

impl Hidden {
    fn new() -> Self {
        let hide = || {
            let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
            let before = termios::tcgetattr(&terminal).ok()?;
            let mut hidden = before.clone();
            hidden.local_flags.remove(LocalFlags::ECHO);
            termios::tcsetattr(&terminal, SetArg::TCSANOW, &hidden).ok()?;
            Some((terminal, before))
        };
        Self(hide())
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some((terminal, before)) = &self.0 {
            let _gone = termios::tcsetattr(terminal, SetArg::TCSANOW, before);
        }
    }
}

fn random() -> Result<Vec<u8>, Failed> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Failed::new(Exit::Failure, format!("/dev/urandom: {error}")))?;
    Ok(bytes.to_vec())
}

/// SHA-512-crypt, which all supported systems accept.
fn hash(password: &[u8]) -> Result<String, Failed> {
    let hash = ShaCrypt::default().hash_password(password);
    hash.map(|hash| hash.as_str().to_owned())
        .map_err(|error| Failed::new(Exit::Failure, format!("the password: {error}")))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use sha_crypt::{PasswordHashRef, PasswordVerifier};

    use super::*;

    #[test]
    fn a_password_is_hashed_as_crypt_has_it() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"correct horse\nbattery").unwrap();
        let password = password_from(file.path()).unwrap();
        assert_eq!(password, b"correct horse");
        let hash = hash(&password).unwrap();
        assert!(hash.starts_with("$6$"), "{hash}");
        let parsed = PasswordHashRef::new(&hash).unwrap();
        ShaCrypt::default().verify_password(b"correct horse", parsed).unwrap();
        assert!(ShaCrypt::default().verify_password(b"another", parsed).is_err());
    }

    #[test]
    fn keys_are_public_ones() {
        let file = |content: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(content.as_bytes()).unwrap();
            ssh_keys(file.path())
        };
        assert!(file("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me@here\n# mine\n\nssh-rsa AAAA\n").is_ok());
        assert!(file("from=\"10.0.0.0/8\" ssh-ed25519 AAAA\n").is_ok());
        assert!(file("-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap_err().message.contains(".pub"));
        assert!(file("").is_err());
        assert!(file("hello\n").is_err());
    }
}
