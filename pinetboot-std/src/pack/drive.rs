//! `pinetboot flash`: copies a packed UF2 file to the drive of a board in boot mode, or says how to get one.
//!
//! The drive is the boot ROM's: it has a file `INFO_UF2.TXT`, and disappears when the last block has arrived and the board restarts. The
//! kernel's list of mounts names it (proc_pid_mounts(5)).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::flash::Board;
use super::uf2;
use crate::exit::{Exit, Failed};
use crate::output;

/// Options of `flash`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// UF2 file of 'pinetboot pack'
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Directory at which the board's drive is mounted [default: the mounted drive that the board of FILE has]
    #[arg(long, value_name = "DIRECTORY")]
    pub drive: Option<PathBuf>,
}

/// Copies the file to the board, and waits until the board restarts.
///
/// # Errors
///
/// If the file is none that the board takes, no such board is there, or the board does not restart.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let path = options.file.display();
    let file =
        fs::read(&options.file).map_err(|error| Failed::new(Exit::Usage, format!("{path}: {error}")))?;
    let image = uf2::decode(&file).map_err(|why| Failed::new(Exit::Failure, format!("{path}: {why}")))?;
    let drive = match &options.drive {
        Some(drive) => drive.clone(),
        None => find(image.board)?,
    };
    match info(&drive) {
        Some(board) if board == image.board => copy(&file, &drive)?,
        Some(_) => {
            let why = format!(
                "{path} is for an {}: the board at {} is another",
                name(image.board),
                drive.display()
            );
            return Err(Failed::new(Exit::Failure, why));
        }
        None => {
            let why = format!(
                "{}: not the drive of a board in boot mode, which has a file {INFO}",
                drive.display()
            );
            return Err(Failed::new(Exit::Usage, why));
        }
    }
    writeln!(output::stdout(), "{path}: on the board, which has restarted")?;
    Ok(Exit::Success)
}

/// The mounted drive of such a board.
fn find(board: Board) -> Result<PathBuf, Failed> {
    let mounts = fs::read("/proc/self/mounts").map_err(|error| Failed::new(Exit::Failure, error))?;
    let mut drives = mount_points(&mounts).filter(|drive| info(drive) == Some(board));
    match (drives.next(), drives.next()) {
        (Some(drive), None) => Ok(drive),
        (Some(first), Some(second)) => {
            let (first, second) = (first.display(), second.display());
            Err(Failed::new(
                Exit::Usage,
                format!("two boards, at {first} and {second}: name one with --drive"),
            ))
        }
        (None, _) => Err(Failed::new(Exit::Failure, missing(board))),
    }
}

/// What to do, if no drive of such a board is mounted.
fn missing(board: Board) -> String {
    let device = Path::new("/dev/disk/by-label").join(label(board));
    let (device, is_there, name) = (device.display(), device.exists(), name(board));
    match is_there {
        true => format!(
            "the drive of an {name} is not mounted: run 'udisksctl mount -b {device}', and this command again"
        ),
        false => format!(
            "no {name} in boot mode here: hold BOOTSEL while plugging the board in. Its drive {} appears: mount the drive, or let the desktop \
             do that, and run this command again",
            label(board)
        ),
    }
}

/// Where file systems of the FAT kind are mounted.
fn mount_points(mounts: &[u8]) -> impl Iterator<Item = PathBuf> + '_ {
    mounts.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        matches!(kind, b"vfat" | b"msdos" | b"fuseblk").then(|| OsString::from_vec(unescaped(place)).into())
    })
}

/// Undoes the kernel's `\040` for a space, and the like.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::new(), field);
    while let Some((first, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| *first == b'\\');
        let value = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        plain.push(value.unwrap_or(*first));
        rest = if value.is_some() { &after[3..] } else { after };
    }
    plain
}

