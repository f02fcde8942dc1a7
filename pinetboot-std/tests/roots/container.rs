//! The container: the files of `packaging/container`, run by docker-compose, podman and runc in a network namespace. The page
//! docs/container.md has a table of modes and capabilities; the tests run each row, and each row without one of its capabilities.
//!
//! `.ci/run container` runs them. PINETBOOT_STATIC names a static program; without it, the libraries of this build go into the image.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::namespace::{Namespace, PINETBOOT, Process, SOON};
use super::root_of;
use super::world::{ONE, World, run};

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/container");
const PAGE: &str = include_str!("../../docs/container.md");

/// Podman with a store of its own, and the container's root file system.
struct Engine {
    dir: tempfile::TempDir,
}

/// A running container, removed at the end.
struct Container<'a> {
    engine: &'a Engine,
    name: String,
    process: Option<Process>,
}

impl Engine {
    fn new() -> Self {
        let engine = Self { dir: tempfile::tempdir().unwrap() };
        let context = engine.path("context");
        fs::create_dir(&context).unwrap();
        let mut containerfile = fs::read_to_string(format!("{PACKAGING}/Containerfile")).unwrap();
        match std::env::var_os("PINETBOOT_STATIC") {
            Some(program) => drop(fs::copy(program, context.join("pinetboot")).unwrap()),
            None => {
                fs::copy(PINETBOOT, context.join("pinetboot")).unwrap();
                for library in libraries() {
                    let copy = context.join("libraries").join(library.strip_prefix("/").unwrap());
                    fs::create_dir_all(copy.parent().unwrap()).unwrap();
                    fs::copy(&library, copy).unwrap();
                }
                containerfile = containerfile.replace("FROM scratch\n", "FROM scratch\nCOPY libraries /\n");
            }
        }
        fs::write(context.join("Containerfile"), containerfile).unwrap();
        // Limits below those of this machine: podman's and Compose's defaults may be above, and take CAP_SYS_RESOURCE.
        let conf = "[containers]\nlog_driver = \"k8s-file\"\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
                    [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        fs::write(engine.path("containers.conf"), conf).unwrap();
        let limits = "services:\n  pinetboot:\n    ulimits: {nofile: 4096, nproc: 4096}\n";
        fs::write(engine.path("limits.yaml"), limits).unwrap();
        engine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Has podman or buildah use the store and settings of this test.
    fn set(&self, command: &mut Command) {
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
        command.arg("--root").arg(self.path("store")).arg("--runroot").arg(self.path("run"));
        command.args(["--storage-driver", "vfs"]);
    }

    fn podman(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new("podman");
        self.set(&mut command);
        run(command.args(arguments))
    }

    /// Builds the image, and returns its size in bytes.
    fn build(&self) -> u64 {
        let mut command = Command::new("buildah");
        self.set(&mut command);
        command.args([
            "build",
            "--isolation",
            "chroot",
            "--format",
            "docker",
            "--tag",
            "localhost/pinetboot",
        ]);
        let (fine, said) = run(command.arg(self.path("context")));
        assert!(fine, "{said}");
        let (fine, size) = self.podman(&["image", "inspect", "--format", "{{.Size}}", "localhost/pinetboot"]);
        assert!(fine, "{size}");
        size.lines().last().unwrap().parse().unwrap()
    }

    /// `podman run` in a network, with these capabilities and no others, on a read-only root file system with the image's content.
    fn run<'a>(
        &'a self,
        network: &Namespace,
        name: &str,
        row: &Row<'_>,
        capabilities: &[&str],
        world: &World,
    ) -> Container<'a> {
        let mut command = network.network_command("podman");
        self.set(&mut command);
        command.args([
            "--log-level",
            "error",
            "run",
            "--network",
            "host",
            "--name",
            name,
            "--read-only",
            "--cap-drop",
            "ALL",
        ]);
        command.args([
            "--security-opt",
            "no-new-privileges",
            "--env",
            "PINETBOOT_HEALTH=/dev/shm/pinetboot.health",
        ]);
        command.args(capabilities.iter().map(|capability| format!("--cap-add={capability}")));
        command.arg("--volume").arg(format!("{}:/srv/pi", world.dir.path().display()));
        if row.user != "root" {
            command.args(["--user", row.user]);
        }
        command.arg("--rootfs").arg(self.path("context")).args(["/pinetboot", "serve"]).args(&row.options);
        let process = Some(Process::start(command));
        Container { engine: self, name: name.to_owned(), process }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Containers outlive podman.
        self.podman(&["rm", "--all", "--force", "--time", "0"]);
    }
}

