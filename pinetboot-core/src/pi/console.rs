//! Lines of the log that a Pi sends of itself: the bootloader's and the kernel's NETCONSOLE, or a UART's.
//!
//! Not done: lines without a rule of the catalogue.

use super::rules::Rule;

/// The UDP port that NETCONSOLE sends to, of bootloader, kernel and pinetboot-init (raspberrypi/documentation, eeprom-bootloader;
/// Linux, Documentation/networking/netconsole.rst).
pub const PORT: u16 = 6666;

/// The number of the rule that a line shows.
///
/// ```
/// use pinetboot_core::pi::console::rule;
///
/// assert_eq!(rule("nfsmount: bad option 'vers'"), Some(33));
/// assert_eq!(rule("TFTP: complete 1247"), None);
/// ```
pub fn rule(line: &str) -> Option<u8> {
    if let Some((_, count)) = line.split_once("UDP_CSUM_ERR:") {
        let digits = count.trim_start().split(|char: char| !char.is_ascii_digit()).next()?;
        return (digits.parse::<u32>().ok()? > 0).then_some(56);
    }
    if let Some((_, said)) = line.split_once("pinetboot-init: ") {
        let number = said.trim_end().strip_suffix(']')?.rsplit_once("[rule ")?.1.parse().ok()?;
        return Rule::find(number).map(|rule| rule.number);
    }
    let holds = |words: &&(&[&str], u8)| words.0.iter().all(|word| line.contains(word));
    LINES.iter().find(holds).map(|(_, rule)| *rule)
}

/// Words that a line has, all of them, and its rule. Captured, in the issues that the rules name as their sources.
const LINES: &[(&[&str], u8)] = &[
    (&["Device-tree file", "-rpi-cm5", "not found"], 77), // before the next, which holds too
    (&["Device-tree file", "not found"], 19),
    (&["does not indicate support for Raspberry Pi"], 19),
    (&["code 7", "Kernel or device-tree not found"], 20),
    (&["NETBOOT init failed"], 4),
    (&["Firmware not found"], 17),
    (&["Read boot.img failed"], 28),
    (&["nfsmount: bad option"], 33),
    (&["VFS: Unable to mount root fs via NFS"], 35),
    (&["IP-Config: Retrying forever"], 36),
    (&["Waiting for root device"], 39),
    // Without `rootwait`; "nfs" in this place follows an NFS root that was not mounted.
    (&["VFS: Cannot open root device \"mmcblk"], 39),
    (&["VFS: Cannot open root device \"PARTUUID="], 39),
    (&["brcmuart_init"], 75),
    (&["You are in emergency mode"], 45),
    (&["No working init found"], 97),
    (&["No init found. Try passing init="], 97),
    (&["Disabling rootwait", "root= is invalid"], 92),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_captures_have_their_rules() {
        for (line, number) in [
            (r#"Device-tree file "bcm2712-rpi-5-b.dtb" not found."#, Some(19)),
            (r#"Device-tree file "bcm2712-rpi-cm5-cm5io.dtb" not found."#, Some(77)),
            ("BOOT ERROR: code 7 - Kernel or device-tree not found or is not compatible", Some(20)),
            ("NETBOOT init failed", Some(4)),
            ("Firmware not found", Some(17)),
            ("UDP_CSUM_ERR: 12", Some(56)),
            ("UDP_CSUM_ERR: 0", None),
            ("UDP_CSUM_ERR:", None),
            ("UDP_CSUM_ERR: 99999999999", None),
            ("[    5.1] IP-Config: Retrying forever (NFS root)...", Some(36)),
            ("Disabling rootwait; root= is invalid.", Some(92)),
            ("Read bd989ae1/config.txt bytes     1247 hnd 0x0", None),
            (r#"VFS: Cannot open root device "mmcblk0p2" or unknown-block(0,0): error -6"#, Some(39)),
            (
                r#"VFS: Cannot open root device "PARTUUID=57c84f67-02" or unknown-block(0,0): error -6"#,
                Some(39),
            ),
            (r#"VFS: Cannot open root device "nfs" or unknown-block(0,255): error -6"#, None),
            ("You are in emergency mode. After logging in, type \"journalctl -xb\"", Some(45)),
            ("Kernel panic - not syncing: No working init found.  Try passing init= option", Some(97)),
            ("pinetboot-init: the server refuses the disk: no such disk. .. [rule 98]\n", Some(98)),
            ("pinetboot-init: 10.77.0.1:10809: the server is not reached: .. [rule 99]", Some(99)),
            ("pinetboot-init: .. and may have lost writes: .. [rule 100]", Some(100)),
            ("pinetboot-init: the kernel has no NBD driver: ENOENT. .. [rule 101]", Some(101)),
            ("pinetboot-init: the disk has no root Number(7): .. [rule 102]", Some(102)),
            ("<3>pinetboot-init: the network is not configured: .. [rule 103]", Some(103)),
            ("pinetboot-init: the kernel command line names no root .. [rule 104]", Some(104)),
            ("pinetboot-init: memory is not locked: EPERM. Do not use swap on this disk", None),
            ("pinetboot-init: a rule of a later version [rule 255]", None),
            ("pinetboot-init: [rule 98] in between", None),
            ("", None),
        ] {
            assert_eq!(rule(line), number, "{line}");
        }
    }

    #[test]
    fn each_rule_is_in_the_catalogue() {
        assert!(LINES.iter().all(|(words, rule)| !words.is_empty() && Rule::find(*rule).is_some()));
    }
}
