//! A healthy system of a Pi 5: boot files and the root that they mount.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::device_tree::device_tree;

/// Boot files, and a root beside them.
pub(crate) struct System(TempDir);

/// What `pinetboot check --json` says.
pub(crate) struct Checked {
    /// The rules of all findings; 0 for none.
    pub(crate) rules: Vec<u8>,
    /// The findings as lines: `Warning: cmdline.txt: .. [rule 33]`.
    pub(crate) lines: Vec<String>,
    pub(crate) text: String,
    pub(crate) code: Option<i32>,
}

impl System {
    pub(crate) fn healthy() -> Self {
        let system = Self(tempfile::tempdir().unwrap());
        for (path, content) in [
            ("boot/config.txt", "arm_64bit=1\nauto_initramfs=1\n"),
            ("boot/cmdline.txt", COMMAND_LINE),
            ("root/etc/os-release", "ID=debian\nVERSION_CODENAME=trixie\n"),
            (
                "root/etc/fstab",
                "proc /proc proc defaults 0 0\n# on the card: PARTUUID=4a3c1b2d-02 / ext4 defaults 0 1\n",
            ),
            ("root/etc/machine-id", ""),
            ("root/etc/hostname", "pi\n"),
            ("root/sbin/init", "#!/bin/sh\n"),
            ("root/usr/lib/systemd/systemd", ""),
            ("root/usr/lib/systemd/systemd-timesyncd", ""),
            ("root/usr/lib/systemd/system/systemd-networkd-wait-online.service", "[Unit]\n"),
            ("root/etc/NetworkManager/NetworkManager.conf", "[main]\n"),
            (
                "root/usr/lib/modules/6.12.34+rpt-rpi-2712/modules.builtin",
                "kernel/fs/nfs/nfs.ko\nkernel/drivers/net/macb.ko\n",
            ),
        ] {
            system.write(path, content);
        }
        symlink("usr/lib", system.path("root/lib")).unwrap();
        system.kernel("6.12.34+rpt-rpi-2712");
        system.initramfs(&["usr/bin/nfsmount", "usr/lib/modules/6.12.34+rpt-rpi-2712/modules.dep"]);
        let board = device_tree(
            &[("compatible", b"raspberrypi,5-model-b\0brcm,bcm2712\0")],
            &[("__symbols__", "spi10")],
        );
        for name in ["bcm2712-rpi-5-b.dtb", "bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5l-cm5io.dtb"] {
            system.write(&format!("boot/{name}"), &board);
        }
        system.write("boot/overlays/bcm2712d0.dtbo", device_tree(&[], &[("__fixups__", "spi10")]));
        system.write("boot/overlays/overlay_map.dtb", device_tree(&[], &[]));
        system
    }

    pub(crate) fn boot(&self) -> PathBuf {
        self.path("boot")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).unwrap();
    }

    /// Appends a line.
    pub(crate) fn add(&self, path: &str, line: &str) {
        let text = fs::read_to_string(self.path(path)).unwrap_or_default();
        self.write(path, format!("{text}{line}\n"));
    }

    pub(crate) fn command_line(&self, from: &str, to: &str) {
        assert!(COMMAND_LINE.contains(from), "{from}");
        self.write("boot/cmdline.txt", COMMAND_LINE.replace(from, to));
    }

    /// Enables a unit of a target.
    pub(crate) fn enable(&self, unit: &str) {
        self.write(&format!("root/usr/lib/systemd/system/{unit}"), "[Unit]\n");
        let link = self.path(&format!("root/etc/systemd/system/multi-user.target.wants/{unit}"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(format!("/usr/lib/systemd/system/{unit}"), link).unwrap();
    }

    /// An arm64 Image's header (Documentation/arch/arm64/booting.rst) and a banner.
    pub(crate) fn kernel(&self, version: &str) {
        let mut image = vec![0; 64];
        image[56..60].copy_from_slice(b"ARM\x64");
        image.extend(format!("Linux version {version} (test)\n\0").bytes());
        self.write("boot/kernel_2712.img", image);
    }

    /// A kernel with its modules and initramfs.
    pub(crate) fn release(&self, version: &str) {
        self.kernel(version);
        self.write(
            &format!("root/usr/lib/modules/{version}/modules.builtin"),
            "kernel/fs/nfs/nfs.ko\nkernel/x/macb.ko\n",
        );
        self.initramfs(&["bin/nfsmount", &format!("lib/modules/{version}/modules.dep")]);
    }

    /// A cpio archive of empty files (newc), compressed.
    pub(crate) fn initramfs(&self, names: &[&str]) {
        let mut archive = Vec::new();
        for name in names.iter().chain(&["TRAILER!!!"]) {
            let fields = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() + 1, 0];
            let fields: String = fields.iter().map(|field| format!("{field:08x}")).collect();
            archive.extend(format!("070701{fields}{name}\0").bytes());
            archive.resize(archive.len().next_multiple_of(4), 0);
        }
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &archive).unwrap();
        self.write("boot/initramfs_2712", packed.finish().unwrap());
    }

    /// Copies a boot file.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let to = self.boot().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(self.boot().join(from), to).unwrap();
    }

    /// Moves a boot file.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        let to = self.boot().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(self.boot().join(from), to).unwrap();
    }

    /// Checks the boot files without a root.
    pub(crate) fn check_boot_files(&self) -> Checked {
        check(&[path(&self.boot())])
    }

    pub(crate) fn check(&self) -> Checked {
        let (boot, root) = (self.boot(), self.path("root"));
        check(&[path(&boot), "--root", path(&root)])
    }
}

/// The log of a server of these boot files, which was told to reload.
pub(crate) fn served(system: &System) -> String {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_pinetboot"))
        .args(["serve", "--tftp-port", "0", "--listen", "127.0.0.1"])
        .arg(system.boot())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(serve.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.starts_with("ready "), "{ready}");
    let pid = Pid::from_raw(i32::try_from(serve.id()).unwrap());
    kill(pid, Signal::SIGHUP).unwrap();
    let (mut log, mut said) = (BufReader::new(serve.stderr.take().unwrap()), String::new());
    while !said.contains("reloaded") {
        assert!(log.read_line(&mut said).unwrap() > 0, "the server ended: {said}");
    }
    kill(pid, Signal::SIGTERM).unwrap();
    log.read_to_string(&mut said).unwrap();
    serve.wait().unwrap();
    said
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn check(arguments: &[&str]) -> Checked {
    let output = Command::new(env!("CARGO_BIN_EXE_pinetboot"))
        .arg("check")
        .args(arguments)
        .arg("--json")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let systems = json["systems"].as_array().cloned().unwrap_or_default();
    let findings =
        systems.iter().flat_map(|system| system["findings"].as_array().cloned().unwrap_or_default());
    let findings: Vec<_> = findings.collect();
    let rules =
        findings.iter().map(|finding| u8::try_from(finding["rule"].as_u64().unwrap_or(0)).unwrap()).collect();
    let lines = findings.iter().map(line).collect();
    Checked { rules, lines, text, code: output.status.code() }
}

fn line(finding: &serde_json::Value) -> String {
    let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let severity = match text("severity").as_str() {
        "problem" => "",
        "warning" => "Warning: ",
        _ => "Note: ",
    };
    let file = finding["file"].as_str().map(|file| format!("{file}: ")).unwrap_or_default();
    format!("{severity}{file}{} [rule {}]", text("what"), finding["rule"])
}

pub(crate) const COMMAND_LINE: &str =
    "console=tty1 root=/dev/nfs nfsroot=/srv/pi,vers=3,tcp,nolock rw ip=dhcp rootwait\n";
