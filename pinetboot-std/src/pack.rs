//! `pinetboot pack`: packs boot files into a UF2 image for a boot-appliance board, and checks such an image.
//!
//! ```text
//! PackFiles (names, lengths) -> archive (ustar) -> firmware, header, archive -> UF2 (flash addresses) -> boot.uf2
//! ```
//!
//! The firmware finds the archive by its header ([`ArchiveHeader`]) and reads it in place. Equal files make equal bytes.

mod archive;
mod check;
mod configuration;
pub mod drive;
mod files;
mod firmware;
mod flash;
mod uf2;

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pinetboot_config::ArchiveHeader;
use tracing::Level;

use crate::exit::{Exit, Failed};
use crate::output;
use crate::text::lines;
use files::PackFiles;
pub use flash::Board;
use flash::{FlashRegion, SECTOR, size};

/// Options of `pack`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Directory to pack (required without --check): the files of a Pi's boot partition, and optionally the appliance's
    /// pinetboot.toml
    #[arg(required_unless_present = "check")]
    pub tree: Option<PathBuf>,

    /// Output file (required without --check)
    #[arg(short, long, value_name = "FILE", required_unless_present = "check")]
    pub output: Option<PathBuf>,

    /// Target board
    #[arg(long, value_enum, default_value_t = Board::Rp2040)]
    pub board: Board,

    /// Firmware to pack, an ELF file that cargo built [default: the one in this program]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["offset", "esp"])]
    pub firmware: Option<PathBuf>,

    /// Pack the boot files alone, for this offset in flash, in bytes; the firmware takes the first files in flash [default:
    /// firmware and boot files, from the start; with --esp 1M]
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub offset: Option<u64>,

    /// Flash size of the board, in bytes [default: 2M, with --esp 4M]
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub flash: Option<u64>,

    /// Write the boot files for an ESP32, to be flashed by espflash
    #[arg(long, conflicts_with = "board")]
    pub esp: bool,

    /// Write the boot files as a bare archive, for 'curl -T boot.tar tftp://BOARD/KEY/' to a board that has upload = "KEY"
    #[arg(long, conflicts_with_all = ["esp", "firmware", "offset"])]
    pub tar: bool,

    /// Check a packed file and list its content; or explain a pinetboot.toml [default: pack]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tree", "output", "board", "firmware", "offset", "flash", "esp", "tar"])]
    pub check: Option<PathBuf>,

    /// With --check: print one JSON object
    #[arg(long, requires = "check")]
    pub json: bool,
}

/// Packs a directory, or checks a file.
///
/// # Errors
///
/// If the directory cannot be read or does not fit, or the file to check is broken.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    if let Some(file) = &options.check {
        let contents = check::check(file)?;
        let out = &mut output::stdout();
        match options.json {
            true => out.json(&contents)?,
            false => write!(out, "{}", lines(&contents.to_string()))?,
        }
        return Ok(Exit::Success);
    }
    let (Some(root), Some(output)) = (&options.tree, &options.output) else {
        return Err(Failed::new(Exit::Usage, "name a directory and an output file: pack TREE -o boot.uf2"));
    };
    let region = FlashRegion::new(options).map_err(|why| Failed::new(Exit::Usage, why))?;
    write!(output::stdout(), "{}", pack(root, output, options, &region)?)?;
    Ok(Exit::Success)
}

/// Writes the packed file, and returns the summary to print.
fn pack(root: &Path, output: &Path, options: &Args, region: &FlashRegion) -> Result<String, Failed> {
    let tree = PackFiles::walk(root)?;
    for left_out in &tree.left_out {
        output::tell(Level::WARN, format_args!("left out: {left_out}"));
    }
    if tree.files.is_empty() {
        return Err(Failed::new(Exit::Tree, format!("{}: holds no file", root.display())));
    }
    let firmware = match options.offset {
        None if region.board != Board::Esp && !options.tar => {
            firmware::firmware(region.board, options.firmware.as_deref())?
        }
        _ => Vec::new(),
    };
    let room = region.len().saturating_sub(firmware.len() as u64 + SECTOR);
    let needed = archive::len(tree.files.iter().map(|file| file.len)).next_multiple_of(SECTOR);
    if needed > room {
        return Err(Failed::new(Exit::Failure, too_big(&tree, needed, room, region)));
    }
    configuration::check(&tree)?;
    let archive = archive::write(&tree)?;
    if options.tar {
        write_file(output, &archive).map_err(|error| cannot_write(output, &error))?;
        let (output, files, bytes) = (output.display(), tree.files.len(), archive.len());
        return Ok(format!("{output}: {files} files in an archive of {bytes} bytes\n"));
    }
    let of_firmware = firmware.len();
    let mut image = firmware;
    // An ESP32's firmware maps its part of the flash from the header on.
    let at = if region.board == Board::Esp { 0 } else { region.offset as u32 + of_firmware as u32 };
    image.extend(ArchiveHeader::of(&archive).emit(at));
    image.resize(of_firmware + SECTOR as usize, 0);
    image.extend(archive);
    let bytes = match region.board {
        Board::Esp => image,
        Board::Rp2040 | Board::Rp2350 => uf2::encode(image, region),
    };
    write_file(output, &bytes).map_err(|error| cannot_write(output, &error))?;
    Ok(summary(&tree, output, of_firmware, room - needed, region))
}

