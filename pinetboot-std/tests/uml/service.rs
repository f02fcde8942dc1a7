//! A Debian server with systemd: the service of `pinetboot service install`, from the first start to the removal, with a kernel's
//! NFS client at work all the while.

use std::env;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use super::machine::{MINUTES, Uml, ethernet, kernel, succeed};
use crate::namespace::{A_WHILE, Namespace, PINETBOOT, Process};
use crate::shell::Shell;

#[test]
#[ignore = "needs root, network namespaces, user-mode Linux and PINETBOOT_UML_SERVER; run by .ci/run"]
fn a_service_outlives_reload_kill_upgrade_and_power_cycle() {
    let world = World::new();
    let began = Instant::now();
    let step = |what: &str| println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    let mut server = world.boot();
    step("the server has booted");
    assert_eq!(server.try_run("/host/pinetboot service status", A_WHILE).0, 1);
    server.run(LAY_TREE, A_WHILE);

    // The first configuration has no images to serve yet: nothing is to be started, and a dry run does nothing.
    let planned = server.run("/host/pinetboot service install --dry-run", A_WHILE);
    assert!(planned.contains("note    not started: "), "{planned}");
    server.run("! test -e /etc/pinetboot.toml && ! test -e /usr/local/bin/pinetboot", A_WHILE);

    // An invalid configuration ends the start for good.
    server.run("echo 'tree = 7' >/etc/pinetboot.toml", A_WHILE);
    let said = server.run("/host/pinetboot service install --unit pinetboot-roots", MINUTES);
    assert!(said.contains("not started: cannot read the configuration /etc/pinetboot.toml"), "{said}");
    server.try_run(&format!("systemctl start {UNIT}"), MINUTES);
    assert_eq!(show(&mut server, "ActiveState,ExecMainStatus,NRestarts"), "failed 2 0");

    // Without an address the server waits, and `install` does not.
    server.run(CONFIGURE, A_WHILE);
    let said = server.run("/host/pinetboot service install", MINUTES);
    let waits = format!("start   {UNIT}: activating (start), waiting: eth0 is down or has no IPv4 address");
    assert!(said.contains(&waits), "{said}");
    server.run(ADDRESS, A_WHILE);
    server.run(&format!("systemctl start {UNIT}"), MINUTES);
    step("the service is installed and active");
    assert_eq!(show(&mut server, "ActiveState,NRestarts,StatusText"), "active 0 serving /srv/rpi/root");
    let log = server.run(&format!("journalctl --unit {UNIT} --output cat --no-pager"), A_WHILE);
    // This kernel has no landlock.
    let lacks: Vec<_> = log.lines().filter(|line| line.contains("the sandbox lacks")).collect();
    assert!(matches!(lacks.as_slice(), [line] if line.contains("landlock")), "{lacks:?}");
    assert!(!log.contains("limit of"), "{log}");
    server.run(&format!("systemd-analyze security --no-pager --threshold=32 {UNIT}"), MINUTES);

    let mut pi = Uml::boot_as(&world.network, 1, SERIAL);
    step("a Pi has its root");
    assert_eq!(show(&mut server, "StatusText"), "serving /srv/rpi/root; Pis up: 1");
    pi.shell.start(&format!("end={}; {WORK}", world.end().display()));
    pi.shell.expect("round 1", MINUTES);

    server.run(&format!("systemctl reload {UNIT} && systemctl is-active {UNIT}"), MINUTES);
    server.run(&format!("kill -9 $(pgrep -f '{NFSD}')"), A_WHILE);
    active_again(&mut server, 1);
    step("active after the end of nfsd");
    server.run(&format!("systemctl kill --kill-who=main --signal=KILL {UNIT}"), A_WHILE);
    active_again(&mut server, 2);
    step("active after the end of serve");

    // A loop that stands still, as all of a stopped process do: systemd's watchdog waits for 30 s.
    server.run(&format!("kill -STOP $(systemctl show -P MainPID {UNIT})"), A_WHILE);
    active_again(&mut server, 3);
    let log = server.run(&format!("journalctl --unit {UNIT} --output cat --no-pager"), A_WHILE);
    assert!(log.contains("Watchdog timeout"), "{log}");
    step("active after the watchdog");

    // The next version.
    let next = world.host.path().join("pinetboot");
    fs::File::options().append(true).open(next).unwrap().write_all(b"\n").unwrap();
    let said = server.run("/host/pinetboot service install", MINUTES);
    assert!(said.contains("copy    /host/pinetboot") && said.contains(": active (running)"), "{said}");
    server.run("cmp /host/pinetboot /usr/local/bin/pinetboot", A_WHILE);
    step("upgraded");

    // systemd holds the ports: a call of the Pi starts the server.
    server.run("/host/pinetboot service install --sockets", MINUTES);
    step("installed with sockets");
    server.run(&format!("systemctl stop {UNIT}"), MINUTES);
    step("stopped, while systemd holds the ports");
    active(&mut server);
    let log = server.run(&format!("journalctl --unit {UNIT} --output cat --no-pager"), A_WHILE);
    assert!(!log.contains("LISTEN_FDS"), "{log}");
    step("started by a call");

    // The machine is off for a while. The address comes when the server waits for it.
    server.run(ADDRESS_AT_BOOT, A_WHILE);
    server.power_off("systemctl poweroff");
    step("the server is off");
    let mut server = world.boot();
    server.run(&format!("systemctl start {UNIT}"), MINUTES);
    step("active after the boot");
    step(&end_of_work(&world, &mut pi, &mut server));
    drop(pi);

    let said = server.run("/usr/local/bin/pinetboot service uninstall", MINUTES);
    assert!(said.contains("note    /etc/pinetboot.toml stays"), "{said}");
    assert_eq!(server.run(LEFT, A_WHILE), "/etc/pinetboot.toml\n/srv/rpi/root\n/var/lib/pinetboot/pis");
    step("removed");
}

