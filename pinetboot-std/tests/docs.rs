//! The commands of README and pages: each is one that the program takes, and those of the pages are executed.
//!
//! A block of commands begins with three backticks and `sh`. `<!-- not run: REASON -->` above a block keeps it from execution: it takes a
//! device, another machine or a product that is not here. `not_run` in [`PAGES`] has their number, so that a new one is noticed.
//!
//! `.ci/run docs` executes: root, network namespaces, overlayfs, and the programs that make images.
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

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory, Parser};
use images::Sources;
use namespace::{Namespace, PINETBOOT, Process, SOON, cable, end};
use pinetboot::cli::Cli;
use pinetboot_disk::{Overlay, unpack};

/// A page, from the top of the repository.
struct Page {
    path: &'static str,
    /// What is there before its first command.
    before: Before,
    /// Blocks that are not executed.
    not_run: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Before {
    /// Nothing but an image.
    Nothing,
    /// An imported image, and a configuration.
    Image,
    /// The same, and a layer of the Pi bd989ae1.
    Layer,
    /// The image of a card, and a disk of the Pi bd989ae1.
    Disk,
}

const PAGES: [Page; 10] = [
    page("README.md", Before::Nothing, 2),
    page("pinetboot-std/docs/first-boot.md", Before::Nothing, 1),
    page("pinetboot-std/docs/serve.md", Before::Image, 1),
    page("pinetboot-std/docs/images.md", Before::Nothing, 0),
    page("pinetboot-std/docs/roots.md", Before::Layer, 2),
    page("pinetboot-std/docs/disks.md", Before::Disk, 3),
    page("pinetboot-std/docs/backup.md", Before::Layer, 1),
    page("pinetboot-std/docs/qemu.md", Before::Nothing, 2),
    page("pinetboot-std/docs/container.md", Before::Nothing, 1),
    page("pinetboot-std/docs/kubernetes.md", Before::Nothing, 3),
];

/// Pages whose commands build, emulate, or take Docker or Kubernetes: other steps of `.ci/run` do the same.
const BUILDS: [&str; 6] = [
    "CONTRIBUTING.md",
    "pinetboot-embassy/README.md",
    "pinetboot-embassy/emulator/README.md",
    "pinetboot-std/docs/container.md",
    "pinetboot-std/docs/kubernetes.md",
    "pinetboot-std/init/README.md",
];

/// What a test has instead of a thing that takes the Internet or a terminal.
const INSTEAD: [(&str, &str); 2] = [
    ("raspios-lite", "2026-04-13-raspios-trixie-arm64-lite.img.xz"),
    ("pinetboot up ", "pinetboot up --yes "),
];

const fn page(path: &'static str, before: Before, not_run: usize) -> Page {
    Page { path, before, not_run }
}

/// A block of commands.
#[derive(Debug)]
struct Block {
    /// Each with its line.
    commands: Vec<(usize, String)>,
    not_run: Option<String>,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut inside, mut not_run, mut continued) = (false, None, false);
    for (line, number) in text.lines().zip(1..) {
        let reason = line.strip_prefix("<!-- not run: ").and_then(|rest| rest.strip_suffix(" -->"));
        match (inside, line) {
            (false, "```sh") => {
                blocks.push(Block { commands: Vec::new(), not_run: not_run.take() });
                inside = true;
            }
            (false, _) if reason.is_some() => not_run = reason.map(str::to_owned),
            (false, _) => not_run = None,
            (true, "```") => inside = false,
            (true, line) => {
                let commands = &mut blocks.last_mut().unwrap().commands;
                match commands.last_mut().filter(|_| continued) {
                    Some((_, command)) => {
                        *command = command.trim_end_matches('\\').to_owned() + line.trim_start()
                    }
                    None if line.trim().is_empty() => {}
                    None => commands.push((number, line.to_owned())),
                }
                continued = line.ends_with('\\');
            }
        }
    }
    blocks
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(page: &str) -> String {
    fs::read_to_string(repository().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The calls of `pinetboot` in a shell command, as words.
fn calls(command: &str) -> Vec<Vec<String>> {
    let command = command.split("  #").next().unwrap_or_default().split(" # ").next().unwrap_or_default();
    let parts = command.split("&&").flat_map(|part| part.split(['|', ';', '>']));
    let words = parts.map(|part| part.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let is_program = |word: &String| word == "pinetboot";
    words.filter_map(|words| words.iter().position(is_program).map(|at| words[at..].to_vec())).collect()
}

#[test]
fn the_program_takes_the_commands_of_every_page() {
    let mut seen = 0;
    for page in PAGES.iter().map(|page| page.path).chain(BUILDS) {
        for (line, command) in blocks(&read(page)).into_iter().flat_map(|block| block.commands) {
            for words in calls(&command) {
                seen += 1;
                let taken = Cli::try_parse_from(&words);
                assert!(taken.is_ok(), "{page}:{line}: {command}\n{}", taken.unwrap_err());
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn the_program_takes_the_examples_of_its_help() {
    let mut seen = 0;
    for command in Cli::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter(|line| line.starts_with("  ") && line.contains("pinetboot ")) {
            let example = line.trim_start().split("   ").next().unwrap_or_default();
            for words in calls(example) {
                seen += 1;
                let words = words.iter().filter(|word| *word != "...");
                let taken = Cli::try_parse_from(words);
                assert!(taken.is_ok(), "{line}\n{}", taken.unwrap_err());
            }
        }
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn blocks_that_are_not_run_have_a_reason_and_are_few() {
    for Page { path, not_run, .. } in PAGES {
        let reasons: Vec<_> = blocks(&read(path)).into_iter().filter_map(|block| block.not_run).collect();
        assert_eq!(reasons.len(), not_run, "{path}: {reasons:?}");
    }
    // A page with commands is in one of the lists.
    let all = Command::new("git").args(["ls-files", "*.md"]).current_dir(repository()).output();
    let Ok(all) = all else { return };
    for path in String::from_utf8_lossy(&all.stdout).lines().filter(|path| !blocks(&read(path)).is_empty()) {
        assert!(PAGES.iter().any(|page| page.path == path) || BUILDS.contains(&path), "{path} has commands");
    }
}

#[test]
fn a_block_is_found_with_its_lines_and_its_reason() {
    let text = "x\n<!-- not run: takes a Pi -->\n```sh\na \\\n  b\n\nc\n```\n```sh\nd | sudo pinetboot get -o - > x # e\n```\n";
    let blocks = blocks(text);
    assert_eq!(blocks[0].commands, [(4, "a b".to_owned()), (7, "c".to_owned())]);
    assert_eq!(blocks[0].not_run.as_deref(), Some("takes a Pi"));
    assert_eq!(blocks[1].not_run, None);
    assert_eq!(calls(&blocks[1].commands[0].1), [["pinetboot", "get", "-o", "-"]]);
}

/// The line that a server prints once it serves; empty for a command that ends.
fn says(command: &str) -> &'static str {
    let serves = command.contains("pinetboot serve ") || command.contains("pinetboot up ");
    if serves && !command.contains("--check") { "ready " } else { "" }
}

/// The script of a page.
fn script(page: &Page) -> String {
    let mut script = format!("source {}/tests/docs/world.sh\n", env!("CARGO_MANIFEST_DIR"));
    if page.before == Before::Layer {
        script += "layer\n";
    }
    for block in blocks(&read(page.path)).into_iter().filter(|block| block.not_run.is_none()) {
        for (line, command) in block.commands {
            let command = INSTEAD.iter().fold(command, |command, (there, here)| command.replace(there, here));
            let quoted = command.replace('\'', "'\\''");
            writeln!(script, "run {}:{line} '{}' '{quoted}'", page.path, says(&command)).unwrap();
        }
    }
    script + "stop\necho the end\n"
}

/// The files that the pages name.
fn files(dir: &Path, image: &Path, before: Before) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("bin/sudo", "#!/bin/sh\nexec \"$@\"\n");
    fs::set_permissions(dir.join("bin/sudo"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink(PINETBOOT, dir.join("bin/pinetboot")).unwrap();
    put("mine", "mine");
    put("home/.ssh/id_ed25519.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me@here\n");
    for (name, text) in [
        ("config.txt", "arm_64bit=1\nos_check=0\n"),
        ("cmdline.txt", "console=tty1 root=PARTUUID=1-02 rootwait\n"),
        ("kernel_2712.img", "kernel"),
        ("bcm2712-rpi-5-b.dtb", "device tree"),
    ] {
        put(&format!("srv/tftp/{name}"), text);
        put(&format!("srv/root/boot/firmware/{name}"), text);
    }
    put("srv/root/etc/hostname", "pi\n");
    for name in ["2026-04-13-raspios-trixie-arm64-lite.img.xz", "new.img.xz"] {
        symlink(image, dir.join(name)).unwrap();
    }
    if before == Before::Disk {
        // The image that all pages share, if it is not compressed.
        let card = unpack(image, dir, u64::MAX, |_| Ok(())).unwrap();
        fs::copy(card, dir.join("card.img")).unwrap();
        let disks = dir.join("state/disks/bd989ae1");
        fs::create_dir_all(&disks).unwrap();
        Overlay::create(&disks.join("card.qcow2"), &dir.join("card.img"), 16_000_000_000).unwrap();
    }
    if matches!(before, Before::Image | Before::Layer) {
        put(
            "etc/pinetboot.toml",
            "tree = '/srv/pi'\ninterface = 'eth1'\n[pi.bd989ae1]\nname = 'kitchen'\naddress = '10.77.0.50'\n",
        );
        let to = dir.join("srv/pi");
        let done = Command::new(PINETBOOT)
            .arg("import")
            .arg(image)
            .arg("--to")
            .arg(to)
            .args(["--name", "trixie"])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
#[ignore = "needs root, overlayfs, dnsmasq, libnfs-utils, rsync and the programs that make images; run by .ci/run"]
fn every_command_of_the_pages_works() {
    let disk = up_image::image(&Sources::of_trixie());
    let image = disk.path();
    std::thread::scope(|scope| {
        let (first, others) = PAGES.split_first().unwrap();
        run(first, image); // the demo has the Pi's time limits: alone, no busy processor exceeds them
        let tests: Vec<_> = others.iter().map(|page| scope.spawn(move || run(page, image))).collect();
        tests.into_iter().for_each(|test| test.join().unwrap());
    });
}

#[test]
#[ignore = "needs root, overlayfs and network namespaces; run by .ci/run"]
fn a_command_that_fails_is_named() {
    let world = format!("source {}/tests/docs/world.sh\n", env!("CARGO_MANIFEST_DIR"));
    let server = Namespace::new("server");
    for (says, command) in [("", "echo well && false"), ("ready ", "echo started")] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        let script = format!("{world}run page:1 '' true\nrun page:2 '{says}' '{command}'\necho the end\n");
        let (fine, said) = execute(&server, &server, dir.path(), &script);
        assert!(!fine && said.contains("ok page:1: true") && said.contains("FAILED page:2"), "{said}");
    }
}

/// Executes a script beneath a directory; returns whether it came to its end, and its output.
fn execute(server: &Namespace, pi: &Namespace, dir: &Path, script: &str) -> (bool, String) {
    let path = dir.join("page.sh");
    fs::write(&path, script).unwrap();
    let mut command = server.command("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"]);
    command.arg(&path).arg(dir).arg(pi.name());
    let (status, said) = Process::start(command).finish(SOON * 20);
    (status.success() && said.ends_with("the end\n"), said)
}

fn run(page: &Page, image: &Path) {
    let (server, router, pi) = (Namespace::new("server"), Namespace::new("router"), Namespace::new("pi"));
    cable(end(&server, "eth0", "192.168.1.2/24"), end(&router, "eth", "192.168.1.1/24"), 1500);
    cable(end(&server, "eth1", "10.77.0.1/24"), end(&pi, "eth", "10.77.0.50/24"), 1500);
    server.gateway("192.168.1.1");
    let mut command = router.command("dnsmasq");
    command.args([
        "--no-daemon",
        "--conf-file=/dev/null",
        "--port=0",
        "--interface=eth",
        "--bind-interfaces",
        "--no-ping",
    ]);
    command.args(["--dhcp-leasefile=/dev/null", "--user=root", "--dhcp-range=192.168.1.100,192.168.1.200"]);
    let mut dnsmasq = Process::start(command);
    dnsmasq.expect("sockets bound exclusively", SOON);

    let dir = tempfile::tempdir().unwrap();
    files(dir.path(), image, page.before);
    let (fine, said) = execute(&server, &pi, dir.path(), &script(page));
    assert!(fine, "{}: {said}", page.path);
    println!("{said}");
}
