//! Checks a packed file, and lists its content.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use pinetboot_config::FILE_NAME;

use super::flash::{Board, FLASH_BASE};
use super::{archive, configuration, uf2};
use crate::exit::{Exit, Failed};

/// Returns a line with the flash addresses, a line for each file, and the sum.
pub(super) fn report(path: &Path) -> Result<String, Failed> {
    let name = path.display();
    let broken = |why: String| Failed::new(Exit::Failure, format!("{name}: {why}"));
    let file = fs::read(path).map_err(|error| broken(error.to_string()))?;
    if path.extension().is_some_and(|extension| extension == "toml") {
        return configuration::describe(&file).map(|text| format!("{name}: {text}\n")).map_err(broken);
    }
    let (place, archive) = if uf2::is_uf2(&file) {
        let image = uf2::decode(&file).map_err(broken)?;
        (place(&image), image.bytes)
    } else {
        ("a bare archive, as for an ESP32".to_owned(), file)
    };
    let members = archive::read(&archive).map_err(|why| {
        broken(format!(
            "{why}. The file is damaged, or not made by 'pinetboot pack': pack the directory again"
        ))
    })?;
    let mut text = format!("{name}: {place}\n");
    for member in &members {
        let _cannot_fail = writeln!(text, "{:>12}  {}", member.len, member.name);
    }
    if let Some(file) = archive::file(&archive, FILE_NAME) {
        let described = configuration::describe(&file);
        let text_of_it = described.map_err(|why| broken(format!("{FILE_NAME}, {why}")))?;
        let _cannot_fail = writeln!(text, "{FILE_NAME}: {text_of_it}");
    }
    let bytes: u64 = members.iter().map(|member| member.len).sum();
    let _cannot_fail = writeln!(text, "{} files, {bytes} bytes", members.len());
    Ok(text)
}

fn place(image: &uf2::Uf2Image) -> String {
    let board = match image.board {
        Board::Rp2040 => "RP2040",
        Board::Rp2350 | Board::Esp => "RP2350",
    };
    let end = u64::from(image.address) + image.bytes.len() as u64;
    let offset = image.address.wrapping_sub(FLASH_BASE);
    format!("for an {board}, flash from {:#010x} to {end:#010x} (offset {offset:#x})", image.address)
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
        for other in [&b""[..], b"#!/bin/sh\n", &uf2::encode(&[0x12; 9000], &region)] {
            fs::write(&path, other).unwrap();
            let failed = report(&path).unwrap_err();
            assert_eq!(failed.exit, Exit::Failure);
            assert!(failed.message.contains("pack the directory again"), "{}", failed.message);
        }
    }
}
