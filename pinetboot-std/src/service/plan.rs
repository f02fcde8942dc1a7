//! The steps of `install` and `uninstall`, from what a system has.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::NamedTempFile;

use super::files::{CONFIGURATION, DEFAULT_CONFIGURATION, MARK, PROGRAM, SYSUSERS, SYSUSERS_PATH};
use super::step::Step;
use super::{Unit, reach};
use crate::config::{Config, NfsMode, Settings};
use crate::exit::{Exit, Failed};
use crate::roots::configured;

/// A system with systemd.
#[derive(Debug)]
pub(super) struct System {
    /// The directory of another system; `None`: this one.
    root: Option<PathBuf>,
    /// The version of systemd, if known.
    systemd: Option<u32>,
    /// This program.
    program: PathBuf,
}

impl System {
    /// The system in a directory, or this one.
    pub(super) fn at(root: Option<PathBuf>) -> Result<Self, Failed> {
        if let (None, Some(why)) = (&root, super::without_systemd()) {
            let remedy = "Let its service manager run: pinetboot serve --config /etc/pinetboot.toml";
            return Err(Failed::new(Exit::Failure, format!("{why}. {remedy}")));
        }
        if let Some(root) = root.as_deref().filter(|root| !root.join("etc").is_dir()) {
            let why = format!("--root {}: has no directory etc, and so is no system", root.display());
            return Err(Failed::new(Exit::Usage, why));
        }
        let program = std::env::current_exe().map_err(|error| Failed::new(Exit::Failure, error))?;
        let systemd = if root.is_none() { version_of_systemd() } else { None };
        Ok(Self { root, systemd, program })
    }

    /// The unit for the configuration; that of roots as long as no valid configuration says otherwise. Disks need no rights.
    pub(super) fn unit_of_configuration(&self) -> Unit {
        let without_roots = self.config().is_ok_and(|config| {
            let boots = config.serving().join("config.txt").exists() || !config.disk_images().is_empty();
            let has_no_root = matches!(configured::base_images(&config), Ok(None));
            config.root.mode == NfsMode::Off || (boots && has_no_root)
        });
        match without_roots && self.root.is_none() {
            true => Unit::BootFiles,
            false => Unit::Roots,
        }
    }

    /// The configuration, which `install` writes if the file is missing.
    fn config(&self) -> Result<Config, Failed> {
        let file = self.path(CONFIGURATION);
        let settings = match file.exists() {
            true => Settings::read(&file),
            false => toml::from_str(DEFAULT_CONFIGURATION).map_err(|error| Failed::new(Exit::Usage, error)),
        };
        settings.and_then(Settings::resolve)
    }

    pub(super) fn install(&self, unit: Unit, sockets: bool) -> Result<Vec<Step>, Failed> {
        let mut steps = Vec::new();
        if self.is_packaged(unit.name()) {
            steps.push(Step::Note(format!("{} is that of a package, and stays", unit.name())));
        } else {
            let program = self.program(&mut steps);
            steps.push(Step::Write {
                to: self.path(&Unit::path(unit.name())),
                text: unit.text(&program, self.systemd),
            });
            self.make_user(&mut steps);
        }
        let of_sockets = self.path(&Unit::path(unit.socket()));
        if sockets && !self.is_packaged(unit.socket()) {
            steps.push(Step::Write { to: of_sockets, text: unit.socket_text() });
        }
        let configuration = self.path(CONFIGURATION);
        if configuration.exists() {
            steps.push(Step::Note(format!("{} stays", configuration.display())));
        } else {
            steps.push(Step::Write { to: configuration.clone(), text: DEFAULT_CONFIGURATION.into() });
        }
        let drop_in = self.path(&unit.drop_in_path());
        match self.config().ok().and_then(|config| reach::drop_in(&config)) {
            Some(text) => steps.push(Step::Write { to: drop_in, text }),
            None if is_ours(&drop_in) => steps.push(Step::Remove(drop_in)),
            None => {}
        }
        let other = unit.other();
        for name in [other.socket(), other.name()].into_iter().filter(|name| self.is_enabled(name)) {
            steps.push(self.systemctl(&["disable", "--now", name]));
        }
        let units: Vec<_> = sockets.then(|| unit.socket()).into_iter().chain([unit.name()]).collect();
        // One reload for all: each takes a second, and many on a slow machine.
        steps.push(self.systemctl(&[&["enable", "--no-reload"], units.as_slice()].concat()));
        if let Some(root) = &self.root {
            steps.push(Step::Note(format!("the service starts when {} boots", root.display())));
            return Ok(steps);
        }
        steps.push(Step::run(&["systemctl", "daemon-reload"]));
        if sockets {
            // A server without them has the ports itself.
            steps.push(Step::run(&["systemctl", "stop", unit.name()]));
            steps.push(Step::run(&["systemctl", "start", unit.socket()]));
        }
        let fault = self.fault(&configuration).map_err(|error| Failed::new(Exit::Failure, error))?;
        steps.push(match fault {
            // A server that runs becomes this program.
            None => Step::Start(unit.name()),
            Some(fault) => {
                let file = configuration.display();
                Step::Note(format!("not started: {fault}. Edit {file} where it is wrong; then 'pinetboot service install' starts the service"))
            }
        });
        Ok(steps)
    }

