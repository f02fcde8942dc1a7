//! Settings of the command line and of the configuration file, and the configuration that results.

mod boot_file;
mod dhcp;
mod disk;
mod effects;
mod files;
mod log_format;
mod network;
mod nfs;
mod one_or_many;
mod places;
mod port_range;
mod resolved;
mod template;
mod toml_error;
#[cfg(feature = "web")]
mod web;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
#[cfg(feature = "web")]
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

pub use boot_file::{BootArch, BootFiles};
pub use dhcp::{Admission, DhcpClients, DhcpConfig, DhcpMode, LeaseConfig, Networks, Role};
pub use disk::DiskConfig;
pub use log_format::LogFormat;
pub use network::{LeaseRange, LeaseTerms, NetworkConfig, NetworkEntry, Subnet};
pub use nfs::{NfsMode, NfsSync, RootConfig, RootLimits};
use one_or_many::one_or_many;
pub use resolved::{Config, MOST_TRANSFERS};
pub use template::TemplateSettings;
#[cfg(feature = "web")]
pub use web::{ControlPlace, WebConfig};

use crate::disk_mode::DiskMode;
use crate::exit::{Exit, Failed};
use crate::pis::{GroupEntry, PiEntry};
use crate::space::Size;

/// Settings of `serve`: one list for the command line and the file, so that the two cannot differ.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Directory with the boot files, or with the images of `pinetboot import`; or the image of a card, on which each Pi gets
    /// a private disk [default: the boot files in --nfs]
    #[arg(value_name = "TREE|IMAGE")]
    pub tree: Option<PathBuf>,

    /// Listen on this IPv4 address; repeatable [default: 0.0.0.0]
    #[arg(long, value_name = "IP")]
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<Ipv4Addr>,

    /// Listen for TFTP on this UDP port; 0 selects a free port [default: 69]
    #[arg(long, value_name = "PORT")]
    pub tftp_port: Option<u16>,

    /// Send every answer from the listening port, which passes NAT, containers and simple firewalls [default: false, a port
    /// for each transfer]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub single_port: Option<bool>,

    /// Send and receive files from ports of this range only, for firewalls without connection tracking; at least 8 ports for each
    /// address and thread [default: any port above 1023]
    #[arg(long, value_name = "FIRST-LAST", conflicts_with = "single_port")]
    pub port_range: Option<String>,

    /// Leave this path out of names that begin with it, as in /tftpboot/config.txt [default: the path of the tree]
    #[arg(long, value_name = "DIR")]
    pub path_prefix: Option<PathBuf>,

    /// Use only this network interface; repeatable [default: all]
    #[arg(long, value_name = "IF")]
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub interface: Vec<String>,

    /// Limit concurrent transfers, 1 to 4096 [default: 2048]
    #[arg(long, value_name = "N")]
    pub max_transfers: Option<usize>,

    /// Number of TFTP worker threads, 1 to 64; the kernel assigns each client to one of them [default: 1]
    #[arg(long, value_name = "N")]
    pub threads: Option<u16>,

    /// Busy-poll for up to this many microseconds before sleeping, 0 to 1000000, while files are sent. Lower latency, one
    /// busy core for each thread. 0 disables [default: adaptive, at most 50]
    #[arg(long, value_name = "MICROSECONDS", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub busy_poll: Option<u32>,

    /// Accept uploads into this directory [default: uploads are refused]
    #[arg(long, value_name = "DIR")]
    pub allow_upload: Option<PathBuf>,

    /// Let uploads replace existing files [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub overwrite: Option<bool>,

    /// Become this user once the sockets and trees are open; only root can [default: pinetboot, if this system has that
    /// user, else the user 65534]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Refuse to serve if a part of the sandbox is missing: the user, landlock or seccomp [default: false, the log names
    /// the part]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub require_sandbox: Option<bool>,

    /// Refuse uploads larger than this size, as in 500M or 2GiB [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub upload_max_size: Option<Size>,

    /// Keep this much disk space free for the server: uploads and roots of Pis get "no space" below the reserve. Size as in 500M
    /// or 2GiB; 0 disables [default: 5 % of the disk, at most 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub disk_reserve: Option<Size>,

    /// Format of log lines [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Answer 'pinetboot status' on this Unix socket; 'none' disables [default: /run/pinetboot/control, for other users than root
    /// pinetboot/control in $XDG_RUNTIME_DIR]
    #[cfg(feature = "web")]
    #[arg(long, value_name = "PATH", help_heading = "Monitoring")]
    pub control: Option<PathBuf>,

    /// Serve a page and metrics by HTTP on this address, as in 127.0.0.1:8080; repeatable. An address that other machines reach
    /// requires --web-token [default: none]
    #[cfg(feature = "web")]
    #[arg(long, value_name = "IP:PORT", help_heading = "Monitoring")]
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub web: Vec<SocketAddr>,

    /// Require the token in this file for the page: the first line, 16 to 256 letters and digits [default: none]
    #[cfg(feature = "web")]
    #[arg(long, value_name = "FILE", help_heading = "Monitoring")]
    pub web_token: Option<PathBuf>,

    /// Tell verdicts and boots by a POST of JSON to this address, or on the standard input of this program; repeat the option
    /// for each argument of the program [default: none]
    #[cfg(feature = "web")]
    #[arg(long, value_name = "URL|PROGRAM", help_heading = "Monitoring", allow_hyphen_values = true)]
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub on_event: Vec<String>,

    /// Name this server to Pis by DHCP [default: off]
    #[arg(long, value_name = "MODE", help_heading = "DHCP")]
    pub dhcp: Option<DhcpMode>,

    /// Answer these clients [default: pi]
    #[arg(long, value_name = "CLIENTS", help_heading = "DHCP")]
    pub dhcp_clients: Option<DhcpClients>,

    /// Delay every answer by this many seconds, 0 to 10; the boot ROM of some Pi 3 needs a delay [default: 0]
    #[arg(long, value_name = "SECONDS", help_heading = "DHCP", value_parser = clap::value_parser!(u8).range(..=10))]
    pub dhcp_delay: Option<u8>,

    /// Name this boot server to clients [default: the interface's own address]
    #[arg(long, value_name = "IP", help_heading = "DHCP")]
    pub boot_server: Option<Ipv4Addr>,

    /// Name this boot file to PXE clients, at most 127 bytes; repeatable. ARCH is bios, x86, x64, arm, arm64 or ipxe, which is for
    /// a script; without ARCH the file is for all others but iPXE. The bootloader of a Pi ignores it, UEFI on a Pi is arm64
    /// [default: none, PXE clients get no answer]
    #[arg(long, value_name = "[ARCH=]NAME", help_heading = "DHCP")]
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub boot_file: Vec<String>,

    /// Lease addresses of this range, or with 'none' only those in the inventory [default: the upper half of the interface's
    /// network]
    #[arg(long, value_name = "FIRST-LAST", help_heading = "DHCP")]
    pub lease_range: Option<String>,

    /// Lease addresses for this time, 1m to 8760h [default: 12h]
    #[arg(long, value_name = "TIME", help_heading = "DHCP")]
    pub lease_time: Option<String>,

    /// Keep the leases of all networks in this file over a restart [default: dhcp/leases in the state directory]
    #[arg(long, value_name = "FILE", help_heading = "DHCP")]
    pub lease_file: Option<PathBuf>,

    /// Name this router to clients [default: none]
    #[arg(long, value_name = "IP", help_heading = "DHCP")]
    pub router: Option<Ipv4Addr>,

    /// Name this DNS server to clients [default: none]
    #[arg(long, value_name = "IP", help_heading = "DHCP")]
    pub dns: Option<Ipv4Addr>,

    /// Lease addresses although another DHCP server answers [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, help_heading = "DHCP")]
    pub force: Option<bool>,

    /// Export this root file system by NFS [default: the root of the current image, if TREE holds images]
    #[arg(long, value_name = "DIR", help_heading = "NFS root")]
    pub nfs: Option<PathBuf>,

    /// Share the root among Pis in this way [default: overlay]
    #[arg(long, value_name = "MODE", help_heading = "NFS root")]
    pub nfs_mode: Option<NfsMode>,

    /// Keep each Pi's layer and keys, and the leases of DHCP, in this directory [default: TREE/state for imported images, else /var/lib/pinetboot]
    #[arg(long, value_name = "DIR", help_heading = "NFS root")]
    pub state: Option<PathBuf>,

    /// Limit the number of Pis with a layer, 1 to 4096; Pis in the configuration file get one in any case [default: 1024]
    #[arg(long, value_name = "N", help_heading = "NFS root")]
    pub max_pis: Option<usize>,

    /// Limit the size of each Pi's layer, as in 500M or 2GiB: writes beyond get "no space" [default: no limit but the disk's]
    #[arg(long, value_name = "SIZE", help_heading = "NFS root")]
    pub max_root_size: Option<Size>,

    /// Serve NFS and MOUNT on this TCP port; 0 selects a free port [default: 2049]
    #[arg(long, value_name = "PORT", help_heading = "NFS root")]
    pub nfs_port: Option<u16>,

    /// Accept NFS calls from source ports above 1023, which any user of a client can open (exports(5): insecure) [default:
    /// false, kernels and initramfs use ports below 1024]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, help_heading = "NFS root")]
    pub nfs_insecure: Option<bool>,

    /// Serve NFS by UDP too, with 4 KiB for each READ; a forged source address can then attract answers 25 times as long as
    /// the calls [default: false, TCP only]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, help_heading = "NFS root")]
    pub nfs_udp: Option<bool>,

    /// Write created, renamed and removed files to the disk before the answer, as NFS requires. off is faster for many small files;
    /// a power cut of the server then loses the last seconds of what a Pi counts as stored (packages, databases) [default: on]
    #[arg(long, value_name = "MODE", help_heading = "NFS root")]
    pub nfs_sync: Option<NfsSync>,

    /// Give files inode numbers of this many bits, 64 or 32. 32 is for programs on the Pi that were built without large files (stat
    /// fails: "Value too large for defined data type"); set it before the first mount [default: 64]
    #[arg(long, value_name = "BITS", help_heading = "NFS root")]
    pub nfs_inode_bits: Option<u8>,

    /// Serve the portmapper on this port; Pis look on port 111 only [default: 111, or register with the system's portmapper]
    #[arg(long, value_name = "PORT", help_heading = "NFS root")]
    pub portmap_port: Option<u16>,

    /// Send cmdline.txt and config.txt unchanged, even if they name a root on an SD card [default: false, they get the NFS
    /// root]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, help_heading = "NFS root")]
    pub no_rewrite: Option<bool>,

    /// Give each Pi a private copy-on-write disk on this image of a card: .img, also in .xz, .zst, .gz, .bz2 or .zip, which is
    /// unpacked once into the state directory [default: IMAGE]
    #[arg(long, value_name = "IMAGE", help_heading = "Disks")]
    pub disk: Option<PathBuf>,

    /// Keep what a Pi writes to its disk in this place [default: private]
    #[arg(long, value_name = "MODE", help_heading = "Disks")]
    pub disk_mode: Option<DiskMode>,

    /// Serve disks by NBD on this TCP port; 0 selects a free port [default: 10809]
    #[arg(long, value_name = "PORT", help_heading = "Disks")]
    pub disk_port: Option<u16>,

    /// Make new disks this long, for the system on the image to grow into, as in 32G; a longer image makes longer disks [default: 16G]
    #[arg(long, value_name = "SIZE", help_heading = "Disks")]
    pub disk_size: Option<Size>,

    /// Start Pis from a disk with this program, a static pinetboot-init, where it is for the processor of the system on the image
    /// [default: the built-in one for arm64, in releases]
    #[arg(long, value_name = "FILE", help_heading = "Disks")]
    pub init: Option<PathBuf>,

    /// Inventory of Pis, `[pi.SERIAL]`: in the file only.
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pi: BTreeMap<String, PiEntry>,

    /// Groups of Pis, `[group.NAME]`: in the file only.
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub group: BTreeMap<String, GroupEntry>,

    /// Networks with leases, `[network.NAME]`: in the file only.
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub network: BTreeMap<String, NetworkEntry>,

    /// Boot files that are templates, besides cmdline.txt and config.txt, `[template]`: in the file only.
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "TemplateSettings::is_empty")]
    pub template: TemplateSettings,
}