#[test]
#[ignore = "needs root, network namespaces, user-mode Linux, PINETBOOT_UML_SERVER and PINETBOOT_DEB; run by .ci/run"]
fn a_package_is_upgraded_while_a_pi_works() {
    let package = env::var_os(PACKAGE).map(PathBuf::from);
    let package = package.unwrap_or_else(|| panic!("{PACKAGE} is not set: '.ci/run release' makes it"));
    let world = World::new();
    let began = Instant::now();
    let step = |what: &str| println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    fs::copy(&package, world.host.path().join("first.deb")).unwrap();
    next_version(&package, world.host.path());
    let mut server = world.boot();
    server.run(LAY_TREE, A_WHILE);
    step("the server has booted");
    server.run("dpkg --install /host/first.deb", MINUTES);
    server.run(CONFIGURE, A_WHILE);
    server.run(ADDRESS, A_WHILE);
    server.run(
        &format!("systemctl enable --quiet --now {SOCKET} && systemctl enable --quiet --now {UNIT}"),
        MINUTES,
    );
    step("the package is installed, its service active");

    let mut pi = Uml::boot_as(&world.network, 1, SERIAL);
    pi.shell.start(&format!("end={}; {WORK}", world.end().display()));
    pi.shell.expect("round 1", MINUTES);
    let before = show(&mut server, "MainPID");
    let opened = server.run(&format!("systemctl show -P ActiveEnterTimestampMonotonic {SOCKET}"), A_WHILE);
    server.run("dpkg --install /host/next.deb", MINUTES);
    step("upgraded");
    assert_eq!(server.run("dpkg-query -W -f '${Version}' pinetboot", A_WHILE), "99-1");
    assert_eq!(show(&mut server, "ActiveState,StatusText"), "active serving /srv/rpi/root; Pis up: 1");
    assert_ne!(show(&mut server, "MainPID"), before, "the new version serves");
    let since = server.run(&format!("systemctl show -P ActiveEnterTimestampMonotonic {SOCKET}"), A_WHILE);
    assert_eq!(since, opened, "the ports stay open");
    let configured = server.run("cat /etc/pinetboot.toml", A_WHILE);
    assert!(configured.contains("nfs = \"/srv/rpi/root\""), "{configured}");

    step(&end_of_work(&world, &mut pi, &mut server));
    let said = pi.shell.run("dmesg | grep -c 'nfs: server .* not responding' || true", A_WHILE);
    assert_eq!(said, "0", "calls wait in the sockets, and none times out");
    drop(pi);

    // A removal closes the ports, and nothing starts the server again.
    server.run("dpkg --purge pinetboot", MINUTES);
    server.run("! systemctl is-active --quiet pinetboot-roots.socket && ! pgrep -x pinetboot", A_WHILE);
    assert_eq!(
        server.run(
            "ls -d1 /etc/pinetboot.toml /srv/rpi/root /var/lib/pinetboot/pis 2>/dev/null || true",
            A_WHILE
        ),
        "/srv/rpi/root\n/var/lib/pinetboot/pis"
    );
    step("purged");
}

