//! cmdline.txt and config.txt of a Pi whose card is a disk of this server: the card's own lines stay, and what leads to the disk is added.

use super::cmdline::{arguments, first_line};
use crate::text::without_secrets;

/// The command line with the disk's address and these arguments, and with `ip=dhcp` unless it has an `ip=`; the second value names the
/// change for the log. What an earlier boot had, as `cp /proc/cmdline` keeps it, is left out.
pub fn command_line(text: &str, address: &str, more: &[String]) -> (String, String) {
    let line = first_line(text);
    let is_ours = |word: &&str| {
        [ARGUMENT, OVERLAY].iter().any(|ours| word.starts_with(ours)) || more.iter().any(|ours| ours == word)
    };
    let mut kept: Vec<&str> = arguments(&line).into_iter().filter(|word| !is_ours(word)).collect();
    let disk = format!("{ARGUMENT}{address}");
    let mut ours = vec![disk.as_str()];
    ours.extend(more.iter().map(String::as_str));
    if !kept.iter().any(|word| word.starts_with("ip=")) {
        ours.push("ip=dhcp");
    }
    kept.extend(&ours);
    (kept.join(" ") + "\n", without_secrets(&format!("added {}", ours.join(" "))))
}

/// The arguments of a Pi that writes to its memory: the root is overlaid, and the image, which is read-only, is not checked
/// (systemd-fsck(8)). All share the image's identity but for host name and machine-id.
pub fn in_memory(host_name: &str, machine_id: &str) -> Vec<String> {
    vec![
        format!("{OVERLAY}tmpfs"),
        "fsck.mode=skip".into(),
        format!("systemd.hostname={host_name}"),
        format!("systemd.machine_id={machine_id}"),
    ]
}

/// config.txt with this initramfs alone; the second value names the change for the log. Lines for another initramfs become
/// comments: several with `initramfs` would be loaded one behind the other (raspberrypi/documentation, config_txt/boot.adoc).
pub fn config(text: &str, initramfs: &str) -> (String, String) {
    let mut out = String::with_capacity(text.len() + 100);
    for line in text.lines() {
        let word = line.trim_start().split(|c: char| c == '=' || c.is_whitespace()).next();
        if matches!(word, Some("initramfs" | "auto_initramfs" | "ramfsfile" | "ramfsaddr")) {
            out.push_str("# ");
        }
        out.push_str(line);
        out.push('\n');
    }
    let ours = format!("initramfs {initramfs} followkernel");
    out.push_str(&format!("[all]\nauto_initramfs=0\n{ours}\n"));
    (out, format!("{ours}: the Pi's disk is on this server"))
}

/// The argument of the kernel's command line, for `pinetboot-init`.
const ARGUMENT: &str = "pinetboot.disk=";
/// The same.
const OVERLAY: &str = "pinetboot.overlay=";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cards_own_line_stays() {
        let stock = "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait quiet \
                     init=/usr/lib/raspberrypi-sys-mods/firstboot\n";
        let address = "nbd://10.0.0.1:10809/bd989ae1-6749b0c2f3a09d51e744";
        let (line, said) = command_line(stock, address, &[]);
        assert_eq!(line, format!("{} pinetboot.disk={address} ip=dhcp\n", stock.trim_end()));
        assert_eq!(
            said, "added pinetboot.disk=nbd://10.0.0.1:10809/bd989ae1-.. ip=dhcp",
            "the log has no secret"
        );
        let again = line.replace("6749b0c2", "00000000").replace("ip=dhcp", "ip=10.0.0.7::::::off");
        assert_eq!(
            command_line(&again, address, &[]).0,
            format!("{} ip=10.0.0.7::::::off pinetboot.disk={address}\n", stock.trim_end())
        );
    }

    #[test]
    fn a_root_in_memory_is_named_once_and_forgotten_with_the_mode() {
        let address = "nbd://10.0.0.1:10809/bd989ae1-6749b0c2f3a09d51e744";
        let memory = in_memory("pi-bd989ae1", "0123");
        let (line, _) = command_line("root=LABEL=x ip=dhcp", address, &memory);
        let ours =
            "pinetboot.overlay=tmpfs fsck.mode=skip systemd.hostname=pi-bd989ae1 systemd.machine_id=0123";
        assert_eq!(line, format!("root=LABEL=x ip=dhcp pinetboot.disk={address} {ours}\n"));
        assert_eq!(command_line(&line, address, &memory).0, line);
        assert!(!command_line(&line, address, &[]).0.contains("pinetboot.overlay="));
    }

    #[test]
    fn another_initramfs_is_not_loaded() {
        let stock = "arm_64bit=1\r\nauto_initramfs=1\n[pi5]\n  initramfs initrd.img followkernel\n#initramfs x\nkernel=vmlinuz";
        let (config, _) = config(stock, "ours");
        assert_eq!(
            config,
            "arm_64bit=1\n# auto_initramfs=1\n[pi5]\n#   initramfs initrd.img followkernel\n#initramfs x\nkernel=vmlinuz\n\
             [all]\nauto_initramfs=0\ninitramfs ours followkernel\n"
        );
    }
}
