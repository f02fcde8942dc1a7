//! Lines about a Pi's boot: one for each phase, and one that begins with `!` for what keeps the boot where it is.

use pinetboot_core::dhcp::HardwareAddress;
use pinetboot_core::pi::boot::{Certainty, Verdict};
use pinetboot_core::pi::rules::Rule;
use tracing::{debug, info, warn};

use super::ClientName;
use super::phase::of_boot;
use crate::events::{Boot, Cause};
use crate::explain::explained;

pub(super) fn log(client: &ClientName<'_>, fact: &Boot) {
    let phase = of_boot(fact).unwrap_or_default();
    match fact {
        Boot::Began { number, by: Cause::Discover { hardware, identity } } => {
            let serial = identity.prefix().map(|prefix| prefix.to_string());
            info!(
                %client,
                mac = %hardware,
                serial,
                boot = number,
                "{client:#} {phase} (boot {number})"
            );
        }
        Boot::Began { number, by: Cause::Request } => {
            debug!(%client, boot = number, "{client:#} begins boot {number}")
        }
        Boot::HasAddress { address } => info!(%client, %address, "{client:#} {phase}"),
        Boot::Stage { stage, seconds } => {
            debug!(%client, %stage, seconds, "{client:#} {phase}");
        }
        Boot::KernelSent { .. } => kernel_sent(client, &phase, fact),
        Boot::KernelAsks { seconds } => {
            info!(%client, seconds, "{client:#} {phase}");
        }
        Boot::Up { seconds } => info!(%client, seconds, "{client:#} {phase}"),
        Boot::Stuck { number, verdict, seconds, details } => {
            stuck(client, *number, verdict, *seconds, details);
        }
        Boot::GoesOn { number, verdict, seconds } => {
            info!(
                %client,
                boot = number,
                rule = %numbers(verdict),
                seconds,
                "{client:#} goes on after {seconds:.0} s: {verdict}"
            );
        }
        Boot::SameSerial { serial, owner, other, apart } => warn!(
            %client,
            rule = "66",
            "two boards have the serial number {serial}: {} and {}. The second board is named {apart} and gets a separate root \
             [66]",
            HardwareAddress::ethernet(*owner),
            HardwareAddress::ethernet(*other)
        ),
        Boot::CommandLine { root } => {
            debug!(%client, "{client:#} gets a command line with its root: {root:?}")
        }
        Boot::Rendered { file, changes, unknown, .. } => {
            for value in unknown {
                warn!(%client, file, "{{{value}}} in {file} has no value for {client:#}, and is left empty");
            }
            match changes {
                Some(changes) => {
                    debug!(%client, file, changes, "{client:#} gets {file} rewritten: {changes}")
                }
                None => debug!(%client, file, "{client:#} gets {file} with its values filled in"),
            }
        }
        Boot::NotRendered { file, limit } => {
            warn!(%client, file, "{file} is longer than {limit} bytes: {client:#} gets the file unchanged");
        }
        Boot::NothingToServe { why } => warn!(%client, "{client:#} gets no boot files: {why}"),
        Boot::NoRoot { why } => warn!(%client, "{client:#} gets no root: {why}"),
    }
}

fn kernel_sent(client: &ClientName<'_>, phase: &str, fact: &Boot) {
    let Boot::KernelSent {
        number,
        files,
        bytes,
        seconds,
        since_dhcp,
        dhcp_unused,
        missing,
        wanted,
        resent,
        ..
    } = fact
    else {
        return;
    };
    let fixed = if *dhcp_unused { "; no DHCP: a fixed address in the EEPROM [11]" } else { "" };
    let harmless = usize::try_from(*missing).unwrap_or(usize::MAX).saturating_sub(wanted.len());
    let misses = match harmless {
        0 => String::new(),
        harmless => format!("; normal misses: {harmless}"),
    };
    let lacks = match wanted.as_slice() {
        [] => String::new(),
        wanted => format!("; missing: {}", wanted.join(", ")),
    };
    let again = match resent {
        0 => String::new(),
        resent => format!("; resent packets: {resent}"),
    };
    info!(
        %client,
        boot = number,
        files,
        bytes,
        seconds,
        booting = since_dhcp,
        missing,
        resent,
        "{client:#} {phase}{misses}{lacks}{again}{fixed}"
    );
}

fn stuck(client: &ClientName<'_>, boot: u32, verdict: &Verdict, seconds: f64, details: &[String]) {
    let (certainty, numbers) = (verdict.certainty, numbers(verdict));
    let named = if details.is_empty() { String::new() } else { format!(": {}", details.join(", ")) };
    let silence = if seconds < 2.0 { String::new() } else { format!(", since {seconds:.0} s") };
    let seen = format!("{}{named}{silence}", verdict.seen);
    let rules = || verdict.rules().iter().filter_map(|number| Rule::find(*number));
    let cause = verdict.rule().map_or("", |rule| rule.cause);
    let cause = match certainty {
        Certainty::Certain => format!(". {cause}"),
        Certainty::Likely => format!(". Most likely: {cause}"),
        Certainty::OneOf => String::new(),
    };
    let remedy = match certainty {
        Certainty::OneOf => {
            let each = rules().map(|rule| format!("[{}] {} {}", rule.number, rule.cause, rule.remedy));
            each.collect::<Vec<_>>().join("\n")
        }
        _ => verdict.rule().map_or("", |rule| rule.remedy).to_owned(),
    };
    warn!(
        %client,
        boot,
        rule = %numbers,
        %certainty,
        seen,
        state = %verdict.state,
        remedy,
        "{client:#} ! stuck: {seen}{cause} [{}]",
        explained(verdict.rules())
    );
}

/// Rule numbers: `41 75`.
fn numbers(verdict: &Verdict) -> String {
    verdict.rules().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
