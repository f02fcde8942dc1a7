//! A program that is killed before one of its steps, as a power cut or an impatient user ends it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Runs a program, and kills it before the step of this number, from 0: a step is a system call of its first thread that may change a
/// file. `None` if it was killed; else its status.
#[expect(clippy::zombie_processes, reason = "waitpid, which sees its system calls, sees its end")]
pub(crate) fn run_up_to(step: usize, program: &Command) -> Option<ExitStatus> {
    // A program that stops itself waits for its tracer without unsafe code in this one.
    let mut stopped = Command::new("sh");
    stopped.args(["-c", "kill -STOP $$ && exec \"$@\"", "sh"]).arg(program.get_program());
    stopped.args(program.get_args()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = stopped.spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    assert_eq!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)), Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP)));
    let options = Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(pid, options).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    let (mut is_program, mut enters, mut steps) = (false, true, 0);
    loop {
        let signal = match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceSyscall(_) => {
                if is_program && enters && may_change_a_file(pid) {
                    if steps == step {
                        child.kill().unwrap();
                        let status = child.wait().unwrap();
                        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
                        return None;
                    }
                    steps += 1;
                }
                enters = !enters;
                None
            }
            WaitStatus::PtraceEvent(_, _, event) => {
                is_program |= event == ptrace::Event::PTRACE_EVENT_EXEC as i32;
                None
            }
            WaitStatus::Stopped(_, signal) => Some(signal),
            WaitStatus::Exited(_, code) => return Some(ExitStatus::from_raw(code << 8)),
            other => panic!("{other:?}"),
        };
        ptrace::syscall(pid, signal).unwrap();
    }
}

/// Whether the system call that the program enters is none of those that only read, or are about memory.
fn may_change_a_file(pid: Pid) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
    let mut words = call.split(' ');
    let number: i64 = words.next().unwrap().parse().unwrap();
    let argument = |at: usize| {
        let word = call.split(' ').nth(1 + at).unwrap_or_default();
        u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap_or(0)
    };
    if number == nix::libc::SYS_openat {
        return argument(2) & nix::libc::O_CREAT as u64 != 0;
    }
    if number == nix::libc::SYS_write {
        return argument(0) > 2; // what is said changes no file
    }
    !HARMLESS.contains(&number)
}

/// Others are taken for changes, which costs the test some more runs.
const HARMLESS: &[i64] = &[
    nix::libc::SYS_brk,
    nix::libc::SYS_clone3,
    nix::libc::SYS_close,
    nix::libc::SYS_dup,
    nix::libc::SYS_execve,
    nix::libc::SYS_exit,
    nix::libc::SYS_exit_group,
    nix::libc::SYS_faccessat,
    nix::libc::SYS_fcntl,
    nix::libc::SYS_flock,
    nix::libc::SYS_fdatasync,
    nix::libc::SYS_fstat,
    nix::libc::SYS_fsync,
    nix::libc::SYS_futex,
    nix::libc::SYS_getcwd,
    nix::libc::SYS_getdents64,
    nix::libc::SYS_getegid,
    nix::libc::SYS_geteuid,
    nix::libc::SYS_getgid,
    nix::libc::SYS_getpid,
    nix::libc::SYS_getrandom,
    nix::libc::SYS_gettid,
    nix::libc::SYS_getuid,
    nix::libc::SYS_ioctl,
    nix::libc::SYS_lseek,
    nix::libc::SYS_madvise,
    nix::libc::SYS_mmap,
    nix::libc::SYS_mprotect,
    nix::libc::SYS_mremap,
    nix::libc::SYS_munmap,
    nix::libc::SYS_newfstatat,
    nix::libc::SYS_ppoll,
    nix::libc::SYS_pread64,
    nix::libc::SYS_prctl,
    nix::libc::SYS_prlimit64,
    nix::libc::SYS_read,
    nix::libc::SYS_readlinkat,
    nix::libc::SYS_rseq,
    nix::libc::SYS_rt_sigaction,
    nix::libc::SYS_rt_sigprocmask,
    nix::libc::SYS_sched_getaffinity,
    nix::libc::SYS_set_robust_list,
    nix::libc::SYS_set_tid_address,
    nix::libc::SYS_sigaltstack,
    nix::libc::SYS_statx,
    nix::libc::SYS_uname,
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_stat,
];
