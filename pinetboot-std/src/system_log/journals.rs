//! The files of systemd's journal together: their boots, and the entries of one boot.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Instant;

use pinetboot_image::ReadAt;
use pinetboot_image::journal::{Entry, Journal, JournalError};

use super::{Boot, FailedUnit, Files, Line, SystemLog};
use crate::exit::{Exit, Failed};

type File<'a> = Journal<Box<dyn ReadAt + 'a>>;

/// An entry, and the index of its file.
#[derive(Debug, Clone, Copy)]
struct Found {
    file: usize,
    entry: Entry,
}

/// Reads the entries of a boot; `None` without a journal.
///
/// # Errors
///
/// If the directory of the journals cannot be read, or the boot is not in them.
pub(super) fn read(files: &dyn Files, boot: i32, end: Instant) -> Result<Option<SystemLog>, Failed> {
    let mut log = SystemLog { source: format!("/{JOURNALS}"), ..SystemLog::default() };
    let journals = open(files, &mut log.notes)?;
    let found = scan(&journals, end, &mut log.notes);
    if found.is_empty() {
        return match log.notes.as_slice() {
            [] => Ok(None),
            notes => {
                Err(Failed::new(Exit::Failure, format!("/{JOURNALS} has no entry: {}", notes.join("; "))))
            }
        };
    }
    let boots = boots(&journals, &found);
    log.boots = boots.iter().map(|(_, boot)| boot.clone()).collect();
    log.chosen = SystemLog::choose(boots.len(), boot)?;
    let id = boots.get(log.chosen).map(|(id, _)| *id);
    let mut entries: Vec<Found> = found.into_iter().filter(|found| Some(found.entry.boot) == id).collect();
    let is_one_sequence = {
        let mut sequences = entries.iter().filter_map(|found| Some(journals.get(found.file)?.sequence));
        let first = sequences.next();
        sequences.all(|sequence| Some(sequence) == first)
    };
    entries.sort_by_key(|Found { entry, .. }| match is_one_sequence {
        true => (entry.number, entry.monotonic),
        false => (entry.monotonic, entry.number),
    });
    log.lines = lines(&journals, &entries, end, &mut log.notes);
    Ok(Some(log))
}

/// Opens all files of the journal.
fn open<'a>(files: &'a dyn Files, notes: &mut Vec<String>) -> Result<Vec<File<'a>>, Failed> {
    let failed = |error: std::io::Error| Failed::new(Exit::Failure, format!("/{JOURNALS}: {error}"));
    let machines = files.list(JOURNALS).map_err(failed)?;
    let is_id = |name: &&String| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut journals = Vec::new();
    for machine in machines.iter().filter(is_id).take(MOST_MACHINES) {
        let directory = format!("{JOURNALS}/{machine}");
        let mut names = files.list(&directory).map_err(failed)?;
        // A file that was not closed, or is damaged, is renamed to `.journal~` by journald.
        names.retain(|name| name.ends_with(".journal") || name.ends_with(".journal~"));
        // The files in use first, then the archived ones: their names begin alike and end with numbers that grow.
        names.sort_by_key(|name| (name.contains('@'), Reverse(name.clone())));
        if names.len() > MOST_FILES {
            notes.push(format!(
                "{} of {} files of the journal were not read",
                names.len() - MOST_FILES,
                names.len()
            ));
        }
        for name in names.into_iter().take(MOST_FILES) {
            let path = format!("{directory}/{name}");
            let opened = files.open(&path).map_err(JournalError::from);
            let journal =
                opened.and_then(|file| file.map(|(file, len)| Journal::open(file, len, FIELDS)).transpose());
            match journal {
                Ok(journal) => journals.extend(journal),
                Err(error) => notes.push(format!("/{path} was not read: {error}")),
            }
        }
    }
    Ok(journals)
}

/// All entries of all files; of very long ones the newest.
fn scan(journals: &[File<'_>], end: Instant, notes: &mut Vec<String>) -> Vec<Found> {
    let (mut all, mut damaged) = (Vec::new(), 0_u64);
    'all: for (file, journal) in journals.iter().enumerate() {
        for (count, entry) in journal.entries().enumerate() {
            if all.len() >= MOST_ENTRIES || (count % 1024 == 0 && Instant::now() >= end) {
                notes.push("the journal is long: its oldest entries were not read".into());
                break 'all;
            }
            match entry {
                Ok(entry) => all.push(Found { file, entry }),
                Err(_) => damaged += 1,
            }
        }
    }
    if damaged > 0 {
        notes.push(format!("damaged entries of the journal that were left out: {damaged}"));
    }
    all
}

