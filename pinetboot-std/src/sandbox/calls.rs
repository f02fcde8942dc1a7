//! The system calls that remain to a process (seccomp(2)).
//!
//! Another call fails with ENOSYS, as on a kernel without it: libraries then use an older one. The kernel keeps a bitmap of calls
//! that are allowed whatever their arguments (Linux 5.11), so such a call costs a bit test and runs no filter.

use std::collections::BTreeMap;

use nix::libc::{self, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use super::Missing;

/// Sets of system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// TFTP, DHCP, disks and the page: UDP, connections to open sockets, and files of one user. No program, no other process, no executable memory.
    Network,
    /// NFS: TCP on open ports, and files of all users by handle.
    Files,
    /// Mounts of overlays; no new socket.
    Mounts,
}

impl Calls {
    pub(super) fn restrict(self) -> Result<(), Missing> {
        let missing = |why: String| Missing { part: "seccomp", why };
        let arch = TargetArch::try_from(std::env::consts::ARCH)
            .map_err(|_| missing(format!("no filter for {}", std::env::consts::ARCH)))?;
        let filter = self.filter(arch).map_err(|error| missing(error.to_string()))?;
        apply_filter(&filter).map_err(|error| missing(error.to_string()))
    }

    fn filter(self, arch: TargetArch) -> Result<BpfProgram, seccompiler::BackendError> {
        let more: &[&[c_long]] = match self {
            Self::Network => &[LISTEN],
            Self::Files => &[FILES, OLDER_FILES],
            Self::Mounts => &[MOUNTS],
        };
        let always = [ALL, OLDER].into_iter().chain(more.iter().copied()).flatten();
        let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = always.map(|call| (*call, Vec::new())).collect();
        // Threads of this process, no other process. clone3 hides its flags from a filter: libraries use clone then.
        rules.insert(libc::SYS_clone, vec![has(0, libc::CLONE_THREAD as u64)?]);
        // No memory is made executable.
        rules.insert(libc::SYS_mmap, vec![lacks(2, libc::PROT_EXEC as u64)?]);
        rules.insert(libc::SYS_mprotect, vec![lacks(2, libc::PROT_EXEC as u64)?]);
        let more: &[u64] = if self == Self::Mounts { &PROJECTS } else { &[] };
        let ioctls: Result<_, _> = IOCTLS.iter().chain(more).map(|request| is(1, *request)).collect();
        rules.insert(libc::SYS_ioctl, ioctls?);
        rules.insert(libc::SYS_prctl, vec![is(0, libc::PR_SET_NAME as u64)?]);
        let families: &[i32] = match self {
            Self::Network => &[libc::AF_INET, libc::AF_UNIX, libc::AF_NETLINK],
            // The addresses of interfaces. All other sockets are open.
            Self::Files => &[libc::AF_NETLINK],
            Self::Mounts => &[],
        };
        if !families.is_empty() {
            let families: Result<_, _> = families.iter().map(|family| is(0, *family as u64)).collect();
            rules.insert(libc::SYS_socket, families?);
        }
        if self == Self::Files {
            // The turns of a thread itself; a higher priority takes a capability.
            for call in [libc::SYS_sched_getattr, libc::SYS_sched_setattr] {
                rules.insert(call, vec![is(0, 0)?]);
            }
            // A umask for each thread that acts for a client; no namespace.
            rules.insert(libc::SYS_unshare, vec![is(0, libc::CLONE_FS as u64)?]);
        }
        let action = SeccompAction::Errno(libc::ENOSYS as u32);
        SeccompFilter::new(rules, action, SeccompAction::Allow, arch)?.try_into()
    }
}

/// The argument has this value.
fn is(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    rule(argument, SeccompCmpOp::Eq, value)
}

/// The argument has these bits.
fn has(argument: u8, bits: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    rule(argument, SeccompCmpOp::MaskedEq(bits), bits)
}

/// The argument has none of these bits.
fn lacks(argument: u8, bits: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    rule(argument, SeccompCmpOp::MaskedEq(bits), 0)
}

fn rule(argument: u8, operation: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)?])
}

/// What the standard library asks of sockets and terminals (asm-generic/ioctls.h, linux/sockios.h), and no file system's:
/// FIONBIO, FIOCLEX, FIONREAD, TCGETS, TIOCGWINSZ, SIOCGIFNAME, SIOCGIFINDEX.
const IOCTLS: [u64; 7] = [0x5421, 0x5451, 0x541b, 0x5401, 0x5413, 0x8910, 0x8933];

/// The project of a directory (linux/fs.h): FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR.
const PROJECTS: [u64; 2] = [0x801c_581f, 0x401c_5820];

/// On the TCP ports that landlock(7) leaves, for a network interface that was made again.
const LISTEN: &[c_long] = &[libc::SYS_listen];

const ALL: &[c_long] = &[
    // Sockets; `socket` itself by family.
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pipe2,
    // Files.
    libc::SYS_close,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
    // Memory; `mmap` and `mprotect` by protection.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads, signals and time.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_membarrier,
    libc::SYS_nanosleep,
    libc::SYS_prlimit64,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_sysinfo,
    libc::SYS_tgkill,
    libc::SYS_uname,
];

/// Calls of the first Linux ports, which musl still uses; later ports lack them.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getdents,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// TCP, and files of all users.
const FILES: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_fchdir,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fsetxattr,
    libc::SYS_getgroups,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_listen,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_mknodat,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgroups,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_truncate,
];

#[cfg(target_arch = "x86_64")]
const OLDER_FILES: &[c_long] = &[libc::SYS_chown, libc::SYS_lchown, libc::SYS_mknod];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_FILES: &[c_long] = &[];

/// Mounts, the attributes of layers that were copied, and quotas.
const MOUNTS: &[c_long] = &[
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_lremovexattr,
    libc::SYS_mount,
    libc::SYS_quotactl_fd,
    libc::SYS_removexattr,
    libc::SYS_setxattr,
    libc::SYS_syncfs,
    libc::SYS_umount2,
];
