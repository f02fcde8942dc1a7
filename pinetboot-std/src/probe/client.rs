//! Who asks: a boot loader, its name for people, its DISCOVER, and the files by which it begins.

use core::fmt;

use clap::ValueEnum;
use pinetboot_core::dhcp::{BootClient, Profile};
use pinetboot_core::pi::{Model, PiIdentity, Prefix, Revision};

/// A client that boots from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// The bootloader of a Raspberry Pi 5
    Pi5,
    /// The bootloader of a Raspberry Pi 4
    Pi4,
    /// The boot ROM of a Raspberry Pi 3
    Pi3,
    /// U-Boot
    #[value(name = "uboot")]
    UBoot,
}

impl Client {
    /// What it says, and how long it waits. `None` if no Pi can have that serial number.
    pub fn profile(self, mac: [u8; 6], serial: u32) -> Option<Profile> {
        let pi = |revision, fourcc| PiIdentity::new(fourcc, Revision::from_code(revision), mac, serial);
        Some(match self {
            Self::Pi5 => Profile::Pi(pi(PI5, Model::Pi5.fourcc()?)?),
            Self::Pi4 => Profile::Pi(pi(PI4, Model::Pi4.fourcc()?)?),
            Self::Pi3 => Profile::PiBootRom,
            Self::UBoot => Profile::UBoot,
        })
    }

    /// By whose rules it takes a boot server.
    pub fn rules(self) -> BootClient {
        match self {
            Self::Pi5 | Self::Pi4 => BootClient::PiEeprom,
            Self::Pi3 => BootClient::PiBootRom,
            Self::UBoot => BootClient::UBoot,
        }
    }

    /// The first file that it needs, wherever it looks for it: any of these will do. `named` is the boot file of the
    /// offer, which a Pi does not look at.
    pub fn first_files(self, serial: u32, named: Option<&str>) -> Vec<String> {
        let both = |file: &str| vec![format!("{}/{file}", Prefix::Serial(serial)), file.to_owned()];
        match self {
            Self::Pi5 => both("config.txt"),
            Self::Pi4 => both("start4.elf"),
            Self::Pi3 => vec!["bootcode.bin".to_owned()],
            Self::UBoot => vec![named.unwrap_or("boot.scr.uimg").to_owned()],
        }
    }

    /// As what a sentence begins with.
    pub(super) fn subject(self) -> String {
        if self == Self::UBoot { self.to_string() } else { format!("The {self}") }
    }

    /// As what one asks.
    pub(super) fn role(self) -> String {
        if self == Self::UBoot { self.to_string() } else { format!("a {self}") }
    }

    /// As it is typed.
    pub fn word(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// Whether its serial number is in what it asks for.
    pub fn has_serial(self) -> bool {
        matches!(self, Self::Pi5 | Self::Pi4)
    }
}

impl From<Model> for Client {
    fn from(model: Model) -> Self {
        match model {
            Model::Pi3 => Self::Pi3,
            Model::Pi4 => Self::Pi4,
            _ => Self::Pi5,
        }
    }
}

/// What people call it.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pi5 => "Raspberry Pi 5",
            Self::Pi4 => "Raspberry Pi 4",
            Self::Pi3 => "Raspberry Pi 3 (boot ROM)",
            Self::UBoot => "U-Boot",
        })
    }
}

/// A Pi 5 with 16 GB, revision 1.0 (captured, rpi5-uefi issue 8).
const PI5: u32 = 0x00d0_4170;
/// A Pi 4 with 8 GB, revision 1.4 (captured, raballew/pipxe).
const PI4: u32 = 0x00d0_3114;

#[cfg(test)]
mod tests {
    use pinetboot_core::dhcp::{MAX_LEN, Message};

    use super::*;

    #[test]
    fn a_discover_is_that_of_its_model() {
        let mac = [2, 0, 0, 0, 0, 1];
        for (client, len) in [(Client::Pi5, 322), (Client::Pi4, 322), (Client::Pi3, 320)] {
            let mut out = [0; MAX_LEN];
            let profile = client.profile(mac, 0xbd98_9ae1).unwrap();
            assert_eq!(profile.discover(mac, 7, 0, &mut out), Some(len), "{client}");
            let model = Message::parse(&out[..len]).unwrap().pi().unwrap().model();
            assert_eq!(model.map(Client::from), Some(client));
        }
    }
}