/// Packs the same files as version 99.
pub(super) fn next_version(package: &Path, to: &Path) {
    let files = tempfile::tempdir().unwrap();
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--raw-extract").args([package, files.path()]);
    succeed(unpack);
    let control = files.path().join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let lines = text.lines().map(|line| if line.starts_with("Version: ") { "Version: 99-1" } else { line });
    fs::write(&control, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    let mut pack = Command::new("dpkg-deb");
    pack.args(["-Znone", "--root-owner-group", "--build"]).args([files.path(), &to.join("next.deb")]);
    succeed(pack);
}

/// A network with a server on `tap0` and a Pi on `tap1`, and the server's disk.
pub(super) struct World {
    pub(super) network: Namespace,
    /// What the server has at /host.
    pub(super) host: TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let network = Namespace::new("service");
        network.tap("tap0");
        network.tap("tap1");
        network.bridge("lan", &["tap0", "tap1"]);
        let host = tempfile::tempdir().unwrap();
        // A debug build has five times the size without it.
        let mut strip = Command::new("strip");
        strip.arg("-o").args([&host.path().join("pinetboot"), Path::new(PINETBOOT)]);
        succeed(strip);
        Self { network, host }
    }

    /// Switches the server on.
    pub(super) fn boot(&self) -> Shell {
        let image = env::var_os(IMAGE).map(PathBuf::from);
        let image = image.unwrap_or_else(|| panic!("{IMAGE} is not set: '.ci/run server-image' makes it"));
        let mut command = kernel(&self.network, Path::new("linux.uml"), self.host.path());
        let disk = self.host.path().join("disk");
        command.arg(format!("ubd0={},{}", disk.display(), image.display()));
        command.args(["root=/dev/ubda", "rw", "con=null", "con0=fd:0,fd:1", "systemd.show_status=0"]);
        command.arg(ethernet(0));
        let mut shell = Shell::on(Process::start(command));
        shell.run("stty -echo", A_WHILE);
        let host = self.host.path().display();
        shell.run(&format!("mkdir -p /host && mount -t hostfs none /host -o {host}"), A_WHILE);
        shell
    }

    /// The file that ends the Pi's work.
    fn end(&self) -> PathBuf {
        self.host.path().join("end")
    }
}

/// Properties of the unit, in this order.
pub(super) fn show(server: &mut Shell, properties: &str) -> String {
    let mut value = |name| server.run(&format!("systemctl show -P {name} {UNIT}"), A_WHILE);
    properties.split(',').map(&mut value).collect::<Vec<_>>().join(" ")
}

/// Waits until the server is active; what systemd and the kernel know of it, if it is not.
fn active(server: &mut Shell) {
    let (status, said) = server.try_run(&format!("{UNTIL_ACTIVE} || {{ {STATE}; exit 1; }}"), MINUTES);
    assert_eq!(status, 0, "{said}");
}

