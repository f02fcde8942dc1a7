//! The process that holds a UDP or TCP port.

use std::fs;

/// The process that holds a UDP port, or listens on a TCP port, over IPv4 or IPv6, as "name (pid 123)"; [`KERNEL`] if it is none.
/// `None` if that is unknown: only root sees the processes of other users, and not where /proc hides them (proc(5), `hidepid`).
pub fn holder_of(port: u16) -> Option<String> {
    let inodes = all_inodes(port);
    if inodes.contains(&0) {
        return Some(KERNEL.into());
    }
    let inodes: Vec<_> = inodes.into_iter().map(|inode| format!("socket:[{inode}]")).collect();
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

/// Whether a socket of any user holds a UDP port, or listens on a TCP port.
pub fn is_held(port: u16) -> bool {
    !all_inodes(port).is_empty()
}

fn all_inodes(port: u16) -> Vec<u64> {
    ["udp", "udp6", "tcp", "tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/self/net/{table}")).ok())
        .flat_map(|table| inodes(&table, port))
        .collect()
}

/// The inodes of the sockets that hold `port` in a table like /proc/self/net/udp (proc_pid_net(5)); 0 for a socket of the kernel.
fn inodes(table: &str, port: u16) -> Vec<u64> {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_, local_port) = fields.nth(1)?.rsplit_once(':')?;
        let (_, remote_port) = fields.next()?.rsplit_once(':')?;
        // A connection is none of the listener's.
        let holds = u16::from_str_radix(local_port, 16).ok()? == port && remote_port == "0000";
        holds.then(|| fields.nth(6)?.parse().ok())?
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// The holder of a port that no process holds.
pub const KERNEL: &str = "the kernel";

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
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 00000000:0801 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 0 1 0 100 0 0 10 0\n   \
            1: 0100007F:006F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100 0 0 10 0\n   \
            2: 0100007F:006F 0100007F:8001 01 00000000:00000000 00:00000000 00000000     0        0 8 1 0 100 0 0 10 0\n";
        assert_eq!(inodes(table, 2049), [0], "the kernel's NFS server");
        assert_eq!(inodes(table, 111), [7]);
    }

    #[test]
    fn finds_this_very_process() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let holder = holder_of(port).unwrap();
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(holder_of(listener.local_addr().unwrap().port()), Some(holder));
        assert!(is_held(port));
    }
}
