//! The GUID a Pi sends in DHCP option 97 (RFC 4578 section 2.3): it identifies the Pi before the first TFTP request.
//!
//! The bootloader in EEPROM (Pi 4, Pi 5) lays it out as documented under `DHCP_OPTION97` (raspberrypi/documentation,
//! eeprom-bootloader): a four-character code, board revision, last four bytes of the MAC address, low half of the serial
//! number. Older boot code sends less; see [`PiIdentity`].
//!
//! Not done here: the rest of the DISCOVER. A responder should also look for `PXEClient` in option 60, and never at
//! option 93, in which every Pi claims to be an x86 BIOS (rpi-eeprom issue 182).

use core::fmt;

use super::{Model, Prefix, Revision};

/// A Raspberry Pi's GUID, proven to be one.
///
/// | layout | bytes after the type byte 0 | sent by |
/// |---|---|---|
/// | structured | fourcc, revision (little-endian), MAC tail (as in the MAC), serial (little-endian) | EEPROM since 2020-03 |
/// | repeated | serial (little-endian), four times | Pi 3B+ boot ROM, `bootcode.bin`, older EEPROM, `DHCP_OPTION97=0` |
/// | boot ROM | 0x44, sixteen times | Pi 3B boot ROM, which knows no better |
///
/// The fourcc is `RPi4` or `RPi5`, in this byte order or reversed: captures show both (cmprovision issues 5 and 16).
///
/// # What is taken for a Pi
///
/// A PC puts its SMBIOS UUID here, so anything may arrive. Taken for a Pi is
///
/// * `RPi` and a digit, in either order, with whatever follows: one random UUID in two hundred million passes;
/// * any other fourcc (`DHCP_OPTION97` may be set to any number) if the revision code of a known Pi 4 or Pi 5
///   [`Board`](super::Board) follows, its upper byte clear. The version of a UUID (1 to 7, RFC 9562) lies where, in
///   either byte order of its fields, this code cannot have it: no well-formed UUID passes;
/// * four equal words of not four equal bytes: makers leave UUIDs at zeros, ones or one digit repeated, and no real
///   serial number is worth mistaking those;
/// * sixteen times 0x44.
///
/// Two kinds of Pis are therefore not recognised. One has a fourcc that its user chose, and a board that is newer than this
/// crate or flags in OTP that reach the upper byte. The other runs UEFI firmware: its GUID is its revision, zeros and MAC
/// (captured, raballew/pipxe). It boots as a PC does and must not be answered as a Pi.
///
/// ```
/// use pinetboot_core::pi::{Model, PiIdentity};
///
/// let pi = PiIdentity::parse(b"\x004iPR\x14\x31\xd0\x00\x01\x09\x02\xf7\x3d\xf0\xcd\x91").unwrap();
/// assert_eq!(pi.model(), Some(Model::Pi4));
/// assert_eq!(pi.serial(), Some(0x91cd_f03d));
/// assert_eq!(pi.mac_tail(), Some([0x01, 0x09, 0x02, 0xf7]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PiIdentity(Layout);

impl PiIdentity {
    /// Length of option 97's value, in bytes.
    pub const LEN: usize = 17;

    /// The Pi 3B's boot ROM, which says nothing of itself (documented, raspberrypi/documentation boot-net).
    pub const BOOT_ROM: Self = Self(Layout::BootRom);

    /// Reads the value of option 97, without its code and length. `None`: not a Raspberry Pi's boot code.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let [GUID_TYPE, guid @ ..] = value else { return None };
        let (words, []) = guid.as_chunks() else { return None };
        let &[fourcc, revision, mac_tail, serial] = words else { return None };