/// Lets the Pi end its work, and returns the last line of it; what the server's system knows, if the Pi does not come to an end.
fn end_of_work(world: &World, pi: &mut Uml, server: &mut Shell) -> String {
    let ends = catch_unwind(AssertUnwindSafe(|| {
        pi.shell.expect("round ", MINUTES);
        fs::write(world.end(), "").unwrap();
        pi.shell.finish(MINUTES)
    }));
    let (status, said) = ends.unwrap_or_else(|panic| {
        println!("the Pi's work does not end; the server:\n{}", server.try_run(STATE, MINUTES).1);
        resume_unwind(panic)
    });
    assert_eq!(status, 0, "{said}");
    said.lines().last().unwrap_or_default().to_owned()
}

/// Waits until systemd has started the server again.
fn active_again(server: &mut Shell, restarts: u32) {
    let restarted = format!("[ $(systemctl show -P NRestarts {UNIT}) -ge {restarts} ]");
    server.run(
        &format!("until {restarted} && systemctl is-active --quiet {UNIT}; do sleep 0.2; done"),
        MINUTES,
    );
}

const IMAGE: &str = "PINETBOOT_UML_SERVER";
pub(super) const PACKAGE: &str = "PINETBOOT_DEB";
pub(super) const SERIAL: &str = "5e9f2a01";
pub(super) const UNIT: &str = "pinetboot-roots.service";
const SOCKET: &str = "pinetboot-roots.socket";
const NFSD: &str = "[e]xe nfsd";

const LAY_TREE: &str = "mkdir -p /srv/rpi/root/boot/firmware /srv/rpi/root/home && cd /srv/rpi/root/boot/firmware && \
    echo arm_64bit=1 >config.txt && echo root=PARTUUID=1-02 rootfstype=ext4 rootwait >cmdline.txt && \
    head -c 300000 /dev/urandom >kernel8.img";

/// user-mode Linux has no landlock.
const CONFIGURE: &str = r#"printf 'nfs = "/srv/rpi/root"\nrequire-sandbox = false\ndhcp = "lease"\ninterface = "eth0"\n' \
    >/etc/pinetboot.toml"#;

pub(super) const ADDRESS: &str = "ip link set eth0 up && ip addr add 10.77.0.1/24 dev eth0";

const ADDRESS_AT_BOOT: &str = "cat >/etc/systemd/system/address.service <<'EOF'
[Service]
Type=oneshot
ExecStart=/bin/sh -ec 'until systemctl show -P StatusText pinetboot-roots.service | grep -q ^waiting; do sleep 0.2; done'
ExecStart=/bin/sh -ec 'ip link set eth0 up; ip addr add 10.77.0.1/24 dev eth0'
[Install]
WantedBy=multi-user.target
EOF
systemctl enable --quiet address.service";

/// Makes, reads, renames and removes files until the end; a call that fails ends it with an error.
const WORK: &str = "cd /mnt/root/home && n=0 && until [ -e $end ]; do n=$((n+1)); \
    echo $n >a && [ \"$(cat a)\" = $n ] && mv a b && mkdir d && mv b d/c && [ \"$(cat d/c)\" = $n ] && rm -r d || exit 1; \
    [ $((n % 20)) -ne 1 ] || echo round $n; done; echo $n rounds without an error";

/// For 200 s of the machine: less than the test waits for a command, each of which may take a second there.
const UNTIL_ACTIVE: &str = "now() { cut -d. -f1 /proc/uptime; }; end=$(($(now) + 200)); \
    until systemctl is-active --quiet pinetboot-roots.service; do [ $(now) -lt $end ] || break; sleep 0.2; done; \
    systemctl is-active --quiet pinetboot-roots.service";

const STATE: &str = "systemctl status --no-pager --lines=30 pinetboot-roots.service pinetboot-roots.socket; ss -tuanp; \
    systemctl list-jobs --no-pager";

const LEFT: &str = "systemctl cat pinetboot-roots.service pinetboot-roots.socket >/dev/null 2>&1 && exit 1; \
    test ! -e /usr/local/bin/pinetboot && ls -d1 /etc/pinetboot.toml /srv/rpi/root /var/lib/pinetboot/pis";
