//! The users of this system, as passwd(5) and group(5) list them.
//!
//! The C library's own look-up (getpwnam(3)) loads modules as nsswitch.conf(5) names them, and a program that is linked statically
//! crashes in a module of another C library. So users of a directory service (LDAP, systemd-homed) are not found here.

use std::path::Path;
use std::{fs, io};

/// The lists of users and groups.
#[derive(Debug, Clone)]
pub struct Users {
    passwd: String,
    group: String,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The number of the user.
    pub uid: u32,
    /// The number of the user's own group.
    pub gid: u32,
}

impl Users {
    /// Reads `/etc/passwd` and `/etc/group`; a missing file, as in a container of one program, lists none.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn read() -> io::Result<Self> {
        let text = |path: &str| match fs::read(Path::new(path)) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error),
        };
        Ok(Self { passwd: text("/etc/passwd")?, group: text("/etc/group")? })
    }

    /// The user of this name.
    pub fn named(&self, name: &str) -> Option<User> {
        self.all().find(|user| user.name == name)
    }

    /// The first user with this number.
    pub fn numbered(&self, uid: u32) -> Option<User> {
        self.all().find(|user| user.uid == uid)
    }

    /// The groups of a user: its own one first, then those that list it as a member, each once.
    pub fn groups_of(&self, user: &User) -> Vec<u32> {
        let mut groups = vec![user.gid];
        for line in self.group.lines() {
            let fields: Vec<_> = line.split(':').collect();
            let [_, _, gid, members] = fields[..] else { continue };
            let Ok(gid) = gid.parse() else { continue };
            if members.split(',').any(|member| member == user.name) && !groups.contains(&gid) {
                groups.push(gid);
            }
        }
        groups
    }

    /// The lines of a whole user; others, as NIS's `+`, are passed over.
    fn all(&self) -> impl Iterator<Item = User> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let [name, _, uid, gid, _, _, _] = fields[..] else { return None };
            Some(User { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_its_own_group_and_those_that_list_it() {
        let users = Users {
            passwd: "root:x:0:0:root:/root:/bin/bash\n+::::::\nshort:x:5\nada:x:1000:1001:Ada,,,:/home/ada:/bin/sh\n".into(),
            group: "root:x:0:\nlp:x:7:eve,ada\nadabas:x:8:adabas\nada:x:1001:ada\nlp2:x:7:ada\n+:::\nbad:x:y:ada\n".into(),
        };
        let ada = users.named("ada").unwrap();
        assert_eq!(ada, User { name: "ada".into(), uid: 1000, gid: 1001 });
        assert_eq!(users.groups_of(&ada), [1001, 7]);
        assert_eq!(users.numbered(1000), Some(ada));
        for absent in ["short", "+", "", "eve"] {
            assert_eq!(users.named(absent), None, "{absent}");
        }
        assert_eq!(users.numbered(5), None);
    }

    #[test]
    fn this_system_has_root() {
        assert_eq!(Users::read().unwrap().numbered(0).map(|root| root.name).as_deref(), Some("root"));
    }
}
