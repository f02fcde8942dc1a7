//! The storage of each worker, opened from the configuration at the start and again at SIGHUP.

use std::path::Path;
use std::sync::Arc;

use super::Args;
use super::checks::faults;
use crate::bus::Bus;
use crate::check;
use crate::config::{Config, Settings};
use crate::events;
use crate::exit::{Exit, Failed};
use crate::net::{finds_neighbours, most_neighbours};
use crate::output;
use crate::roots::BootRoots;
use crate::storage::{
    Base, BootStorage, BootTree, Budget, Prefixes, Sources, Trees, UploadQuota, UploadRules, Uploads,
};

/// The configuration from the command line and the file.
pub(super) fn configure(options: &Args) -> Result<Config, Failed> {
    settings(options)?.resolve()
}

/// The settings of the command line and the file.
pub(super) fn settings(options: &Args) -> Result<Settings, Failed> {
    let written = options.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    options.settings.clone().or(written)
}

/// The storage of one worker.
pub(super) fn open(
    config: &Config,
    served: &Served,
    bus: &Bus,
    budget: &Budget,
    quota: &UploadQuota,
) -> Result<BootStorage, Failed> {
    let sources = sources(config, served)?;
    let trees = Trees::new(sources.clone(), bus.clone());
    Failed::all(faults(config, &sources, &trees))?;
    Ok(BootStorage::new(Arc::new(trees), uploads(config, quota, bus)?, budget.clone()))
}

/// `serve --check`: names all faults of a configuration, without any effect.
///
/// # Errors
///
/// All faults, with the code of an invalid configuration.
pub(super) fn report(config: &Config) -> Result<Exit, Failed> {
    let bus = Bus::silent();
    let mut found: Vec<_> = uploads(config, &UploadQuota::default(), &bus).err().into_iter().collect();
    match sources(config, &Served::default()) {
        Ok(sources) => found.extend(faults(config, &sources, &Trees::new(sources.clone(), bus))),
        Err(fault) => found.push(fault),
    }
    let mut out = output::stdout();
    for (setting, why) in &config.without_effect {
        writeln!(out, "warning: {setting} has no effect: {why}")?;
    }
    out.finish()?;
    Failed::all(found).map_err(|faults| Failed::new(Exit::Usage, faults))?;
    let pis = config.inventory.entries().count();
    writeln!(out, "valid: serving {}, Pis in the inventory: {pis}", config.serving().display())?;
    out.finish()?;
    Ok(Exit::Success)
}

/// Applies the changes that need no restart. The second value has the notices, a needed restart among them.
pub(super) fn reload(
    new: &Config,
    running: &Config,
    trees: &Trees,
    quota: &UploadQuota,
    bus: &Bus,
) -> Result<(Option<Uploads>, Vec<events::Server>), Failed> {
    let served = Served::of(&trees.sources());
    // No change is applied unless the whole configuration is valid.
    let sources = sources(new, &served)?;
    let tried = Trees::new(sources.clone(), bus.clone());
    Failed::all(faults(new, &sources, &tried))?;
    let mut notices: Vec<_> = notices(new, &tried).collect();
    let uploads = uploads(new, quota, bus)?;
    served.configure(new)?;
    let root_stays =
        new.root == running.root && (served.roots.is_none() || new.tree == running.tree) && served.suits(new);
    if !root_stays || needs_restart(running, new) {
        notices.push(events::Server::NeedsRestart);
    }
    bus.set_inventory(Arc::new(new.inventory.clone()));
    if root_stays {
        trees.set_sources(sources);
    }
    Ok((uploads, notices))
}

/// The notices about the configuration and the trees.
pub(super) fn notices(config: &Config, trees: &Trees) -> impl Iterator<Item = events::Server> {
    let renamed = config.renamed.iter().map(|&(old, new)| events::Server::SettingRenamed { old, new });
    let is_disk = matches!(trees.sources().base, Base::Disks);
    let tree = (!is_disk).then(|| trees.tree_for_anyone().ok()).flatten().filter(|tree| !tree.has_config());
    let no_config =
        |tree: Arc<BootTree>| events::Server::NoConfig { tree: tree.path().display().to_string() };
    let without_effect =
        config.without_effect.iter().map(|&(setting, why)| events::Server::NoEffect { setting, why });
    let requested = match (&trees.sources().base, &config.tree) {
        (Base::Directory(_), Some(tree)) => check::directories_of_pis(tree),
        _ => 0,
    };
    let listed = config.inventory.entries().count();
    let known = events::Server::PisKnown { directories: requested, listed };
    let known = (requested + listed > 0).then_some(known);
    let pis = requested.max(listed);
    let few = most_neighbours().filter(|most| pis > *most);
    let few = few.map(|most| events::Server::FewNeighbours { pis, most });
    let slow = finds_neighbours().err();
    let slow = slow.map(|error| events::Server::NeighboursByTable { why: error.to_string() });
    known.into_iter().chain(few).chain(slow).chain(renamed).chain(without_effect).chain(tree.map(no_config))
}