    pub(super) fn uninstall(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        // Sockets first: a request would start the server again.
        for name in Unit::ALL.iter().flat_map(|unit| [unit.socket(), unit.name()]) {
            let file = self.path(&Unit::path(name));
            if is_ours(&file) {
                steps.push(self.systemctl(&["disable", "--now", name]));
                steps.push(Step::Remove(file));
            } else if file.exists() {
                steps.push(Step::Note(format!("{} was not written by 'install', and stays", file.display())));
            }
        }
        let drop_ins = Unit::ALL.iter().map(|unit| self.path(&unit.drop_in_path()));
        steps.extend(drop_ins.filter(|file| is_ours(file)).map(Step::Remove));
        let sysusers = self.path(SYSUSERS_PATH);
        if is_ours(&sysusers) {
            steps.push(Step::Remove(sysusers));
        }
        if steps.is_empty() {
            return vec![Step::Note(
                "nothing to remove: 'pinetboot service install' wrote no file here".into(),
            )];
        }
        let copy = self.path(PROGRAM);
        if fs::read(&copy).ok() == fs::read(&self.program).ok() {
            steps.push(Step::Remove(copy));
        }
        if self.root.is_none() {
            steps.push(Step::run(&["systemctl", "daemon-reload"]));
        }
        let remains = [CONFIGURATION, "/var/lib/pinetboot", "/var/lib/pinetboot-leases", "/srv/pi"];
        for path in remains.map(|path| self.path(path)).iter().filter(|path| path.exists()) {
            steps.push(Step::Note(format!("{} stays", path.display())));
        }
        steps
    }

    /// The path of the program in the unit; a program outside of /usr is copied, since the unit hides /home and /tmp.
    fn program(&self, steps: &mut Vec<Step>) -> String {
        let copy = self.path(PROGRAM);
        let (is_here, at) = (self.root.is_none(), self.program.to_string_lossy().into_owned());
        if is_here && at.starts_with("/usr/") && self.program != copy {
            return at;
        }
        if self.program != copy {
            steps.push(Step::Copy { from: self.program.clone(), to: copy });
        }
        PROGRAM.into()
    }

    /// The user of TFTP and DHCP.
    fn make_user(&self, steps: &mut Vec<Step>) {
        let users = fs::read_to_string(self.path("/etc/passwd")).unwrap_or_default();
        if users.lines().any(|line| line.starts_with("pinetboot:")) {
            steps.push(Step::Note("the user pinetboot exists".into()));
            return;
        }
        let root = self.root.as_ref().map(|root| root.display().to_string());
        if !has_program("systemd-sysusers") {
            let of_root = root.as_ref().map(|root| ["--root", root]);
            let options = ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "pinetboot"];
            let words = ["useradd"].into_iter().chain(of_root.into_iter().flatten()).chain(options);
            steps.push(Step::run(&words.collect::<Vec<_>>()));
            return;
        }
        let file = self.path(SYSUSERS_PATH);
        steps.push(Step::Write { to: file, text: format!("{MARK}{SYSUSERS}") });
        let of_root = root.map(|root| format!("--root={root}"));
        let words = ["systemd-sysusers"].into_iter().chain(of_root.as_deref()).chain([SYSUSERS_PATH]);
        steps.push(Step::run(&words.collect::<Vec<_>>()));
    }

    /// The reason why a server cannot start, as `serve --check` finds it.
    fn fault(&self, configuration: &Path) -> io::Result<Option<String>> {
        let mut first = NamedTempFile::new()?;
        first.write_all(DEFAULT_CONFIGURATION.as_bytes())?;
        let file = if configuration.exists() { configuration } else { first.path() };
        let mut check = Command::new(&self.program);
        // Relative paths start there for the service, too.
        check.args(["serve", "--check", "--config"]).arg(file).current_dir("/");
        let checked = check.output()?;
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        let fault = said.trim().trim_start_matches("pinetboot: ").to_owned();
        Ok(if checked.status.success() { None } else { Some(fault) })
    }

    fn is_enabled(&self, name: &str) -> bool {
        ["multi-user", "sockets"].iter().any(|target| {
            let link = format!("/etc/systemd/system/{target}.target.wants/{name}");
            self.path(&link).symlink_metadata().is_ok()
        })
    }

    fn is_packaged(&self, name: &str) -> bool {
        let directories = ["/usr/lib/systemd/system", "/lib/systemd/system"];
        directories.iter().any(|directory| self.path(&format!("{directory}/{name}")).exists())
    }

    fn systemctl(&self, words: &[&str]) -> Step {
        let Some(root) = &self.root else { return Step::run(&[&["systemctl"], words].concat()) };
        let of_root = format!("--root={}", root.display());
        // Nothing runs there.
        let words = words.iter().copied().filter(|word| *word != "--now");
        Step::run(&["systemctl", &of_root].into_iter().chain(words).collect::<Vec<_>>())
    }

    fn path(&self, path: &str) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.trim_start_matches('/')),
            None => path.into(),
        }
    }
}

/// Whether `install` wrote the file.
fn is_ours(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.starts_with(MARK))
}

fn has_program(name: &str) -> bool {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].iter().any(|dir| Path::new(dir).join(name).exists())
}

/// The version of systemd: `systemd 252 (252.39-1~deb12u2)`.
fn version_of_systemd() -> Option<u32> {
    let said = Command::new("systemctl").arg("--version").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    said.split_whitespace().nth(1)?.parse().ok()
}
