//! The files of a configuration: one, with those of FILE.d beside it; or all of a directory.
//!
//! Each setting and each table such as `[pi.bd989ae1]` is in one file only.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use indicatif::DecimalBytes;
use toml::{Table, Value};

use super::{Settings, toml_error};
use crate::exit::{Exit, Failed};
use crate::pis::Inventory;

/// Reads the settings of a file or directory.
///
/// # Errors
///
/// The file, the fault and its line.
pub(super) fn read(place: &Path) -> Result<Settings, Failed> {
    let mut all = Table::new();
    let mut origins = BTreeMap::new();
    let files = files(place)?;
    for file in &files {
        let text = text(file, file == place).map_err(|error| failed(file, &error))?;
        // By itself first: the fault's line is that of the file.
        let settings: Settings =
            toml::from_str(&text).map_err(|error| failed(file, &toml_error::in_words(&error)))?;
        if let [only] = files.as_slice()
            && only == place
        {
            return Ok(settings);
        }
        Inventory::of(&settings.pi, &BTreeMap::new()).map_err(|error| failed(file, &error))?;
        let table = text.parse().map_err(|error: toml::de::Error| failed(file, &error))?;
        join(&mut all, table, file, &mut origins)?;
    }
    all.try_into().map_err(|error: toml::de::Error| failed(place, &error))
}

/// The text of a file, whatever its kind claims about its length. A pipe is read if it is `named`, as for `--config <(make-it)`;
/// one beneath a directory would be waited for.
fn text(file: &Path, named: bool) -> io::Result<String> {
    if !named && !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("neither a file nor a link to one"));
    }
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::other(format!("longer than {}", DecimalBytes(MOST))));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("the file is not text in UTF-8"))
}

/// The files, in the order of their names.
fn files(place: &Path) -> Result<Vec<PathBuf>, Failed> {
    if place.is_dir() {
        let files = beneath(place).map_err(|error| failed(place, &error))?;
        if files.is_empty() {
            return Err(failed(place, &"the directory holds no .toml file"));
        }
        return Ok(files);
    }
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".d");
    let more = place.with_file_name(name);
    let mut files = vec![place.to_owned()];
    match beneath(&more) {
        Ok(more) => files.extend(more),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&more, &error)),
    }
    Ok(files)
}

fn beneath(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|end| end == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Joins the settings of a file to all; the second file with a setting is an error.
fn join(
    all: &mut Table,
    table: Table,
    file: &Path,
    origins: &mut BTreeMap<String, PathBuf>,
) -> Result<(), Failed> {
    for (key, value) in table {
        match (all.get_mut(&key), value) {
            (Some(Value::Table(there)), Value::Table(more)) => {
                for (name, value) in more {
                    claim(format!("[{key}.{name}]"), file, origins)?;
                    there.insert(name, value);
                }
            }
            (None, Value::Table(first)) => {
                for name in first.keys() {
                    claim(format!("[{key}.{name}]"), file, origins)?;
                }
                all.insert(key, Value::Table(first));
            }
            (_, value) => {
                claim(key.clone(), file, origins)?;
                all.insert(key, value);
            }
        }
    }
    Ok(())
}

fn claim(setting: String, file: &Path, origins: &mut BTreeMap<String, PathBuf>) -> Result<(), Failed> {
    if let Some(other) = origins.insert(setting.clone(), file.to_owned()) {
        let why = format!("{setting} is in {} too: give it once", other.display());
        return Err(failed(file, &why));
    }
    Ok(())
}

fn failed(file: &Path, error: &dyn std::fmt::Display) -> Failed {
    Failed::new(Exit::Usage, format!("cannot read the configuration {}: {error}", file.display()))
}

/// In bytes; 10,000 Pis with a name and an address took 515 KB.
const MOST: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_directory_are_one_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("p.toml", "tree = '/srv'\n[pi.00000001]\nname = 'a'");
        let file = directory.path().join("p.toml");
        assert_eq!(read(&file).unwrap().pi.len(), 1);
        put("p.toml.d/20-lab.toml", "[pi.00000002]\nname = 'b'\n[group.lab]\nmembers = ['b*']");
        put("p.toml.d/10.toml", "dhcp = 'proxy'\n[pi.00000003]");
        put("p.toml.d/.hidden.toml", "nonsense");
        put("p.toml.d/readme.txt", "nonsense");
        let settings = read(&file).unwrap();
        assert_eq!((settings.pi.len(), settings.group.len(), settings.dhcp.is_some()), (3, 1, true));
        let beneath = directory.path().join("p.toml.d");
        assert_eq!(read(&beneath).unwrap().pi.len(), 2);

        let why = |name: &str, text: &str| {
            put(name, text);
            let why = read(&file).unwrap_err().message;
            fs::remove_file(directory.path().join(name)).unwrap();
            why
        };
        let twice = why("p.toml.d/30.toml", "[pi.00000002]");
        assert!(twice.contains("30.toml: [pi.00000002] is in") && twice.contains("20-lab.toml"), "{twice}");
        let twice = why("p.toml.d/30.toml", "tree = '/x'");
        assert!(twice.contains("30.toml: tree is in") && twice.contains("p.toml too"), "{twice}");
        let wrong = why("p.toml.d/30.toml", "\n[pi.kitchen]");
        assert!(wrong.contains("30.toml: [pi.kitchen]"), "{wrong}");
        let wrong = why("p.toml.d/30.toml", "[pi.00000009]\nnmae = 'x'");
        assert!(wrong.contains("30.toml") && wrong.contains("nmae"), "{wrong}");
        let odd = beneath.join("40.toml");
        for (make, expected) in [
            (
                (|odd| nix::unistd::mkfifo(odd, nix::sys::stat::Mode::S_IRUSR).unwrap()) as fn(&Path),
                "neither a file",
            ),
            (|odd| std::os::unix::fs::symlink("/dev/zero", odd).unwrap(), "neither a file"),
            (|odd| std::os::unix::fs::symlink("none", odd).unwrap(), "No such file"),
            (|odd| fs::File::create(odd).unwrap().set_len(MOST + 1).unwrap(), "longer than 67.11 MB"),
            (|odd| fs::write(odd, b"\xff").unwrap(), "not text in UTF-8"),
        ] {
            make(&odd);
            let wrong = read(&file).unwrap_err().message;
            assert!(wrong.contains("40.toml") && wrong.contains(expected), "{wrong}");
            fs::remove_file(&odd).unwrap();
        }
        assert!(read(Path::new("/dev/zero")).unwrap_err().message.contains("longer than"));
        fs::create_dir(directory.path().join("empty")).unwrap();
        assert!(read(&directory.path().join("empty")).unwrap_err().message.contains("no .toml"));
    }
}