impl Settings {
    /// Reads settings from a TOML file and the files in FILE.d, or from all files of a directory.
    ///
    /// # Errors
    ///
    /// The file, the fault and its line.
    pub fn read(file: &Path) -> Result<Self, Failed> {
        files::read(file)
    }

    /// These settings, completed by those of `other`.
    ///
    /// # Errors
    ///
    /// If a path is not UTF-8: TOML cannot hold it.
    pub fn or(self, other: Self) -> Result<Self, Failed> {
        let table = |settings: &Self| toml::Table::try_from(settings);
        let merged = table(&other).and_then(|mut merged| {
            merged.extend(table(&self)?);
            Ok(merged)
        });
        let wrong = |error: &dyn std::fmt::Display| Failed::new(Exit::Usage, error);
        merged.map_err(|error| wrong(&error))?.try_into().map_err(|error| wrong(&error))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_switch_that_is_not_given_leaves_the_files_value() {
        use crate::cli::{Cli, Command};
        use clap::Parser;

        let Command::Serve(typed) = Cli::parse_from(["pinetboot", "serve", "x"]).command else { panic!() };
        assert_eq!(typed.settings.single_port, None);
        assert_eq!(typed.settings.overwrite, None);
        let Command::Serve(typed) = Cli::parse_from(["pinetboot", "serve", "x", "--single-port"]).command
        else {
            panic!()
        };
        assert_eq!(typed.settings.single_port, Some(true));
        let Command::Serve(typed) =
            Cli::parse_from(["pinetboot", "serve", "x", "--single-port=false"]).command
        else {
            panic!()
        };
        assert_eq!(typed.settings.single_port, Some(false), "switches off a switch of the file");
    }
}
