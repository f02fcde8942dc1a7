//! The user that `--user` creates, and the SSH server.

use super::{Context, Edit, Release};
use pinetboot_image::ImageError;

/// The user to create.
#[derive(Debug, Clone)]
pub struct Account {
    /// The user's name.
    pub name: String,
    /// The password's crypt(5) hash.
    pub password: Password,
    /// Lines of an `authorized_keys` file.
    pub ssh_keys: Option<String>,
}

/// A hashed password.
#[derive(Debug, Clone)]
pub struct Password {
    /// Its crypt(5) hash.
    pub hash: String,
    /// Whether the password is random and discarded: then only a key logs in.
    pub is_secret: bool,
}

/// Writes userconf.txt. Without it, Raspberry Pi OS asks for a user on the screen of the first boot, and refuses logins until
/// then. With it, userconf-pi renames the user `pi` and moves the home directory (`userconf-service`).
pub(super) fn by_userconf(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let Some(account) = &context.wishes.account else { return Ok(Vec::new()) };
    if account.name == "root" {
        return Err(ImageError::Unsupported("Raspberry Pi OS renames its first user: --user cannot be root"));
    }
    let what =
        format!("the user {}{}", account.name, if account.password.is_secret { ", by key only" } else { "" });
    let mut edits = vec![Edit::Write {
        path: format!("{}/userconf.txt", context.boot),
        content: format!("{}:{}\n", account.name, account.password.hash).into_bytes(),
        permissions: 0o600,
        owner: (0, 0),
        what,
    }];
    let passwd = context.view.text("etc/passwd")?.unwrap_or_default();
    if let Some(keys) = &account.ssh_keys {
        let first =
            Entry::all(&passwd).find(|entry| entry.uid == FIRST_UID).ok_or(ImageError::Unsupported(
                "the image has no user with uid 1000, whose home directory --ssh-key needs",
            ))?;
        edits.extend(authorized_keys(&first, keys));
    }
    Ok(edits)
}

/// Adds the user to the files, as useradd(8) does, or changes an existing one.
pub(super) fn by_hand(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let Some(account) = &context.wishes.account else { return Ok(Vec::new()) };
    let view = context.view;
    let read = |path: &str| view.text(path).map(Option::unwrap_or_default);
    let (passwd, shadow, group) = (read("etc/passwd")?, read("etc/shadow")?, read("etc/group")?);
    let name = account.name.as_str();
    let mut edits = Vec::new();
    let known = Entry::all(&passwd).find(|entry| entry.name == name);
    let entry = match known {
        Some(entry) => entry,
        None => {
            let taken = |id| {
                Entry::all(&passwd).any(|entry| entry.uid == id) || group_ids(&group).any(|gid| gid == id)
            };
            let id = (FIRST_UID..LAST_UID)
                .find(|id| !taken(*id))
                .ok_or(ImageError::Unsupported("the image has no free uid for --user"))?;
            let home = format!("home/{name}");
            let what = format!("the user {name}");
            edits.push(Edit::write(
                "etc/passwd",
                appended(&passwd, &format!("{name}:x:{id}:{id}::/{home}:/bin/bash")),
                what.clone(),
            ));
            let groups = with_member(&group, "sudo", name);
            edits.push(Edit::write("etc/group", appended(&groups, &format!("{name}:x:{id}:")), what.clone()));
            if view.has("etc/gshadow")? {
                let gshadow = with_member(&read("etc/gshadow")?, "sudo", name);
                edits.push(Edit::write("etc/gshadow", appended(&gshadow, &format!("{name}:!::")), what));
            }
            edits.push(Edit::Directory { path: home.clone(), permissions: 0o700, owner: (id, id) });
            for file in view.list("etc/skel")? {
                if let Some(content) = view.read(&format!("etc/skel/{file}"))? {
                    let (path, what) = (format!("{home}/{file}"), "from /etc/skel".into());
                    edits.push(Edit::Write { path, content, permissions: 0o644, owner: (id, id), what });
                }
            }
            Entry { name, uid: id, gid: id, home }
        }
    };
    let rest =
        shadow.lines().filter(|line| line.split(':').next() != Some(name)).collect::<Vec<_>>().join("\n");
    let line = format!("{name}:{}:19000:0:99999:7:::", account.password.hash);
    edits.push(Edit::Write {
        path: "etc/shadow".into(),
        content: appended(&rest, &line).into_bytes(),
        permissions: 0o640,
        owner: (0, 0),
        what: format!(
            "{name}'s password{}",
            if account.password.is_secret { ": none, by key only" } else { "" }
        ),
    });
    if account.password.is_secret && name != "root" && view.has("etc/sudoers.d")? {
        edits.push(Edit::Write {
            path: format!("etc/sudoers.d/010_{name}-nopasswd"),
            content: format!("{name} ALL=(ALL) NOPASSWD: ALL\n").into_bytes(),
            permissions: 0o440,
            owner: (0, 0),
            what: "sudo without a password".into(),
        });
    }
    if let Some(keys) = &account.ssh_keys {
        edits.extend(authorized_keys(&entry, keys));
    }
    Ok(edits)
}

