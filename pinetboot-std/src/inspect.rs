//! Static rules over the content of single boot files: the kernel's command line, kernels, initramfs files, device trees.
//!
//! Pure: bytes in, facts and [findings](crate::finding) out. `check` reads the files from a disk, `simulate` from a server.

pub(crate) mod command_line;
pub(crate) mod initramfs;
pub(crate) mod kernel;
