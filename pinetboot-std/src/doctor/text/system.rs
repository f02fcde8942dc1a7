//! Lines of a running system: its journal, and what programs print. The bootloader's, the kernel's and the initramfs's own lines are in
//! the core, which a server hears by NETCONSOLE.

/// The number of the rule that a line shows.
pub(super) fn rule(line: &str) -> Option<u8> {
    let holds = |words: &&(&[&str], u8)| words.0.iter().all(|word| line.contains(word));
    LINES.iter().find(holds).map(|(_, rule)| *rule)
}

/// Words that a line has, all of them, and its rule. The texts are those of the programs' sources: nfs-utils, initramfs-tools
/// (scripts/local), util-linux (mount, swapon), systemd, apt, OpenSSL, iputils, libcap, and of the kernel (fs/overlayfs, mm/swapfile.c).
const LINES: &[(&[&str], u8)] = &[
    (&["mount", "Protocol not supported"], 34),
    (&["access denied by server while mounting"], 37),
    (&["mount", "Stale file handle"], 37),
    (&["Gave up waiting for root file system device"], 39),
    (&["does not exist.", "Dropping to a shell"], 39),
    (&["bad option; for several filesystems (e.g. nfs, cifs)"], 42),
    (&["You are in emergency mode"], 45),
    (&["Timed out waiting for device", "/dev/disk/by-partuuid"], 45),
    (&["Timed out waiting for device", "/dev/mmcblk"], 45),
    (&["Dependency failed for", "Local File Systems"], 45),
    (&["swap", "has holes"], 46),
    (&["swap", "appears to have holes"], 46),
    (&["swapon failed"], 46),
    (&["resize2fs_once", "Failed"], 48),
    (&["certificate is not yet valid"], 50),
    (&["Release file for", "is not valid yet"], 50),
    (&["ping: ", "Operation not permitted"], 51),
    (&["Failed to set capabilities on file", "not supported"], 51),
    (&["upper fs missing required features"], 52),
    (&["overlayfs", "not supported as upperdir"], 52),
    (&["PC is at", "bcm2835_codec"], 53),
    // The job of a wait without end counts minutes.
    (&["start job is running for", "Wait for Network to be Configured", "min "], 93),
    (&["Stale file handle"], 96),
];

#[cfg(test)]
mod tests {
    use pinetboot_core::pi::rules::Rule;

    use super::*;

    #[test]
    fn each_rule_is_in_the_catalogue() {
        assert!(LINES.iter().all(|(words, rule)| !words.is_empty() && Rule::find(*rule).is_some()));
    }
}
