//! `pinetboot up`, from an image to a simulated Pi with its root, in network namespaces.
//!
//! `.ci/run up` runs the tests: they need root, network namespaces, overlayfs, and the programs that make images.
#![cfg(all(feature = "import", feature = "nfs"))]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "import/compare.rs"]
#[allow(dead_code, reason = "for the images")]
mod compare;
#[path = "import/images.rs"]
#[allow(dead_code, reason = "every test uses its own part")]
mod images;
mod namespace;
#[path = "up/image.rs"]
mod up_image;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use images::Sources;
use namespace::{A_WHILE, Namespace, PINETBOOT, Process, SOON, cable, dnsmasq, end};
use pinetboot::config::{DhcpMode, Settings};
use pinetboot::images::Images;
use up_image::image;

const SERIAL: &str = "0badcaf1";

/// A server without anything, and a Pi at the end of a cable.
struct World {
    server: Namespace,
    pi: Namespace,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let (server, pi) = (Namespace::new("server"), Namespace::new("pi"));
        cable(
            end(&server, "eth", "10.77.0.1/24"),
            namespace::End { of: &pi, interface: "eth", address: None },
            1500,
        );
        let dir = tempfile::tempdir().unwrap();
        // The server's user reads the boot files.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("key.pub"), "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me@here\n").unwrap();
        Self { server, pi, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn settings(&self) -> Settings {
        Settings::read(&self.path("pinetboot.toml")).unwrap()
    }

    /// `pinetboot up`, with all files in the directory of this test, and without a user of sudo.
    fn up(&self, options: &[&str]) -> Command {
        let mut command = self.server.command(PINETBOOT);
        command
            .arg("up")
            .args(options)
            .arg("--config")
            .arg(self.path("pinetboot.toml"))
            .env_remove("SUDO_USER");
        command
    }

    /// The same with a terminal, whose other end is the process's input and output.
    fn up_at_a_terminal(&self, options: &str) -> Process {
        // exec: without SHELL, script(1) runs sh(1), which dies of ctrl-C beside its child.
        let line =
            format!("exec {PINETBOOT} up {options} --config {}", self.path("pinetboot.toml").display());
        let mut command = self.server.command("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env_remove("SUDO_USER");
        Process::start(command)
    }

    /// Boots a simulated Pi; returns whether the Pi would boot, and the report.
    fn boot(&self) -> (bool, String) {
        let mut command = self.pi.command(PINETBOOT);
        let output = command.args(["simulate", "--interface", "eth", "--serial", SERIAL]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).replace("\n  ", " "))
    }
}

/// Runs a command without a terminal; returns the exit code and the output.
fn run(command: &mut Command) -> (i32, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
#[ignore = "needs root, overlayfs, nft and the programs that make images; run by .ci/run"]
fn yes_takes_an_image_to_a_pi_with_its_root() {
    let world = World::new();
    let disk = image(&Sources::of_trixie());
    world.server.nft(
        "table inet mine {
            chain input {
                type filter hook input priority filter; policy drop;
                ct state established accept
            }
        }",
    );
    let (to, key) = (world.path("srv/pi"), world.path("key.pub"));
    let first = [text(disk.path()), "--yes", "--to", text(&to), "--user", "ada", "--ssh-key", text(&key)];
    let mut up = Process::start(world.up(&first));

    let said = up.expect("Ready. Connect a Pi", A_WHILE);
    assert!(said.contains("interface  eth  (the only interface that is up)"), "{said}");
    assert!(said.contains("dhcp       lease  (no DHCP server answered)"), "{said}");
    let settings = world.settings();
    assert_eq!((settings.tree.as_deref(), settings.dhcp), (Some(to.as_path()), Some(DhcpMode::Lease)));
    assert_eq!(settings.interface, ["eth"]);

    // The firewall closes the server, and the lines that `up` names open it.
    assert!(!world.boot().0, "the firewall drops the packets");
    let lines: Vec<_> = said
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("nft insert rule inet mine input "))
        .collect();
    assert_eq!(lines.len(), 5, "{said}");
    for line in lines {
        let mut words = line.split(' ');
        let (code, said) = run(world.server.command(words.next().unwrap()).args(words));
        assert_eq!(code, 0, "{line}: {said}");
    }
    let (boots, report) = world.boot();
    assert!(boots && report.contains("a program for arm64"), "{report}");
    up.line("reached stage: kernel", SOON);
    assert!(up.line(&format!("root /{SERIAL}"), SOON).contains(" mounted"));
    up.line("takes its mount back", SOON); // not up: no system runs

    // Beside a running server: its process is named, and nothing is done twice.
    let (code, said) = run(&mut world.up(&["--yes"]));
    assert!(code == 0 && said.contains(") serves already"), "{code}: {said}");
    up.stop();

    let (before, images) =
        (fs::read_to_string(world.path("pinetboot.toml")).unwrap(), Images::at(&to).list().unwrap());
    let mut again = Process::start(world.up(&first));
    let said = again.expect("Ready. Connect a Pi", A_WHILE);
    assert!(said.contains("imported already"), "{said}");
    assert!(!said.contains("The firewall"), "the ports are open: {said}");
    assert_eq!(fs::read_to_string(world.path("pinetboot.toml")).unwrap(), before);
    assert_eq!(Images::at(&to).list().unwrap(), images);
    assert!(world.boot().0);
    again.stop();
}

