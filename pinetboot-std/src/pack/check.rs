//! Checks a packed file, and lists its content.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use pinetboot_config::{ArchiveHeader, FILE_NAME, find_archive};
use serde::Serialize;

use super::flash::{Board, FLASH_BASE};
use super::{archive, configuration, uf2};
use crate::exit::{Exit, Failed};

/// The content of a checked file.
#[derive(Debug, Serialize)]
pub(super) struct Contents {
    /// The checked file.
    path: PathBuf,
    /// The place in flash of a UF2 image; `None` for an ESP32's, and for a `pinetboot.toml`.
    place: Option<Place>,
    /// The files in their order; `None` for a `pinetboot.toml`.
    files: Option<Vec<Member>>,
    /// The settings of `pinetboot.toml`, in words.
    configuration: Option<String>,
}

#[derive(Debug, Serialize)]
struct Member {
    name: String,
    bytes: u64,
}

/// The place of an image in flash.
#[derive(Debug, Serialize)]
struct Place {
    /// The board, as a value of `--board`.
    board: &'static str,
    /// The first address.
    address: u32,
    /// Bytes in flash.
    bytes: usize,
    /// The offset of the files in flash: behind the firmware, if the image has it.
    files: u32,
}

/// Checks a file.
pub(super) fn check(path: &Path) -> Result<Contents, Failed> {
    let name = path.display();
    let broken = |why: String| Failed::new(Exit::Failure, format!("{name}: {why}"));
    let file = fs::read(path).map_err(|error| Failed::new(Exit::Usage, format!("{name}: {error}")))?;
    let path = path.to_owned();
    if path.extension().is_some_and(|extension| extension == "toml") {
        let described = configuration::describe(&file).map_err(broken)?;
        return Ok(Contents { path, place: None, files: None, configuration: Some(described) });
    }
    let damaged = |why: &str| {
        broken(format!(
            "{why}. The file is damaged, or not made by 'pinetboot pack': pack the directory again"
        ))
    };
    let image = if uf2::is_uf2(&file) { Some(uf2::decode(&file).map_err(broken)?) } else { None };
    let (flash, base) =
        image.as_ref().map_or((&file, 0), |image| (&image.bytes, image.address.wrapping_sub(FLASH_BASE)));
    let (at, archive) = find_archive(flash, base).ok_or_else(|| damaged("no archive of files in it"))?;
    if ArchiveHeader::parse(&flash[at..], base.wrapping_add(at as u32)) != Some(ArchiveHeader::of(archive)) {
        return Err(damaged("the files are not those that the header names"));
    }
    let place = image.as_ref().map(|image| Place::of(image, at));
    let members = archive::read(archive).map_err(|why| damaged(&why))?;
    let files = members.into_iter().map(|member| Member { name: member.name, bytes: member.len });
    let configuration = archive::file(archive, FILE_NAME)
        .map(|file| configuration::describe(&file).map_err(|why| broken(format!("{FILE_NAME}, {why}"))));
    Ok(Contents { path, place, files: Some(files.collect()), configuration: configuration.transpose()? })
}

/// A line with the flash addresses, a line for each file, and the sum.
impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let configuration = self.configuration.as_deref();
        let Some(files) = &self.files else {
            return writeln!(f, "{path}: {}", configuration.unwrap_or_default());
        };
        match &self.place {
            Some(place) => writeln!(f, "{path}: {place}")?,
            None => writeln!(f, "{path}: for an ESP32")?,
        }
        for file in files {
            writeln!(f, "{:>12}  {}", file.bytes, file.name)?;
        }
        if let Some(configuration) = configuration {
            writeln!(f, "{FILE_NAME}: {configuration}")?;
        }
        writeln!(f, "{} files, {} bytes", files.len(), files.iter().map(|file| file.bytes).sum::<u64>())
    }
}

impl Place {
    fn of(image: &uf2::Uf2Image, files: usize) -> Self {
        let board = match image.board {
            Board::Rp2040 => "rp2040",
            Board::Rp2350 | Board::Esp => "rp2350",
        };
        let files = image.address.wrapping_sub(FLASH_BASE).wrapping_add(files as u32);
        Self { board, address: image.address, bytes: image.bytes.len(), files }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { board, address, bytes, files } = self;
        let end = u64::from(*address) + *bytes as u64;
        let board = board.to_uppercase();
        write!(f, "for an {board}, flash from {address:#010x} to {end:#010x} (files at offset {files:#x})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::flash::FlashRegion;

    #[test]
    fn other_files_are_refused_with_a_word_on_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("boot.uf2");
        let region = FlashRegion { board: Board::Rp2040, offset: 0, flash: 0x20_0000 };
        for other in [&b""[..], b"#!/bin/sh\n", &uf2::encode(vec![0x12; 9000], &region)] {
            fs::write(&path, other).unwrap();
            let failed = check(&path).unwrap_err();
            assert_eq!(failed.exit, Exit::Failure);
            assert!(failed.message.contains("pack the directory again"), "{}", failed.message);
        }
    }
}
