//! Lines about TFTP: one for each file, a warning for a file that is missing and matters.

use indicatif::DecimalBytes;
use pinetboot_core::tftp::{Direction, ErrorCode, Outcome};
use tracing::{debug, info, warn};

use super::Client;
use crate::events::{Event, Finished, Tftp};

pub(super) fn log(event: &Event, client: &Client<'_>, fact: &Tftp) {
    match fact {
        Tftp::Requested { peer, direction, file, options } => {
            let verb = match direction {
                Direction::Read => "wants",
                Direction::Write => "wants to write",
            };
            debug!("{peer} {verb} {file}, {options}");
        }
        Tftp::Refused { file, .. } if event.again => {
            debug!(%client, file, "{client} does not get {file}, as said before")
        }
        Tftp::Refused { .. } => refused(client, fact),
        Tftp::Repeated { peer } => debug!("{peer} repeats its request"),
        Tftp::Started { peer, len: Some(len), terms } => debug!("{peer}: {len} bytes in {terms}"),
        Tftp::Started { peer, len: None, terms } => debug!("{peer}: {terms}"),
        Tftp::Finished(finished) => self::finished(client, finished),
        Tftp::NotSent { to, error, firewall: true } if !event.again => warn!(
            %client,
            "cannot send to {to}: {error}. This machine's own firewall drops the answers: let UDP from this program out"
        ),
        Tftp::NotSent { to, error, .. } => debug!(%client, "cannot send to {to}: {error}"),
        Tftp::NoPort { error } => warn!("no port for a transfer: {error}"),
        Tftp::Rejected { peer, why } => debug!("{peer}: {why}"),
    }
}

fn refused(client: &Client<'_>, fact: &Tftp) {
    let Tftp::Refused { direction, file, code, answer, place, cause, harmless, .. } = fact else { return };
    let place = place.as_deref().unwrap_or_default();
    match (*direction, *code, cause) {
        (Direction::Read, ErrorCode::FILE_NOT_FOUND, _) if *harmless => {
            debug!(%client, file, place, "{client} asked for {file}, which is not there; that is normal");
        }
        (Direction::Read, ErrorCode::FILE_NOT_FOUND, _) if !place.is_empty() => {
            warn!(%client, file, place, "{client} asked for {file}: there is no {place}");
        }
        (Direction::Read, ErrorCode::ACCESS_VIOLATION, Some(cause)) if !place.is_empty() => {
            warn!(%client, file, place, "{client} asked for {file}: cannot open {place}: {cause}");
        }
        (Direction::Read, _, Some(cause)) => warn!(%client, file, "{client} does not get {file}: {cause}"),
        (Direction::Read, _, None) => warn!(%client, file, "{client} asked for {file}: {answer}"),
        (Direction::Write, ErrorCode::ACCESS_VIOLATION, _) => warn!(
            %client,
            file,
            "{client} wants to write {file}: {answer}; only --allow-upload DIR lets clients write, beneath DIR"
        ),
        (Direction::Write, ..) => warn!(%client, file, "{client} wants to write {file}: {answer}"),
    }
}

fn finished(client: &Client<'_>, finished: &Finished) {
    let Finished { file, bytes, seconds, resent, .. } = finished;
    let (bytes, seconds, amount) = (*bytes, *seconds, DecimalBytes(*bytes));
    let (verb, of) = match finished.direction {
        Direction::Read => ("sent", "of"),
        Direction::Write => ("received", "of what should be"),
    };
    match &finished.outcome {
        Outcome::Complete { .. } => {
            let rate = bytes as f64 / seconds.max(1e-6);
            let again = match resent {
                0 => String::new(),
                resent => format!("; packets sent again: {resent}"),
            };
            info!(
                %client,
                file,
                bytes,
                seconds,
                rate,
                resent,
                direction = verb,
                "{client} {verb} {file}: {amount} in {seconds:.2} s ({}/s){again}",
                DecimalBytes(rate as u64),
            );
        }
        _ if finished.probe => {
            debug!(%client, file, "{client} asked whether {file} is there, and how long it is");
        }
        Outcome::PeerError(code) => {
            let message = finished.message.as_deref().filter(|message| !message.is_empty());
            let said = message.map_or(String::new(), |message| format!(": \"{message}\""));
            warn!(%client, file, bytes, "{client} ended {file} after {amount}: {code}{said}");
        }
        Outcome::TimedOut if finished.lacks_last_ack && finished.direction == Direction::Read => {
            info!(
                %client,
                file,
                bytes,
                "{client} was sent {file} and left without acknowledging the end of it, after {amount}"
            );
        }
        Outcome::TimedOut => {
            let hint = match bytes {
                0 => {
                    "; if this happens always, a firewall stops our answers: each transfer's come from a port of its own, \
                     unless --single-port is given"
                }
                _ => "",
            };
            warn!(%client, file, bytes, "{client} fell silent after {amount} {of} {file}{hint}");
        }
        Outcome::Aborted(code) => {
            warn!(%client, file, bytes, "{file} for {client} broke off after {amount}: {code}");
        }
        Outcome::Superseded => debug!(%client, file, "{client} left {file} for another"),
    }
}
