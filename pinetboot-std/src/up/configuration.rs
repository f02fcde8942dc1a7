//! The configuration file: its settings are kept, and what it lacks is written above them.

use std::fs;
use std::io;
use std::path::{self, Path, PathBuf};

use crate::config::Settings;
use crate::durable;
use crate::exit::{Exit, Failed};

/// The configuration file, which may not exist yet.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    text: String,
    /// The settings of the file.
    pub(super) settings: Settings,
}

impl ConfigFile {
    /// Reads the file, if it exists.
    ///
    /// # Errors
    ///
    /// The file, the fault and its line.
    pub(super) fn read(path: &Path) -> Result<Self, Failed> {
        let (text, settings) = match fs::read_to_string(path) {
            Ok(text) => (text, Settings::read(path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
            Err(error) => return Err(Failed::new(Exit::Usage, format!("{}: {error}", path.display()))),
        };
        Ok(Self { path: path.to_owned(), text, settings })
    }

    /// The directory of images: that of the file, else the given one as an absolute path, else the default.
    ///
    /// # Errors
    ///
    /// If file and option contradict each other.
    pub(super) fn directory(&self, given: Option<&Path>) -> Result<PathBuf, Failed> {
        let there = self.settings.tree.clone();
        // The service, and the next run, start elsewhere.
        let given =
            given.map(path::absolute).transpose().map_err(|error| Failed::new(Exit::Failure, error))?;
        self.agree("tree", there.as_ref(), "to", given.as_ref())?;
        Ok(there.or(given).unwrap_or_else(|| DIRECTORY.into()))
    }

    /// Refuses an option that contradicts a setting of the file.
    ///
    /// # Errors
    ///
    /// The two values.
    pub(super) fn agree<T: PartialEq + std::fmt::Debug>(
        &self,
        key: &str,
        there: Option<T>,
        option: &str,
        given: Option<T>,
    ) -> Result<(), Failed> {
        match (there, given) {
            (Some(there), Some(given)) if there != given => {
                let path = self.path.display();
                let why = format!(
                    "{path} has {key} = {there:?}, and --{option} is {given:?}: edit the file, or leave the option out"
                );
                Err(Failed::new(Exit::Usage, why))
            }
            _ => Ok(()),
        }
    }

    /// The text of the file with the settings of `chosen` that the file lacks; `None` if it lacks none.
    ///
    /// # Errors
    ///
    /// If a path is not UTF-8.
    pub(super) fn completed(&self, chosen: &Settings) -> Result<Option<String>, Failed> {
        let usage = |error: &dyn std::fmt::Display| {
            Failed::new(Exit::Usage, format!("{}: {error}", self.path.display()))
        };
        let there = toml::Table::try_from(&self.settings).map_err(|error| usage(&error))?;
        let mut lacking = toml::Table::try_from(chosen).map_err(|error| usage(&error))?;
        lacking.retain(|key, _| !there.contains_key(key));
        if lacking.is_empty() {
            return Ok(None);
        }
        // Above the tables: a key below [pi.SERIAL] would be one of that table.
        let lines = toml::to_string(&lacking).map_err(|error| usage(&error))?;
        Ok(Some(format!(
            "# Written by 'pinetboot up'. Every key: pinetboot serve --help\n{lines}{}{}",
            if self.text.is_empty() { "" } else { "\n" },
            self.text
        )))
    }

    /// Whether the file can be written: asked before the import, which takes minutes.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn try_place(&self) -> Result<(), Failed> {
        let path = path::absolute(&self.path).map_err(|error| self.cannot_write(error))?;
        let existing = path.ancestors().skip(1).find(|directory| directory.is_dir()).unwrap_or(&path);
        tempfile::tempfile_in(existing).map(drop).map_err(|error| self.cannot_write(error))
    }

    fn cannot_write(&self, error: io::Error) -> Failed {
        Failed::new(Exit::Failure, format!("cannot write {}: {error}", self.path.display()))
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn write(&self, text: &str) -> Result<(), Failed> {
        let failed = |error| self.cannot_write(error);
        if let Some(parent) = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            durable::create_dir_all(parent, 0o755).map_err(failed)?;
        }
        durable::replace(&self.path, text.as_bytes(), 0o644).map_err(failed)
    }
}

const DIRECTORY: &str = "/srv/pi";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DhcpMode;

    fn file(text: &str) -> (tempfile::TempDir, ConfigFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pinetboot.toml");
        fs::write(&path, text).unwrap();
        let file = ConfigFile::read(&path).unwrap();
        (directory, file)
    }

    fn chosen() -> Settings {
        Settings {
            tree: Some("/srv/pi".into()),
            dhcp: Some(DhcpMode::Proxy),
            interface: vec!["eth0".into()],
            ..Settings::default()
        }
    }

    #[test]
    fn what_a_file_has_is_kept_and_what_it_lacks_is_added() {
        let (_directory, old) = file("# mine\ndhcp = 'lease'\n\n[pi.bd989ae1]\nname = 'kitchen'\n");
        let text = old.completed(&chosen()).unwrap().unwrap();
        assert!(text.ends_with("\n# mine\ndhcp = 'lease'\n\n[pi.bd989ae1]\nname = 'kitchen'\n"), "{text}");
        old.write(&text).unwrap();
        let new = ConfigFile::read(&old.path).unwrap();
        assert_eq!(new.settings.dhcp, Some(DhcpMode::Lease));
        assert_eq!((new.settings.interface.len(), new.settings.pi.len()), (1, 1));
        assert_eq!(new.completed(&chosen()).unwrap(), None, "a second run changes nothing");
    }

    #[test]
    fn a_file_without_settings_is_completed() {
        let (_directory, sample) = file("# tree = '/srv/pi'\n");
        let text = sample.completed(&chosen()).unwrap().unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), chosen());
        let missing = ConfigFile::read(Path::new("/nonexistent/pinetboot.toml")).unwrap();
        assert_eq!(
            toml::from_str::<Settings>(&missing.completed(&chosen()).unwrap().unwrap()).unwrap(),
            chosen()
        );
    }

    #[test]
    fn an_option_that_contradicts_the_file_is_refused() {
        let (_directory, file) = file("tree = '/srv/a'");
        assert_eq!(file.directory(None).unwrap(), Path::new("/srv/a"));
        let why = file.directory(Some(Path::new("/srv/b"))).unwrap_err();
        assert!(why.message.contains("tree = \"/srv/a\", and --to is \"/srv/b\""), "{why}");
    }

    #[test]
    fn a_given_directory_is_written_as_an_absolute_path() {
        let (_directory, file) = file("");
        let here = std::env::current_dir().unwrap();
        assert_eq!(file.directory(Some(Path::new("pi"))).unwrap(), here.join("pi"));
    }
}
