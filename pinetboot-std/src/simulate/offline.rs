//! The boot of an image that no server serves yet: the files that each model requests, looked up in a directory or an image.

use std::io;
use std::time::Duration;

use pinetboot_core::pi::Model;
use pinetboot_core::tftp::{ErrorCode, Options};

use super::boot::{Over, SimulatedBoot};
use super::fetch::{Answer, Fetch, Reply, Taken};
use super::filter::Board;
use super::models;
use super::timeline::Timeline;
use super::verdict::{Loaded, Summary};
use crate::exit::{Exit, Failed};
#[cfg(feature = "import")]
use crate::finding::Finding;
use crate::finding::{Findings, Severity};

/// Boot files by their path, relative to the directory that is to be served.
pub(crate) trait BootFiles {
    /// A file's first bytes, at least those that a boot code reads; `None` if no file has that path. Upper and lower case
    /// differ, as for TFTP.
    ///
    /// # Errors
    ///
    /// If the files cannot be read.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// A file's length in bytes, if that is more than [`read`](Self::read) gives.
    ///
    /// # Errors
    ///
    /// If the files cannot be read.
    fn len(&self, path: &str) -> io::Result<Option<u64>> {
        Ok(self.read(path)?.map(|content| content.len() as u64))
    }
}

/// A boot from files that no server serves.
#[derive(Debug)]
pub(crate) struct OfflineBoot {
    /// All findings.
    pub(crate) findings: Findings,
    /// The files that the system starts with: the kernel, then device tree, initramfs and other single files.
    pub(crate) loaded: Vec<String>,
    /// The initramfs among them.
    pub(crate) initramfs: Option<String>,
    /// The kernel's command line with its file's name, if the Pi fetched one; not yet checked.
    pub(crate) command_line: Option<(String, String)>,
}

impl OfflineBoot {
    /// Whether the kernel starts.
    pub(crate) fn boots(&self) -> bool {
        self.findings.of(Severity::Problem).next().is_none()
    }
}

#[cfg(feature = "import")]
/// Whether a model boots.
#[derive(Debug)]
pub(crate) struct ModelCheck {
    /// The model.
    pub(crate) model: Model,
    /// Problems with missing or empty files: the model does not boot.
    pub(crate) missing: Vec<Finding>,
    /// Problems with the content of files that exist.
    pub(crate) doubts: Vec<Finding>,
}

#[cfg(feature = "import")]
impl ModelCheck {
    /// Whether no file is missing.
    pub(crate) fn boots(&self) -> bool {
        self.missing.is_empty()
    }
}

#[cfg(feature = "import")]
/// Boots each model.
///
/// # Errors
///
/// If the files cannot be read.
pub(crate) fn check(files: &dyn BootFiles) -> Result<Vec<ModelCheck>, Failed> {
    Model::ALL.iter().map(|model| check_model(files, *model)).collect()
}

/// Boots a Pi with this model and serial number.
///
/// # Errors
///
/// If the files cannot be read.
pub(crate) fn boot(files: &dyn BootFiles, model: Model, serial: u32) -> Result<OfflineBoot, Failed> {
    boot_with(files, Board { model, serial }, false)
}

fn boot_with(files: &dyn BootFiles, board: Board, without_os_check: bool) -> Result<OfflineBoot, Failed> {
    let (mut requests, mut nowhere) = (Offline { files, without_os_check }, io::sink());
    let mut boot = SimulatedBoot::new(board, &mut requests, Timeline::new(&mut nowhere));
    if let Err(Over::Failed(failed)) = models::boot(&mut boot) {
        return Err(failed);
    }
    let Summary { findings, loaded, command_line, .. } = boot.summary;
    let Loaded { files: loaded, initramfs, .. } = loaded;
    Ok(OfflineBoot { findings, loaded, initramfs, command_line })
}

#[cfg(feature = "import")]
fn check_model(files: &dyn BootFiles, model: Model) -> Result<ModelCheck, Failed> {
    let mut check = ModelCheck { model, missing: Vec::new(), doubts: Vec::new() };
    run(files, model, false, &mut check)?;
    if check.boots() && !check.doubts.is_empty() {
        // A Pi 5 ends at a device tree for another board, before it looks for a kernel.
        run(files, model, true, &mut check)?;
    }
    Ok(check)
}

