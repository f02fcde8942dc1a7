//! Lines about a Pi's boot.

use indicatif::DecimalBytes;
use pinetboot_core::dhcp::HardwareAddress;
use tracing::{debug, info, warn};

use super::Client;
use crate::events::{Boot, Cause};

pub(super) fn log(client: &Client<'_>, fact: &Boot) {
    match fact {
        Boot::Began { number, by: Cause::Discover { hardware, identity } } => {
            let serial = identity.prefix().map(|prefix| prefix.to_string());
            info!(
                %client,
                mac = %hardware,
                serial,
                boot = number,
                "{client} asks by DHCP whom to boot from: {identity}, {hardware}, boot {number}"
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
                since_dhcp.map_or(String::new(), |since| format!(", {since:.1} s after it asked by DHCP"));
            info!(
                %client,
                boot = number,
                files,
                bytes,
                seconds,
                booting = since_dhcp,
                missing,
                resent,
                "{client} has its kernel: files: {files}, {} in {seconds:.1} s{dhcp}; not there: {missing}; packets sent \
                 again: {resent}",
                DecimalBytes(*bytes),
            );
        }
        Boot::KernelAsks { seconds } => {
            info!(
                %client,
                seconds,
                "{client} runs its kernel: asks by DHCP again, {seconds:.1} s after the kernel was sent"
            );
        }
        Boot::Stopped { stage, files, seconds } => {
            let names = files.join(", ");
            warn!(
                %client,
                %stage,
                seconds,
                "{client} has no {stage}: it asked for {names}, which the tree does not have, and for nothing more in \
                 {seconds:.0} s. Copy one of these files into the tree"
            );
        }
        Boot::SameSerial { serial, owner, other, apart } => warn!(
            %client,
            "two boards have the serial number {serial}: {} and {}. The latter is called {apart} here and has a root of its own",
            HardwareAddress::ethernet(*owner),
            HardwareAddress::ethernet(*other)
        ),
        Boot::Rendered { file, changes, unknown, .. } => {
            for value in unknown {
                warn!(%client, file, "{{{value}}} in {file} is not known for {client}, and left empty");
            }
            match changes {
                Some(changes) => info!(%client, file, changes, "{client} gets {file} with {changes}"),
                None => debug!(%client, file, "{client} gets {file} filled in"),
            }
        }
        Boot::NotRendered { file, limit } => {
            warn!(%client, file, "{file} is longer than {limit} bytes: {client} gets the file unchanged");
        }
        Boot::NothingToServe { why } => warn!(%client, "nothing to serve to {client}: {why}"),
        Boot::NoRoot { why } => warn!(%client, "{client} gets no root: {why}"),
    }
}
