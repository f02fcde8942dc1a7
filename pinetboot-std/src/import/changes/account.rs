//! Someone who may log in, and SSH for them.

use super::{Context, Edit, Release};
use pinetboot_image::ImageError;

/// Someone who may log in.
#[derive(Debug, Clone)]
pub struct Account {
    /// The user's name.
    pub name: String,
    /// The password's crypt(5) hash.
    pub password: Password,
    /// Lines of an `authorized_keys` file.
    pub ssh_keys: Option<String>,
}

/// A password, as systems keep it.
#[derive(Debug, Clone)]
pub struct Password {
    /// Its crypt(5) hash.
    pub hash: String,
    /// Whether nobody knows it: then only a key lets in.
    pub is_secret: bool,
}

/// Raspberry Pi OS asks for its user at the first boot, on a screen, and lets nobody in before; unless there is this file
/// (userconf-pi, `userconf-service`). It renames the user `pi`, moves the home, and undoes the asking.
pub(super) fn by_userconf(context: &Context<'_>) -> Result<Vec<Edit>, ImageError> {
    let Some(account) = &context.wishes.account else { return Ok(Vec::new()) };
    if account.name == "root" {
        return Err(ImageError::Unsupported(
            "Raspberry Pi OS has a user of its own: give another --user than root",
        ));
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
        let first = Entry::all(&passwd).find(|entry| entry.uid == FIRST_UID).ok_or(
            ImageError::Unsupported("the image has no first user (uid 1000) that could become the one asked for: --ssh-key has nowhere to go"),
        )?;
        edits.extend(authorized_keys(&first, keys));
    }
    Ok(edits)
}

/// Adds the user to the files, as useradd(8) does, or changes the one that is there.
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
                .ok_or(ImageError::Unsupported("the image has no user number left for --user"))?;
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
            what: "sudo without the password that there is not".into(),
        });
    }
    if let Some(keys) = &account.ssh_keys {
        edits.extend(authorized_keys(&entry, keys));
    }
    Ok(edits)
}

/// Raspberry Pi OS has the SSH server, but does not start it.
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

/// Whether someone may be called so: what useradd(8) takes without being forced.
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
    /// Without the slash in front.
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

/// A file of lines with one more; an empty one is none.
fn appended(text: &str, line: &str) -> String {
    let mut text = text.trim_end().to_owned();
    if !line.is_empty() {
        text.extend(["\n", line]);
    }
    text.push('\n');
    text.trim_start_matches('\n').to_owned()
}

/// A group(5) or gshadow(5) with someone more in a group, if that is there.
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
/// Beyond are those that systemd gives away.
const LAST_UID: u32 = 60000;