#[test]
#[ignore = "needs root, overlayfs, dnsmasq, script and the programs that make images; run by .ci/run"]
fn each_question_has_a_default_with_its_reason() {
    let world = World::new();
    let router = Namespace::new("router");
    cable(
        namespace::End { of: &world.server, interface: "to-router", address: None },
        end(&router, "eth", "10.77.0.2/24"),
        1500,
    );
    world.server.ip("addr flush dev eth");
    world.server.bridge("lan", &["eth", "to-router"]);
    world.server.address("lan", "10.77.0.1/24");
    let _dnsmasq = dnsmasq(&router, &[]);
    let disk = image(&Sources::of_trixie());

    let mut up =
        world.up_at_a_terminal(&format!("{} --to {}", disk.path().display(), world.path("pi").display()));
    up.expect("Which interface", SOON);
    up.say("nonsense\n");
    up.expect("no Ethernet interface nonsense", SOON);
    up.expect("Which interface", SOON);
    up.say("lan\n");
    up.expect("[proxy: the DHCP server 10.77.0.2 leases addresses, and names no boot server]", SOON);
    up.say("\n");
    up.expect("[pi: the usual name]", SOON);
    up.say("ada\n");
    up.expect("[password: no public key was found]", SOON);
    up.say("\n");
    up.expect("Password for ada: ", SOON);
    up.say("correct horse\n");
    up.expect("Repeat the password for ada: ", SOON);
    up.say("correct horse\n");
    let said = up.expect("[yes: nothing is written so far]", SOON);
    assert!(said.contains("with the user ada") && !said.contains("correct horse"), "{said}");
    assert!(!world.path("pi").exists() && !world.path("pinetboot.toml").exists());
    up.say("\n");
    up.expect("Ready. Connect a Pi", A_WHILE);
    let (boots, report) = world.boot();
    assert!(boots, "{report}");
    assert!(up.line(&format!("root /{SERIAL}"), SOON).contains(" mounted"));
    up.say("\u{3}"); // ctrl-C
    let (status, said) = up.finish(SOON);
    assert!(status.success(), "{status}: {said}");
    assert_eq!(world.settings().dhcp, Some(DhcpMode::Proxy));
    let userconf = Images::at(&world.path("pi")).current().unwrap().unwrap().boot.join("userconf.txt");
    assert!(fs::read_to_string(userconf).unwrap().starts_with("ada:$6$"));
}

#[test]
#[ignore = "needs root, script and the programs that make images; run by .ci/run"]
fn a_stop_leaves_nothing_half_done() {
    let world = World::new();
    let disk = image(&Sources::of_much());
    let options = format!(
        "{} --to {} --interface eth --dhcp lease --user none",
        disk.path().display(),
        world.path("pi").display()
    );
    // At the last question.
    for stop in ["no\n", "\u{3}"] {
        let mut up = world.up_at_a_terminal(&options);
        up.expect("Go on?", SOON);
        up.say(stop);
        let (status, said) = up.finish(SOON);
        assert!(!status.success(), "{said}");
        assert!(!world.path("pi").exists() && !world.path("pinetboot.toml").exists(), "{said}");
    }
    // In the import.
    let mut up = world.up_at_a_terminal(&options);
    up.expect("Go on?", SOON);
    up.say("\n");
    let half = world.path("pi/images/.importing-disk/root/much");
    while !half.exists() {
        assert!(!up.has_ended());
        std::thread::yield_now();
    }
    up.say("\u{3}");
    let (status, said) = up.finish(SOON);
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(!half.exists() && !world.path("pinetboot.toml").exists(), "{said}");
}

#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn obstacles_are_named_before_any_work() {
    let world = World::new();
    fs::write(world.path("no.img"), "").unwrap();
    let image = world.path("no.img");
    let (to, image) = (world.path("pi"), text(&image));
    let all = [image, "--to", text(&to), "--interface", "eth", "--dhcp", "lease", "--user", "none"];
    for (left_out, says) in
        [(3, "give --interface, or --yes"), (5, "give --dhcp, or --yes"), (7, "give --user, or --yes")]
    {
        let some = [&all[..left_out], &all[left_out + 2..]].concat();
        let (code, said) = run(&mut world.up(&some));
        assert!(code == 2 && said.contains("no terminal") && said.contains(says), "{code}: {said}");
    }
    let (code, said) =
        run(&mut world.up(&[image, "--yes", "--user", "ada", "--interface", "eth", "--dhcp", "lease"]));
    assert!(code == 2 && said.contains("give --ssh-key"), "{code}: {said}");
    let (code, said) = run(&mut world.up(&[&all[..], &["--service"]].concat()));
    assert!(code == 2 && said.contains("--service: the service reads /etc/pinetboot.toml"), "{code}: {said}");
    let (code, said) = run(&mut world.up(&all[1..]));
    assert!(code == 2 && said.contains("give IMAGE, or --yes"), "{code}: {said}");

    let taken: Vec<_> =
        world.server.enter(|| [69, 67].map(|port| UdpSocket::bind(("0.0.0.0", port)).unwrap()).into());
    let (code, said) = run(&mut world.up(&all));
    let holder = format!("(pid {}) holds port", std::process::id());
    assert!(code == 3 && said.matches(&holder).count() == 2, "{code}: {said}");
    assert!(!said.contains("--tftp-port"), "a Pi asks at no other port: {said}");
    drop(taken);
    assert!(!to.exists() && !world.path("pinetboot.toml").exists());
}
