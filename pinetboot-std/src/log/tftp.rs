//! Lines about TFTP: one for each file, and a warning for a missing file that the boot needs.

use indicatif::DecimalBytes;
use pinetboot_core::tftp::{Direction, ErrorCode, Outcome};
use tracing::{debug, info, warn};

use super::ClientName;
use crate::events::{Event, Finished, Tftp};

pub(super) fn log(event: &Event, client: &ClientName<'_>, fact: &Tftp) {
    match fact {
        Tftp::Requested { peer, direction, file, options } => {
            let verb = match direction {
                Direction::Read => "requests",
                Direction::Write => "requests to write",
            };
            debug!("{peer} {verb} {file}, {options}");
        }
        Tftp::Refused { file, .. } if event.again => {
            debug!(%client, file, "{client} is refused {file} again")
        }
        Tftp::Refused { .. } => refused(event, client, fact),
        Tftp::Repeated { peer } => debug!("{peer} repeats its request"),
        Tftp::Started { peer, len: Some(len), terms } => debug!("{peer}: {len} bytes in {terms}"),
        Tftp::Started { peer, len: None, terms } => debug!("{peer}: {terms}"),
        Tftp::Progress { .. } => {} // a page shows it
        Tftp::Stalled { file, bytes, .. } => {
            debug!(%client, file, bytes, "{client:#} is silent after {} of {file}", DecimalBytes(*bytes));
        }
        Tftp::Finished(finished) => self::finished(event, client, finished),
        Tftp::UploadFailed { file, why } => warn!(%client, file, "cannot keep {file} from {client}: {why}"),
        Tftp::NotSent { to, error, firewall: true } if !event.again => warn!(
            %client,
            "cannot send to {to}: {error}. This machine's own firewall drops the answers: allow outgoing UDP of this program"
        ),
        Tftp::NotSent { to, error, .. } => debug!(%client, "cannot send to {to}: {error}"),
        Tftp::NoPort { error } => warn!("cannot open a port for a transfer: {error}"),
        Tftp::Unanswered { requests, seconds } => warn!(
            requests,
            seconds,
            "all transfers are in use, unanswered requests in {seconds} s: {requests}. Raise --max-transfers if as many Pis boot at \
             once"
        ),
        Tftp::Rejected { peer, why } => debug!("{peer}: {why}"),
    }
}

fn refused(event: &Event, client: &ClientName<'_>, fact: &Tftp) {
    let Tftp::Refused { direction, file, code, answer, place, cause, harmless, foreign, .. } = fact else {
        return;
    };
    let place = place.as_deref().unwrap_or_default();
    match (*direction, *code, cause) {
        (Direction::Read, ErrorCode::FILE_NOT_FOUND, _) if *harmless => {
            debug!(%client, file, place, "{client} requested {file}, which does not exist (optional, or one of several)");
        }
        // The boot's own lines say if it misses the file.
        (Direction::Read, ErrorCode::FILE_NOT_FOUND, _) if event.pi.is_some() && !foreign => {
            debug!(%client, file, place, "{client} requested {file}: {} does not exist", if place.is_empty() { file } else { place });
        }
        (Direction::Read, ErrorCode::FILE_NOT_FOUND, _) if *foreign => {
            info!(%client, file, place, "{client} requested {file}: {} does not exist", if place.is_empty() { file } else { place });
        }
        (Direction::Read, ErrorCode::FILE_NOT_FOUND, _) if !place.is_empty() => {
            warn!(%client, file, place, "{client} requested {file}: {place} does not exist");
        }
        (Direction::Read, ErrorCode::ACCESS_VIOLATION, Some(cause)) if !place.is_empty() => {
            warn!(%client, file, place, "{client} requested {file}: cannot open {place}: {cause}");
        }
        (Direction::Read, _, Some(cause)) => warn!(%client, file, "{client} is refused {file}: {cause}"),
        (Direction::Read, _, None) => warn!(%client, file, "{client} requested {file}: {answer}"),
        (Direction::Write, _, Some(cause)) => {
            warn!(%client, file, "{client} requested to write {file}: {answer}, {cause}");
        }
        (Direction::Write, ErrorCode::ACCESS_VIOLATION, None) => warn!(
            %client,
            file,
            "{client} requested to write {file}: {answer}. --allow-upload DIR accepts uploads into DIR"
        ),
        (Direction::Write, ..) => warn!(%client, file, "{client} requested to write {file}: {answer}"),
    }
}