impl Container<'_> {
    fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// Stops the container as Docker does, by SIGTERM; returns the output.
    fn stop(mut self) -> String {
        self.process.take().unwrap().stop()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.engine.podman(&["rm", "--force", "--time", "0", "--ignore", &self.name]);
    }
}

/// A row of the page's table.
struct Row<'a> {
    options: Vec<&'a str>,
    user: &'a str,
    capabilities: Vec<&'a str>,
}

fn rows() -> Vec<Row<'static>> {
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let table = PAGE.lines().skip_while(|line| !line.starts_with("| serves |")).skip(2);
    let lines = table.take_while(|line| line.starts_with('|'));
    lines
        .map(|line| {
            let [_, options, user, capabilities] = cells(line)[..] else { panic!("{line}") };
            let words = |cell: &'static str| {
                cell.trim_matches('`').split(' ').filter(|word| *word != "none").collect()
            };
            Row { options: words(options), user, capabilities: words(capabilities) }
        })
        .collect()
}

/// The libraries of the program, and its dynamic linker.
fn libraries() -> Vec<PathBuf> {
    let (fine, said) = run(Command::new("ldd").arg(PINETBOOT));
    assert!(fine, "{said}");
    said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// The items of a list of capabilities in a file of YAML: lines with `- NAME` after the line `key`.
fn granted(text: &str, key: &str) -> BTreeSet<String> {
    let items = text.lines().skip_while(|line| line.trim() != key).skip(1);
    let items = items.take_while(|line| line.trim_start().starts_with(['-', '#']));
    items.filter_map(|line| line.trim().strip_prefix("- ")).map(str::to_owned).collect()
}

#[test]
fn the_files_grant_the_capabilities_of_the_page() {
    let rows = rows();
    let overlay = rows.iter().find(|row| row.options.contains(&"overlay")).unwrap();
    let dhcp_and_import = ["NET_RAW", "MKNOD"];
    let all: BTreeSet<_> =
        overlay.capabilities.iter().chain(&dhcp_and_import).map(ToString::to_string).collect();
    let kubernetes = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/kubernetes");
    for (file, key) in [
        (format!("{PACKAGING}/compose.yaml"), "cap_add:"),
        (format!("{kubernetes}/kustomize/server.yaml"), "add:"),
        (format!("{kubernetes}/chart/values.yaml"), "capabilities:"),
    ] {
        assert_eq!(granted(&fs::read_to_string(&file).unwrap(), key), all, "{file}");
    }
    let boot_files = fs::read_to_string(format!("{PACKAGING}/compose.boot-files.yaml")).unwrap();
    assert!(boot_files.contains("cap_drop: [\"ALL\"]") && !boot_files.contains("cap_add"), "{boot_files}");
    // Each capability has a line that says what fails without it.
    let said: Vec<_> = PAGE.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    for capability in &all {
        assert!(said.iter().any(|cell| cell.split(", ").any(|name| name == capability)), "{capability}");
    }
}

#[test]
#[ignore = "needs root, podman, buildah, runc and docker-compose"]
fn the_compose_file_boots_a_simulated_pi_to_its_first_program() {
    let (world, engine) = (World::new(), Engine::new());
    world.make_bootable();
    world.server.gateway("10.77.1.2"); // DHCP answers on the interface of the default route
    let size = engine.build();
    println!("image: {size} bytes");
    assert!(std::env::var_os("PINETBOOT_STATIC").is_none() || size < 15_000_000, "{size}");

    // The files are those of the user, but for the directory of the images.
    let volume =
        format!("services:\n  pinetboot:\n    volumes: ['{}:/srv/pi']\n", world.dir.path().display());
    fs::write(engine.path("volume.yaml"), volume).unwrap();
    let mut service = world.server.network_command("podman");
    engine.set(&mut service);
    let socket = format!("unix://{}", engine.path("socket").display());
    service.args(["system", "service", "--time", "0", &socket]);
    let _service = Process::start(service);
    wait_for(&engine.path("socket"));
    let compose = || {
        let mut command = Command::new("docker-compose");
        command.env("DOCKER_HOST", &socket).env("COMPOSE_PROJECT_NAME", "pinetboot");
        command.args(["--ansi", "never", "--file"]).arg(format!("{PACKAGING}/compose.yaml"));
        command.arg("--file").arg(engine.path("limits.yaml")).arg("--file").arg(engine.path("volume.yaml"));
        command
    };
    let begun = Instant::now();
    let (fine, said) = run(compose().args(["up", "--detach", "--no-build"]));
    assert!(fine, "{said}");
    let mut logs = compose();
    let mut logs = Process::start({
        logs.args(["logs", "--follow"]);
        logs
    });
    logs.line("ready tftp ", SOON);
    println!("ready {:?} after 'up'", begun.elapsed());

    let mut simulate = world.one.command();
    simulate.args(["simulate", "--server", &world.one.server, "--serial", ONE]);
    let (fine, said) = run(&mut simulate);
    let said = said.replace("\n  ", " ");
    assert!(fine && said.contains("then /usr/lib/systemd/systemd of 10.77.1.1:/0badcaf1-"), "{said}");
    let name = "pinetboot_pinetboot_1";
    let (fine, said) = engine.podman(&["healthcheck", "run", name]);
    assert!(fine, "{said}");
    let (fine, said) = engine.podman(&["exec", name, "/pinetboot", "roots", "list", "--dir", "/srv/pi"]);
    assert!(fine && said.contains(ONE), "{said}");

    // PID 1 ends by SIGTERM, its children with it.
    let begun = Instant::now();
    let (fine, said) = run(compose().args(["stop"]));
    assert!(fine, "{said}");
    let took = begun.elapsed();
    println!("stopped within {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    let (_, code) = engine.podman(&["inspect", "--format", "{{.State.ExitCode}}", name]);
    assert_eq!(code.lines().last(), Some("0"), "{code}");
    let (fine, said) = run(compose().args(["down"]));
    assert!(fine, "{said}");
}

#[test]
#[ignore = "needs root, podman and runc"]
fn each_mode_takes_the_capabilities_of_the_page_and_names_one_that_lacks() {
    let rows = rows();
    assert!(rows.len() >= 7, "{}", rows.len());
    std::thread::scope(|scope| {
        for row in &rows {
            scope.spawn(move || check(row));
        }
    });
}

fn check(row: &Row<'_>) {
    let (world, engine) = (World::new(), Engine::new());
    fs::create_dir_all(engine.path("context/srv/pi")).unwrap();
    for entry in fs::read_dir(engine.path("context/libraries")).into_iter().flatten().flatten() {
        fs::rename(entry.path(), engine.path("context").join(entry.file_name())).unwrap();
    }
    let bin = world.dir.path().join("images/one/root/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("capable"), "").unwrap();
    let (fine, said) = run(Command::new("setcap").arg("cap_net_raw+ep").arg(bin.join("capable")));
    assert!(fine, "{said}");
    world.server.gateway("10.77.1.2");
    if row.user != "root" {
        let mut command = world.server.network_command("sysctl");
        let (fine, said) = run(command.args(["-qw", "net.ipv4.ip_unprivileged_port_start=69"]));
        assert!(fine, "{said}");
    }
    let number = world.dir.path().file_name().unwrap().to_string_lossy().into_owned();

    // All of them, at the first start and with a state: no message asks for another one.
    let mut container = engine.run(&world.server, &format!("first{number}"), row, &row.capabilities, &world);
    container.process().expect("ready tftp ", SOON);
    let said = container.stop();
    assert!(!said.contains("CAP_") && !said.contains("denied"), "{:?}: {said}", row.options);
    let mut container = engine.run(&world.server, &format!("all{number}"), row, &row.capabilities, &world);
    container.process().expect("ready tftp ", SOON);
    world.one.boot(ONE);
    if !row.options.contains(&"off") {
        let root = root_of(&world.one.get(&format!("{ONE}//cmdline.txt"))).to_owned();
        let what = if row.options.contains(&"shared-ro") { "read" } else { "work" };
        world.one.ask(&format!("{what} 10.77.1.1 {root}"));
    }
    let said = container.stop();
    assert!(!said.contains("CAP_") && !said.contains("denied"), "{:?}: {said}", row.options);

    for lacking in &row.capabilities {
        let others: Vec<_> = row.capabilities.iter().copied().filter(|other| other != lacking).collect();
        let mut container =
            engine.run(&world.server, &format!("without-{lacking}{number}"), row, &others, &world);
        container.process().expect(&format!("cap_add: [{lacking}]"), SOON);
    }
}

/// Waits until a program has made a file.
fn wait_for(place: &Path) {
    let until = Instant::now() + SOON;
    while !place.exists() {
        assert!(Instant::now() < until, "{}", place.display());
        std::thread::yield_now();
    }
}
