//! The boot files that DHCP names to clients that are no Pi's boot code: `--boot-file [ARCH=]NAME`.

use std::collections::BTreeMap;

use pinetboot_core::dhcp::BootFileName;

/// A kind of client that boots by a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BootArch {
    /// A PC with a BIOS.
    Bios,
    /// UEFI on 32-bit x86.
    X86,
    /// UEFI on 64-bit x86.
    X64,
    /// UEFI on 32-bit ARM.
    Arm,
    /// UEFI on 64-bit ARM: a Raspberry Pi with EDK2.
    Arm64,
    /// iPXE: the file is a script.
    Ipxe,
}

/// Boot files by kind of client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootFiles {
    /// For kinds without a file of their own.
    any: Option<String>,
    of: BTreeMap<BootArch, String>,
}

impl BootFiles {
    /// The files of the settings' values.
    ///
    /// # Errors
    ///
    /// The first invalid value and its fault.
    pub(super) fn parse(values: &[String]) -> Result<Self, String> {
        let mut files = Self::default();
        for value in values {
            let (arch, name) = match value.split_once('=') {
                Some((arch, name)) => (Some(BootArch::parse(arch)?), name),
                None => (None, value.as_str()),
            };
            BootFileName::parse(name.as_bytes()).map_err(|error| format!("boot-file {value}: {error}"))?;
            let before = match arch {
                Some(arch) => files.of.insert(arch, name.to_owned()),
                None => files.any.replace(name.to_owned()),
            };
            if let Some(before) = before {
                return Err(format!("boot-file: both {before} and {name} are for the same clients"));
            }
        }
        Ok(files)
    }

    /// Whether no file is set.
    pub fn is_empty(&self) -> bool {
        self.any.is_none() && self.of.is_empty()
    }

    /// Whether UEFI on a Raspberry Pi has a file.
    pub fn is_for_pis(&self) -> bool {
        self.of_arch(Some(BootArch::Arm64)).is_some() || self.of.contains_key(&BootArch::Ipxe)
    }

    /// The file for a kind of client; `None` is any other kind.
    pub fn of_arch(&self, arch: Option<BootArch>) -> Option<&str> {
        let own = arch.and_then(|arch| self.of.get(&arch));
        let shared = self.any.as_ref().filter(|name| match arch {
            // iPXE would load itself again and again.
            Some(BootArch::Ipxe) => false,
            Some(BootArch::Bios) => !name.to_ascii_lowercase().ends_with(".efi"),
            _ => true,
        });
        own.or(shared).map(String::as_str)
    }
}

impl BootArch {
    /// The name in the settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::X86 => "x86",
            Self::X64 => "x64",
            Self::Arm => "arm",
            Self::Arm64 => "arm64",
            Self::Ipxe => "ipxe",
        }
    }

    /// The kind of a number in option 93 (IANA, "Processor Architecture Types"). 9 is that of many UEFI PCs, which RFC 4578 has as
    /// 7 (its erratum 4625).
    pub const fn of_code(code: u16) -> Option<Self> {
        Some(match code {
            0 => Self::Bios,
            6 => Self::X86,
            7 | 9 => Self::X64,
            10 => Self::Arm,
            11 => Self::Arm64,
            _ => return None,
        })
    }

    fn parse(name: &str) -> Result<Self, String> {
        let known = [Self::Bios, Self::X86, Self::X64, Self::Arm, Self::Arm64, Self::Ipxe];
        known.into_iter().find(|arch| arch.name() == name).ok_or_else(|| {
            let names: Vec<_> = known.iter().map(|arch| arch.name()).collect();
            format!("boot-file: {name} is none of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(values: &[&str]) -> Result<BootFiles, String> {
        BootFiles::parse(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_kind_of_client_has_its_file() {
        let files =
            files(&["x64=ipxe.efi", "arm64=ipxe-arm64.efi", "bios=undionly.kpxe", "ipxe=boot.ipxe"]).unwrap();
        for (code, name) in [
            (7, Some("ipxe.efi")),
            (9, Some("ipxe.efi")),
            (11, Some("ipxe-arm64.efi")),
            (0, Some("undionly.kpxe")),
            (6, None),
            (16, None), // UEFI HTTP boot
        ] {
            assert_eq!(files.of_arch(BootArch::of_code(code)), name, "{code}");
        }
        assert_eq!(files.of_arch(Some(BootArch::Ipxe)), Some("boot.ipxe"));
        assert!(files.is_for_pis());
    }

    #[test]
    fn a_file_for_all_is_for_those_who_can_run_it() {
        let files = files(&["ipxe.efi"]).unwrap();
        assert_eq!(files.of_arch(Some(BootArch::X64)), Some("ipxe.efi"));
        assert_eq!(files.of_arch(Some(BootArch::Bios)), None);
        assert_eq!(files.of_arch(Some(BootArch::Ipxe)), None);
        assert_eq!(files.of_arch(None), Some("ipxe.efi"), "U-Boot");
    }

    #[test]
    fn mistakes_are_named() {
        let long = "x".repeat(128);
        for (values, why) in [
            (&["ppc=a"][..], "none of bios, x86, x64"),
            (&["a", "b"], "both a and b"),
            (&["x64=a", "x64=b"], "both a and b"),
            (&["x64="], "empty"),
            (&[long.as_str()], "longer than 127"),
        ] {
            let message = files(values).unwrap_err();
            assert!(message.contains(why), "{values:?}: {message}");
        }
    }
}