fn cannot_write(output: &Path, error: &std::io::Error) -> Failed {
    Failed::new(Exit::Failure, format!("cannot write {}: {error}", output.display()))
}

fn summary(tree: &PackFiles, output: &Path, firmware: usize, left: u64, region: &FlashRegion) -> String {
    let (files, bytes) = (tree.files.len(), tree.bytes());
    let output = output.display();
    let firmware = match firmware {
        0 => String::new(),
        bytes => format!("firmware of {bytes} bytes, "),
    };
    let mut text =
        format!("{output}: {firmware}{files} files, {bytes} bytes; {left} bytes of the board's flash left\n");
    let _cannot_fail = match region.board {
        Board::Esp => writeln!(text, "Next: espflash write-bin {:#x} {output}", region.offset),
        Board::Rp2040 | Board::Rp2350 => {
            writeln!(text, "Next: hold BOOTSEL while plugging the board in, then 'pinetboot flash {output}'")
        }
    };
    text
}

fn too_big(tree: &PackFiles, needed: u64, room: u64, region: &FlashRegion) -> String {
    let mut text = format!(
        "{} bytes too big: the archive takes {needed}, the flash of {} bytes has {room} for it. The largest files:",
        needed - room,
        region.flash,
    );
    let mut by_size: Vec<_> = tree.files.iter().collect();
    by_size.sort_by_key(|file| core::cmp::Reverse(file.len));
    for file in by_size.iter().take(5) {
        let _cannot_fail = write!(text, "\n{:>12}  {}", file.len, file.name);
    }
    text.push_str(match region.board {
        Board::Esp => "\nRemove large files, or give --flash SIZE if the board has more.",
        Board::Rp2040 | Board::Rp2350 => {
            "\nMove large files to the microSD card, or give --flash SIZE if the board has more."
        }
    });
    text
}

