//! `pinetboot status`: the Pis of a running server.

mod rows;

use std::path::{Path, PathBuf};

use crate::control::Answer;
use crate::exit::{Exit, Failed};
use crate::live::{PiStatus, Status};
use crate::output;
pub(crate) use rows::{row, stuck};

/// Options of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Show this Pi only, with its boots: name, serial number, MAC or IPv4 address [default: all]
    #[arg(value_name = "PI")]
    pi: Option<String>,

    /// Print the document of /api/v1/status, or of one Pi
    #[arg(long)]
    json: bool,

    /// Ask the server at this Unix socket [default: pinetboot/control in $XDG_RUNTIME_DIR, else /run/pinetboot/control]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

/// Asks and prints.
///
/// # Errors
///
/// If no server runs, or the server does not know the Pi.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let place = options.control.as_deref();
    let status = ask_all(place)?;
    let mut out = output::stdout();
    match &options.pi {
        None if options.json => out.json(&status)?,
        None => rows::all(&mut out, &status)?,
        Some(wanted) => {
            let whole = ask_one(place, &status, wanted)?;
            match options.json {
                true => out.json(&whole)?,
                false => rows::one(&mut out, &whole)?,
            }
        }
    }
    out.finish()?;
    Ok(Exit::Success)
}

/// The document of all Pis, of the server at this place.
pub(crate) fn ask_all(place: Option<&Path>) -> Result<Status, Failed> {
    parsed(&Answer::to(place, "/api/v1/status")?.whole()?)
}

/// The document of one Pi.
pub(crate) fn ask_one(place: Option<&Path>, status: &Status, wanted: &str) -> Result<PiStatus, Failed> {
    let named = named(&status.pis, wanted)?;
    parsed(&Answer::to(place, &format!("/api/v1/pis/{}", named.id))?.whole()?)
}

/// Parses a document of the server.
pub(crate) fn parsed<T: for<'de> serde::Deserialize<'de>>(text: &str) -> Result<T, Failed> {
    serde_json::from_str(text)
        .map_err(|error| Failed::new(Exit::Failure, format!("the server is of another version: {error}")))
}

/// The Pi of this name, serial number or address.
fn named<'a>(pis: &'a [PiStatus], wanted: &str) -> Result<&'a PiStatus, Failed> {
    let wanted = wanted.to_lowercase();
    let is = |text: &str| text.to_lowercase() == wanted;
    let is_wanted = |pi: &&PiStatus| {
        is(&pi.name)
            || is(&pi.id)
            || [&pi.serial, &pi.mac, &pi.address].into_iter().flatten().any(|text| is(text))
    };
    pis.iter().find(is_wanted).ok_or_else(|| {
        Failed::new(Exit::Usage, format!("the server knows no Pi {wanted}: 'pinetboot status' lists all"))
    })
}

const EXAMPLES: &str = "\
Examples:
  pinetboot status                    a line for each Pi
  pinetboot status kitchen            the phases and files of its boots
  pinetboot status --json | jq '.pis[] | select(.verdict) | .name'
                                      the Pis that are stuck";
