//! Rules over the device trees of a Pi 5's family: those of stepping D0 and of the CM5, and the symbols that overlays need.

use pinetboot_core::pi::rules;

use super::tree::Tree;
use crate::finding::{Finding, Findings};
use crate::simulate::Fdt;

/// Checks device trees and the overlay of stepping D0 beside them.
pub(super) fn check(findings: &mut Findings, files: &Tree<'_>) {
    let Some(base) = files.read(BOARD, LIMIT) else { return };
    match files.read(D0, LIMIT) {
        None => {
            let finding = Finding::note(format!("{D0} is missing: boards of stepping D0 do not boot."));
            findings.add(finding.rule(&rules::D0_OVERLAY).evidence(
                "A Pi 5 of revision 1.1, with 2 or 16 GB, a Pi 500 and a CM5 may be of that stepping; it came with kernels of 2024.",
            ));
        }
        Some(overlay) => {
            let lacking = lacking(&base, &overlay);
            if !lacking.is_empty() {
                let what = format!("{BOARD} lacks the symbols {} of {D0}.", lacking.join(", "));
                let finding = Finding::warning(what).rule(&rules::D0_OVERLAY);
                findings.add(
                    finding.evidence(
                        "A board of stepping D0 skips the overlay, and its kernel ends in an SError.",
                    ),
                );
            }
        }
    }
    let modules: Vec<_> = CM5.iter().copied().filter(|name| !files.has_file(name)).collect();
    if !modules.is_empty() {
        let finding = Finding::note(format!("{} is missing: a CM5 does not boot.", modules.join(", ")));
        findings.add(finding.rule(&rules::CM5_DEVICE_TREE));
    }
}

/// The symbols that an overlay refers to and a device tree lacks (Documentation/devicetree/overlay-notes.rst: `__fixups__`,
/// `__symbols__`).
fn lacking(base: &[u8], overlay: &[u8]) -> Vec<String> {
    let (Some(base), Some(overlay)) = (Fdt::parse(base), Fdt::parse(overlay)) else { return Vec::new() };
    let Some(wanted) = overlay.node("__fixups__") else { return Vec::new() };
    let symbols: Vec<_> = base.node("__symbols__").into_iter().flatten().map(|(name, _)| name).collect();
    wanted
        .map(|(name, _)| name)
        .filter(|name| !symbols.contains(name))
        .take(MOST)
        .map(str::to_owned)
        .collect()
}

const BOARD: &str = "bcm2712-rpi-5-b.dtb";
const D0: &str = "overlays/bcm2712d0.dtbo";
/// Wanted by os_check of a CM5 since 2025-03-27 (rpi-eeprom, firmware-2712/release-notes.md).
const CM5: &[&str] = &["bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5l-cm5io.dtb"];
const LIMIT: u64 = 1 << 20;
const MOST: usize = 8;
