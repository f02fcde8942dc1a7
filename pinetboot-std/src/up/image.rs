//! The image, and the user that its import creates.

use std::fs;
use std::path::{Path, PathBuf};

use super::ask::{Ask, Question};
use super::{Args, told};
use crate::exit::{Exit, Failed};
use crate::images::Images;
use crate::import::{self, Request, is_user_name, ssh_keys};
use crate::output::Output;

/// The import that is left to do; `None` if the image exists.
///
/// # Errors
///
/// If the image cannot be found, an option is invalid, or a question has no answer.
pub(super) fn choose(
    options: &Args,
    to: &Path,
    ask: Ask,
    out: &mut Output,
) -> Result<Option<Request>, Failed> {
    let images = Images::at(to);
    let tree = |error: &dyn std::fmt::Display| Failed::new(Exit::Tree, error);
    let image = match (&options.image, images.current().map_err(|error| tree(&error))?) {
        (None, Some(current)) => {
            told(out, "image", &current.name, &format!("the current image of {}", to.display()))?;
            return Ok(None);
        }
        (Some(image), _) => image.clone(),
        (None, None) => ask_image(ask, out)?,
    };
    let mut args = import::Args::of(image, to.to_owned());
    args.list_url.clone_from(&options.list_url);
    let mut request = Request::resolve(&args)?;
    if images.find(&request.name).map_err(|error| tree(&error))?.is_some() {
        told(out, "image", &request.name, &format!("imported already, in {}", to.display()))?;
        return Ok(None);
    }
    told(out, "image", &request.source.to_string(), "not imported yet")?;
    args.user = choose_user(options, ask, out)?;
    if let Some(user) = &args.user {
        args.ssh_key = choose_key(options, user, ask, out)?;
        args.password_file.clone_from(&options.password_file);
        request.set_account(&args)?;
    }
    Ok(Some(request))
}

fn ask_image(ask: Ask, out: &mut Output) -> Result<PathBuf, Failed> {
    let question = Question {
        argument: "IMAGE",
        text: "Which image? A file, an https address, or a name of Raspberry Pi Imager's list",
        default: Some("raspios-lite".into()),
        why: "Raspberry Pi OS Lite, 64 bits, is downloaded",
    };
    ask.ask(&question, |text| Ok(PathBuf::from(text)), out)
}

fn choose_user(options: &Args, ask: Ask, out: &mut Output) -> Result<Option<String>, Failed> {
    if let Some(user) = &options.user {
        let user = parse_user(user).map_err(|why| Failed::new(Exit::Usage, format!("--user {why}")))?;
        told(out, "user", user.as_deref().unwrap_or(NONE), "--user")?;
        return Ok(user);
    }
    let login = Login::of_sudo().filter(|login| is_user_name(&login.name));
    // Without a terminal, no password can be asked for.
    let usable = ask != Ask::Defaults
        || options.ssh_key.is_some()
        || options.password_file.is_some()
        || login.as_ref().is_some_and(|login| login.key.is_some());
    let (default, why) = match login.filter(|_| usable) {
        Some(login) => (login.name, "the user of sudo"),
        None if ask == Ask::Terminal => ("pi".into(), "the usual name"),
        None => (NONE.into(), "no SSH key was found; without a user, only a user of the image can log in"),
    };
    let question = Question {
        argument: "--user",
        text: "Which user is created on the Pis, with SSH? 'none' creates no user: Raspberry Pi OS then has no login",
        default: Some(default),
        why,
    };
    ask.ask(&question, parse_user, out)
}

/// A user name, or `none`.
fn parse_user(text: &str) -> Result<Option<String>, String> {
    match text {
        NONE => Ok(None),
        name if is_user_name(name) => Ok(Some(name.into())),
        other => Err(format!("{other}: expected lower-case letters and digits, like ada, or none")),
    }
}

/// The file of the public keys; `None`: a password, which the import reads or asks for.
fn choose_key(options: &Args, user: &str, ask: Ask, out: &mut Output) -> Result<Option<PathBuf>, Failed> {
    if options.ssh_key.is_some() || options.password_file.is_some() {
        return Ok(options.ssh_key.clone());
    }
    let key = Login::of_sudo().and_then(|login| login.key);
    let (default, why) = match &key {
        Some(path) => (Some(path.display().to_string()), "the public key of the user of sudo"),
        None if ask == Ask::Terminal => (Some(PASSWORD.into()), "no public key was found"),
        None => (None, ""),
    };
    let question = Question {
        argument: "--ssh-key",
        text: &format!(
            "How does {user} log in? A file with public SSH keys, or 'password' to type a password"
        ),
        default,
        why,
    };
    let parse = |text: &str| match text {
        PASSWORD if ask == Ask::Terminal => Ok(None),
        path => match ssh_keys(Path::new(path)) {
            Ok(_) => Ok(Some(PathBuf::from(path))),
            Err(failed) => Err(failed.message),
        },
    };
    ask.ask(&question, parse, out)
}

/// The user that runs sudo(8).
struct Login {
    name: String,
    /// The user's public keys.
    key: Option<PathBuf>,
}

impl Login {
    fn of_sudo() -> Option<Self> {
        let name = std::env::var("SUDO_USER").ok().filter(|name| name != "root")?;
        let users = fs::read_to_string("/etc/passwd").ok()?;
        let home = home_of(&name, &users)?;
        let files = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub", "authorized_keys"];
        let mut files = files.iter().map(|file| home.join(".ssh").join(file));
        Some(Self { name, key: files.find(|file| ssh_keys(file).is_ok()) })
    }
}

/// The home directory in passwd(5). A user of a directory service has none here: its library calls load code, which a static program
/// cannot.
fn home_of<'a>(name: &str, users: &'a str) -> Option<&'a Path> {
    let lines = users.lines().map(|line| line.split(':'));
    let mut of_name = lines.filter_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(4))?);
    of_name.next().map(Path::new)
}

const NONE: &str = "none";
const PASSWORD: &str = "password";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_the_sixth_field() {
        let users = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000:Ada,,,:/home/ada:/bin/bash\nbroken:x\n";
        assert_eq!(home_of("ada", users), Some(Path::new("/home/ada")));
        assert_eq!((home_of("broken", users), home_of("eve", users)), (None, None));
    }

    #[test]
    fn a_user_is_a_name_or_none() {
        assert_eq!(parse_user("none"), Ok(None));
        assert_eq!(parse_user("ada"), Ok(Some("ada".into())));
        assert!(parse_user("Ada Lovelace").is_err());
    }
}