        let structured = Layout::Structured {
            fourcc,
            revision: Revision::from_code(u32::from_le_bytes(revision)),
            mac_tail,
            serial: u32::from_le_bytes(serial),
        };
        if is_rpi(fourcc) {
            return Some(Self(structured));
        }
        if [revision, mac_tail, serial] == [fourcc; 3] {
            let [first, rest @ ..] = fourcc;
            return match first {
                _ if rest != [first; 3] => {
                    Some(Self(Layout::Repeated { serial: u32::from_le_bytes(serial) }))
                }
                BOOT_ROM_BYTE => Some(Self::BOOT_ROM),
                _ => None,
            };
        }
        Revision::from_code(u32::from_le_bytes(revision)).has_eeprom().then_some(Self(structured))
    }

    /// The bytes on the wire: option 97's value, such that `parse(emit())` gives the same identity.
    pub fn emit(&self) -> [u8; Self::LEN] {
        let words = match self.0 {
            Layout::Structured { fourcc, revision, mac_tail, serial } => {
                [fourcc, revision.code().to_le_bytes(), mac_tail, serial.to_le_bytes()]
            }
            Layout::Repeated { serial } => [serial.to_le_bytes(); 4],
            Layout::BootRom => [[BOOT_ROM_BYTE; 4]; 4],
        };
        let mut value = [GUID_TYPE; Self::LEN];
        for (byte, source) in value.iter_mut().skip(1).zip(words.as_flattened()) {
            *byte = *source;
        }
        value
    }

    /// The structured layout, as a client or simulator sends it.
    ///
    /// `fourcc` is in wire order ([`Model::fourcc`], reversed to imitate the other captures), `serial` the low 32 bits.
    /// `None` if [`PiIdentity::parse`] would not read back the same: a fourcc of one's own needs a known Pi 4 or Pi 5
    /// revision.
    pub fn new(fourcc: [u8; 4], revision: Revision, mac: [u8; 6], serial: u32) -> Option<Self> {
        let [_, _, mac_tail @ ..] = mac;
        Self(Layout::Structured { fourcc, revision, mac_tail, serial }).proven()
    }

    /// The repeated layout of a Pi 3B+ or an old EEPROM. `serial` is the low 32 bits.
    ///
    /// `None` if its four bytes are equal.
    pub fn repeated(serial: u32) -> Option<Self> {
        Self(Layout::Repeated { serial }).proven()
    }

    /// Low 32 bits of the serial number, all that any Pi sends. On a Pi 5 the upper half is random as well, so this is
    /// not guaranteed unique (rpi-eeprom issue 563).
    pub fn serial(&self) -> Option<u32> {
        match self.0 {
            Layout::Structured { serial, .. } | Layout::Repeated { serial } => Some(serial),
            Layout::BootRom => None,
        }
    }

    /// The directory this Pi asks for unless `TFTP_PREFIX` says otherwise.
    pub fn prefix(&self) -> Option<Prefix> {
        self.serial().map(Prefix::Serial)
    }

    /// Last four bytes of the MAC address. `None` also if they are zero, as in EEPROM 2020-03-04 (rpi-eeprom issue 103).
    ///
    /// Compare it with the client's hardware address where a mistaken identity would matter.
    pub fn mac_tail(&self) -> Option<[u8; 4]> {
        match self.0 {
            Layout::Structured { mac_tail, .. } if mac_tail != [0; 4] => Some(mac_tail),
            _ => None,
        }
    }

    /// The board's revision code. It is as received: with an `RPi` fourcc it may be one this crate cannot read.
    pub fn revision(&self) -> Option<Revision> {
        match self.0 {
            Layout::Structured { revision, .. } => Some(revision),
            _ => None,
        }
    }

    /// The fourcc as received.
    pub fn fourcc(&self) -> Option<[u8; 4]> {
        match self.0 {
            Layout::Structured { fourcc, .. } => Some(fourcc),
            _ => None,
        }
    }

    /// The family. `None` for the repeated layout, which both a Pi 3B+ and a Pi 4 may send.
    ///
    /// The revision is believed before the fourcc: a Pi 5 says `RPi5` only since its EEPROM of 2023-10-30 (documented,
    /// rpi-eeprom release notes), and `DHCP_OPTION97` can make it say anything.
    pub fn model(&self) -> Option<Model> {
        match self.0 {
            Layout::Structured { fourcc, revision, .. } => {
                revision.model().or_else(|| Model::from_fourcc(fourcc))
            }
            Layout::Repeated { .. } => None,
            Layout::BootRom => Some(Model::Pi3),
        }
    }

    fn proven(self) -> Option<Self> {
        (Self::parse(&self.emit()) == Some(self)).then_some(self)
    }
}

