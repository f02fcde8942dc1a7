//! Boot files made to fit: the same file on disk says to each Pi what is right for it.
//!
//! Three things, in this order, to the bytes of one small file:
//!
//! 1. `{server}`, `{serial}`, `{mac}`, `{nfsroot}` and `{hostname}` are filled in ([`Values`]), in cmdline.txt, config.txt
//!    and what the configuration names besides.
//! 2. A command line that names no root, or one on a card, gets the root that this server has ([`cmdline`]), and
//!    config.txt no longer asks for an initramfs that nobody needs ([`config_txt`]).
//! 3. The inventory's words for this Pi are added to the command line.
//!
//! A file to which none of it applies is left alone, to the byte. Not done: conditions, loops, includes. Whoever needs
//! another file for another Pi gives it a directory of its own.

pub mod cmdline;
pub mod config_txt;
mod values;

use pinetboot_core::BootPath;

pub use values::{Values, fill};

/// What is done to the files of one Pi.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recipe {
    /// What is filled in.
    pub values: Values,
    /// Which root it gets; `None`: its files say so themselves, or it gets none from here.
    pub root: Option<Root>,
    /// More words for its command line.
    pub words: String,
    /// The name of its root, where that holds the token of its boot.
    pub token: Option<String>,
}

/// The root file system that a command line is to name.
#[derive(Debug, Clone, PartialEq)]
pub struct Root {
    /// As in `nfsroot=`: `192.168.1.2:/bd989ae1`.
    pub source: String,
    /// The Pi writes to its memory alone: the root is read-only, and what this takes comes from the initramfs.
    pub in_memory: bool,
    /// The kernel mounts it without the help of an initramfs.
    pub by_kernel: bool,
    /// More words that go with it.
    pub words: Vec<String>,
}

/// A file as it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What was changed in it besides filling in, for the log.
    pub changes: Option<String>,
    /// Values that were to be filled in, but are not known.
    pub unknown: Vec<&'static str>,
}

impl Recipe {
    /// The file as this Pi gets it; `None` if that is as it is on disk.
    pub fn apply(&self, file: &BootPath<'_>, on_disk: &[u8]) -> Option<Rendered> {
        let text = std::str::from_utf8(on_disk).ok()?;
        let (mut rendered, unknown) = fill(text, &self.values);
        let mut changes = None;
        match file.file_name() {
            CMDLINE => {
                if let Some(root) = &self.root
                    && let Some((line, said)) = cmdline::rewrite(&rendered, root)
                {
                    (rendered, changes) = (line, Some(said));
                }
                if !self.words.is_empty() {
                    rendered = cmdline::with_words(&rendered, &self.words);
                }
            }
            CONFIG if self.root.as_ref().is_some_and(|root| root.by_kernel && !root.in_memory) => {
                if let Some(config) = config_txt::without_initramfs(&rendered) {
                    (rendered, changes) =
                        (config, Some("auto_initramfs=0: the kernel mounts the root".into()));
                }
            }
            _ => {}
        }
        (rendered != text).then(|| Rendered { bytes: rendered.into_bytes(), changes, unknown })
    }
}

/// Whether a file may have to be made for a Pi: one of those that always are, or a template. With a slash in it, a
/// template's name is meant from the top of the tree.
pub fn concerns(file: &BootPath<'_>, templates: &[String]) -> bool {
    let name = file.file_name();
    let is = |template: &String| {
        if template.contains('/') {
            BootPath::parse(template.as_bytes()).is_ok_and(|template| template == *file)
        } else {
            template == name
        }
    };
    [CMDLINE, CONFIG].contains(&name) || templates.iter().any(is)
}

/// The kernel's command line, wherever in the tree: with `os_prefix=current/` in config.txt (Ubuntu 26.04) it is
/// current/cmdline.txt.
const CMDLINE: &str = "cmdline.txt";
/// What the bootloader goes by.
const CONFIG: &str = "config.txt";

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> BootPath<'_> {
        BootPath::parse(name.as_bytes()).unwrap()
    }

    fn recipe() -> Recipe {
        Recipe {
            values: Values {
                server: Some("10.0.0.1".into()),
                hostname: Some("kitchen".into()),
                ..Values::default()
            },
            root: Some(Root {
                source: "10.0.0.1:/bd989ae1".into(),
                in_memory: false,
                by_kernel: true,
                words: Vec::new(),
            }),
            words: "cma=64M".into(),
            token: None,
        }
    }

    #[test]
    fn a_file_that_needs_nothing_stays_as_it_is() {
        let recipe = Recipe { words: String::new(), ..recipe() };
        for (name, content) in [
            ("config.txt", &b"arm_64bit=1\r\n[pi5]\n"[..]),
            ("cmdline.txt", b"console=tty1 root=/dev/nfs nfsroot=10.0.0.9:/x rw"),
            ("user-data", b"{} {unknown} {server"),
            ("cmdline.txt", b"\xff root=LABEL=x"),
        ] {
            assert_eq!(recipe.apply(&path(name), content), None, "{name}");
        }
    }

    #[test]
    fn which_files_are_looked_into() {
        let templates = ["user-data".to_owned(), "cloud/meta".to_owned()];
        for name in
            ["cmdline.txt", "current/cmdline.txt", "config.txt", "user-data", "x/user-data", "cloud//meta"]
        {
            assert!(concerns(&path(name), &templates), "{name}");
        }
        for name in ["kernel8.img", "meta", "x/cloud/meta", "cmdline.txt.bak"] {
            assert!(!concerns(&path(name), &templates), "{name}");
        }
    }

    #[test]
    fn all_three_at_once() {
        let line = recipe()
            .apply(&path("current/cmdline.txt"), b"console=tty1 root=LABEL=x host={hostname}\n")
            .unwrap();
        assert_eq!(
            String::from_utf8(line.bytes).unwrap(),
            "console=tty1 root=/dev/nfs nfsroot=10.0.0.1:/bd989ae1,vers=3,tcp,nolock,rsize=1048576,wsize=1048576 rw ip=dhcp rootwait host=kitchen cma=64M\n"
        );
        assert!(line.changes.unwrap().contains("root=LABEL=x"));
        let config = recipe().apply(&path("config.txt"), b"auto_initramfs=1\n# {server} {mac}\n").unwrap();
        assert_eq!(config.bytes, b"auto_initramfs=0\n# 10.0.0.1 \n");
        assert_eq!(config.unknown, ["mac"]);
    }

    #[test]
    fn an_initramfs_that_is_needed_stays() {
        let mut recipe = recipe();
        let root = recipe.root.as_mut().unwrap();
        root.in_memory = true;
        assert_eq!(recipe.apply(&path("config.txt"), b"auto_initramfs=1\n"), None);
        recipe.root.as_mut().unwrap().in_memory = false;
        recipe.root.as_mut().unwrap().by_kernel = false;
        assert_eq!(recipe.apply(&path("config.txt"), b"auto_initramfs=1\n"), None);
    }
}
