//! Changes that an NFS client makes, one after the other, each acknowledged as stable.

use nfs3_types::nfs3::*;

use crate::nfs_client::{Client, mode};

/// A client at work in the root that it has mounted.
pub(crate) struct Work {
    client: Client,
    root: nfs_fh3,
    random: Random,
    /// Paths of the directories and of the other files, which this client made.
    directories: Vec<String>,
    files: Vec<String>,
    made: u32,
}

impl Work {
    pub(crate) fn new(mut client: Client, path: &str, seed: u64) -> Self {
        let root = client.mount(path).unwrap();
        let directories = vec!["home".to_owned()];
        Self { client, root, random: Random(seed), directories, files: Vec::new(), made: 0 }
    }

    /// Makes one change, and says which. When this returns, the server has said that the change is on stable storage.
    pub(crate) fn change_one(&mut self) -> String {
        if self.files.len() < 4 {
            return self.make_file();
        }
        match self.random.below(12) {
            0 | 1 => self.make_file(),
            2 => self.make_directory(),
            3 => self.make_other(),
            4 => self.write(stable_how::FILE_SYNC),
            5 => self.write(stable_how::UNSTABLE),
            6 => self.link(),
            7 | 8 => self.rename(),
            9 => self.rename_directory(),
            10 => self.remove(),
            _ => self.set(),
        }
    }

    fn make_file(&mut self) -> String {
        let (directory, path) = self.new_path();
        let how = match self.random.below(3) {
            0 => createhow3::UNCHECKED(mode(0o640)),
            1 => createhow3::GUARDED(mode(0o604)),
            _ => createhow3::EXCLUSIVE(createverf3(self.random.next().to_be_bytes())),
        };
        let directory = self.handle(&directory);
        self.client.create(&directory, name(&path), how).unwrap();
        self.files.push(path.clone());
        format!("CREATE {path}")
    }

    fn make_directory(&mut self) -> String {
        let (directory, path) = self.new_path();
        let directory = self.handle(&directory);
        self.client.mkdir(&directory, name(&path), mode(0o750)).unwrap();
        self.directories.push(path.clone());
        format!("MKDIR {path}")
    }

    fn make_other(&mut self) -> String {
        let (directory, path) = self.new_path();
        let directory = self.handle(&directory);
        if self.random.below(2) == 0 {
            self.client.symlink(&directory, name(&path), "../where/ever").unwrap();
            format!("SYMLINK {path}")
        } else {
            self.client.mknod(&directory, name(&path), mknoddata3::NF3FIFO(mode(0o622))).unwrap();
            format!("MKNOD {path}")
        }
    }

    fn write(&mut self, stable: stable_how) -> String {
        let path = self.file();
        let file = self.handle(&path);
        let (offset, len) = (self.random.below(20_000), self.random.below(9000) + 1);
        let data: Vec<u8> = (0..len).map(|_| self.random.next() as u8).collect();
        self.client.write(&file, offset, &data, stable).unwrap();
        if stable == stable_how::UNSTABLE {
            self.client.commit(&file).unwrap();
            return format!("WRITE and COMMIT {path}");
        }
        format!("WRITE {path}")
    }

    fn link(&mut self) -> String {
        let (from, (directory, to)) = (self.file(), self.new_path());
        let (file, directory) = (self.handle(&from), self.handle(&directory));
        self.client.link(&file, &directory, name(&to)).unwrap();
        let said = format!("LINK {from} {to}");
        self.files.push(to);
        said
    }

    /// To a new name, or over another file.
    fn rename(&mut self) -> String {
        let from = self.file();
        let to = if self.random.below(2) == 0 { self.new_path().1 } else { self.file() };
        self.rename_to(&from, &to);
        if from != to {
            self.files.retain(|path| *path != from && *path != to);
            self.files.push(to.clone());
        }
        format!("RENAME {from} {to}")
    }

    fn rename_directory(&mut self) -> String {
        let Some(from) = self.directories.get(1).cloned() else { return self.make_directory() };
        let (_, to) = self.new_path();
        if to.starts_with(&format!("{from}/")) {
            return self.make_directory();
        }
        self.rename_to(&from, &to);
        for path in self.directories.iter_mut().chain(&mut self.files) {
            if path.strip_prefix(&from).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                path.replace_range(..from.len(), &to);
            }
        }
        format!("RENAME {from}/ {to}/")
    }

    fn remove(&mut self) -> String {
        let empty = |directory: &&String| {
            !self.directories.iter().chain(&self.files).any(|path| path.starts_with(&format!("{directory}/")))
        };
        if let Some(path) = self.directories[1..].iter().find(empty).cloned() {
            let directory = self.handle(parent(&path));
            // The nodes that are not in the list of files keep some directories from being empty.
            if self.client.rmdir(&directory, name(&path)).is_ok() {
                self.directories.retain(|other| *other != path);
                return format!("RMDIR {path}");
            }
        }
        let path = self.file();
        let directory = self.handle(parent(&path));
        self.client.remove(&directory, name(&path)).unwrap();
        self.files.retain(|other| *other != path);
        format!("REMOVE {path}")
    }

    fn set(&mut self) -> String {
        let path = self.file();
        let file = self.handle(&path);
        let time = nfstime3 { seconds: self.random.below(1 << 30) as u32, nseconds: 0 };
        let changes = match self.random.below(4) {
            0 => mode(0o600 + self.random.below(0o100) as u32),
            1 => sattr3 { uid: Nfs3Option::Some(self.random.below(2000) as u32), ..sattr3::default() },
            2 => sattr3 { size: Nfs3Option::Some(self.random.below(9000)), ..sattr3::default() },
            _ => sattr3 { mtime: set_mtime::SET_TO_CLIENT_TIME(time), ..sattr3::default() },
        };
        self.client.set(&file, changes, Nfs3Option::None).unwrap();
        format!("SETATTR {path}")
    }

    fn rename_to(&mut self, from: &str, to: &str) {
        let (old, new) = (self.handle(parent(from)), self.handle(parent(to)));
        self.client.rename((&old, name(from)), (&new, name(to))).unwrap();
    }

    fn handle(&mut self, path: &str) -> nfs_fh3 {
        let start = self.root.clone();
        path.split('/').fold(start, |at, name| self.client.lookup(&at, name).unwrap())
    }

    /// One of the files, by chance.
    fn file(&mut self) -> String {
        let at = self.random.below(self.files.len() as u64);
        self.files[at as usize].clone()
    }

    /// One of the directories, by chance, and a name in it that does not exist.
    fn new_path(&mut self) -> (String, String) {
        let at = self.random.below(self.directories.len() as u64);
        let directory = self.directories[at as usize].clone();
        self.made += 1;
        (directory.clone(), format!("{directory}/{}", self.made))
    }
}

fn name(path: &str) -> &str {
    path.rsplit_once('/').unwrap().1
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').unwrap().0
}

/// Numbers that are the same in every run: xorshift64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }
}
