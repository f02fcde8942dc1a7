//! File capabilities in words, as `getcap` has them (capabilities(7), "File capabilities").

/// What the attribute `security.capability` says.
pub(super) fn text(value: &[u8]) -> String {
    let word = |at| value.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_le_bytes(*word));
    let wide = |at| u64::from(word(at)) | u64::from(word(at + 8)) << 32;
    let (permitted, inheritable) = (wide(4), wide(8));
    let effective = word(0) & 1 != 0;
    // Names that have the same letters are together.
    let sets =
        [(permitted & !inheritable, "p"), (permitted & inheritable, "ip"), (inheritable & !permitted, "i")];
    let texts = sets.into_iter().filter(|(set, _)| *set != 0).map(|(set, letters)| {
        let names: Vec<_> = (0..64).filter(|bit| set >> bit & 1 != 0).map(name).collect();
        format!("{}={}{letters}", names.join(","), if effective { "e" } else { "" })
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn name(bit: usize) -> String {
    NAMES.get(bit).map_or_else(|| format!("{bit}"), |name| format!("cap_{name}"))
}

const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_getcap_has_it() {
        // ping of Debian 12, and one with a flag less and a capability of the upper half.
        let ping = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(text(&ping), "cap_net_raw=ep");
        let two = [0, 0, 0, 2, 0, 0x30, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(text(&two), "cap_net_admin,cap_net_raw,cap_bpf=p");
        assert_eq!(text(&[]), "");
    }
}
