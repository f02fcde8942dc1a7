//! The log as a text: `/var/log/syslog` of rsyslog, `/var/log/messages` of busybox and others. Lines have no priority there.

use super::{Boot, Files, Line, SystemLog};
use crate::exit::{Exit, Failed};

/// Reads the lines of a boot; `None` without a text.
///
/// # Errors
///
/// If the file cannot be read, or the boot is not in it.
pub(super) fn read(files: &dyn Files, boot: i32) -> Result<Option<SystemLog>, Failed> {
    for path in TEXTS {
        let failed = |error: std::io::Error| Failed::new(Exit::Failure, format!("/{path}: {error}"));
        let Some((file, len)) = files.open(path).map_err(failed)?.filter(|(_, len)| *len > 0) else {
            continue;
        };
        let some = len.min(MOST_BYTES);
        let mut bytes = vec![0; some as usize];
        file.read_exact_at(&mut bytes, len - some).map_err(failed)?;
        let text = String::from_utf8_lossy(&bytes);
        // The first line may be cut.
        let lines: Vec<&str> = text.lines().skip(usize::from(some < len)).collect();
        let mut log = of(&lines, boot)?;
        log.source = format!("/{path}");
        if some < len {
            log.notes
                .push(format!("the text is longer than {} MiB: its start was not read", MOST_BYTES >> 20));
        }
        return Ok(Some(log));
    }
    Ok(None)
}

/// The lines of a boot: each boot begins with the kernel's first line.
fn of(lines: &[&str], boot: i32) -> Result<SystemLog, Failed> {
    let begins = |line: &&str| line.contains("kernel: ") && line.contains("] Linux version ");
    let mut starts: Vec<usize> = vec![0];
    starts.extend(
        lines.iter().enumerate().filter(|(index, line)| *index > 0 && begins(line)).map(|(index, _)| index),
    );
    let chosen = SystemLog::choose(starts.len(), boot)?;
    let (from, to) = (starts.get(chosen).copied().unwrap_or(0), starts.get(chosen + 1).copied());
    let of_boot = lines.get(from..to.unwrap_or(lines.len())).unwrap_or_default();
    let line = |line: &&str| Line { message: (*line).to_owned(), ..Line::default() };
    Ok(SystemLog {
        boots: vec![Boot { id: None, from: None, to: None }; starts.len()],
        chosen,
        lines: of_boot.iter().map(line).collect(),
        ..SystemLog::default()
    })
}

const TEXTS: [&str; 2] = ["var/log/syslog", "var/log/messages"];
const MOST_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_begins_with_the_kernels_first_line() {
        let lines = [
            "Nov 29 03:00:01 pi cron[9]: tail of an older boot",
            "Nov 29 03:01:00 pi kernel: [    0.000000] Linux version 6.12.47+rpt-rpi-2712 (serge@x)",
            "Nov 29 03:01:01 pi systemd[1]: Started ssh.service",
            "Nov 29 03:02:00 pi kernel: [    0.000000] Linux version 6.12.47+rpt-rpi-2712 (serge@x)",
            "Nov 29 03:02:01 pi mount[7]: Stale file handle",
        ];
        let messages = |boot| {
            of(&lines, boot).map(|log| log.lines.into_iter().map(|line| line.message).collect::<Vec<_>>())
        };
        assert_eq!(messages(0).unwrap(), lines[3..]);
        assert_eq!(messages(-1).unwrap(), lines[1..3]);
        assert_eq!(messages(1).unwrap(), lines[..1]);
        assert_eq!(messages(-3).unwrap_err().message, "boot -3 is not in the log: it has 0 to -2");
        assert_eq!(messages(4).unwrap_err().message, "boot 4 is not in the log: it has 0 to -2");
        assert_eq!(of(&lines[..1], -1).unwrap_err().message, "boot -1 is not in the log: it has one boot: 0");
    }
}
