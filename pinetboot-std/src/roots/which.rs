//! `pinetboot roots which`: the image and the kernel that each Pi runs, since when, and the image of its next boot.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use indicatif::HumanDuration;
use pinetboot_core::pi::Prefix;
use serde::Serialize;

use super::layer::State;
use crate::config::Settings;
use crate::exit::Failed;
use crate::images::Images;
use crate::output::{self, Output};
use crate::pis::Inventory;
use crate::time;

/// Options of `roots which`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration of the server, whose inventory selects images [default: the current image is that of all Pis]
    #[arg(long, value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct Pis<'a> {
    pis: &'a [Row],
}

/// What a Pi runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    pi: String,
    name: String,
    /// The image of its last mount.
    image: Option<String>,
    /// The kernel's file and version.
    kernel: Option<String>,
    /// Time of the last mount (RFC 3339, UTC).
    since: Option<String>,
    /// The image of its next boot.
    next: Option<String>,
    #[serde(skip)]
    ago: Option<std::time::Duration>,
}

/// Prints the list.
///
/// # Errors
///
/// If the configuration cannot be read, or standard output cannot be written.
pub(super) fn run(state: &State, options: &Args) -> Result<(), Failed> {
    let settings = options.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let inventory = Inventory::of(&settings.pi, &settings.group)?;
    let images = settings.tree.as_deref().or_else(|| state.dir().parent()).map(Images::at);
    let rows: Vec<_> =
        state.pis().into_iter().map(|pi| row(state, &inventory, images.as_ref(), pi)).collect();
    let out = &mut output::stdout();
    if options.json { out.json(&Pis { pis: &rows }) } else { print_text(&rows, out) }
}

fn row(state: &State, inventory: &Inventory, images: Option<&Images>, pi: Prefix) -> Row {
    let facts = state.pi(pi);
    let since = state.last_use(pi);
    let current = images.and_then(|images| images.current().ok().flatten()).map(|image| image.name);
    let file = facts.boots.iter().rev().find_map(|boot| boot.kernel_file.clone());
    let version = facts.image.as_deref().zip(file.as_deref()).and_then(|(image, file)| {
        let layer = state.layer(pi, image)?;
        let boot = layer.facts.boot.join(file);
        version(&layer.upper().join(&boot)).or_else(|| version(&layer.facts.root.join(&boot)))
    });
    Row {
        pi: pi.to_string(),
        name: facts.name,
        kernel: match (file, version) {
            (Some(file), Some(version)) => Some(format!("{version} ({file})")),
            (file, _) => file,
        },
        since: since.and_then(time::of),
        next: inventory.settings(pi).image.or(current),
        ago: since.and_then(|since| SystemTime::now().duration_since(since).ok()),
        image: facts.image,
    }
}

/// The version in a kernel: `6.12.47+rpt-rpi-2712` of `Linux version 6.12.47+rpt-rpi-2712 (..`.
fn version(kernel: &Path) -> Option<String> {
    let mut start = [0; 2];
    let mut file = File::open(kernel).ok()?;
    file.read_exact(&mut start).ok()?;
    let file = File::open(kernel).ok()?;
    let mut content = Vec::new();
    if start == [0x1f, 0x8b] {
        // Cut off or not: the version is what is looked for.
        let _end = flate2::read::MultiGzDecoder::new(file).take(MOST).read_to_end(&mut content);
    } else {
        file.take(MOST).read_to_end(&mut content).ok()?;
    }
    let mut rest = content.as_slice();
    while let Some(at) = rest.windows(MARK.len()).position(|bytes| bytes == MARK) {
        rest = rest.get(at + MARK.len()..)?;
        let word: Vec<u8> =
            rest.iter().copied().take(64).take_while(|byte| byte.is_ascii_graphic()).collect();
        if word.first().is_some_and(u8::is_ascii_digit) {
            return String::from_utf8(word).ok();
        }
    }
    None
}

fn print_text(rows: &[Row], out: &mut Output) -> Result<(), Failed> {
    let mut table = vec![["PI", "NAME", "IMAGE", "KERNEL", "SINCE", "NEXT BOOT"].map(str::to_owned)];
    for row in rows {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        table.push([
            row.pi.clone(),
            row.name.clone(),
            or(&row.image),
            or(&row.kernel),
            row.ago.map_or_else(|| "-".into(), |ago| format!("{} ago", HumanDuration(ago))),
            if row.next == row.image { "the same".into() } else { or(&row.next) },
        ]);
    }
    out.table(&table)
}

const MARK: &[u8] = b"Linux version ";
/// Bytes of an unpacked kernel that are searched.
const MOST: u64 = 128 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_kernel_tells_its_version_packed_or_not() {
        let directory = tempfile::tempdir().unwrap();
        let content = b"..Linux version %s\0..Linux version 6.12.47+rpt-rpi-2712 (serge@x)..";
        let (plain, packed) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&plain, content).unwrap();
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(&packed).unwrap(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap();
        for kernel in [plain, packed] {
            assert_eq!(version(&kernel).as_deref(), Some("6.12.47+rpt-rpi-2712"));
        }
        assert_eq!(version(Path::new("/none")), None);
    }
}
