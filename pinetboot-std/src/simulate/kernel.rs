//! Which kernel a Pi settles on.
//!
//! A Pi 5 looks for two names. Older ones go through a list that depends on `arm_64bit`, and before that through the
//! same list of recovery systems (NOOBS, PINN): captured, raspberrypi/cmprovision and raspberrypi/firmware issue 1605.

use pinetboot_core::pi::{Model, Stage};

use super::boot::Over;
use super::loader::{Loader, join};
use super::timeline::Miss;

impl Loader<'_, '_> {
    /// The names to try, best first: the one in config.txt, or those that the model knows.
    pub(super) fn kernel_names(&self) -> Vec<String> {
        if let Some(name) = &self.config.kernel {
            return vec![name.clone()];
        }
        self.flavours().iter().map(|flavour| format!("kernel{flavour}.img")).collect()
    }

    /// Looks which kernel there is, as a Pi 5 does before it takes anything else.
    pub(super) fn find_kernel(&mut self) -> Result<Option<String>, Over> {
        let names = self.kernel_names();
        let found = self.first_there(&names)?;
        if found.is_none() {
            self.no_kernel(&names)?;
        }
        Ok(found)
    }

    /// Looks which kernel there is, and takes the ARM stub: the end of the boot, on a Pi 3 or 4.
    pub(super) fn find_kernel_and_stub(&mut self) -> Result<Option<String>, Over> {
        let names = self.kernel_names();
        if self.config.kernel.is_none() {
            for flavour in self.recovery_flavours() {
                let name = format!("recovery{flavour}.img");
                self.boot.there(Stage::Kernel, &name, Miss::Normal("no recovery"))?;
            }
        }
        if self.boot.board.model == Model::Pi3 && !self.is_64bit() && self.config.kernel.is_none() {
            return self.find_32bit_kernel(&names);
        }
        let found = self.first_there(&names)?;
        if found.is_none() {
            self.no_kernel(&names)?;
        }
        let in_64_bits = found.as_deref().map_or(self.is_64bit(), names_64bit);
        self.take_arm_stub(in_64_bits)?;
        Ok(found)
    }

    /// The kernel whose initramfs a Pi 3 or 4 takes, before it has looked for the kernel itself.
    pub(super) fn expected_kernel(&self) -> String {
        let name = self.config.kernel.clone().unwrap_or_else(|| {
            let flavour = match (self.boot.board.model, self.is_64bit()) {
                (_, true) => "8",
                (Model::Pi3, false) => "7",
                (_, false) => "7l",
            };
            format!("kernel{flavour}.img")
        });
        join(&self.os_prefix, &name)
    }

    /// A Pi 3 in 32 bits looks at `kernel8.img` too, but goes on to `kernel7.img`.
    fn find_32bit_kernel(&mut self, names: &[String]) -> Result<Option<String>, Over> {
        let (first, others) = names.split_at(names.len().min(1));
        let mut found = self.first_there(first)?;
        let other = join(&self.os_prefix, "kernel8.img");
        let other_there =
            found.is_none() && self.boot.there(Stage::Kernel, &other, Miss::Normal("32 bits"))?;
        self.take_arm_stub(false)?;
        if found.is_none() {
            found = self.first_there(others)?;
        }
        if found.is_none() && other_there {
            self.boot.findings.warn(
                "there is only kernel8.img, in 64 bits, and config.txt does not ask for that on a Pi 3: set \
                 arm_64bit=1.",
            );
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

    /// Takes the kernel, and the boot is over.
    pub(super) fn take_kernel(&mut self, found: Option<String>) -> Result<(), Over> {
        let Some(path) = found else { return Ok(()) };
        match self.boot.take(Stage::Kernel, &path, Miss::Bad)? {
            Some(_) => self.boot.findings.loaded.files.insert(0, path.trim_start_matches('/').to_owned()),
            None => {
                self.boot.problem(&path, "it was there at first, and is not now.", "see the server's log.")
            }
        }
        Ok(())
    }

    fn no_kernel(&mut self, names: &[String]) -> Result<(), Over> {
        if let Some(stub) = &self.config.armstub {
            let note = format!("there is no kernel, and armstub={stub} needs none if it is a UEFI.");
            self.boot.findings.note(note);
            return Ok(());
        }
        let hint = match (&self.config.kernel, self.boot.board.model) {
            (Some(name), _) => format!("config.txt asks for it: kernel={name}."),
            (None, Model::Pi5) => {
                "A Raspberry Pi 5 says: BOOT ERROR: code 7 - Kernel or device-tree not found or is not compatible.".into()
            }
            (None, _) => format!("The {} stops.", self.boot.pi()),
        };
        let why = format!("not found.\n{hint}");
        let remedy = "copy a kernel there, or name yours in config.txt with kernel=NAME. Settings in a section such \
                      as [pi4] count for that model only; [all] ends it.";
        Err(self.boot.end(&names.join(", "), &why, remedy))
    }

    /// Whether the system is in 64 bits.
    ///
    /// > Defaults to 1 on Pi 4s (Pi 4B, Pi 400, CM4 and CM4S), and 0 on all other platforms. However, if the name given
    /// > in an explicit `kernel` option matches one of the known kernels then `arm_64bit` will be set accordingly.
    ///
    /// (raspberrypi/documentation, config_txt/boot.adoc)
    fn is_64bit(&self) -> bool {
        let default = self.boot.board.model != Model::Pi3;
        match (&self.config.kernel, self.config.arm_64bit) {
            (Some(name), _) if KNOWN.contains(&name.as_str()) => names_64bit(name),
            (_, Some(set)) => set,
            (_, None) => default,
        }
    }

    fn flavours(&self) -> &'static [&'static str] {
        match (self.boot.board.model, self.config.arm_64bit) {
            (Model::Pi3 | Model::Pi4, Some(true)) => &["8"],
            (Model::Pi3, _) => &["8-32", "7", ""],
            (Model::Pi4, Some(false)) => &["8-32", "7l", "7", ""],
            (Model::Pi4, None) => &["8", "8-32", "7l", "7", ""],
            _ => &["_2712", "8"],
        }
    }

    fn recovery_flavours(&self) -> &'static [&'static str] {
        match (self.boot.board.model, self.config.arm_64bit) {
            (Model::Pi3, Some(false) | None) => &["8", "8-32", "7", ""],
            _ => self.flavours(),
        }
    }
}

fn names_64bit(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    !IN_32_BITS.contains(&name)
}

const IN_32_BITS: &[&str] = &["kernel8-32.img", "kernel7l.img", "kernel7.img", "kernel.img"];
const KNOWN: &[&str] = &["kernel8.img", "kernel8-32.img", "kernel7l.img", "kernel7.img", "kernel.img"];