/// What other services than TFTP have, for all of a server's workers.
#[derive(Debug, Clone, Default)]
pub(super) struct Served {
    /// The root file systems.
    pub(super) roots: Option<Arc<BootRoots>>,
    /// The disks.
    #[cfg(feature = "disk")]
    pub(super) disks: Option<Arc<crate::disks::Disks>>,
}

impl Served {
    fn of(sources: &Sources) -> Self {
        Self {
            roots: sources.roots.clone(),
            #[cfg(feature = "disk")]
            disks: sources.disks.clone(),
        }
    }

    /// Opens the images of a new configuration.
    fn configure(&self, config: &Config) -> Result<(), Failed> {
        #[cfg(feature = "disk")]
        if let Some(disks) = &self.disks {
            return disks.configure(config).map_err(|why| Failed::new(Exit::Tree, why));
        }
        let _no_disks = config;
        Ok(())
    }

    /// Whether the services that run serve the configuration: disks need their port and directory.
    fn suits(&self, config: &Config) -> bool {
        #[cfg(feature = "disk")]
        let has_disks = self.disks.is_some();
        #[cfg(not(feature = "disk"))]
        let has_disks = false;
        has_disks || config.disk_images().is_empty()
    }
}

fn sources(config: &Config, served: &Served) -> Result<Sources, Failed> {
    let base = super::roots::base(config)?;
    Ok(Sources {
        base,
        roots: served.roots.clone(),
        #[cfg(feature = "disk")]
        disks: served.disks.clone(),
        templates: config.templates.clone(),
        rewrite: config.root.rewrite,
        prefixes: Prefixes::new([config.serving()].into_iter().chain(config.path_prefix.as_deref())),
        server: config.dhcp.as_ref().and_then(|dhcp| dhcp.boot_server),
    })
}

fn uploads(config: &Config, quota: &UploadQuota, bus: &Bus) -> Result<Option<Uploads>, Failed> {
    let rules = UploadRules {
        overwrite: config.overwrite,
        max_size: config.upload_max_size,
        reserve: config.disk_reserve,
    };
    let open = |path: &Path| {
        Uploads::open_at(path, rules, quota.clone(), bus.clone()).map_err(|error| {
            Failed::new(Exit::Tree, format!("cannot open the upload directory {}: {error}", path.display()))
        })
    };
    config.allow_upload.as_deref().map(open).transpose()
}

/// Removes the temporary files of uploads that a killed process left.
pub(super) fn remove_leftovers(storage: &BootStorage, config: &Config, bus: &Bus) {
    let (Some(uploads), Some(place)) = (storage.uploads(), &config.allow_upload) else { return };
    let number = uploads.remove_leftovers();
    if number > 0 {
        bus.emit(None, events::Server::LeftoversRemoved { place: place.display().to_string(), number });
    }
}

fn needs_restart(running: &Config, new: &Config) -> bool {
    let fixed =
        |config: &Config| (config.max_transfers, config.threads, config.log_format, config.require_sandbox);
    (
        &running.listen,
        &running.user,
        &running.net,
        &running.dhcp,
        fixed(running),
        running.disk.port,
        &running.disk.init,
        // The sandbox lets the server write to these.
        running.written_images(),
    ) != (
        &new.listen,
        &new.user,
        &new.net,
        &new.dhcp,
        fixed(new),
        new.disk.port,
        &new.disk.init,
        new.written_images(),
    ) || web_changes(running, new)
}

#[cfg(feature = "web")]
fn web_changes(running: &Config, new: &Config) -> bool {
    running.web != new.web
}

#[cfg(not(feature = "web"))]
const fn web_changes(_running: &Config, _new: &Config) -> bool {
    false
}
