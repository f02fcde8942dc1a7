//! A leading path that clients put before a file's name: `/tftpboot/config.txt`, or the served directory itself.

use std::path::{Component, Path};

use pinetboot_core::BootPath;

/// Paths to leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefixes(Vec<Vec<String>>);

impl Prefixes {
    /// These paths; one that is not UTF-8 is in no name.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let parts = |path: &Path| {
            let parts = path.components().filter(|part| matches!(part, Component::Normal(_)));
            parts.map(|part| part.as_os_str().to_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        Self(paths.into_iter().filter_map(parts).filter(|parts| !parts.is_empty()).collect())
    }

    /// The name without the first of the paths that it begins with, if anything follows.
    pub fn strip<'a>(&self, name: BootPath<'a>) -> BootPath<'a> {
        let without = |parts: &Vec<String>| {
            parts.iter().try_fold(name, |name, part| {
                name.split_first().and_then(|(first, rest)| (first == part).then_some(rest))
            })
        };
        self.0.iter().find_map(without).unwrap_or(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_the_path_that_it_begins_with() {
        let prefixes = Prefixes::new([Path::new("/srv/tftp"), Path::new("tftpboot"), Path::new("/")]);
        for (name, stripped) in [
            ("/srv/tftp/config.txt", "config.txt"),
            ("srv//tftp/7bf18f79/config.txt", "7bf18f79/config.txt"),
            ("\\tftpboot\\Boot\\BCD", "Boot/BCD"),
            ("/srv/tftp", "srv/tftp"),
            ("/srv/config.txt", "srv/config.txt"),
            ("tftpboot2/x", "tftpboot2/x"),
            ("config.txt", "config.txt"),
        ] {
            let name = BootPath::parse(name.as_bytes()).unwrap();
            assert_eq!(prefixes.strip(name).to_string(), stripped);
        }
    }
}
