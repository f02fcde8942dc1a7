//! The modules of a kernel in an image: which are needed, in which order, and their content (depmod(8), modules.dep(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use pinetboot_image::{Container, ReadAt, SystemView};

use super::InitramfsError;

/// The lists of a kernel's modules.
#[derive(Debug)]
pub(super) struct Modules {
    /// `lib/modules/RELEASE`
    directory: String,
    /// Each module by its name: its path, and the paths of the modules that it depends upon.
    modules: BTreeMap<String, (String, Vec<String>)>,
    built_in: BTreeSet<String>,
}

impl Modules {
    pub(super) fn read<R: ReadAt, B: ReadAt>(
        image: &SystemView<'_, R, B>,
        release: &str,
    ) -> Result<Self, InitramfsError> {
        let directory = format!("{DIRECTORY}/{release}");
        let is_name = !release.is_empty() && !release.contains('/') && release != ".." && release != ".";
        let list = |file: &str| text(image, &format!("{directory}/{file}"));
        let dependencies = if is_name { list("modules.dep")? } else { None };
        let dependencies = dependencies.ok_or_else(|| InitramfsError::NoKernel(release.to_owned()))?;
        let built_in = list("modules.builtin")?.unwrap_or_default();
        Ok(Self::parse(directory, &dependencies, &built_in))
    }

    fn parse(directory: String, dependencies: &str, built_in: &str) -> Self {
        let modules = dependencies.lines().filter_map(|line| {
            let (path, others) = line.split_once(':')?;
            let others = others.split_ascii_whitespace().map(str::to_owned).collect();
            Some((name(path), (path.to_owned(), others)))
        });
        Self { directory, modules: modules.collect(), built_in: built_in.lines().map(name).collect() }
    }

    /// Whether the kernel has this module, or has it built in.
    pub(super) fn has(&self, module: &str) -> bool {
        self.modules.contains_key(module) || self.built_in.contains(module)
    }

    /// The paths of these modules and of their dependencies, each behind its dependencies. What is built in needs none.
    pub(super) fn paths(&self, needed: &[&str], wanted: &[&str]) -> Result<Vec<String>, InitramfsError> {
        let mut order = Order { modules: self, seen: BTreeSet::new(), paths: Vec::new() };
        // The network first: a driver finds its hardware while the others are loaded.
        for module in wanted {
            order.add(module);
        }
        for module in needed {
            if !self.has(module) {
                return Err(InitramfsError::Lacks((*module).to_owned()));
            }
            order.add(module);
        }
        Ok(order.paths)
    }

    /// A module's content, unpacked: not each kernel unpacks by itself.
    pub(super) fn content<R: ReadAt, B: ReadAt>(
        &self,
        image: &SystemView<'_, R, B>,
        path: &str,
    ) -> Result<Vec<u8>, InitramfsError> {
        let path = format!("{}/{path}", self.directory);
        let damaged = || InitramfsError::Damaged(path.clone());
        let packed = image.read(&path, MOST_MODULE as u64 + 1)?.ok_or_else(damaged)?;
        if packed.len() > MOST_MODULE {
            return Err(damaged());
        }
        let mut content = Vec::new();
        let mut take = |piece: &[u8]| {
            if content.len() + piece.len() > MOST_MODULE {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            content.extend(piece);
            Ok(())
        };
        Container::of(&packed).unpack_stream(&packed[..], &mut take).map_err(|_| damaged())?;
        if content.starts_with(b"\x7fELF") { Ok(content) } else { Err(damaged()) }
    }
}

struct Order<'a> {
    modules: &'a Modules,
    seen: BTreeSet<&'a str>,
    paths: Vec<String>,
}

impl<'a> Order<'a> {
    /// Adds a module behind its dependencies. modules.dep names those of the dependencies, too: a hostile file leads no deeper than to these.
    fn add(&mut self, module: &str) {
        let Some((module, (path, others))) = self.modules.modules.get_key_value(module) else { return };
        if !self.seen.insert(module) {
            return;
        }
        // The last one depends upon no other (depmod(8) writes them so, and modprobe(8) loads them from the end).
        for other in others.iter().rev() {
            if let Some((other, (path, _))) = self.modules.modules.get_key_value(&name(other))
                && self.seen.insert(other)
            {
                self.paths.push(path.clone());
            }
        }
        self.paths.push(path.clone());
    }
}

/// The name of a module by its path: `kernel/fs/ext4/ext4.ko.xz` is `ext4`; the kernel takes `-` for `_`.
pub(super) fn name(path: &str) -> String {
    let file = path.trim().rsplit('/').next().unwrap_or_default();
    file.split(".ko").next().unwrap_or_default().replace('-', "_")
}

fn text<R: ReadAt, B: ReadAt>(
    image: &SystemView<'_, R, B>,
    path: &str,
) -> Result<Option<String>, InitramfsError> {
    let Some(bytes) = image.read(path, MOST_LIST + 1)? else { return Ok(None) };
    if bytes.len() as u64 > MOST_LIST {
        return Err(InitramfsError::Damaged(path.to_owned()));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| InitramfsError::Damaged(path.to_owned()))
}

pub(super) const DIRECTORY: &str = "lib/modules";
/// Bytes of a list; that of a Pi's kernel has some 200 KB.
const MOST_LIST: u64 = 8 << 20;
/// Bytes of a module. The largest of Debian's kernels, drivers of graphics, have some 10 MB.
const MOST_MODULE: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "kernel/lib/crc16.ko.xz:\n\
        kernel/fs/mbcache.ko.xz:\n\
        kernel/fs/jbd2/jbd2.ko.xz: kernel/lib/crc16.ko.xz\n\
        kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz kernel/fs/mbcache.ko.xz\n\
        kernel/drivers/net/mdio/mdio-bcm-unimac.ko.xz:\n\
        kernel/sound/a.ko: kernel/sound/b.ko\n\
        kernel/sound/b.ko: kernel/sound/a.ko\n";

    fn paths(built_in: &str, needed: &[&str], wanted: &[&str]) -> Result<Vec<String>, String> {
        let modules = Modules::parse(String::new(), DEPENDENCIES, built_in);
        let paths = modules.paths(needed, wanted).map_err(|error| error.to_string())?;
        Ok(paths.iter().map(|path| name(path)).collect())
    }

    #[test]
    fn a_module_stands_behind_its_dependencies_and_what_is_built_in_is_left_out() {
        let built_in = "kernel/drivers/block/nbd.ko\n";
        let order = paths(built_in, &["nbd", "ext4"], &["mdio_bcm_unimac", "macb"]).unwrap();
        assert_eq!(order, ["mdio_bcm_unimac", "mbcache", "crc16", "jbd2", "ext4"]);
    }

    #[test]
    fn a_kernel_without_the_disks_driver_is_refused_by_its_name() {
        let refused = paths("", &["ext4", "nbd"], &[]).unwrap_err();
        assert!(refused.starts_with("the image's kernel has no nbd"), "{refused}");
    }

    #[test]
    fn a_list_that_leads_in_a_circle_ends() {
        assert_eq!(paths("", &["a", "b"], &[]).unwrap(), ["b", "a"]);
    }
}
