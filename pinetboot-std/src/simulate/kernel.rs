//! The choice of the kernel.
//!
//! The names are the model's. Pis with start.elf look for recovery systems (NOOBS, PINN) first: captured, raspberrypi/cmprovision and raspberrypi/firmware issue 1605.

use pinetboot_core::pi::Stage;

use super::boot::Over;
use super::checks;
use super::loader::{Loader, join};
use super::timeline::Miss;
use super::verdict::Summary;
use crate::finding::Finding;
use crate::inspect;

impl Loader<'_, '_> {
    /// The names to try, in order: the one in config.txt, else the model's.
    pub(super) fn kernel_names(&self) -> Vec<String> {
        if let Some(name) = &self.config.kernel {
            return vec![name.clone()];
        }
        let names = self.profile().kernels.by(self.config.arm_64bit);
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Finds the kernel, as a Pi 5 does before it fetches other files.
    pub(super) fn find_kernel(&mut self) -> Result<Option<String>, Over> {
        let names = self.kernel_names();
        let found = self.first_there(&names)?;
        if found.is_none() {
            self.no_kernel(&names)?;
        }
        Ok(found)
    }

    /// Finds the kernel and fetches the ARM stub, as a Pi 3 or 4 does at the end of the boot.
    pub(super) fn find_kernel_and_stub(&mut self) -> Result<Option<String>, Over> {
        let names = self.kernel_names();
        if self.config.kernel.is_none() {
            for name in self.profile().recovery_kernels.by(self.config.arm_64bit) {
                self.boot.there(Stage::Kernel, name, Miss::Normal("no recovery"))?;
            }
            if let Some(last_resort) = self.profile().last_resort.filter(|_| !self.is_64bit()) {
                return self.find_32bit_kernel(&names, last_resort);
            }
        }
        let found = self.first_there(&names)?;
        if found.is_none() {
            self.no_kernel(&names)?;
        }
        let in_64_bits = found.as_deref().map_or(self.is_64bit(), names_64bit);
        self.take_arm_stub(in_64_bits)?;
        Ok(found)
    }

    /// The kernel whose initramfs a Pi 3 or 4 fetches before it looks for the kernel.
    pub(super) fn expected_kernel(&self) -> String {
        let assumed = self.profile().assumed_kernel.by(self.is_64bit());
        join(&self.os_prefix, self.config.kernel.as_deref().unwrap_or(assumed))
    }

    /// In 32-bit mode a Pi 3 looks for `kernel8.img` too, but continues with `kernel7.img`.
    fn find_32bit_kernel(&mut self, names: &[String], last_resort: &str) -> Result<Option<String>, Over> {
        let (first, others) = names.split_at(names.len().min(1));
        let mut found = self.first_there(first)?;
        let other = join(&self.os_prefix, last_resort);
        let other_there =
            found.is_none() && self.boot.there(Stage::Kernel, &other, Miss::Normal("32 bits"))?;
        self.take_arm_stub(false)?;
        if found.is_none() {
            found = self.first_there(others)?;
        }
        if found.is_none() && other_there {
            let finding = Finding::warning(format!(
                "the 64-bit kernel {last_resort} is the only one, and config.txt does not select 64 bits on a {}.",
                self.boot.pi()
            ));
            self.boot.add(finding.remedy("Set arm_64bit=1 in config.txt."));
            return Ok(Some(other));
        }
        if found.is_none() {
            self.no_kernel(names)?;
        }
        Ok(found)
    }

    fn first_there(&mut self, names: &[String]) -> Result<Option<String>, Over> {
        for (index, name) in names.iter().enumerate() {
            let last = index + 1 == names.len();
            let miss = if last { Miss::Bad } else { Miss::Normal("another follows") };
            let path = join(&self.os_prefix, name);
            if self.boot.there(Stage::Kernel, &path, miss)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Fetches the kernel, the last step of the boot.
    pub(super) fn take_kernel(&mut self, found: Option<String>) -> Result<(), Over> {
        let Some(path) = found else {
            // A UEFI in the ARM stub.
            self.boot.summary.is_no_linux();
            return Ok(());
        };
        match self.boot.take(Stage::Kernel, &path, Miss::Bad)? {
            Some(taken) => {
                let Summary { findings, command_line, loaded, .. } = &mut self.boot.summary;
                if self.config.os_check {
                    let line = command_line.as_ref().map(|(_, line)| line.as_str());
                    checks::kernel(findings, &path, &taken, line);
                }
                loaded.files.insert(0, path.trim_start_matches('/').to_owned());
                if taken.bytes > 0 && !inspect::kernel::begins(&taken.kept) {
                    self.boot.summary.is_no_linux();
                }
            }
            None => {
                let finding = Finding::problem("the file existed at first, and is missing now.");
                self.boot.problem(&path, finding.remedy("Read the server's log."));
            }
        }
        Ok(())
    }

    fn no_kernel(&mut self, names: &[String]) -> Result<(), Over> {
        if let Some(stub) = &self.config.armstub {
            let text = format!("no kernel was found; armstub={stub} needs none if it is a UEFI.");
            self.boot.add(Finding::note(text));
            return Ok(());
        }
        let comes = self.profile().no_kernel;
        let evidence = match &self.config.kernel {
            Some(name) => format!("config.txt names it: kernel={name}."),
            None => format!("A {} {}.", self.boot.pi(), comes.text),
        };
        let finding = Finding::problem("not found.").rule(comes.rule).evidence(evidence).remedy(
            "Copy a kernel there, or name your kernel in config.txt with kernel=NAME. Settings in a section such as [pi4] \
             apply to that model only; [all] ends the section.",
        );
        Err(self.boot.end(&names.join(", "), finding))
    }

    /// Whether the Pi starts in 64-bit mode.
    ///
    /// > Defaults to 1 on Pi 4s (Pi 4B, Pi 400, CM4 and CM4S), and 0 on all other platforms. However, if the name given
    /// > in an explicit `kernel` option matches one of the known kernels then `arm_64bit` will be set accordingly.
    ///
    /// (raspberrypi/documentation, config_txt/boot.adoc)
    fn is_64bit(&self) -> bool {
        let default = self.profile().is_64bit;
        match (&self.config.kernel, self.config.arm_64bit) {
            (Some(name), _) if KNOWN.contains(&name.as_str()) => names_64bit(name),
            (_, Some(set)) => set,
            (_, None) => default,
        }
    }
}

/// Whether a kernel of this name runs in 64-bit mode.
pub(super) fn names_64bit(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    !IN_32_BITS.contains(&name)
}

const IN_32_BITS: &[&str] = &["kernel8-32.img", "kernel7l.img", "kernel7.img", "kernel.img"];
const KNOWN: &[&str] = &["kernel8.img", "kernel8-32.img", "kernel7l.img", "kernel7.img", "kernel.img"];