/// Enables the SSH server, which Raspberry Pi OS installs but does not start.
pub(super) fn enable_ssh(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    if context.wishes.account.is_none() || !context.view.has_unit("ssh.service")? {
        return Ok(Vec::new());
    }
    let wanted = "etc/systemd/system/multi-user.target.wants/ssh.service";
    let unit = "/usr/lib/systemd/system/ssh.service";
    let mut edits = Vec::new();
    if !context.view.has(wanted)? {
        edits.push(Edit::link(wanted, unit));
        edits.push(Edit::link("etc/systemd/system/sshd.service", unit));
    }
    if context.release == Release::Debian && context.view.has("etc/ssh/sshd_not_to_be_run")? {
        edits.push(Edit::remove("etc/ssh/sshd_not_to_be_run"));
    }
    Ok(edits)
}

/// Whether `name` is a user name that useradd(8) accepts without an override.
pub fn is_user_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

/// A line of passwd(5).
struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    /// The home directory, without a leading slash.
    home: String,
}

impl<'a> Entry<'a> {
    fn all(passwd: &'a str) -> impl Iterator<Item = Self> {
        passwd.lines().filter_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
            let home = home.trim_start_matches('/').to_owned();
            Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
        })
    }
}

fn group_ids(group: &str) -> impl Iterator<Item = u32> {
    group.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok())
}

fn authorized_keys(entry: &Entry<'_>, keys: &str) -> [Edit; 2] {
    let directory = format!("{}/.ssh", entry.home);
    let owner = (entry.uid, entry.gid);
    [
        Edit::Directory { path: directory.clone(), permissions: 0o700, owner },
        Edit::Write {
            path: format!("{directory}/authorized_keys"),
            content: appended(keys, "").into_bytes(),
            permissions: 0o600,
            owner,
            what: format!("{} of SSH", if keys.trim().lines().count() == 1 { "the key" } else { "the keys" }),
        },
    ]
}

/// A text file with one more line; nothing is added for an empty `line`.
fn appended(text: &str, line: &str) -> String {
    let mut text = text.trim_end().to_owned();
    if !line.is_empty() {
        text.extend(["\n", line]);
    }
    text.push('\n');
    text.trim_start_matches('\n').to_owned()
}

/// A group(5) or gshadow(5) with `member` added to a group, if the group exists.
fn with_member(groups: &str, group: &str, member: &str) -> String {
    let lines = groups.lines().map(|line| {
        if line.split(':').next() != Some(group) {
            return line.to_owned();
        }
        let comma = if line.ends_with(':') { "" } else { "," };
        format!("{line}{comma}{member}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

const FIRST_UID: u32 = 1000;
/// systemd allocates the uids beyond.
const LAST_UID: u32 = 60000;
