//! Threads of a server that a test holds, as a debugger does.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A held thread of a server. To be let go by the thread that took hold of it; a test that fails lets go, or else it would wait for
/// the end of the server for ever.
pub(crate) struct HeldThread(Pid);

impl HeldThread {
    pub(crate) fn take(process: u32, name: &str) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", process)).unwrap();
        let named = tasks.map(|task| task.unwrap()).find(|task| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        });
        let thread = Pid::from_raw(named.unwrap().file_name().to_str().unwrap().parse().unwrap());
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Self(thread)
    }

    pub(crate) fn let_go(self) {
        ptrace::detach(self.0, None).unwrap();
    }

    /// Lets the thread's wait for events fail with this error.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn fail_wait(process: u32, name: &str, error: nix::errno::Errno) {
        const EPOLL_WAIT: u64 = 232;
        loop {
            let held = Self::take(process, name);
            let mut registers = ptrace::getregs(held.0).unwrap();
            let waits = registers.orig_rax == EPOLL_WAIT;
            if waits {
                registers.rax = -i64::from(error as i32) as u64;
                ptrace::setregs(held.0, registers).unwrap();
            }
            held.let_go();
            if waits {
                return;
            }
        }
    }

    /// Lets the kernel forget the thread, which has ended with its process.
    pub(crate) fn bury(self) {
        waitpid(self.0, Some(WaitPidFlag::__WALL)).unwrap();
    }
}

impl Drop for HeldThread {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ended = ptrace::detach(self.0, None);
        }
    }
}
