//! pinetboot on Linux: serves boot files and root file systems to Raspberry Pis, and checks whether a Pi would boot.
//!
//! A library with a thin binary on top, so that tests and tools call the same functions as the commands. The protocols are in
//! [`pinetboot_core`], NFS in `pinetboot_nfs` (feature `nfs`), OS images in `pinetboot_image` (feature `import`); this crate
//! has Linux: sockets, files, logs and the command line.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`], [`config`], [`exit`] | the commands, the configuration of `serve`, exit codes |
//! | [`serve`], [`get`], [`probe`], [`router_config`], [`simulate`], [`demo`], [`pack`] | a command each |
//! | [`check`] | static rules over boot files and roots, and their command |
//! | `inspect` | static rules over single boot files, of `check` and `simulate` |
//! | [`doctor`] | all checks of a server's machine, network, files and Pis; pasted logs |
//! | [`explain`] | a rule of the catalogue as a page |
//! | `firewall` | the rules of this machine's firewall about a server's ports |
//! | [`finding`] | faults of a boot: the rule, the evidence and the remedy |
//! | [`net`] | the core's network trait on epoll |
//! | [`storage`] | trees of boot files, and a directory for uploads |
//! | [`images`], `images_command`, `import` | a directory of imported OS images, its command, and the import (feature `import`) |
//! | [`events`], [`bus`] | the events of a running server, and their way to registry and listeners |
//! | [`pis`] | the registry: the knowledge about each Pi |
//! | [`render`] | boot files rendered for each Pi |
//! | [`roots`] | base images, and each Pi's layer on them |
//! | `disks`, [`disk_mode`] | a copy-on-write disk for each Pi on the image of a card, or the image itself, served by NBD (feature `disk`) |
//! | [`observe`] | observers that turn the protocol engines' events into facts |
//! | `live`, `web`, `control`, `status`, `watch` | what is shown of a running server, by HTTP and by commands (feature `web`) |
//! | [`log`], [`logging`] | log lines of events, and their output |
//! | `up` | from an image to a Pi with its root (feature `import`) |
//! | `system_log` | the log that a Pi's system wrote on its root (feature `import`) |
//! | `arguments`, `beneath`, `descriptors`, `durable`, `text`, `time` | helpers of several modules |
//! | `nfs_client` | a client of portmapper, MOUNT and NFSv3 |
//! | [`output`] | standard output and standard error of the commands |
//! | [`sandbox`] | the user, capabilities, files and system calls that remain to a process |
//! | [`supervisor`], [`notify`] | the threads of `serve`, their end and the process's; notifications to the service manager |
//! | [`signals`] | SIGINT and SIGTERM of the other commands |
//! | [`space`] | disk space, and the server's reserve |

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod beneath;
pub mod bus;
pub mod check;
pub mod cli;
pub mod config;
#[cfg(feature = "web")]
mod control;
#[cfg(test)]
mod damaged;
pub mod demo;
mod descriptors;
pub mod disk_mode;
#[cfg(feature = "disk")]
pub mod disks;
pub mod doctor;
mod durable;
mod ears;
pub mod events;
pub mod exit;
pub mod explain;
pub mod finding;
mod firewall;
pub mod get;
pub mod handed;
pub mod health;
#[cfg(feature = "web")]
pub mod hooks;
pub mod images;
#[cfg(feature = "import")]
pub mod images_command;
#[cfg(feature = "import")]
pub mod import;
mod inspect;
#[cfg(feature = "web")]
pub mod live;
pub mod log;
pub mod logging;
pub mod net;
mod nfs_client;
#[cfg(feature = "nfs")]
pub mod nfsd;
pub mod notify;
pub mod observe;
pub mod output;
pub mod pack;
pub mod pis;
pub mod probe;
pub mod render;
pub mod roots;
pub mod router_config;
pub mod sandbox;
pub mod serve;
pub mod service;
pub mod signals;
pub mod simulate;
pub mod space;
#[cfg(feature = "web")]
pub mod status;
pub mod storage;
pub mod supervisor;
#[cfg(feature = "import")]
mod system_log;
mod text;
mod time;
#[cfg(feature = "import")]
pub mod up;
pub mod users;
#[cfg(feature = "web")]
pub mod watch;
#[cfg(feature = "web")]
mod web;
#[cfg(any(feature = "nfs", feature = "web"))]
#[cfg_attr(not(feature = "web"), allow(dead_code, reason = "no page, no token"))]
mod web_token;