#[cfg(feature = "import")]
fn run(
    files: &dyn BootFiles,
    model: Model,
    without_os_check: bool,
    check: &mut ModelCheck,
) -> Result<(), Failed> {
    let boot = boot_with(files, Board { model, serial: 0 }, without_os_check)?;
    for problem in boot.findings.of(Severity::Problem) {
        let names = problem.file.iter().flat_map(|names| names.split(", "));
        let mut there = false;
        for name in names {
            there |= read(files, name)?.is_some_and(|content| !content.is_empty());
        }
        let kind = if there { &mut check.doubts } else { &mut check.missing };
        if !kind.contains(problem) {
            kind.push(problem.clone());
        }
    }
    Ok(())
}

fn read(files: &dyn BootFiles, name: &str) -> Result<Option<Vec<u8>>, Failed> {
    files.read(&path(name)).map_err(|error| Failed::new(Exit::Failure, error))
}

/// A requested name as a path.
fn path(name: &str) -> String {
    name.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

struct Offline<'a> {
    files: &'a dyn BootFiles,
    /// config.txt gets `os_check=0`.
    without_os_check: bool,
}

impl Offline<'_> {
    fn len(&self, name: &str) -> Result<Option<u64>, Failed> {
        self.files.len(&path(name)).map_err(|error| Failed::new(Exit::Failure, error))
    }

    fn find(&self, name: &str) -> Result<Option<Vec<u8>>, Failed> {
        let mut content = read(self.files, name)?;
        if let Some(config) = &mut content
            && self.without_os_check
            && name.ends_with("config.txt")
        {
            config.extend_from_slice(b"\n[all]\nos_check=0\n");
        }
        Ok(content)
    }
}

impl Fetch for Offline<'_> {
    fn probe(&mut self, name: &str, _: Options) -> Result<Reply, Failed> {
        Ok(reply(self.len(name)?.map(|bytes| Answer::There(Some(bytes)))))
    }

    fn get(&mut self, name: &str, options: Options, keep: usize) -> Result<Reply, Failed> {
        let Some(mut content) = self.find(name)? else { return Ok(reply(None)) };
        let bytes = self.len(name)?.unwrap_or_default().max(content.len() as u64);
        content.truncate(keep);
        let block_size = options.block_size.unwrap_or(512);
        Ok(reply(Some(Answer::Taken(Taken { bytes, kept: content, block_size, options_agreed: true }))))
    }
}

fn reply(found: Option<Answer>) -> Reply {
    let answer = found.unwrap_or(Answer::Refused(ErrorCode::FILE_NOT_FOUND));
    Reply { at: Duration::ZERO, took: Duration::ZERO, answer }
}

#[cfg(test)]
#[cfg(feature = "import")]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::simulate::DeviceTree;

    struct Files(HashMap<&'static str, Vec<u8>>);

    impl BootFiles for Files {
        fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
            Ok(self.0.get(path).cloned())
        }
    }

    fn files() -> Files {
        let tree = DeviceTree::new().property("compatible", b"brcm,bcm2712\0").finish();
        Files(HashMap::from([
            ("config.txt", b"arm_64bit=1\n".to_vec()),
            ("cmdline.txt", b"console=tty1\n".to_vec()),
            ("kernel_2712.img", b"x".to_vec()),
            ("bcm2712-rpi-5-b.dtb", tree),
        ]))
    }

    fn pi5(files: &Files) -> ModelCheck {
        check_model(files, Model::Pi5).expect("no file fails")
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_doubtful() {
        assert!(pi5(&files()).boots() && pi5(&files()).doubts.is_empty());
        let models = check(&files()).unwrap();
        assert_eq!(models.iter().filter(|model| model.boots()).count(), 1, "no start4.elf: {models:?}");
        for name in ["config.txt", "kernel_2712.img", "bcm2712-rpi-5-b.dtb"] {
            let mut files = files();
            files.0.remove(name);
            let missing = pi5(&files).missing;
            assert!(missing[0].file.as_deref().unwrap().contains(name), "{name}: {missing:?}");
        }
        let mut odd = files();
        odd.0.insert("bcm2712-rpi-5-b.dtb", b"no device tree".to_vec());
        assert!(pi5(&odd).boots() && pi5(&odd).doubts.len() == 1);
        odd.0.remove("kernel_2712.img");
        assert!(!pi5(&odd).boots(), "the kernel is looked for in any case");
        odd.0.insert("kernel_2712.img", Vec::new());
        assert!(!pi5(&odd).boots(), "an empty file is none");
    }
}
