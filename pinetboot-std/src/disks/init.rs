//! The first program of a Pi with a disk, `pinetboot-init`: that of a file, or one of those in this program.
//!
//! The system on the card decides which: its programs and the first program are for the same kind of processor. A card of a 32-bit Raspberry Pi OS has
//! kernels for 32 bits and an arm64 one, of which the Pi's firmware takes one, and all have one initramfs: each kernel that runs this
//! system's programs runs the first program, too.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use pinetboot_image::{Container, ImageError, ReadAt, SystemView};

use crate::config::DiskConfig;

/// The first programs, the one of `--init` before those in this program.
#[derive(Debug)]
pub(crate) struct FirstPrograms(Vec<FirstProgram>);

#[derive(Debug)]
struct FirstProgram {
    /// The file of `--init`.
    named: Option<PathBuf>,
    machine: Machine,
    bytes: Vec<u8>,
}

/// The kind of processor that a program is for: `e_machine` of its ELF header (elf(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine(u16);

impl FirstPrograms {
    /// The first programs for a configuration.
    ///
    /// # Errors
    ///
    /// The reason why there is none, and the remedy.
    pub(crate) fn of(config: &DiskConfig) -> Result<Self, String> {
        let mut programs = Vec::new();
        if let Some(file) = &config.init {
            let bytes = fs::read(file).map_err(|error| format!("--init {}: {error}", file.display()))?;
            let machine = Machine::of(&bytes).ok_or_else(|| {
                format!("--init {} is no program: build it as pinetboot-init's README says", file.display())
            })?;
            programs.push(FirstProgram { named: Some(file.clone()), machine, bytes });
        }
        for (machine, packed) in BUILT_IN.into_iter().filter(|(_, packed)| !packed.is_empty()) {
            let mut bytes = Vec::new();
            let mut take = |piece: &[u8]| {
                bytes.extend(piece);
                Ok(())
            };
            let unpacked = Container::of(packed).unpack_stream(packed, &mut take);
            unpacked.map_err(|error| format!("the built-in pinetboot-init is damaged: {error}"))?;
            programs.push(FirstProgram { named: None, machine, bytes });
        }
        if programs.is_empty() { Err(LACKS.into()) } else { Ok(Self(programs)) }
    }

    /// The first program for a card, whose system's programs are for this kind of processor; if that is not known, the first one.
    ///
    /// # Errors
    ///
    /// There is none for this kind, and the remedy.
    pub(super) fn choose(&self, system: Option<Machine>) -> Result<&[u8], String> {
        let right = self.0.iter().find(|program| system.is_none_or(|system| system == program.machine));
        right.map(|program| &program.bytes[..]).ok_or_else(|| {
            let system = system.map(|system| system.to_string()).unwrap_or_default();
            let named = self.0.iter().find_map(|program| Some((program.named.as_deref()?, program.machine)));
            let there = match named {
                Some((file, machine)) => format!("--init {} is for {machine}", file.display()),
                None => format!("this build of pinetboot has no pinetboot-init for {system}"),
            };
            format!(
                "the system on the image is for {system}, and {there}: name a pinetboot-init for {system} with --init FILE. Releases have one for \
                 arm64 inside, and the file pinetboot-init-armhf; pinetboot-init's README says how to build it"
            )
        })
    }
}

impl Machine {
    /// That of a program, by its first 20 bytes; `None` if it is no ELF file.
    fn of(program: &[u8]) -> Option<Self> {
        let head = program.get(..20).filter(|head| head.starts_with(b"\x7fELF"))?;
        let number = head.get(18..).and_then(|bytes| bytes.first_chunk().copied())?;
        let is_big = head.get(5) == Some(&2); // EI_DATA: ELFDATA2MSB
        Some(Self(if is_big { u16::from_be_bytes(number) } else { u16::from_le_bytes(number) }))
    }

    /// That of a system; `None` if it has none of the programs that any system has.
    ///
    /// # Errors
    ///
    /// The image's.
    pub(super) fn of_system<R: ReadAt, B: ReadAt>(
        system: &SystemView<'_, R, B>,
    ) -> Result<Option<Self>, ImageError> {
        for program in ["sbin/init", "bin/sh"] {
            if let Some(machine) = system.read(program, 20)?.as_deref().and_then(Self::of) {
                return Ok(Some(machine));
            }
        }
        Ok(None)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ARM => f.write_str("armhf"),
            Self::ARM64 => f.write_str("arm64"),
            Self(62) => f.write_str("x86-64"),
            Self(other) => write!(f, "another processor (ELF machine {other})"),
        }
    }
}

impl Machine {
    const ARM: Self = Self(40);
    const ARM64: Self = Self(183);
}

/// The programs, packed; empty in a build without them (build.rs).
static BUILT_IN: [(Machine, &[u8]); 2] = [
    (Machine::ARM64, include_bytes!(concat!(env!("OUT_DIR"), "/init"))),
    (Machine::ARM, include_bytes!(concat!(env!("OUT_DIR"), "/init-armhf"))),
];

const LACKS: &str = "this build of pinetboot has no pinetboot-init, the first program of a Pi with a disk: name the file with --init FILE, \
                     or use a release. pinetboot-init's README says how to build it";

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(machine: u16) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x01\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes
    }

    fn programs(of: &[(Option<&str>, Machine)]) -> FirstPrograms {
        let program = |&(named, machine): &(Option<&str>, Machine)| FirstProgram {
            named: named.map(PathBuf::from),
            machine,
            bytes: elf(machine.0),
        };
        FirstPrograms(of.iter().map(program).collect())
    }

    #[test]
    fn a_card_gets_the_first_program_for_its_system() {
        let both = programs(&[(None, Machine::ARM64), (None, Machine::ARM)]);
        for machine in [Machine::ARM64, Machine::ARM] {
            assert_eq!(both.choose(Some(machine)), Ok(&elf(machine.0)[..]));
        }
        assert_eq!(both.choose(None), Ok(&elf(183)[..]));
        // The named one before those of the program, for its own kind alone.
        let named = programs(&[(Some("/i"), Machine::ARM), (None, Machine::ARM64), (None, Machine::ARM)]);
        assert_eq!(named.choose(Some(Machine::ARM64)), Ok(&elf(183)[..]));
        assert_eq!(named.choose(None), Ok(&elf(40)[..]));
    }

    #[test]
    fn a_card_without_a_first_program_for_its_system_is_refused_with_the_remedy() {
        let why = programs(&[(Some("/i"), Machine::ARM64)]).choose(Some(Machine::ARM)).unwrap_err();
        assert!(
            why.starts_with("the system on the image is for armhf, and --init /i is for arm64: name"),
            "{why}"
        );
        let why = programs(&[(None, Machine::ARM64)]).choose(Some(Machine::ARM)).unwrap_err();
        assert!(why.contains("this build of pinetboot has no pinetboot-init for armhf: name"), "{why}");
    }

    #[test]
    fn a_program_names_its_processor() {
        assert_eq!(Machine::of(&elf(40)), Some(Machine::ARM));
        let mut big = elf(0);
        (big[5], big[18], big[19]) = (2, 0, 183);
        assert_eq!(Machine::of(&big), Some(Machine::ARM64));
        assert_eq!(Machine::of(&elf(40)[..19]), None);
        assert_eq!(Machine::of(b"#!/bin/sh\n# a script, no program"), None);
    }
}