/// Board and serial number, as far as known: `Raspberry Pi 5 Model B Rev 1.0 (8 GB), serial bd989ae1`.
impl fmt::Display for PiIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Layout::Structured { revision, serial, .. } => write!(f, "{revision}, serial {serial:08x}"),
            Layout::Repeated { serial } => write!(f, "Raspberry Pi, serial {serial:08x}"),
            Layout::BootRom => f.write_str("Raspberry Pi 3 boot ROM"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Layout {
    Structured { fourcc: [u8; 4], revision: Revision, mac_tail: [u8; 4], serial: u32 },
    Repeated { serial: u32 },
    BootRom,
}

fn is_rpi(mut fourcc: [u8; 4]) -> bool {
    if fourcc.ends_with(b"iPR") {
        fourcc.reverse();
    }
    matches!(fourcc, [b'R', b'P', b'i', b'0'..=b'9'])
}

const BOOT_ROM_BYTE: u8 = 0x44;
/// A GUID: the only type of identifier that RFC 4578 defines.
const GUID_TYPE: u8 = 0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::string::ToString;

    use super::*;

    /// Serial numbers from the TFTP requests that followed; dnsmasq prints no more than 14 bytes of an option.
    const CAPTURED: [(&[u8; 17], u32, &str); 5] = [
        // Ubuntu 20.04 on a Pi 4, EEPROM 2021-04-29.
        (
            b"\0RPi4\x11\x31\xa0\0\x32\x2e\xf8\xed\x10\x45\x15\x5b",
            0x5b15_4510,
            "Raspberry Pi 4 Model B Rev 1.1 (1 GB)",
        ),
        // raballew/pipxe, MAC e4:5f:01:09:02:f7.
        (
            b"\x004iPR\x14\x31\xd0\0\x01\x09\x02\xf7\x3d\xf0\xcd\x91",
            0x91cd_f03d,
            "Raspberry Pi 4 Model B Rev 1.4 (8 GB)",
        ),
        // rpi-eeprom issue 58.
        (b"\0Cr\xeejCr\xeejCr\xeejCr\xeej", 0x6aee_7243, "Raspberry Pi"),
        // firmware issue 1362.
        (b"\0DV\xef\xa2DV\xef\xa2DV\xef\xa2DV\xef\xa2", 0xa2ef_5644, "Raspberry Pi"),
        // Built as documented, not captured: the serial number of rpi-eeprom issue 563.
        (
            b"\0RPi5\x70\x41\xd0\0\xdd\xe8\x27\x1e\xe1\x9a\x98\xbd",
            0xbd98_9ae1,
            "Raspberry Pi 5 Model B Rev 1.0 (8 GB)",
        ),
    ];

    #[test]
    fn captured_guids_are_read_and_written() {
        for (bytes, serial, name) in CAPTURED {
            let pi = PiIdentity::parse(bytes).unwrap();
            assert_eq!(pi.serial(), Some(serial));
            assert_eq!(pi.prefix(), Some(Prefix::Serial(serial)));
            assert_eq!(pi.to_string(), std::format!("{name}, serial {serial:08x}"));
            assert_eq!(&pi.emit(), bytes);
        }
        let rom =
            PiIdentity::parse(&[0, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68, 68]).unwrap();
        assert_eq!((rom, rom.model(), rom.serial()), (PiIdentity::BOOT_ROM, Some(Model::Pi3), None));
        assert_eq!(rom.to_string(), "Raspberry Pi 3 boot ROM");
    }

    #[test]
    fn a_simulator_gets_the_captured_bytes() {
        let pi4 = Revision::from_code(0x00d0_3114);
        let mac = [0xe4, 0x5f, 0x01, 0x09, 0x02, 0xf7];
        assert_eq!(PiIdentity::new(*b"4iPR", pi4, mac, 0x91cd_f03d).unwrap().emit(), *CAPTURED[1].0);
        assert_eq!(PiIdentity::repeated(0x6aee_7243).unwrap().emit(), *CAPTURED[2].0);
        assert_eq!(PiIdentity::repeated(0x4444_4444), None);
        assert_eq!(PiIdentity::new([7; 4], Revision::from_code(7), mac, 0), None);
    }

    #[test]
    fn the_revision_is_believed_before_the_fourcc() {
        let model = |bytes: &[u8]| PiIdentity::parse(bytes).and_then(|pi| pi.model());
        assert_eq!(
            model(b"\0RPi4\x70\x41\xd0\0\0\0\0\0\x01\x02\x03\x04"),
            Some(Model::Pi5),
            "EEPROM before 2023-10-30"
        );
        assert_eq!(
            model(b"\0RPi5\x01\x02\x03\x04\0\0\0\0\x01\x02\x03\x04"),
            Some(Model::Pi5),
            "unreadable revision"
        );
        assert_eq!(
            model(b"\0RPi6\x01\x02\x03\x04\0\0\0\0\x01\x02\x03\x04"),
            None,
            "a Pi to come is still a Pi"
        );
        assert_eq!(
            model(b"\0lab1\x70\x41\xd0\0\0\0\0\0\x01\x02\x03\x04"),
            Some(Model::Pi5),
            "a fourcc of one's own"
        );
    }

    #[test]
    fn a_mac_of_zeros_is_none() {
        let beta = PiIdentity::parse(b"\0RPi4\x11\x31\xc0\0\0\0\0\0\x01\x02\x03\x04").unwrap();
        assert_eq!(beta.mac_tail(), None);
        // cmprovision issue 5, MAC e4:5f:01:94:24:f8; the serial number's last bytes are not in the log.
        let cm4 = PiIdentity::parse(b"\0RPi4\x40\x31\xc0\0\x01\x94\x24\xf8\xe7\0\0\0").unwrap();
        assert_eq!(cm4.mac_tail(), Some([0x01, 0x94, 0x24, 0xf8]));
        assert_eq!(beta.revision(), Some(Revision::from_code(0x00c0_3111)));
    }

    #[test]
    fn what_a_pc_sends_is_no_pi() {
        for bytes in [
            &b"\0\x4c\x4c\x45\x44\0\x4a\x31\x10\x80\x4d\xb9\xc0\x4f\x4e\x32\x32"[..], // an SMBIOS UUID
            b"\0\x14\x31\xd0\0\0\0\0\0\0\0\xe4\x5f\x01\x09\x02\xf7", // a Pi's UEFI (raballew/pipxe)
            b"\0lab1\x82\x20\xa0\0\0\0\0\0\x01\x02\x03\x04", // a Pi 3 has no EEPROM to set a fourcc in
            b"\0lab1\x70\x41\xd0\x01\0\0\0\0\x01\x02\x03\x04", // an unused bit
            b"\x01RPi5\x70\x41\xd0\0\xdd\xe8\x27\x1e\xe1\x9a\x98\xbd", // not a GUID
            b"\0RPi5\x70\x41\xd0\0\xdd\xe8\x27\x1e\xe1\x9a\x98", // short
            b"\0RPi5\x70\x41\xd0\0\xdd\xe8\x27\x1e\xe1\x9a\x98\xbd\0", // long
            &[0; 17],
            &[0xff; 17],
            b"",
        ] {
            assert_eq!(PiIdentity::parse(bytes), None, "{bytes:x?}");
        }
        for byte in (0..=255).filter(|byte| *byte != BOOT_ROM_BYTE) {
            let mut maker_forgot = [byte; 17];
            maker_forgot[0] = GUID_TYPE;
            assert_eq!(PiIdentity::parse(&maker_forgot), None, "{byte:x}");
        }
    }

    proptest! {
        #[test]
        fn what_is_parsed_is_emitted_again(
            fourcc in prop_oneof![Just(*b"RPi4"), Just(*b"5iPR"), any::<[u8; 4]>()],
            revision in prop_oneof![Just(0x00d0_4170), Just(0x00c0_3111), any::<u32>()],
            mac: [u8; 6],
            serial: u32,
        ) {
            if let Some(pi) = PiIdentity::new(fourcc, Revision::from_code(revision), mac, serial) {
                prop_assert_eq!(PiIdentity::parse(&pi.emit()), Some(pi));
                prop_assert_eq!(pi.serial(), Some(serial));
            } else {
                prop_assert!(!is_rpi(fourcc));
            }
            if let Some(pi) = PiIdentity::repeated(serial) {
                prop_assert_eq!(PiIdentity::parse(&pi.emit()), Some(pi));
            }
        }

        #[test]
        fn no_well_formed_uuid_is_a_pi(mut bytes: [u8; 16], version in 1_u8..=7, smbios_order: bool) {
            let at = if smbios_order { 7 } else { 6 };
            bytes[at] = version << 4 | bytes[at] & 15;
            prop_assume!(bytes.first_chunk().is_some_and(|fourcc| !is_rpi(*fourcc)));
            for (revision, real) in bytes[4..8].iter_mut().zip(0x00d0_4170_u32.to_le_bytes()).take(at - 4) {
                *revision = real; // as close as it gets
            }
            let mut value = [GUID_TYPE; PiIdentity::LEN];
            value[1..].copy_from_slice(&bytes);
            prop_assert_eq!(PiIdentity::parse(&value), None);
        }

        #[test]
        fn any_bytes_are_refused_or_given_back(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Some(pi) = PiIdentity::parse(&bytes) {
                prop_assert_eq!(&pi.emit()[..], &bytes[..]);
            }
        }
    }
}
