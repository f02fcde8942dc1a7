//! Each command with a standard output whose reader has gone, and with one on a full disk; standard error read by the journal.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use clap::CommandFactory;
use pinetboot::cli::Cli;
use tempfile::TempDir;

/// A command line, and whether it writes to standard output.
struct Case {
    line: String,
    writes: bool,
}

/// Arguments for each command that `Cli` has: without privileges and another machine.
fn cases(files: &Path, port: u16) -> Vec<Case> {
    let files = files.display();
    let writes = [
        "--help".to_owned(),
        "help simulate".into(),
        "demo".into(),
        "demo --json".into(),
        "router-config --server 10.0.0.1".into(),
        "router-config --server 10.0.0.1 --for dnsmasq".into(),
        "router-config --server 10.0.0.1 --json".into(),
        "router-config --server 10.0.0.1 --for kea --json".into(),
        format!("pack {files}/tree --offset 1M -o {files}/boot.uf2"),
        format!("pack --check {files}/boot.uf2"),
        format!("pack --check {files}/boot.uf2 --json"),
        format!("images {files}/images"),
        format!("images list --json --dir {files}/images"),
        format!("images use trixie --dir {files}/images"),
        format!("images verify trixie --dir {files}/images"),
        format!("images verify trixie --json --dir {files}/images"),
        format!("roots list --dir {files}/state"),
        format!("roots which --dir {files}/state"),
        format!("roots which --json --dir {files}/state"),
        format!("roots list --json --dir {files}/state"),
        format!("disks list --dir {files}/state"),
        format!("disks list --json --dir {files}/state"),
        format!("service install --dry-run --root {files}"),
        format!("service uninstall --root {files}"),
        "service status --help".into(),
        "explain".into(),
        "explain 41".into(),
        "explain --json klibc".into(),
        format!("doctor --log {files}/tree/config.txt"),
        format!("doctor --log {files}/tree/config.txt --json"),
        format!("check {files}/tree"),
        format!("check {files}/tree --json"),
        format!("check {files}/images"),
        format!("simulate --server 127.0.0.1:{port}"),
        format!("simulate --server 127.0.0.1:{port} --json"),
        format!("get -q tftp://127.0.0.1:{port}/large -o -"),
        format!("get --json tftp://127.0.0.1:{port}/config.txt -o {files}/fetched"),
    ];
    // These end before they write: they take root, an interface or an image.
    let silent = [
        format!("roots diff bd989ae1 --dir {files}/state"),
        format!("roots log bd989ae1 --dir {files}/state"),
        format!("roots reset bd989ae1 --dir {files}/state"),
        format!("roots adopt bd989ae1 --dir {files}/state"),
        format!("roots export bd989ae1 - --dir {files}/state"),
        format!("roots import {files}/no.tar --dir {files}/state"),
        format!("roots commit bd989ae1 --name new --dir {files}/state"),
        format!("disks diff bd989ae1 --dir {files}/state"),
        format!("disks log bd989ae1 --dir {files}/state"),
        format!("disks snapshot bd989ae1 one --dir {files}/state"),
        format!("disks rollback bd989ae1 one --dir {files}/state"),
        format!("disks reset bd989ae1 --dir {files}/state"),
        format!("disks release bd989ae1 --dir {files}/state"),
        format!("disks commit bd989ae1 {files}/new.img --dir {files}/state"),
        format!("disks export bd989ae1 {files}/new.img --dir {files}/state"),
        format!("disks resize bd989ae1 32G --dir {files}/state"),
        format!("images remove none --dir {files}/images"),
        format!("images rename none other --dir {files}/images"),
        "images available --list-url http://127.0.0.1:1/none".into(),
        format!("import {files}/no.img --to {files}/images"),
        "probe --interface none".into(),
        // Its exit code is its answer.
        format!("health {files}/none"),
        // No board is plugged in.
        format!("flash {files}/none.uf2"),
        // No server runs.
        format!("status --control {files}/none"),
        format!("watch --control {files}/none"),
        format!("up --yes --interface none --config {files}/no.toml"),
        format!("serve --config {files}/no.toml"),
    ];
    let case = |writes| move |line| Case { line, writes };
    writes.into_iter().map(case(true)).chain(silent.into_iter().map(case(false))).collect()
}

fn files() -> TempDir {
    let files = tempfile::tempdir().unwrap();
    let image = files.path().join("images/images/trixie");
    for directory in [
        &image.join("root"),
        &files.path().join("tree"),
        &files.path().join("state/pis"),
        &files.path().join("state/disks"),
        &files.path().join("etc"),
    ] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(image.join("image.toml"), "release = 'raspios-trixie'\nimported = '2026-04-13T09:30:00Z'\n")
        .unwrap();
    fs::write(files.path().join("tree/config.txt"), "os_check=0\nkernel=k\n").unwrap();
    fs::write(files.path().join("tree/k"), "k").unwrap();
    fs::write(files.path().join("tree/cmdline.txt"), "quiet").unwrap();
    fs::write(files.path().join("tree/large"), vec![0; 1 << 18]).unwrap();
    files
}

