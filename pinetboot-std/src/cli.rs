//! The command line, as typed.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};
use pinetboot_core::pi::Model;

use crate::config::Settings;
use crate::exit::Exit;
use crate::pack::{self, Board};
use crate::probe::Client;
use crate::router_config::Router;

/// Netboot Raspberry Pis: serve their boot files, fetch them, and see what a Pi would make of them.
#[derive(Debug, Parser)]
#[command(name = "pinetboot", version, after_help = Exit::HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Log more: once for decisions, twice for every packet
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 900)]
    pub verbose: u8,

    /// Log less: only what someone should look at; and no progress
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 901)]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a tree of boot files by TFTP, and root file systems by NFS
    ///
    /// A file that a Pi asks for as SERIAL/name comes from TREE/SERIAL/ if that directory exists, else from TREE itself;
    /// the same for a directory named like its MAC address (dc-a6-32-01-36-c2).
    Serve(Box<Serve>),
    /// Fetch a file by TFTP
    Get(Get),
    /// Ask the DHCP servers of this network as a Pi does, and say whether it would boot, from where, and why
    ///
    /// Only a DISCOVER is sent: no address is leased. It takes the capability CAP_NET_RAW.
    Probe(Probe),
    /// Print what to tell a router or DHCP server, so that Pis boot from a TFTP server
    RouterConfig(RouterConfig),
    /// Ask a server for the files that a Pi would ask for, and say whether it would boot; with DHCP, if wanted
    ///
    /// The files are asked for in that Pi's order and with its options, its probes and its retries.
    Simulate(Simulate),
    /// See what Pis have changed of the root file systems that they have by NFS, and undo or keep it
    Roots(Roots),
    /// Import an OS image: make a tree of it that Pis boot from
    ///
    /// Raspberry Pi OS (Bookworm, Trixie), Ubuntu 24.04 for the Pi and Debian are made to boot from the network; another
    /// system is imported as it is. An import that is not whole leaves nothing behind.
    #[cfg(feature = "import")]
    Import(Import),
    /// List imported images, or put one in use
    #[cfg(feature = "import")]
    Images(Images),
    /// Serve a small tree to a simulated Pi 5, all in this process, and show its boot
    Demo,
    /// Make a tree the file to drag onto a boot appliance's board, beside its firmware
    ///
    /// The board serves those files from its flash. The firmware itself is another file, and is not touched.
    Pack(Pack),
}

/// Options of `serve`.
#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub struct Serve {
    /// Read settings from this file too: TOML, named like the options; what is typed here goes before. Relative
    /// paths in it count from the working directory
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// Options of `get`.
#[derive(Debug, Args)]
#[command(after_help = GET_EXAMPLES)]
pub struct Get {
    /// What to fetch
    #[arg(value_name = "tftp://HOST[:PORT]/PATH")]
    pub url: String,

    /// Where to put it; - is standard output [default: the file's own name, here]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Bytes per block to ask for
    #[arg(long, value_name = "BYTES", default_value_t = 1468, value_parser = clap::value_parser!(u16).range(8..=65464))]
    pub blksize: u16,

    /// Blocks per acknowledgement to ask for
    #[arg(long, value_name = "BLOCKS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub windowsize: u16,
}

/// Options of `import`.
#[cfg(feature = "import")]
#[derive(Debug, Args)]
#[command(after_help = IMPORT_EXAMPLES)]
pub struct Import {
    /// The image: .img, as it is or in .xz, .gz, .zst or .zip
    pub image: PathBuf,

    /// The directory of images; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,

    /// What to call the image [default: the file's name]
    #[arg(long, value_name = "NAME", value_parser = image_name)]
    pub name: Option<String>,

    /// Put it in use although another image is; the first one is anyway
    #[arg(long)]
    pub current: bool,

    /// Say what would be changed in the system, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Import only the boot partition's files, as they are: needs no root
    #[arg(long, conflicts_with_all = ["hostname", "user"])]
    pub boot_only: bool,

    /// The machine's name
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub hostname: Option<String>,

    /// Someone who may log in, with SSH on; asks for a password unless one of the next two is given
    #[arg(long, value_name = "NAME", value_parser = user_name)]
    pub user: Option<String>,

    /// Their password: the first line of this file; - is standard input
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,

    /// Their public SSH keys; without --password-file the only way in
    #[arg(long, value_name = "FILE", requires = "user")]
    pub ssh_key: Option<PathBuf>,
}

/// Options of `images`.
#[cfg(feature = "import")]
#[derive(Debug, Args)]
pub struct Images {
    /// The directory of images
    pub dir: PathBuf,

