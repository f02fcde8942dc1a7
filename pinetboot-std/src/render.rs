//! Rendering: one boot file on disk becomes the right file for each Pi.
//!
//! Three steps, in this order, on the bytes of one small file:
//!
//! 1. `{server}`, `{serial}`, `{mac}`, `{nfsroot}`, `{hostname}` and the `vars` of the configuration are filled in ([`Values`]),
//!    in cmdline.txt, config.txt and the templates of the configuration.
//! 2. A command line without a root, or with a root on a card, gets this server's NFS root ([`cmdline`]), and config.txt
//!    requests no initramfs where the kernel mounts the root by itself ([`config_txt`]).
//!    Where the Pi's card is a disk of this server, both get what leads to the disk instead, and the card's root stays ([`disk`]).
//! 3. The inventory's `cmdline-extra` is appended to the command line.
//!
//! A file to which no step applies is sent unchanged. Not done: conditions, loops, includes; a Pi with different files has
//! a directory in the tree.

pub mod cmdline;
pub mod config_txt;
pub mod disk;
mod values;

use pinetboot_core::BootPath;

pub use values::{Values, fill};

/// The rendering of one Pi's files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recipe {
    /// Values to fill in.
    pub values: Values,
    /// The root to write into the command line; `None`: the files stay as they are in this respect.
    pub root: Option<Root>,
    /// The disk to write into the command line, instead of a root.
    pub disk: Option<DiskLine>,
    /// Arguments to append to the command line; may be empty.
    pub cmdline_extra: String,
    /// The name of the Pi's root or disk, if it holds the token of the boot.
    pub token: Option<String>,
}

/// The root file system that a command line is to name.
#[derive(Debug, Clone, PartialEq)]
pub struct Root {
    /// Server and path, as in `nfsroot=`: `192.168.1.2:/bd989ae1`.
    pub source: String,
    /// The Pi writes to memory only: the root is read-only, and an initramfs sets up the overlay.
    pub in_memory: bool,
    /// The kernel mounts the root without an initramfs.
    pub by_kernel: bool,
    /// Further arguments for this root.
    pub arguments: Vec<String>,
}

/// The disk of a Pi, as its boot files name it.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskLine {
    /// `nbd://192.168.1.2:10809/NAME`
    pub address: String,
    /// The initramfs.
    pub initramfs: &'static str,
    /// More arguments of the command line.
    pub arguments: Vec<String>,
}

/// A rendered file.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The bytes to send.
    pub bytes: Vec<u8>,
    /// The changes besides filled-in values, for the log.
    pub changes: Option<String>,
    /// Values in the file that are unknown, and were left empty.
    pub unknown: Vec<&'static str>,
}

impl Recipe {
    /// Renders a file; `None` if the result equals the file on disk.
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
                if let Some(DiskLine { address, arguments, .. }) = &self.disk {
                    let (line, said) = disk::command_line(&rendered, address, arguments);
                    (rendered, changes) = (line, Some(said));
                }
                if !self.cmdline_extra.is_empty() {
                    rendered = cmdline::with_arguments(&rendered, &self.cmdline_extra);
                }
            }
            CONFIG if let Some(DiskLine { initramfs, .. }) = &self.disk => {
                let (config, said) = disk::config(&rendered, initramfs);
                (rendered, changes) = (config, Some(said));
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

/// Whether a file is rendered: cmdline.txt, config.txt or a template. A template's name with a slash is a path from the top
/// of the tree.
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

/// The kernel's command line, in any directory: with `os_prefix=current/` in config.txt (Ubuntu 26.04) it is
/// current/cmdline.txt.
pub(crate) const CMDLINE: &str = "cmdline.txt";
/// The bootloader's configuration.
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
                arguments: Vec::new(),
            }),
            disk: None,
            cmdline_extra: "cma=64M".into(),
            token: None,
        }
    }

    #[test]
    fn a_file_that_needs_nothing_stays_as_it_is() {
        let recipe = Recipe { cmdline_extra: String::new(), ..recipe() };
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