/// The board whose drive this is.
fn info(drive: &Path) -> Option<Board> {
    let text = fs::read(drive.join(INFO)).ok()?;
    let text = String::from_utf8_lossy(&text);
    let id = text.lines().find_map(|line| line.strip_prefix("Board-ID:"))?.trim();
    [Board::Rp2040, Board::Rp2350].into_iter().find(|board| label(*board) == id)
}

/// Copies, and waits until the drive is gone.
fn copy(uf2: &[u8], drive: &Path) -> Result<(), Failed> {
    let failed = |error: io::Error| {
        Failed::new(
            Exit::Failure,
            format!("cannot copy to {}: {error}. Unplug the board and begin again", drive.display()),
        )
    };
    let mut file = File::create(drive.join("BOOT.UF2")).map_err(failed)?;
    file.write_all(uf2).map_err(failed)?;
    // The board restarts at the last block, so the last write may find no drive.
    let written = file.sync_all();
    let began = Instant::now();
    while info(drive).is_some() {
        if began.elapsed() > RESTART {
            let why =
                written.map_or_else(|error| error.to_string(), |()| "the board has not restarted".into());
            return Err(failed(io::Error::other(why)));
        }
        sleep(Duration::from_millis(100));
    }
    match written {
        Ok(()) => Ok(()),
        // EIO and ENODEV; the copy may be complete, and may not.
        Err(error) => Err(Failed::new(
            Exit::Failure,
            format!(
                "the drive was gone before the copy was confirmed ({error}): the board's LED says whether the firmware runs"
            ),
        )),
    }
}

const fn label(board: Board) -> &'static str {
    match board {
        Board::Rp2040 => "RPI-RP2",
        Board::Rp2350 | Board::Esp => "RP2350",
    }
}

const fn name(board: Board) -> &'static str {
    match board {
        Board::Rp2040 => "RP2040",
        Board::Rp2350 | Board::Esp => "RP2350",
    }
}

const INFO: &str = "INFO_UF2.TXT";

/// A boot ROM restarts the board within a second.
const RESTART: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::pack::flash::FlashRegion;

    #[test]
    fn the_kernels_list_of_mounts_names_the_drives() {
        let mounts = b"/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /media/a\\040b/RPI-RP2 vfat rw 0 0\n\n/dev/sdc1 /x\\y vfat rw\nodd";
        let drives: Vec<_> = mount_points(mounts).collect();
        assert_eq!(drives, [Path::new("/media/a b/RPI-RP2"), Path::new("/x\\y")]);
    }

    #[test]
    fn a_file_is_copied_to_its_board_alone_and_the_restart_is_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let (drive, file) = (home.path().join("drive"), home.path().join("boot.uf2"));
        let region = FlashRegion { board: Board::Rp2040, offset: 0, flash: 0x20_0000 };
        let uf2 = uf2::encode(vec![7; 5000], &region);
        fs::write(&file, &uf2).unwrap();
        fs::create_dir(&drive).unwrap();
        let options = Args { file, drive: Some(drive.clone()) };
        assert!(run(&options).unwrap_err().message.contains("not the drive of a board"));
        let board = |id: &str| {
            fs::write(drive.join(INFO), format!("UF2 Bootloader v3.0\r\nBoard-ID: {id}\r\n")).unwrap()
        };
        board("RP2350");
        assert!(run(&options).unwrap_err().message.contains("is for an RP2040"));
        board("RPI-RP2");
        // The board: restarts when the file is complete.
        let copied = drive.join("BOOT.UF2");
        let restart = thread::spawn(move || {
            while fs::read(&copied).ok().is_none_or(|bytes| bytes.len() < uf2.len()) {
                thread::yield_now();
            }
            assert_eq!(fs::read(&copied).unwrap(), uf2);
            fs::remove_file(drive.join(INFO)).unwrap();
        });
        assert_eq!(run(&options).unwrap(), Exit::Success);
        restart.join().unwrap();
    }

    #[test]
    fn without_a_board_the_way_to_one_is_said() {
        assert!(missing(Board::Rp2350).contains("hold BOOTSEL"));
    }
}
