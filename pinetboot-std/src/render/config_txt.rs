//! config.txt for a kernel that mounts its root without an initramfs.

/// Replaces each `auto_initramfs=1` by `auto_initramfs=0`; `None` if the file has none.
///
/// Raspberry Pi kernels have NFS, DHCP and their network drivers built in (arch/arm64/configs/bcm2712_defconfig), so this
/// saves 22 MB of an initramfs and one DHCP exchange. An `initramfs` line that names a file is the owner's choice and stays.
pub fn without_initramfs(config: &str) -> Option<String> {
    let asks = |line: &str| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "auto_initramfs" && value.trim() == "1").then_some(())
    };
    config.lines().any(|line| asks(line).is_some()).then(|| {
        let lines = config.split_inclusive('\n').map(|line| match asks(line) {
            Some(()) => line.replacen('1', "0", 1),
            None => line.to_owned(),
        });
        lines.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_that_line_changes() {
        let config = "# auto_initramfs=1\r\n[pi5]\r\nauto_initramfs = 1\r\narm_64bit=1";
        let changed = "# auto_initramfs=1\r\n[pi5]\r\nauto_initramfs = 0\r\narm_64bit=1";
        assert_eq!(without_initramfs(config).as_deref(), Some(changed));
        assert_eq!(without_initramfs(changed), None);
        assert_eq!(without_initramfs(""), None);
    }
}
