//! A network with DHCP servers of other projects: a switch, and the machines plugged into it.
#![allow(dead_code, reason = "every test uses its own part")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

pub(crate) mod clients;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::namespace::{End, Namespace, PINETBOOT, Process, SOON, cable};

/// A switch, and a directory for everyone's files.
pub(crate) struct World {
    switch: Namespace,
    ports: AtomicUsize,
    files: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let switch = Namespace::new("switch");
        switch.bridge("br0", &[]);
        Self { switch, ports: AtomicUsize::new(0), files: tempfile::tempdir().unwrap() }
    }

    /// A machine whose interface `eth0` is plugged in.
    pub(crate) fn machine(&self, role: &str, address: Option<&str>) -> Namespace {
        let machine = Namespace::new(role);
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        let end_of_switch = End { of: &self.switch, interface: &port, address: None };
        cable(End { of: &machine, interface: "eth0", address }, end_of_switch, 1500);
        self.switch.ip(&format!("link set {port} master br0"));
        machine
    }

    /// A machine with every Pi's boot files, served by `pinetboot serve`.
    pub(crate) fn boot_server(&self, role: &str, address: &str) -> BootServer {
        let machine = self.machine(role, Some(address));
        let tree = self.tree(role);
        let process = machine.serve(&tree, &[]);
        BootServer { process, machine, tree }
    }

    /// The boot files of every Pi.
    pub(crate) fn tree(&self, role: &str) -> PathBuf {
        let tree = self.files.path().join(role);
        fs::create_dir(&tree).unwrap();
        for name in ["start4.elf", "bootcode.bin", "boot.img"] {
            fs::write(tree.join(name), name).unwrap();
        }
        fs::write(tree.join("config.txt"), "boot_ramdisk=1\n").unwrap();
        tree
    }

    /// Starts a DHCP server on a machine.
    pub(crate) fn start(&self, server: Server, machine: &Namespace, settings: &Settings<'_>) -> DhcpServer {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let id = format!("pinetboot-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let config = self.files.path().join(&id);
        // AppArmor lets dhcpd have its leases only here.
        let leases = (server == Server::Isc).then(|| Path::new("/var/lib/dhcp").join(id + ".leases"));
        if let Some(leases) = &leases {
            fs::write(leases, "").unwrap();
        }
        fs::write(&config, server.config(settings)).unwrap();
        let mut command = machine.command(server.program());
        server.arguments(&config, leases.as_deref(), self.files.path(), &mut command);
        let mut process = Process::start(command);
        process.expect(server.ready(), SOON);
        DhcpServer { process: Some(process), leases }
    }
}

/// A TFTP server that runs; dropping it stops it.
pub(crate) struct BootServer {
    process: Process,
    pub(crate) machine: Namespace,
    tree: PathBuf,
}

impl BootServer {
    /// From here on it has no file at all.
    pub(crate) fn remove_files(&self) {
        for entry in fs::read_dir(&self.tree).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

/// These lines of a configuration without the one that sets option 66; there has to be just one.
pub(crate) fn without_option_66(lines: &str) -> String {
    let is_name = |line: &&str| {
        line.contains("tftp-server-name") || line.starts_with("dhcp-option=tag:raspberry-pi,66")
    };
    assert_eq!(lines.lines().filter(is_name).count(), 1, "{lines}");
    lines.lines().filter(|line| !is_name(line)).map(|line| format!("{line}\n")).collect()
}

/// Runs `pinetboot` on a machine, and returns its exit code and output.
pub(crate) fn pinetboot(machine: &Namespace, arguments: &[&str]) -> (i32, String) {
    let mut command = machine.command(PINETBOOT);
    command.args(arguments);
    let (status, said) = Process::start(command).finish(SOON);
    (status.code().unwrap(), said.replace("\n  ", " ").replace('\n', " "))
}

/// A DHCP server of another project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Dnsmasq,
    Isc,
    Kea,
}

/// The options that the server sends besides addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings<'a> {
    pub(crate) option_66: Option<&'a str>,
    pub(crate) next_server: Option<&'a str>,
    /// In the server's own words.
    pub(crate) lines: &'a str,
}

impl Server {
    pub(crate) const ALL: [Self; 3] = [Self::Dnsmasq, Self::Isc, Self::Kea];

