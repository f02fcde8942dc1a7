//! Checks of all that a configuration names, whenever it is read: at the start, at SIGHUP, and by `--check`.

use std::path::Path;

use crate::config::Config;
use crate::exit::{Exit, Failed};
use crate::roots::BaseImages;
use crate::storage::{Base, BootTree, Sources, Trees};

/// The faults of the trees, of the images of the inventory and of the directory of the lease file.
pub(super) fn faults(config: &Config, sources: &Sources, trees: &Trees) -> Vec<Failed> {
    let mut faults = Vec::new();
    match sources.base {
        // Images are checked by themselves, for a server unpacks them at its start.
        Base::Disks => {}
        _ => faults.extend(trees.tree_for_anyone().err().map(|error| Failed::new(Exit::Tree, error))),
    }
    faults.extend(config.disk_images().iter().filter_map(|image| check_image(image).err()));
    for (table, entry) in config.inventory.tables() {
        let mut wrong = |exit, why: String| faults.push(Failed::new(exit, format!("[{table}]: {why}")));
        if let Some(Err(error)) = entry.tree.as_deref().map(BootTree::open_at) {
            wrong(Exit::Tree, error.to_string());
        }
        if let Some(Err(why)) = entry.image.as_deref().map(|image| has_image(sources, image)) {
            wrong(Exit::Usage, why);
        }
    }
    let leases = config.dhcp.as_ref().and_then(|dhcp| dhcp.lease_file()).and_then(Path::parent);
    if let Some(directory) =
        leases.filter(|directory| !directory.as_os_str().is_empty() && !directory.is_dir())
    {
        let why = format!("lease-file: {} is not a directory", directory.display());
        faults.push(Failed::new(Exit::Usage, why));
    }
    let lease_file = config.dhcp.as_ref().and_then(|dhcp| dhcp.lease_file());
    if let Some(file) = lease_file.filter(|file| file.is_dir()) {
        faults.push(Failed::new(Exit::Usage, format!("lease-file: {} is a directory", file.display())));
    }
    if let Some(state) = config.root.state.as_deref().filter(|state| state.exists() && !state.is_dir()) {
        faults.push(Failed::new(Exit::Usage, format!("state: {} is not a directory", state.display())));
    }
    faults
}

#[cfg(feature = "disk")]
fn check_image(image: &Path) -> Result<(), Failed> {
    crate::disks::check(image).map_err(|why| Failed::new(Exit::Tree, why))
}

#[cfg(not(feature = "disk"))]
fn check_image(_: &Path) -> Result<(), Failed> {
    Err(Failed::new(Exit::Usage, "this pinetboot was built without disks"))
}

fn has_image(sources: &Sources, image: &str) -> Result<(), String> {
    let Base::Roots(BaseImages::Images(images)) = &sources.base else {
        return Err("image has no effect: the served directory holds no imported images".into());
    };
    match images.find(image) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            let all = images.list().unwrap_or_default();
            let names: Vec<_> = all.iter().map(|image| image.name.as_str()).collect();
            let (dir, names) = (images.dir().display(), names.join(", "));
            Err(format!("no image has the name {image} in {dir}, which has: {names}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Settings;
    use crate::serve::sources::report;

    fn report_of(text: &str) -> Result<Exit, String> {
        let settings: Settings = toml::from_str(text).unwrap();
        settings.resolve().and_then(|config| report(&config)).map_err(|faults| faults.message)
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.txt"), "").unwrap();
        let tree = directory.path().display();
        let rest = "dhcp = 'lease'\nlease-file = '/missing/leases'\nallow-upload = '/no/uploads'\n\
                    [pi.00000001]\nimage = 'one'\n[pi.00000002]\ntree = '/no/tree'";
        let faults = report_of(&format!("tree = '{tree}'\n{rest}")).unwrap_err();
        for part in
            ["/missing is not a directory", "/no/uploads", "[pi.00000001]: image has no effect", "/no/tree"]
        {
            assert!(faults.contains(part), "{part:?} is not in: {faults}");
        }
        assert_eq!(faults.lines().count(), 4, "{faults}");
        assert_eq!(report_of(&format!("tree = '{tree}'")), Ok(Exit::Success));
        let kinds =
            format!("tree = '{tree}'\ndhcp = 'lease'\nlease-file = '{tree}'\nstate = '{tree}/config.txt'");
        let faults = report_of(&kinds).unwrap_err();
        assert!(faults.contains("lease-file: ") && faults.contains(" is a directory"), "{faults}");
        assert!(faults.contains("config.txt is not a directory"), "{faults}");
    }

    #[test]
    fn a_tree_without_anything_is_a_fault_with_the_way_to_fill_it() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().display();
        let interrupted = tempfile::tempdir().unwrap();
        fs::create_dir(interrupted.path().join("images")).unwrap();
        let interrupted = interrupted.path().display();
        for tree in [format!("{empty}/missing"), empty.to_string(), interrupted.to_string()] {
            let fault = report_of(&format!("tree = '{tree}'")).unwrap_err();
            let import = format!("'sudo pinetboot import IMAGE --to {tree}'");
            assert!(fault.contains("'sudo pinetboot up'") && fault.contains(&import), "{fault}");
        }
    }

    #[test]
    fn an_image_that_is_not_there_is_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("images/one");
        fs::create_dir_all(image.join("root/boot/firmware")).unwrap();
        fs::write(image.join("root/boot/firmware/config.txt"), "").unwrap();
        let facts = "release = 'raspios-trixie'\nboot = 'boot/firmware'\nhas-root = true\nkernel-mounts-root = true\n";
        fs::write(image.join("image.toml"), facts).unwrap();
        std::os::unix::fs::symlink("images/one", directory.path().join("current")).unwrap();
        let tree = format!("tree = '{}'\n", directory.path().display());
        assert_eq!(report_of(&format!("{tree}[pi.00000001]\nimage = 'one'")), Ok(Exit::Success));
        let fault = report_of(&format!("{tree}[pi.00000001]\nimage = 'two'")).unwrap_err();
        assert!(
            fault.contains("[pi.00000001]: no image has the name two") && fault.ends_with("has: one"),
            "{fault}"
        );
    }
}
