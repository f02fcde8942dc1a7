//! pinetboot on Linux: serves Raspberry Pis their boot files, fetches them, and shows what a Pi would make of them.
//!
//! A library with a thin binary on top, so that tests and tools call what the commands call. The protocol is in
//! [`pinetboot_core`], NFS in `pinetboot_nfs` (feature `nfs`), OS images in `pinetboot_image` (feature `import`); what is here is Linux: sockets, files, logs and the command line.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`], [`config`], [`exit`] | options as typed, the configuration they amount to, exit codes |
//! | [`serve`], [`get`], [`probe`], [`router_config`], [`simulate`], [`demo`], [`pack`] | a command each |
//! | [`finding`] | what is wrong with a boot: the rule, the evidence and the remedy |
//! | [`net`] | the core's network trait on epoll |
//! | [`storage`] | a tree of boot files, and a directory for uploads |
//! | [`images`], `import` | a directory of imported OS images, and what fills it (feature `import`) |
//! | [`events`], [`bus`] | what happens while pinetboot serves, and the one way that it goes |
//! | [`pis`] | the registry: all that is known about each Pi |
//! | [`render`] | boot files made to fit each Pi |
//! | [`roots`] | which root file system a Pi gets, and its layer on it |
//! | [`observe`] | from the protocol engines to events |
//! | [`log`], [`logging`] | log lines, from events, and where they go |
//! | `arguments`, `beneath`, `text` | what several of these use |
//! | [`signals`] | SIGINT, SIGTERM and SIGHUP |

#![forbid(unsafe_code)]

mod arguments;
mod beneath;
pub mod bus;
pub mod cli;
pub mod config;
pub mod demo;
pub mod events;
pub mod exit;
pub mod finding;
pub mod get;
pub mod images;
#[cfg(feature = "import")]
pub mod import;
pub mod log;
pub mod logging;
pub mod net;
pub mod observe;
pub mod pack;
pub mod pis;
pub mod probe;
pub mod render;
pub mod roots;
pub mod router_config;
pub mod serve;
pub mod signals;
pub mod simulate;
pub mod storage;
mod text;