fn finished(event: &Event, client: &ClientName<'_>, finished: &Finished) {
    let Finished { file, bytes, seconds, resent, .. } = finished;
    let (bytes, seconds, amount) = (*bytes, *seconds, DecimalBytes(*bytes));
    // `direction` in JSON is the server's view, `verb` in the line the client's.
    let (direction, verb, of) = match finished.direction {
        Direction::Read => ("sent", "fetched", "of"),
        Direction::Write => ("received", "uploaded", "of the upload"),
    };
    match &finished.outcome {
        Outcome::Complete { .. } => {
            let rate = bytes as f64 / seconds.max(1e-6);
            let again = match resent {
                0 => String::new(),
                resent => format!("; resent packets: {resent}"),
            };
            let rate_text = DecimalBytes(rate as u64);
            // A boot has a line for all its files.
            macro_rules! line {
                ($level:ident) => {
                    $level!(
                        %client,
                        file,
                        bytes,
                        seconds,
                        rate,
                        resent,
                        direction,
                        "{client:#} {verb} {file}: {amount} in {seconds:.2} s ({rate_text}/s){again}",
                    )
                };
            }
            match (&event.pi, finished.direction) {
                (Some(_), Direction::Read) => line!(debug),
                _ => line!(info),
            }
        }
        _ if finished.probe => {
            debug!(%client, file, "{client:#} requested the size of {file} only");
        }
        Outcome::PeerError(code) => {
            let message = finished.message.as_deref().filter(|message| !message.is_empty());
            let said = message.map_or(String::new(), |message| format!(": \"{message}\""));
            warn!(%client, file, bytes, "{client:#} ended the transfer of {file} after {amount}: {code}{said}");
        }
        Outcome::TimedOut | Outcome::Displaced
            if finished.lacks_last_ack && finished.direction == Direction::Read =>
        {
            info!(
                %client,
                file,
                bytes,
                "{client:#} fetched {file} and did not acknowledge its last block, after {amount}"
            );
        }
        // The boot's own lines say if it does not go on.
        Outcome::TimedOut if event.pi.is_some() => {
            debug!(%client, file, bytes, "{client:#} stopped answering after {amount} {of} {file}");
        }
        Outcome::TimedOut => {
            let hint = match bytes {
                0 => {
                    ". If all transfers end like this, a firewall drops the answers: each transfer has its own port, unless \
                     --single-port is given"
                }
                _ => "",
            };
            warn!(%client, file, bytes, "{client:#} stopped answering after {amount} {of} {file}{hint}");
        }
        Outcome::Aborted(code) => {
            warn!(%client, file, bytes, "the transfer of {file} for {client:#} failed after {amount}: {code}");
        }
        Outcome::Displaced if bytes == 0 => {
            debug!(%client, file, "{client:#} acknowledged nothing of {file}, and another client got the place");
        }
        Outcome::Displaced => warn!(
            %client,
            file,
            bytes,
            "{client:#} lost the transfer of {file} after {amount}: all transfers are in use, and this one was slow. Raise \
             --max-transfers if as many Pis boot at once"
        ),
        // One line counts them all: see `Server::Stopped`.
        Outcome::Stopped => {
            debug!(%client, file, bytes, "{client:#} got {amount} of {file} before the server stopped")
        }
        Outcome::Superseded => debug!(%client, file, "{client:#} replaced the transfer of {file} by another"),
    }
}
