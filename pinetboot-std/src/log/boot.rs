//! Lines about a Pi's boot.

use indicatif::DecimalBytes;
use pinetboot_core::dhcp::HardwareAddress;
use tracing::{debug, info, warn};

use super::ClientName;
use crate::events::{Boot, Cause};

pub(super) fn log(client: &ClientName<'_>, fact: &Boot) {
    match fact {
        Boot::Began { number, by: Cause::Discover { hardware, identity } } => {
            let serial = identity.prefix().map(|prefix| prefix.to_string());
            info!(
                %client,
                mac = %hardware,
                serial,
                boot = number,
                "{client} begins boot {number} with a DHCP DISCOVER: {identity}, {hardware}"
            );
        }
        Boot::Began { number, by: Cause::Request } => {
            debug!(%client, boot = number, "{client} begins boot {number}")
        }
        Boot::Stage { stage, seconds } => {
            info!(%client, %stage, seconds, "{client} reached stage: {stage}");
        }
        Boot::KernelSent { number, files, bytes, seconds, since_dhcp, missing, resent } => {
            let dhcp =
                since_dhcp.map_or(String::new(), |since| format!(", {since:.1} s after the DHCP DISCOVER"));
            info!(
                %client,
                boot = number,
                files,
                bytes,
                seconds,
                booting = since_dhcp,
                missing,
                resent,
                "{client} has its kernel: files: {files}, {} in {seconds:.1} s{dhcp}; missing files: {missing}; resent packets: \
                 {resent}",
                DecimalBytes(*bytes),
            );
        }
        Boot::KernelAsks { seconds } => {
            info!(
                %client,
                seconds,
                "{client} runs its kernel: DHCP request {seconds:.1} s after the kernel was sent"
            );
        }
        Boot::Stopped { stage, files, seconds } => {
            let names = files.join(", ");
            warn!(
                %client,
                %stage,
                seconds,
                "{client} stopped at stage {stage}: the tree has none of {names}, and the client requested no other file for \
                 {seconds:.0} s. Copy one of these files into the tree"
            );
        }
        Boot::SameSerial { serial, owner, other, apart } => warn!(
            %client,
            "two boards have the serial number {serial}: {} and {}. The second board is named {apart} and gets a separate root",
            HardwareAddress::ethernet(*owner),
            HardwareAddress::ethernet(*other)
        ),
        Boot::Rendered { file, changes, unknown, .. } => {
            for value in unknown {
                warn!(%client, file, "{{{value}}} in {file} has no value for {client}, and is left empty");
            }
            match changes {
                Some(changes) => info!(%client, file, changes, "{client} gets {file} rewritten: {changes}"),
                None => debug!(%client, file, "{client} gets {file} with its values filled in"),
            }
        }
        Boot::NotRendered { file, limit } => {
            warn!(%client, file, "{file} is longer than {limit} bytes: {client} gets the file unchanged");
        }
        Boot::NothingToServe { why } => warn!(%client, "{client} gets no boot files: {why}"),
        Boot::NoRoot { why } => warn!(%client, "{client} gets no root: {why}"),
    }
}