    /// As `pinetboot router-config` calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Isc => "isc",
            Self::Kea => "kea",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Isc => "dhcpd",
            Self::Kea => "kea-dhcp4",
        }
    }

    /// The text that the server prints when it is ready.
    const fn ready(self) -> &'static str {
        match self {
            Self::Dnsmasq => "sockets bound exclusively",
            Self::Isc => "Server starting service",
            Self::Kea => "DHCP4_STARTED",
        }
    }

    fn arguments(self, config: &Path, leases: Option<&Path>, files: &Path, command: &mut Command) {
        let arguments = match self {
            Self::Dnsmasq => command
                .args(["--keep-in-foreground", "--log-facility=-", "--pid-file=", "-C"]) // all share /run
                .arg(config),
            Self::Isc => {
                let leases = leases.unwrap();
                command
                    .args(["-4", "-f", "-d", "--no-pid", "-lf"])
                    .arg(leases)
                    .arg("-cf")
                    .arg(config)
                    .arg("eth0")
            }
            Self::Kea => command.arg("-c").arg(config),
        };
        arguments.env("KEA_PIDFILE_DIR", files).env("KEA_LOCKFILE_DIR", files);
    }

    fn config(self, settings: &Settings<'_>) -> String {
        let Settings { option_66, next_server, lines } = *settings;
        let line = |value: Option<&str>, text: fn(&str) -> String| value.map_or(String::new(), text);
        match self {
            Self::Dnsmasq => {
                "port=0\nuser=root\ninterface=eth0\nbind-interfaces\nno-ping\nleasefile-ro\n\
                 dhcp-range=10.77.0.100,10.77.0.150,10m\n"
                    .to_owned()
                    + &line(option_66, |text| format!("dhcp-option=66,\"{text}\"\n"))
                    + &line(next_server, |address| format!("dhcp-boot=,,{address}\n"))
                    + lines
            }
            Self::Isc => {
                "subnet 10.77.0.0 netmask 255.255.255.0 {\nrange 10.77.0.160 10.77.0.199;\noption routers 10.77.0.1;\n"
                    .to_owned()
                    + &line(option_66, |text| format!("option tftp-server-name \"{text}\";\n"))
                    + &line(next_server, |address| format!("next-server {address};\n"))
                    + "}\n"
                    + lines
            }
            Self::Kea => {
                let option_66 = line(option_66, |text| format!(r#",{{"name":"tftp-server-name","data":"{text}"}}"#));
                let next_server = line(next_server, |address| format!(r#""next-server":"{address}","#));
                format!(
                    r#"{{"Dhcp4":{{{lines}
"interfaces-config":{{"interfaces":["eth0"],"dhcp-socket-type":"raw"}},
"lease-database":{{"type":"memfile","persist":false}},"valid-lifetime":600,{next_server}
"subnet4":[{{"id":1,"subnet":"10.77.0.0/24","pools":[{{"pool":"10.77.0.200 - 10.77.0.250"}}],
"option-data":[{{"name":"routers","data":"10.77.0.1"}}{option_66}]}}],
"loggers":[{{"name":"kea-dhcp4","output_options":[{{"output":"stdout"}}],"severity":"INFO"}}]}}}}"#
                )
            }
        }
    }
}

/// A DHCP server that runs; dropping it kills it and removes its leases.
pub(crate) struct DhcpServer {
    process: Option<Process>,
    leases: Option<PathBuf>,
}

impl DhcpServer {
    /// Waits for it to say `text`.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        self.process.as_mut().unwrap().expect(text, SOON)
    }

    /// Stops the server. No client has requested an address from it.
    pub(crate) fn has_leased_nothing(mut self) {
        let said = match &self.leases {
            Some(leases) => fs::read_to_string(leases).unwrap(),
            None => self.process.take().unwrap().stop(),
        };
        let signs = ["DHCPREQUEST", "DHCP4_LEASE_ALLOC", "\nlease 10."];
        assert!(signs.iter().all(|sign| !said.contains(sign)), "{said}");
    }
}

impl Drop for DhcpServer {
    fn drop(&mut self) {
        self.process.take();
        if let Some(leases) = &self.leases {
            let _gone = fs::remove_file(leases);
            let _gone = fs::remove_file(leases.with_extension("leases~"));
        }
    }
}