    /// Put this image in use: Pis get it when they boot next
    #[arg(long = "use", value_name = "NAME")]
    pub use_: Option<String>,
}

/// Options of `probe`.
#[derive(Debug, Args)]
#[command(after_help = PROBE_EXAMPLES)]
pub struct Probe {
    /// Where to ask [default: the interface of the default route, or the only one that is up]
    #[arg(short, long, value_name = "NAME")]
    pub interface: Option<String>,

    /// As whom to ask
    #[arg(long = "as", value_name = "CLIENT", value_enum, default_value_t = Client::Pi(Model::Pi5))]
    pub client: Client,

    /// The hardware address to ask with [default: the interface's own]
    ///
    /// With another one, answers that are not broadcast come only if the interface takes them: ip link set NAME promisc on
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub mac: Option<[u8; 6]>,

    /// The Pi's serial number, of which the last eight digits name its directory [default: bd989ae1]
    #[arg(long, value_name = "HEX", value_parser = serial)]
    pub serial: Option<u32>,

    /// How long to wait for offers
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=60))]
    pub seconds: u8,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `router-config`.
#[derive(Debug, Args)]
#[command(after_help = ROUTER_CONFIG_EXAMPLES)]
pub struct RouterConfig {
    /// The TFTP server
    #[arg(long, value_name = "IP")]
    pub server: Ipv4Addr,

    /// What is to be told [default: none; what there is, is listed]
    #[arg(long = "for", value_name = "ROUTER", value_enum)]
    pub router: Option<Router>,

    /// eeprom: the Pi's own address, so that it does without DHCP
    #[arg(long, value_name = "IP")]
    pub client_ip: Option<Ipv4Addr>,

    /// eeprom: the mask of its network [default: 255.255.255.0]
    #[arg(long, value_name = "MASK")]
    pub subnet: Option<Ipv4Addr>,

    /// eeprom: the router out of its network
    #[arg(long, value_name = "IP")]
    pub gateway: Option<Ipv4Addr>,

    /// eeprom: the directory that it asks in, instead of one named by its serial number
    #[arg(long, value_name = "DIR")]
    pub prefix: Option<String>,
}

impl RouterConfig {
    /// Whether something is set that only the bootloader has.
    pub const fn is_for_eeprom(&self) -> bool {
        self.client_ip.is_some() || self.subnet.is_some() || self.gateway.is_some() || self.prefix.is_some()
    }
}

/// Options of `simulate`.
#[derive(Debug, Args)]
#[command(after_help = SIMULATE_EXAMPLES)]
pub struct Simulate {
    /// The server
    #[arg(long, value_name = "IP[:PORT]", value_parser = server_address, required_unless_present = "interface")]
    pub server: Option<SocketAddrV4>,

    /// The whole boot on this interface instead: an address is leased there, as the Pi would
    ///
    /// The files come from the server that a DHCP server names, as far as this machine's own address reaches it. The lease
    /// is for the interface's hardware address, and runs until it is over. It takes the capability CAP_NET_RAW.
    #[arg(short, long, value_name = "NAME", conflicts_with = "server")]
    pub interface: Option<String>,

    /// Model to simulate
    #[arg(long, default_value_t = Model::Pi5, value_parser = model(), ignore_case = true)]
    pub model: Model,

    /// Its serial number; the last eight digits name its directory
    #[arg(long, value_name = "HEX", default_value = "bd989ae1", value_parser = serial)]
    pub serial: u32,
}

/// Options of `pack`.
#[derive(Debug, Args)]
#[command(after_help = PACK_EXAMPLES)]
pub struct Pack {
    /// What to pack: files as on a Pi's boot partition, and perhaps the appliance's own pinetboot.toml
    #[arg(required_unless_present = "check")]
    pub tree: Option<PathBuf>,

    /// Where to put it
    #[arg(short, long, value_name = "FILE", required_unless_present = "check")]
    pub output: Option<PathBuf>,

    /// For which board
    #[arg(long, value_enum, default_value_t = Board::Rp2040)]
    pub board: Board,

    /// Where in flash the firmware looks for it [default: 1M]
    #[arg(long, value_name = "BYTES", value_parser = pack::size)]
    pub offset: Option<u64>,

    /// How much flash the board has [default: 2M, with --esp 4M]
    #[arg(long, value_name = "BYTES", value_parser = pack::size)]
    pub flash: Option<u64>,

    /// For an ESP32 instead: the bare archive, to be written by espflash
    #[arg(long, conflicts_with = "board")]
    pub esp: bool,

