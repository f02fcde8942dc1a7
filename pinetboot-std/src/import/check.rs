//! Whether a Pi would boot an image: its boot files with the eyes of `simulate`, and its root.

use std::io;

use pinetboot_core::pi::Model;

use super::changes::View;
use crate::exit::Failed;
use crate::simulate::{BootFiles, ModelCheck, check_offline};
use crate::text::shown;

/// Whether a Pi would boot an image.
#[derive(Debug)]
pub struct BootCheck {
    models: Vec<ModelCheck>,
    /// Whether the image has a root, and what the root lacks.
    root: RootCheck,
}

#[derive(Debug, PartialEq, Eq)]
enum RootCheck {
    /// Boot files alone were wanted.
    NotWanted,
    Sound,
    /// A system without a program that the kernel starts.
    NoInit,
    /// No system.
    NoSystem,
}

impl BootCheck {
    /// Checks a system's files. `boot` is the directory of the boot files.
    ///
    /// # Errors
    ///
    /// If the files cannot be read.
    pub fn of(view: &dyn View, boot: &str, has_root: bool) -> Result<Self, Failed> {
        let models = check_offline(&Files { view, boot })?;
        let failed = |error| Failed::new(crate::exit::Exit::Failure, error);
        let any = |paths: &[&str]| -> Result<bool, Failed> {
            for path in paths {
                if view.has(path).map_err(failed)? {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let root = match () {
            () if !has_root => RootCheck::NotWanted,
            () if any(INITS)? => RootCheck::Sound,
            () if any(OS_RELEASE)? => RootCheck::NoInit,
            () => RootCheck::NoSystem,
        };
        Ok(Self { models, root })
    }

    /// Whether some Pi would boot the image.
    pub fn boots(&self) -> bool {
        self.root != RootCheck::NoSystem && self.models.iter().any(ModelCheck::boots)
    }

    /// The models that would boot the image.
    pub fn models(&self) -> impl Iterator<Item = Model> {
        self.models.iter().filter(|check| check.boots()).map(|check| check.model)
    }

    /// What is missing, or in doubt: a line for each model and for the root.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for check in self.models.iter().rev() {
            let name = check.model.profile().name;
            if let Some(missing) = check.missing.first() {
                let file = missing.file.as_deref().unwrap_or_default();
                let what = if file.is_empty() { missing.what.clone() } else { format!("no {}", shown(file)) };
                lines.push(format!("a {name} does not boot it: {what}"));
            }
            for doubt in &check.doubts {
                let file = doubt.file.as_deref().unwrap_or_default();
                lines.push(format!("a {name} may not boot it: {}: {}", shown(file), doubt.what));
            }
        }
        match self.root {
            RootCheck::NoSystem => {
                lines.push("its root holds no system: neither /sbin/init nor /etc/os-release".into())
            }
            RootCheck::NoInit => lines.push("its root has no /sbin/init, which the kernel starts".into()),
            RootCheck::NotWanted | RootCheck::Sound => {}
        }
        lines
    }

    /// The names of the models that would boot the image, the newest first.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.models().map(|model| model.profile().name).collect();
        names.reverse();
        names
    }

    /// The models as text: `Raspberry Pi 5, Raspberry Pi 4`.
    pub fn boots_on(&self) -> String {
        self.names().join(", ")
    }
}

struct Files<'a> {
    view: &'a dyn View,
    boot: &'a str,
}

impl BootFiles for Files<'_> {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let path = format!("{}/{path}", self.boot);
        // FAT finds a name in any case; TFTP does not.
        if !self.view.has(&path).map_err(io::Error::other)? {
            return Ok(None);
        }
        self.view.read(&path).map_err(io::Error::other)
    }
}

/// The programs that the kernel tries as its first (init/main.c), but a shell.
const INITS: &[&str] = &["sbin/init", "etc/init", "bin/init"];
const OS_RELEASE: &[&str] = &["etc/os-release", "usr/lib/os-release"];
