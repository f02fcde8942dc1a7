//! A server with an imported image, two Pis, and an intruder, each on its own cable.

use std::collections::BTreeMap;
use std::fs;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::namespace::{Namespace, PINETBOOT, Process, SOON, cable, end, without_control};

pub(crate) const ONE: &str = "0badcaf1";
pub(crate) const TWO: &str = "0badcaf2";

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: Namespace,
    pub(crate) one: Pi,
    pub(crate) two: Pi,
    pub(crate) intruder: Pi,
}

/// A host at the end of a cable.
pub(crate) struct Pi {
    namespace: Namespace,
    /// How it reaches the server.
    pub(crate) server: String,
    dir: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let root = dir.path().join("images/one/root");
        for (name, content) in [
            ("boot/firmware/config.txt", "arm_64bit=1\nauto_initramfs=1\n"),
            (
                "boot/firmware/cmdline.txt",
                "console=tty1 root=PARTUUID=1-02 rootfstype=ext4 rootwait quiet resize\n",
            ),
            ("boot/firmware/kernel8.img", "base kernel"),
            ("etc/hostname", "raspberrypi\n"),
            ("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 raspberrypi\n"),
            ("etc/motd", "hello\n"),
            ("opt/a/deep/file", "a"),
            ("usr/touched", "a"),
            ("var/old/file", "a"),
        ] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::create_dir_all(root.join("etc/ssh")).unwrap();
        let facts = "release = 'raspios-trixie'\nboot = 'boot/firmware'\nhas-root = true\nkernel-mounts-root = true\n";
        fs::write(dir.path().join("images/one/image.toml"), facts).unwrap();
        symlink("images/one", dir.path().join("current")).unwrap();
        fs::write(dir.path().join("mine"), "mine").unwrap();
        let inventory = format!("tree = '{}'\n[pi.{TWO}]\nname = 'kitchen'\n", dir.path().display());
        fs::write(dir.path().join("pinetboot.toml"), inventory).unwrap();

        let server = Namespace::new("server");
        let pi = |number: u8, role: &str| {
            let namespace = Namespace::new(role);
            let interface = format!("to-{role}");
            let ours = format!("10.77.{number}.1/24");
            let theirs = format!("10.77.{number}.2/24");
            cable(end(&server, &interface, &ours), end(&namespace, "eth", &theirs), 1500);
            Pi { namespace, server: format!("10.77.{number}.1"), dir: dir.path().to_owned() }
        };
        let (one, two, intruder) = (pi(1, "one"), pi(2, "two"), pi(3, "intruder"));
        Self { server, one, two, intruder, dir }
    }

    /// Gives the image a first program, for arm64, and the files that a Pi 5 asks for.
    pub(crate) fn make_bootable(&self) {
        let root = self.dir.path().join("images/one/root");
        fs::create_dir_all(root.join("usr/lib/systemd")).unwrap();
        fs::create_dir_all(root.join("usr/sbin")).unwrap();
        symlink("usr/sbin", root.join("sbin")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/lib/systemd/systemd", root.join("usr/sbin/init")).unwrap();
        let program = root.join("usr/lib/systemd/systemd");
        let elf = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 9], &[2, 0, 183, 0]].concat();
        fs::write(&program, elf).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(root.join("boot/firmware/config.txt"), "arm_64bit=1\nos_check=0\n").unwrap();
    }

    /// Serves the images.
    pub(crate) fn serve(&self, options: &[&str]) -> Process {
        let config = self.path("pinetboot.toml");
        self.serve_nothing(&[&["--config", &config], options].concat())
    }

    /// Serves what the options say.
    pub(crate) fn serve_nothing(&self, options: &[&str]) -> Process {
        let mut command = self.server.command(PINETBOOT);
        command.args(["serve", "-v"]).args(options);
        command.args(without_control(options));
        let mut server = Process::start(command);
        server.line("ready tftp ", SOON);
        server
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// A Pi's layer on the image that was there first.
    pub(crate) fn layer(&self, pi: &str) -> PathBuf {
        self.dir.path().join("state/pis").join(pi).join("one")
    }

    /// Runs a script where the server's mounts are seen.
    pub(crate) fn within(&self, server: &Process, script: &str) {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &server.id().to_string(), "sh", "-ec", script]);
        let (fine, said) = run(&mut command);
        assert!(fine, "{script}: {said}");
    }

    /// Runs `pinetboot roots`.
    pub(crate) fn try_roots(&self, arguments: &[&str]) -> Result<String, String> {
        // As from a shell: not among the mounts of a test that has its own.
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--target", &std::process::id().to_string(), PINETBOOT, "roots"])
            .args(arguments)
            .arg("--dir")
            .arg(self.dir.path());
        let (fine, said) = run(&mut command);
        if fine { Ok(said) } else { Err(said) }
    }

    /// The same, which has to succeed.
    #[track_caller]
    pub(crate) fn roots(&self, arguments: &[&str]) -> String {
        self.try_roots(arguments).unwrap()
    }

    /// All that is in the base image: what it is, and what it holds.
    pub(crate) fn base_image(&self) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
        fn walk(dir: &Path, all: &mut BTreeMap<PathBuf, (u32, i64, Vec<u8>)>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                if metadata.is_dir() {
                    walk(&path, all);
                }
                all.insert(path, (metadata.mode(), metadata.mtime_nsec(), content));
            }
        }
        let mut all = BTreeMap::new();
        walk(&self.dir.path().join("images/one/root"), &mut all);
        all
    }
}