fn pinetboot(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinetboot"));
    command.args(line.split(' '));
    command
}

/// The exit code and standard error of a command with this standard output.
fn run(line: &str, stdout: impl Into<Stdio>) -> (i32, String) {
    let output = pinetboot(line).stdout(stdout).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().unwrap_or_else(|| panic!("{line}: {}: {said}", output.status));
    assert!(code != 101 && !said.contains("panicked"), "{line}: {said}");
    (code, said)
}

/// A server of the tree, ended when dropped.
struct Serving(Child, u16);

impl Serving {
    fn start(tree: &Path, stderr: Stdio, variables: &[(&str, String)]) -> Self {
        let mut serve =
            pinetboot(&format!("serve --tftp-port 0 --listen 127.0.0.1 --control none {}", tree.display()));
        serve.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut serve = serve.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(serve.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        let address =
            ready.split(' ').find(|word| word.starts_with("127.0.0.1")).unwrap_or_else(|| panic!("{ready}"));
        let port = address.split(':').nth(1).unwrap().trim().parse().unwrap();
        Self(serve, port)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn no_command_panics_without_a_reader_or_on_a_full_disk() {
    let files = files();
    let serving = Serving::start(&files.path().join("tree"), Stdio::null(), &[]);
    let cases = cases(files.path(), serving.1);
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name();
        assert!(cases.iter().any(|case| case.line.starts_with(name)), "no case for {name}");
        for below in command.get_subcommands() {
            let name = format!("{name} {}", below.get_name());
            assert!(cases.iter().any(|case| case.line.starts_with(&name)), "no case for {name}");
        }
    }
    let mut failed = BTreeSet::new();
    for Case { line, writes } in cases {
        let (read, said) = run(&line, Stdio::null());
        let (reader, closed) = io::pipe().unwrap();
        drop(reader);
        let (unread, said_unread) = run(&line, closed);
        // `get` ends with the reader, as its only effect is the output.
        if unread != read || said.is_empty() != said_unread.is_empty() {
            failed.insert(format!("{line}: {read} with a reader, {unread} without: {said_unread}"));
        }
        let (full, said_full) = run(&line, File::options().write(true).open("/dev/full").unwrap());
        let tells = said_full.contains("No space left on device");
        if writes && !(full == 1 && tells) || !writes && full != read {
            failed.insert(format!("{line}: {full} on a full disk: {said_full}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(files.path().join("boot.uf2").is_file());
}

#[test]
fn a_command_prints_one_json_document() {
    let files = files();
    let serving = Serving::start(&files.path().join("tree"), Stdio::null(), &[]);
    run(&format!("pack {0}/tree --offset 1M -o {0}/boot.uf2", files.path().display()), Stdio::null());
    for Case { line, .. } in
        cases(files.path(), serving.1).into_iter().filter(|case| case.line.contains("--json"))
    {
        let output = pinetboot(&line).output().unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(json.is_object(), "{line}: {json}");
        if line.starts_with("simulate") {
            assert_eq!(
                (&json["verdict"], &json["exit"]),
                (&"would-start-kernel".into(), &0.into()),
                "{json}"
            );
            assert!(json["root_not_checked"].as_str().unwrap().contains("no root="), "{json}");
            assert_eq!(json["steps"][0]["request"], "bd989ae1/config.txt");
        }
    }
}

#[test]
fn the_journal_gets_priorities_and_no_times() {
    let files = files();
    let log = files.path().join("log");
    let file = File::create(&log).unwrap();
    let of = file.metadata().unwrap();
    let stream = ("JOURNAL_STREAM", format!("{}:{}", of.dev(), of.ino()));
    drop(Serving::start(&files.path().join("tree"), file.into(), std::slice::from_ref(&stream)));
    let lines = fs::read_to_string(&log).unwrap();
    assert!(lines.contains("<6>") && lines.lines().all(|line| line.starts_with('<')), "{lines}");
    assert!(!lines.contains("INFO") && !lines.contains('\u{1b}'), "{lines}");

    let mut wrong = pinetboot("pack /nonexistent -o /nonexistent/x");
    let file = File::options().write(true).truncate(true).open(&log).unwrap();
    wrong.envs([stream]).stderr(file).status().unwrap();
    assert!(fs::read_to_string(&log).unwrap().starts_with("<3>pinetboot: "));

    // Another reader of standard error than the journal of the variable.
    let serving = Serving::start(
        &files.path().join("tree"),
        File::create(&log).unwrap().into(),
        &[("JOURNAL_STREAM", "1:1".into())],
    );
    drop(serving);
    let lines = fs::read_to_string(&log).unwrap();
    assert!(lines.contains("INFO") && !lines.contains('<'), "{lines}");
}
