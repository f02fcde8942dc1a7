//! The impersonated client: its name, its DISCOVER, and its first files.

use core::fmt;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use pinetboot_core::dhcp::{BootClient, Profile};
use pinetboot_core::pi::{BootCode, MachineId, Model, PiIdentity, Prefix};

/// A client that boots from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeClient {
    /// The first boot code of a Pi.
    Pi(Model),
    /// U-Boot.
    UBoot,
}

impl ProbeClient {
    /// The DISCOVER and the timeouts of the client. `None` if no Pi has this serial number.
    pub fn profile(self, mac: [u8; 6], serial: u32) -> Option<Profile> {
        Some(match self {
            Self::Pi(model) => match model.profile().machine_id {
                MachineId::BootRom => Profile::PiBootRom,
                MachineId::Structured { fourcc, revision } => {
                    Profile::Pi(PiIdentity::new(fourcc, revision, mac, serial)?)
                }
            },
            Self::UBoot => Profile::UBoot,
        })
    }

    /// The rules by which the client chooses a boot server.
    pub const fn rules(self) -> BootClient {
        match self {
            Self::Pi(model) => model.profile().boot_client,
            Self::UBoot => BootClient::UBoot,
        }
    }

    /// The client's first file, in each place where the client looks for it: one of these is enough. `named` is the boot file
    /// of the offer, which a Pi ignores.
    pub fn first_files(self, serial: u32, named: Option<&str>) -> Vec<String> {
        let profile = match self {
            Self::Pi(model) => model.profile(),
            Self::UBoot => return vec![named.unwrap_or("boot.scr.uimg").to_owned()],
        };
        match (profile.root_files, profile.own_directory) {
            ([file, ..], _) => vec![(*file).to_owned()],
            ([], [file, ..]) => vec![format!("{}/{file}", Prefix::Serial(serial)), (*file).to_owned()],
            ([], []) => Vec::new(),
        }
    }

    /// The name at the beginning of a sentence.
    pub(super) fn subject(self) -> String {
        if self == Self::UBoot { self.to_string() } else { format!("The {self}") }
    }

    /// The name with an indefinite article.
    pub(super) fn role(self) -> String {
        if self == Self::UBoot { self.to_string() } else { format!("a {self}") }
    }

    /// The value of `--as`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pi(model) => model.profile().word,
            Self::UBoot => "uboot",
        }
    }

    /// Whether the client's requests hold its serial number.
    pub fn has_serial(self) -> bool {
        match self {
            Self::Pi(model) => model.profile().machine_id != MachineId::BootRom,
            Self::UBoot => false,
        }
    }
}

/// Every model, the newest first, and U-Boot.
impl ValueEnum for ProbeClient {
    fn value_variants<'a>() -> &'a [Self] {
        &CLIENTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.word());
        Some(match self {
            Self::Pi(model) => {
                let profile = model.profile();
                value.help(format!("The {} of a {}", boot_code(profile.boot_code), profile.name))
            }
            Self::UBoot => value.help("U-Boot"),
        })
    }
}

impl From<Model> for ProbeClient {
    fn from(model: Model) -> Self {
        Self::Pi(model)
    }
}

/// The name: `Raspberry Pi 5`.
impl fmt::Display for ProbeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pi(model) => {
                let profile = model.profile();
                match profile.boot_code {
                    BootCode::BootRom => write!(f, "{} ({})", profile.name, boot_code(profile.boot_code)),
                    BootCode::StartElf | BootCode::Eeprom => f.write_str(profile.name),
                }
            }
            Self::UBoot => f.write_str("U-Boot"),
        }
    }
}

/// The name of the first boot code.
const fn boot_code(code: BootCode) -> &'static str {
    match code {
        BootCode::BootRom => "boot ROM",
        BootCode::StartElf | BootCode::Eeprom => "bootloader",
    }
}

const CLIENTS: [ProbeClient; Model::ALL.len() + 1] = {
    let mut clients = [ProbeClient::UBoot; Model::ALL.len() + 1];
    let mut index = 0;
    while index < Model::ALL.len() {
        clients[Model::ALL.len() - 1 - index] = ProbeClient::Pi(Model::ALL[index]);
        index += 1;
    }
    clients
};

/// The serial number of the imaginary Pi that is the default.
pub(crate) const SERIAL: u32 = 0xbd98_9ae1;

#[cfg(test)]
mod tests {
    use pinetboot_core::dhcp::{MAX_LEN, Message};

    use super::*;

    #[test]
    fn a_discover_is_that_of_its_model() {
        let mac = [2, 0, 0, 0, 0, 1];
        for &model in Model::ALL {
            let client = ProbeClient::from(model);
            let mut out = [0; MAX_LEN];
            let profile = client.profile(mac, 0xbd98_9ae1).unwrap();
            let len = profile.discover(mac, 7, 0, &mut out).unwrap();
            assert_eq!(len, if client.has_serial() { 322 } else { 320 }, "{client}");
            assert_eq!(Message::parse(&out[..len]).unwrap().pi().unwrap().model(), Some(model));
        }
    }

    #[test]
    fn a_client_is_typed_by_its_word_and_begins_with_its_file() {
        let words: Vec<_> = ProbeClient::value_variants().iter().map(|client| client.word()).collect();
        assert_eq!(words, ["pi5", "pi4", "pi3", "uboot"]);
        for (word, name, files) in [
            ("pi5", "Raspberry Pi 5", &["bd989ae1/config.txt", "config.txt"][..]),
            ("pi4", "Raspberry Pi 4", &["bd989ae1/start4.elf", "start4.elf"]),
            ("pi3", "Raspberry Pi 3 (boot ROM)", &["bootcode.bin"]),
            ("uboot", "U-Boot", &["boot.scr.uimg"]),
        ] {
            let client = ProbeClient::from_str(word, false).unwrap();
            assert_eq!(
                (client.to_string().as_str(), client.first_files(0xbd98_9ae1, None)),
                (name, files.iter().map(ToString::to_string).collect())
            );
        }
        let help = ProbeClient::Pi(Model::Pi3).to_possible_value().unwrap().get_help().unwrap().to_string();
        assert_eq!(help, "The boot ROM of a Raspberry Pi 3");
    }
}
