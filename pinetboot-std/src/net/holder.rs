//! The process that holds a UDP port.

use std::fs;

/// The process that holds a UDP port over IPv4 or IPv6, as "name (pid 123)". `None` if that is unknown: only root sees the
/// processes of other users, and not where /proc hides them (proc(5), `hidepid`).
pub fn holder_of(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()) {
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
            .any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()));
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {})", name.trim(), process.file_name().to_string_lossy()));
        }
    }
    None
}

/// The inodes of the sockets bound to `port` in a table like /proc/self/net/udp (proc_pid_net(5)).
fn inodes(table: &str, port: u16) -> Vec<u64> {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_, local_port) = fields.nth(1)?.rsplit_once(':')?;
        (u16::from_str_radix(local_port, 16).ok()? == port).then(|| fields.nth(7)?.parse().ok())?
    };
    table.lines().skip(1).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_inode_of_a_port() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  \
            12: 00000000:0045 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 21365 2 0000000000000000 0\n  \
            13: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 99 2 0000000000000000 0\n";
        assert_eq!(inodes(table, 69), [21365]);
        assert_eq!(inodes(table, 70), [0u64; 0]);
    }

    #[test]
    fn finds_this_very_process() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let holder = holder_of(port).unwrap();
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
    }
}
