//! The status as text.

use indicatif::DecimalBytes;

use crate::exit::Failed;
use crate::explain::explained;
use crate::live::{BootStatus, PiStatus, Status, VerdictStatus};
use crate::output::Output;
use crate::text::{duration, line};

/// A line for each Pi, and what to do for those that are stuck.
pub(super) fn all(out: &mut Output, status: &Status) -> Result<(), Failed> {
    if status.pis.is_empty() {
        return writeln!(out, "no Pi yet, since {}", duration(status.server.uptime_ms));
    }
    let width = status.pis.iter().map(|pi| pi.name.chars().count()).max().unwrap_or(0).min(32);
    for pi in &status.pis {
        writeln!(out, "{}", row(pi, width))?;
        if let Some(verdict) = &pi.verdict {
            out.write_fmt(format_args!("{}", stuck(verdict)))?;
        }
    }
    Ok(())
}

/// One Pi: its line, and its boots with phases and files.
pub(super) fn one(out: &mut Output, pi: &PiStatus) -> Result<(), Failed> {
    writeln!(out, "{}", row(pi, 0))?;
    for (name, value) in [
        ("model", &pi.model),
        ("serial", &pi.serial),
        ("mac", &pi.mac),
        ("address", &pi.address),
        ("root", &pi.root),
        ("image", &pi.image),
    ] {
        if let Some(value) = value {
            writeln!(out, "  {name:8} {}", line(value))?;
        }
    }
    if let Some(verdict) = &pi.verdict {
        out.write_fmt(format_args!("{}", stuck(verdict)))?;
    }
    for boot in pi.last_good.iter().filter(|good| pi.boots.iter().all(|boot| boot.number != good.number)) {
        self::boot(out, boot)?;
    }
    pi.boots.iter().try_for_each(|boot| self::boot(out, boot))
}

/// `kitchen  fetching  10.9.0.60  3 s  kernel8.img 12 MB of 24 MB`
pub(crate) fn row(pi: &PiStatus, width: usize) -> String {
    let state = pi.state.replace('-', " ");
    let mark = if pi.verdict.is_some() { "!" } else { " " };
    let address = pi.address.as_deref().unwrap_or("-");
    let since = pi.state_ms.map(duration).unwrap_or_default();
    let transfer = pi.transfer.as_ref().map(|transfer| {
        let of = transfer.length.map(|length| format!(" of {}", DecimalBytes(length))).unwrap_or_default();
        format!("  {} {}{of}", line(&transfer.file), DecimalBytes(transfer.bytes))
    });
    let model = pi.model.as_ref().filter(|_| transfer.is_none()).map(|model| format!("  {}", line(model)));
    format!(
        "{mark} {:width$}  {state:12} {address:15} {since:>8}{}",
        line(&pi.name).to_string(),
        transfer.or(model).unwrap_or_default()
    )
    .trim_end()
    .to_owned()
}

/// What was seen, and what to do; a line each.
pub(crate) fn stuck(verdict: &VerdictStatus) -> String {
    let details = match verdict.details.as_slice() {
        [] => String::new(),
        details => format!(": {}", line(&details.join(", "))),
    };
    let mut text = format!("    stuck: {}{details} [{}]\n", line(&verdict.seen), explained(&verdict.rules));
    let most = if verdict.certainty == "one-of" { usize::MAX } else { 1 };
    for (cause, remedy) in verdict.causes.iter().zip(&verdict.remedies).take(most) {
        text += &format!("    {} do: {}\n", line(cause), line(remedy));
    }
    text
}

fn boot(out: &mut Output, boot: &BootStatus) -> Result<(), Failed> {
    let phases = boot.phases.iter().map(|phase| match phase.took_ms {
        Some(took) => format!("{} {}", line(&phase.phase), duration(took)),
        None => format!("{} ..", line(&phase.phase)),
    });
    let phases = phases.collect::<Vec<_>>().join(", ");
    let end = match (&boot.verdict, boot.up) {
        (Some(verdict), _) => format!(": stuck, {}", line(&verdict.seen)),
        (None, true) => ": up".to_owned(),
        (None, false) => String::new(),
    };
    writeln!(out, "  boot {}{end}: {phases}; {}", boot.number, DecimalBytes(boot.bytes))?;
    for file in &boot.files {
        let mark = if file.whole { ' ' } else { '!' };
        let resent = if file.resent > 0 { format!(", sent again: {}", file.resent) } else { String::new() };
        writeln!(
            out,
            "   {mark}{:>8} {:>8}  {} {}{resent}",
            duration(file.from_ms),
            duration(file.took_ms),
            line(&file.file),
            DecimalBytes(file.bytes)
        )?;
    }
    Ok(())
}