    /// Show what a packed file holds, and whether it is whole; or what a pinetboot.toml makes a board do
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub check: Option<PathBuf>,
}

/// Options of `roots`.
#[derive(Debug, Args)]
#[command(after_help = ROOTS_EXAMPLES)]
pub struct Roots {
    /// The directory that is served, or the one that `serve` was given as --state
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    pub dir: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub command: RootsCommand,
}

/// What to do about layers.
#[derive(Debug, Subcommand)]
pub enum RootsCommand {
    /// List the layers of all Pis
    List,
    /// Show what a Pi has changed: A added, C changed, D deleted, R renamed
    Diff(Layer),
    /// Remove what a Pi has changed: it begins anew from the image when it boots next
    ///
    /// Its name, machine-id and SSH host keys stay. While a running server has the layer mounted, it is removed when the
    /// Pi boots next.
    Reset(Layer),
    /// Make what a Pi sees of its root a new image
    ///
    /// Its name, machine-id and SSH host keys are left out. The image that the Pi's layer is on stays as it is.
    Commit {
        /// Whose.
        #[command(flatten)]
        of: Layer,

        /// What to call the image
        #[arg(long, value_name = "NAME")]
        name: String,

        /// Put it in use: Pis boot it from here on
        #[arg(long)]
        current: bool,

        /// The directory of images to put it into [default: the one whose state this is]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

/// Which layer.
#[derive(Debug, Args)]
pub struct Layer {
    /// The Pi: its serial number, its MAC address, or its host name
    #[arg(value_name = "SERIAL")]
    pub pi: String,

    /// On which image, if it has layers on several
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
}

/// `IP` or `IP:PORT`; the port is 69 unless given.
fn server_address(text: &str) -> Result<SocketAddrV4, String> {
    let address = text
        .parse::<SocketAddrV4>()
        .or_else(|_| text.parse::<Ipv4Addr>().map(|ip| SocketAddrV4::new(ip, pinetboot_core::tftp::PORT)));
    address.map_err(|_| {
        "expected an IPv4 address, or one with a port, like 192.168.1.2 or 192.168.1.2:6969".into()
    })
}

/// A model's word, as `[pi5]` in config.txt has it.
fn model() -> impl TypedValueParser<Value = Model> {
    let words = Model::ALL.iter().map(|model| model.profile().word);
    PossibleValuesParser::new(words).try_map(|word| word.parse())
}

/// A serial number as /proc/cpuinfo shows it (16 digits) or its low half (8 digits): what a Pi goes by.
fn serial(text: &str) -> Result<u32, String> {
    let digits = text.trim_start_matches("0x");
    let whole = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 16);
    whole
        .map(|serial| serial as u32)
        .ok_or_else(|| "expected up to 16 hexadecimal digits, like bd989ae1".into())
}

const SERVE_EXAMPLES: &str = "\
Examples:
  sudo pinetboot serve /srv/tftp                      the router names this server in option 66
  sudo pinetboot serve --dhcp proxy /srv/tftp         beside a router that cannot be touched
  sudo pinetboot serve --dhcp lease --interface eth1 /srv/tftp
                                                      on a network of its own
  sudo pinetboot serve /srv/pi                        images, and a root for each Pi
  sudo pinetboot serve --nfs /srv/root                the same, of a root that you have
  pinetboot serve --tftp-port 6969 /srv/tftp          without privileges, to try
  pinetboot serve --single-port /srv/tftp             behind NAT or in a container
  pinetboot serve --config /etc/pinetboot.toml        a file like:  tree = \"/srv/tftp\"
                                                                    interface = \"eth0\"

A Pi may mount only its own root. What shows that a client is that Pi, best first: 'address' in the inventory, a root in use,
the MAC address of an earlier mount, DHCP, the boot files that it fetched. What a Pi has changed: see 'pinetboot roots'.

SIGHUP reads the configuration again; SIGTERM and ctrl-C end all transfers and stop.";

const GET_EXAMPLES: &str = "\
Examples:
  pinetboot get tftp://192.168.1.2/config.txt
  pinetboot get tftp://192.168.1.2:6969/bd989ae1/kernel_2712.img -o /tmp/kernel.img
  pinetboot get tftp://192.168.1.2/config.txt -o - --windowsize 1";

/// Six pairs of hexadecimal digits.
fn mac(text: &str) -> Result<[u8; 6], String> {
    let wrong = || "expected six pairs of hexadecimal digits, like 2c:cf:67:01:02:03".to_owned();
    let pairs = text.split([':', '-']).map(|pair| match pair.as_bytes() {
        [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
            u8::from_str_radix(pair, 16).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    });
    pairs.collect::<Result<Vec<_>, _>>()?.try_into().map_err(|_| wrong())
}

/// The serial number of a Pi that is made up.
pub const SERIAL: u32 = 0xbd98_9ae1;

const PROBE_EXAMPLES: &str = "\
Examples:
  sudo pinetboot probe                                as a Raspberry Pi 5
  sudo pinetboot probe --interface eth0 --as pi4 --serial 10000000abcd1234
  sudo pinetboot probe --json | jq -r .verdict

A DHCP server takes up to 3 s before it offers an address: it looks whether that is free.";

/// What an image may be called.
#[cfg(feature = "import")]
fn image_name(text: &str) -> Result<String, String> {
    let wrong = "expected up to 64 letters, digits, dots and dashes, like trixie-2026-04";
    if crate::images::is_name(text) { Ok(text.into()) } else { Err(wrong.into()) }
}

#[cfg(feature = "import")]
fn host_name(text: &str) -> Result<String, String> {
    let wrong = "expected letters, digits and dashes, like pi-kitchen";
    if crate::import::changes::is_host_name(text) { Ok(text.into()) } else { Err(wrong.into()) }
}

#[cfg(feature = "import")]
fn user_name(text: &str) -> Result<String, String> {
    let wrong = "expected lower-case letters and digits, like ada";
    if crate::import::changes::is_user_name(text) { Ok(text.into()) } else { Err(wrong.into()) }
}

#[cfg(feature = "import")]
const IMPORT_EXAMPLES: &str = "\
Examples:
  sudo pinetboot import raspios-trixie.img.xz --to /srv/pi
  sudo pinetboot import raspios-trixie.img.xz --to /srv/pi --user ada --ssh-key ~/.ssh/id_ed25519.pub
  pinetboot import raspios-trixie.img.xz --to /srv/pi --dry-run
  sudo pinetboot import new.img.xz --to /srv/pi --name new && pinetboot images /srv/pi";

const ROUTER_CONFIG_EXAMPLES: &str = "\
Examples:
  pinetboot router-config --server 192.168.1.2                   what there is
  pinetboot router-config --server 192.168.1.2 --for dnsmasq > /etc/dnsmasq.d/pinetboot.conf
  pinetboot router-config --server 192.168.1.2 --for eeprom --client-ip 192.168.1.50";

const PACK_EXAMPLES: &str = "\
Examples:
  pinetboot pack /srv/tftp -o boot.uf2                     for a W5500-EVB-Pico
  pinetboot pack /srv/tftp -o boot.uf2 --board rp2350 --flash 4M
  pinetboot pack /srv/tftp -o boot.bin --esp               for an ESP32-C3 or C6
  pinetboot pack --check boot.uf2                          what does it hold?
  pinetboot pack --check pinetboot.toml                    what does it make a board do?

Large files need not fit: what the flash does not hold, an RP2040 or RP2350 serves from its microSD card.";

const ROOTS_EXAMPLES: &str = "\
Examples:
  sudo pinetboot roots list --dir /srv/pi
  sudo pinetboot roots diff bd989ae1 --dir /srv/pi
  sudo pinetboot roots reset kitchen --dir /srv/pi
  sudo pinetboot roots commit bd989ae1 --name with-docker --current --dir /srv/pi";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  pinetboot simulate --server 192.168.1.2
  pinetboot simulate --server 127.0.0.1:6969 --model pi4 --serial 10000000abcd1234
  sudo pinetboot simulate --interface eth0                 DHCP, too";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serials_and_addresses_as_people_write_them() {
        assert_eq!(serial("0c8f7e5cbd989ae1"), Ok(0xbd98_9ae1));
        assert_eq!(serial("0xBD989AE1"), Ok(0xbd98_9ae1));
        assert_eq!(mac("2c:cf:67:01:02:FF"), Ok([0x2c, 0xcf, 0x67, 1, 2, 255]));
        assert_eq!(mac("2c-cf-67-01-02-ff"), mac("2c:cf:67:01:02:ff"));
        assert!(mac("2c:cf:67:01:02").is_err());
        assert!(mac("2c:cf:67:01:02:+f").is_err());
        assert!(serial("pi5").is_err());
        assert!(serial("").is_err());
        assert_eq!(server_address("10.0.0.1").unwrap().to_string(), "10.0.0.1:69");
        assert_eq!(server_address("10.0.0.1:6969").unwrap().port(), 6969);
        assert!(server_address("boot.local").is_err());
    }
}
