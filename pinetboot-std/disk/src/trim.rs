//! Free memory of the C library's allocator goes back to the system. The only `unsafe` of this crate.
//!
//! glibc keeps what threads have freed in their arenas: all holes, and ends of twice the largest block that ever was freed.
#![allow(unsafe_code)]

/// Lets glibc take blocks of 128 KiB and more from the system, and give them back when they are freed: the value that it begins with, and raises
/// by itself with the first such block. The buffers of requests are used again before they are freed.
pub(crate) fn keep_large_blocks_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes two numbers, and may be called at any time.
    let _whether_done = unsafe { nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, 128 << 10) };
}

/// Gives free pages back.
pub(crate) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer, and may be called from any thread.
    let _whether_any = unsafe { nix::libc::malloc_trim(0) };
}