/// Writes the file atomically: by a temporary file and rename.
fn write_file(output: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = output.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut part = tempfile::Builder::new()
        .prefix(".pinetboot-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory.map_or_else(|| PathBuf::from("."), Path::to_owned))?;
    part.write_all(bytes)?;
    part.persist(output).map(drop).map_err(|error| error.error)
}

const EXAMPLES: &str = "\
Examples:
  pinetboot pack /srv/tftp -o boot.uf2                     firmware and files for a W5500-EVB-Pico
  pinetboot pack /srv/tftp -o boot.uf2 --board rp2350 --flash 4M
  pinetboot pack /srv/tftp -o boot.uf2 --firmware target/thumbv6m-none-eabi/release/rp2040_w5500
  pinetboot pack /srv/tftp -o boot.bin --esp               for an ESP32-C3 or C6
  pinetboot pack --check boot.uf2                          list its files
  pinetboot pack --check pinetboot.toml                    explain the settings

An RP2040 or RP2350 serves files that its flash lacks from its microSD card.";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn options(root: &Path, output: &Path) -> Args {
        Args {
            tree: Some(root.to_owned()),
            output: Some(output.to_owned()),
            board: Board::Rp2040,
            firmware: None,
            offset: Some(0x10_0000),
            flash: None,
            esp: false,
            tar: false,
            check: None,
            json: false,
        }
    }

    fn some_tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("overlays")).unwrap();
        fs::write(tree.path().join("config.txt"), "arm_64bit=1\n").unwrap();
        fs::write(tree.path().join("kernel_2712.img"), vec![0x5a; 70_001]).unwrap();
        fs::write(tree.path().join("overlays/overlay_map.dtb"), [1, 2, 3]).unwrap();
        tree
    }

    #[test]
    fn what_is_packed_is_what_check_shows_and_packing_again_gives_the_same() {
        let tree = some_tree();
        let out = tempfile::tempdir().unwrap();
        for (board, esp) in [(Board::Rp2040, false), (Board::Rp2350, false), (Board::Rp2040, true)] {
            let [first, second] = ["1", "2"].map(|name| out.path().join(name));
            run(&Args { board, esp, ..options(tree.path(), &first) }).unwrap();
            fs::File::open(tree.path().join("config.txt"))
                .and_then(|file| file.set_modified(std::time::UNIX_EPOCH))
                .unwrap();
            run(&Args { board, esp, ..options(tree.path(), &second) }).unwrap();
            assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap(), "{board:?}");

            let report = check::check(&first).unwrap().to_string();
            assert!(report.contains("\n          12  config.txt\n"), "{report}");
            assert!(report.contains("\n       70001  kernel_2712.img\n"), "{report}");
            assert!(report.contains("\n           3  overlays/overlay_map.dtb\n"), "{report}");
            assert!(report.ends_with("\n3 files, 70016 bytes\n"), "{report}");
        }
    }

    #[test]
    fn a_wrong_configuration_is_not_packed_and_a_right_one_is_shown() {
        let tree = some_tree();
        let out = tempfile::tempdir().unwrap();
        let output = out.path().join("boot.uf2");
        let configuration = tree.path().join("pinetboot.toml");
        fs::write(&configuration, "# ours\ndhcp = proxy\n").unwrap();
        let failed = run(&options(tree.path(), &output)).unwrap_err();
        assert!(failed.message.contains("pinetboot.toml: line 2: expected a setting"), "{}", failed.message);
        assert_eq!(check::check(&configuration).unwrap_err().message, failed.message);
        assert!(!output.exists());
        fs::write(&configuration, "# ours\ndhcp = 'proxy'\n").unwrap();
        run(&options(tree.path(), &output)).unwrap();
        let report = check::check(&output).unwrap().to_string();
        assert!(
            report.contains("\npinetboot.toml: proxy DHCP beside the network's DHCP server; "),
            "{report}"
        );
        assert!(
            check::check(&configuration)
                .unwrap()
                .to_string()
                .contains(": proxy DHCP beside the network's DHCP server; ")
        );
    }

    #[test]
    fn too_big_says_by_how_much_and_what_is_large() {
        let tree = some_tree();
        let out = tempfile::tempdir().unwrap();
        let output = out.path().join("boot.uf2");
        let small = Some(0x10_0000 + 64 * 1024);
        let failed = run(&Args { flash: small, ..options(tree.path(), &output) }).unwrap_err();
        // 3 headers, 512 + 70144 + 512 bytes of files, 1024 at the end: 73728 = 18 sectors, of which 15 fit behind the header.
        let expected =
            "12288 bytes too big: the archive takes 73728, the flash of 1114112 bytes has 61440 for it";
        assert!(failed.message.starts_with(expected), "{}", failed.message);
        let kernel = failed.message.find("70001  kernel_2712.img").unwrap();
        assert!(kernel < failed.message.find("12  config.txt").unwrap());
        assert!(!output.exists());
    }

    #[test]
    fn it_fits_to_the_last_sector() {
        let tree = some_tree();
        let out = tempfile::tempdir().unwrap();
        let output = out.path().join("boot.uf2");
        let just = Some(0x10_1000 + 73_728);
        assert_eq!(run(&Args { flash: just, ..options(tree.path(), &output) }).unwrap(), Exit::Success);
        let report = check::check(&output).unwrap().to_string();
        assert!(report.contains("0x10100000 to 0x10113000"), "{report}");
    }

    #[test]
    fn the_firmware_comes_first_and_the_files_right_behind_it() {
        let tree = some_tree();
        let out = tempfile::tempdir().unwrap();
        let [output, firmware] = ["boot.uf2", "firmware"].map(|name| out.path().join(name));
        fs::write(&firmware, firmware::tests::elf(&[(0x1000_0000, &[0xaa; 5000])])).unwrap();
        let options = Args { firmware: Some(firmware), offset: None, ..options(tree.path(), &output) };
        run(&options).unwrap();
        let image = uf2::decode(&fs::read(&output).unwrap()).unwrap();
        assert_eq!((image.address, image.bytes[4999], image.bytes[5000]), (0x1000_0000, 0xaa, 0xff));
        assert_eq!(pinetboot_config::find_archive(&image.bytes, 0).unwrap().0, 8192);
        let report = check::check(&output).unwrap().to_string();
        assert!(report.contains("flash from 0x10000000 to 0x10015000 (files at offset 0x2000)"), "{report}");
        assert!(report.ends_with("\n3 files, 70016 bytes\n"), "{report}");

        let other = Args { board: Board::Rp2350, ..options };
        assert!(run(&other).unwrap_err().message.contains("not for an RP2350"));
    }

    #[test]
    fn an_archive_for_an_upload_is_bare() {
        let tree = some_tree();
        let output = tree.path().join("boot.tar");
        run(&Args { tar: true, offset: None, ..options(tree.path(), &output) }).unwrap();
        assert_eq!(archive::read(&fs::read(&output).unwrap()).unwrap().len(), 3);
    }

    #[test]
    fn a_build_without_firmware_says_how_to_get_one() {
        let tree = some_tree();
        let out = tempfile::tempdir().unwrap();
        let run = run(&Args { offset: None, ..options(tree.path(), &out.path().join("boot.uf2")) });
        if option_env!("PINETBOOT_RP2040").is_none_or(str::is_empty) {
            let message = run.unwrap_err().message;
            assert!(
                message.contains("no firmware for a rp2040") && message.contains("--firmware FILE"),
                "{message}"
            );
        }
    }

    #[test]
    fn an_empty_tree_or_none_is_an_error() {
        let tree = tempfile::tempdir().unwrap();
        let output = tree.path().join("boot.uf2");
        assert_eq!(run(&options(tree.path(), &output)).unwrap_err().exit, Exit::Tree);
        assert_eq!(run(&options(&tree.path().join("none"), &output)).unwrap_err().exit, Exit::Tree);
    }
}