/// The boots in their order. Within a sequence numbers tell it: the clock of a Pi may go back.
fn boots(journals: &[File<'_>], found: &[Found]) -> Vec<([u8; 16], Boot)> {
    struct Seen {
        first: Entry,
        last: Entry,
        sequence: [u8; 16],
    }
    let mut seen: HashMap<[u8; 16], Seen> = HashMap::new();
    // The time at which a sequence ends.
    let mut ends: HashMap<[u8; 16], u64> = HashMap::new();
    for Found { file, entry } in found {
        let sequence = journals.get(*file).map(|journal| journal.sequence).unwrap_or_default();
        let end = ends.entry(sequence).or_default();
        *end = (*end).max(entry.realtime);
        let boot = seen.entry(entry.boot).or_insert(Seen { first: *entry, last: *entry, sequence });
        if entry.monotonic < boot.first.monotonic {
            boot.first = *entry;
        }
        if entry.monotonic >= boot.last.monotonic {
            boot.last = *entry;
        }
    }
    let mut boots: Vec<_> = seen.into_iter().collect();
    boots.sort_by_key(|(id, boot)| (ends.get(&boot.sequence).copied(), boot.sequence, boot.last.number, *id));
    let shown = |(id, boot): ([u8; 16], Seen)| {
        let text = id.iter().map(|byte| format!("{byte:02x}")).collect();
        (id, Boot { id: Some(text), from: Some(boot.first.realtime), to: Some(boot.last.realtime) })
    };
    boots.into_iter().map(shown).collect()
}

/// The lines of entries; of very many the last ones.
fn lines(journals: &[File<'_>], entries: &[Found], end: Instant, notes: &mut Vec<String>) -> Vec<Line> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    for (count, Found { file, entry }) in entries.iter().rev().enumerate() {
        if bytes >= MOST_BYTES || (count % 64 == 0 && Instant::now() >= end) {
            notes.push(format!(
                "the boot's first {} lines were not read: the boot has more than is read",
                entries.len() - count
            ));
            break;
        }
        let fields = journals.get(*file).map(|journal| journal.fields(entry));
        let Some(Ok(fields)) = fields else { continue };
        let text = |index: usize| {
            let value = fields.get(index).cloned().flatten()?;
            let cut = value.get(..LONGEST_LINE).unwrap_or(&value);
            Some(String::from_utf8_lossy(cut).into_owned())
        };
        let [message, priority, identifier, command, pid, own_pid, id, job, result, unit] =
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(text);
        let program = identifier.or(command);
        let process = pid.or(own_pid);
        let line = Line {
            time: Some(entry.realtime),
            priority: priority.and_then(|priority| priority.parse().ok()),
            program: program.map(|program| match process {
                Some(process) => format!("{program}[{process}]"),
                None => program,
            }),
            message: message.unwrap_or_default(),
            failed: unit
                .zip(failure(id.as_deref(), job, result))
                .map(|(unit, result)| FailedUnit { unit, result }),
        };
        bytes += 128 + line.message.len() + line.program.as_ref().map_or(0, String::len);
        lines.push(line);
    }
    lines.reverse();
    lines
}

/// The result of a unit's failure, if the entry tells one (systemd, src/systemd/sd-messages.h).
fn failure(id: Option<&str>, job: Option<String>, result: Option<String>) -> Option<String> {
    match id? {
        UNIT_FAILED => job.filter(|result| !matches!(result.as_str(), "done" | "skipped")),
        UNIT_FAILURE_RESULT => result,
        _ => None,
    }
}

const JOURNALS: &str = "var/log/journal";
/// In the order in which [`lines`] takes them.
const FIELDS: &[&str] = &[
    "MESSAGE",
    "PRIORITY",
    "SYSLOG_IDENTIFIER",
    "_COMM",
    "_PID",
    "SYSLOG_PID",
    "MESSAGE_ID",
    "JOB_RESULT",
    "UNIT_RESULT",
    "UNIT",
];
const UNIT_FAILED: &str = "be02cf6855d2428ba40df7e9d022f03d";
const UNIT_FAILURE_RESULT: &str = "d9b373ed55a64feb8242e02dbe79a49c";
const MOST_MACHINES: usize = 16;
const MOST_FILES: usize = 256;
/// Entries of all files that are looked at.
const MOST_ENTRIES: usize = 1_000_000;
/// Bytes of the lines of a boot.
const MOST_BYTES: usize = 64 << 20;
/// Bytes of a line.
const LONGEST_LINE: usize = 8 << 10;