impl Pi {
    /// Fetches a file by TFTP.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> String {
        self.try_get(name).unwrap()
    }

    /// Fetches what a bootloader does, but for the command line: that would name a root for this boot alone.
    #[track_caller]
    pub(crate) fn boot(&self, serial: &str) {
        self.get(&format!("{serial}/config.txt"));
        self.get(&format!("{serial}/kernel8.img"));
    }

    /// Takes an address by DHCP, as a Pi 5 with the serial number bd989ae1, instead of the one that it has.
    pub(crate) fn ask_for_an_address(&self) {
        let script = self.dir.join(format!("udhcpc-{}", self.server));
        let text = "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip address flush dev eth\nip address add $ip/24 dev eth\n";
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = self.namespace.command("busybox");
        command.args(["udhcpc", "-i", "eth", "-n", "-q", "-f", "-s"]).arg(&script);
        command.args(["-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000"]);
        command.args(["-x", "0x61:00525069357041d000dde8271ee19a98bd"]);
        let (fine, said) = run(&mut command);
        assert!(fine, "{said}");
    }

    pub(crate) fn try_get(&self, name: &str) -> Result<String, String> {
        let mut command = self.namespace.command(PINETBOOT);
        self.run(command.args(["get", "-q", "-o", "-"]).arg(format!("tftp://{}/{name}", self.server)))
    }

    /// Lists a directory of its root, by NFS.
    pub(crate) fn list(&self, path: &str) -> Result<String, String> {
        self.run(self.namespace.command("nfs-ls").arg(self.url(path)))
    }

    /// A file's content.
    pub(crate) fn cat(&self, path: &str) -> Result<String, String> {
        self.run(self.namespace.command("nfs-cat").arg(self.url(path)))
    }

    /// Copies a file into its root.
    pub(crate) fn put(&self, from: &str, path: &str) -> Result<String, String> {
        self.run(self.namespace.command("nfs-cp").arg(self.dir.join(from)).arg(self.url(path)))
    }

    /// Runs `pinetboot` there.
    pub(crate) fn command(&self) -> Command {
        self.namespace.command(PINETBOOT)
    }

    /// Has our own client ask a question.
    pub(crate) fn ask(&self, what: &str) {
        self.namespace.rerun("ask", what);
    }

    /// Begins to ask.
    pub(crate) fn start_to_ask(&self, what: &str) -> Process {
        self.namespace.start_part("ask", what)
    }

    fn url(&self, path: &str) -> String {
        format!("nfs://{}/{path}?version=3&uid=0&gid=0", self.server)
    }

    fn run(&self, command: &mut Command) -> Result<String, String> {
        let (fine, said) = run(command);
        if fine { Ok(said) } else { Err(said) }
    }
}

/// Whether a program succeeds, and its output.
pub(crate) fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
