//! The words of a boot's phases, in the log and in the timeline of `up`: what a client does, without the client.

use indicatif::DecimalBytes;

#[cfg(feature = "import")]
use crate::events::Fact;
use crate::events::{Boot, Cause, Root};

/// The phase that a fact is.
#[cfg(feature = "import")]
pub(crate) fn phase(fact: &Fact) -> Option<String> {
    match fact {
        Fact::Boot(fact) => of_boot(fact),
        Fact::Root(fact) => of_root(fact),
        _ => None,
    }
}

pub(super) fn of_boot(fact: &Boot) -> Option<String> {
    Some(match fact {
        Boot::Began { by: Cause::Discover { hardware, identity }, .. } => {
            format!("asks by DHCP: {identity}, {hardware}")
        }
        Boot::HasAddress { address } => format!("has {address}"),
        Boot::Stage { stage, .. } => format!("reached stage: {stage}"),
        Boot::KernelSent { files, bytes, seconds, largest, .. } => {
            format!("files: {files} in {seconds:.1} s, {} ({})", DecimalBytes(*bytes), largest.join(", "))
        }
        Boot::KernelAsks { .. } => "kernel runs: asks by DHCP again".into(),
        Boot::Up { seconds } => format!("up, {seconds:.0} s after the boot began"),
        _ => return None,
    })
}

pub(super) fn of_root(fact: &Root) -> Option<String> {
    Some(match fact {
        Root::LayerMade { image, host_name, kept, .. } => {
            let kept = kept.as_ref().map(|from| format!(", with what it keeps of its layer on {from}"));
            format!("gets a new layer on {image}, host name {host_name}{}", kept.unwrap_or_default())
        }
        Root::Mounted { path, .. } => format!("root {path} mounted"),
        Root::DiskMade { image, .. } => format!("gets a new disk on {image}"),
        Root::DiskOpened { image, .. } => format!("connects to its disk on {image}"),
        Root::Unmounted { .. } => {
            "takes its mount back, as 'pinetboot simulate' does: the mount proves nothing".into()
        }
        _ => return None,
    })
}
