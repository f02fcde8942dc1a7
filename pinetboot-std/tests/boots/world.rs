//! A server and a Pi on one cable.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::namespace::{End, Namespace, PINETBOOT, Process, SOON, cable, content, end, without_control};
use super::pi::{ADDRESS, Board, Pi, RATE, SERIAL};

pub(crate) struct World {
    dir: tempfile::TempDir,
    server: Namespace,
    pi: Namespace,
}

/// Boot files of a Pi 5, 4 and 3, as far as the tests ask for them.
pub(super) const FILES: &[(&str, usize)] = &[
    ("bootcode.bin", 2000),
    ("start.elf", 3000),
    ("fixup.dat", 300),
    ("start4.elf", 300_000),
    ("fixup4.dat", 300),
    ("bcm2710-rpi-3-b-plus.dtb", 400),
    ("bcm2711-rpi-4-b.dtb", 400),
    ("bcm2712-rpi-5-b.dtb", 400),
    ("overlays/overlay_map.dtb", 500),
    ("overlays/bcm2712d0.dtbo", 500),
    ("initramfs_2712", 200_000),
    ("initramfs8", 100_000),
    ("kernel_2712.img", 200_000),
    ("kernel8.img", 200_000),
    ("kernel7.img", 3000),
    ("kernel.img", 3000),
    ("boot.img", 3000),
];

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (server, pi) = (Namespace::new("server"), Namespace::new("pi"));
        let theirs = End { of: &pi, interface: "eth", address: None };
        cable(end(&server, "lan", "10.9.0.1/24"), theirs, 1500);
        pi.ip("link set eth address d8:3a:dd:e8:27:1e");
        pi.address("eth", &format!("{ADDRESS}/24"));
        let world = Self { dir, server, pi };
        for (name, len) in FILES {
            world.write(&format!("tree/{name}"), &content(*len));
        }
        world.write("tree/config.txt", b"arm_64bit=1\n");
        world.write("tree/cmdline.txt", b"console=tty1 root=PARTUUID=1-02 rootwait\n");
        world.write("root/etc/hostname", b"raspberrypi\n");
        world.write("root/sbin/init", b"init");
        world.write(
            "pinetboot.toml",
            format!("[pi.{SERIAL}]\nname = 'kitchen'\naddress = '{ADDRESS}'\n").as_bytes(),
        );
        world
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn without(self, names: &[&str]) -> Self {
        for name in names {
            fs::remove_file(self.path("tree").join(name)).unwrap();
        }
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file of the tree that is as long as this, and has no content on the disk.
    pub(crate) fn sparse(&self, name: &str, len: u64) {
        fs::File::create(self.path("tree").join(name)).unwrap().set_len(len).unwrap();
    }

    /// Rules for the server's packets, in nftables' language.
    pub(crate) fn firewall(&self, rules: &str) {
        self.server.nft(rules);
    }

    /// Has the Pi repeat an ARP request after that many seconds of the server's clock of boots.
    pub(crate) fn repeat_arp(&self, seconds: u32) {
        let millis = seconds * 1000 / RATE;
        self.pi.ip(&format!("ntable change name arp_cache dev eth retrans {millis}"));
    }

    /// Serves the tree.
    pub(crate) fn serve(&self, options: &[&str]) -> Process {
        self.start(&self.path("tree"), options)
    }

    /// Serves the tree, and a root for one Pi.
    pub(crate) fn serve_root(&self, options: &[&str]) -> Process {
        let (root, state) = (self.path("root"), self.path("state"));
        let root = ["--nfs", root.to_str().unwrap(), "--nfs-mode", "rw", "--state", state.to_str().unwrap()];
        self.start(&self.path("tree"), &[&root[..], options].concat())
    }

    fn start(&self, tree: &Path, options: &[&str]) -> Process {
        start(&self.server, self.dir.path(), tree, options, RATE)
    }

    /// Does this on the server's machine.
    pub(crate) fn at_server(&self, work: impl FnOnce() + Send) {
        self.server.enter(work);
    }

    /// Does what a Pi does.
    pub(crate) fn pi(&self, boot: impl FnOnce(&mut Pi) + Send) {
        self.pi.enter(|| boot(&mut Pi::new(&Board::KITCHEN, RATE)));
    }
}

/// Starts a server of this tree, with the configuration in a directory.
pub(super) fn start(server: &Namespace, dir: &Path, tree: &Path, options: &[&str], rate: u32) -> Process {
    let mut command = server.command(PINETBOOT);
    command.args(["serve", "--interface", "lan", "--boot-clock", &rate.to_string(), "--config"]);
    command.arg(dir.join("pinetboot.toml")).args(without_control(options)).args(options);
    if options.contains(&"lease") {
        command.arg("--lease-file").arg(dir.join("leases"));
    }
    command.arg(tree);
    let mut server = Process::start(command);
    server.line("ready tftp ", SOON);
    server
}

/// The lines about stuck boots.
pub(crate) fn verdicts(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("! stuck")).collect()
}
