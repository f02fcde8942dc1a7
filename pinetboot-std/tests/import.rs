//! `pinetboot import` on real images: made by mkfs.vfat, mtools, mke2fs and sfdisk, imported by the real binary as root, and
//! compared with what was put in.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "import/checked.rs"]
mod checked;
#[path = "check/tree.rs"]
#[allow(dead_code, reason = "for the tests of check")]
mod checked_tree;
#[path = "import/compare.rs"]
mod compare;
#[path = "common/device_tree.rs"]
#[allow(dead_code, reason = "for the tests of check")]
mod device_tree;
#[path = "import/images.rs"]
mod images;
#[path = "import/layout.rs"]
mod layout;
#[path = "import/web.rs"]
mod web;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use compare::{Difference, differences};
use images::{Disk, Ext4Options, Fat, Packing, Sources, run};
use pinetboot::images::{Image, Images};

fn pinetboot() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pinetboot"))
}

/// Imports, and returns the program's output.
fn import(image: &Path, to: &Path, options: &[&str]) -> String {
    let output = pinetboot().arg("import").arg(image).arg("--to").arg(to).args(options).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    format!("{out}{err}")
}

/// Imports an image that is refused; returns the reason.
fn refusal(image: &Path, to: &Path, options: &[&str]) -> String {
    let output = pinetboot().arg("import").arg(image).arg("--to").arg(to).args(options).output().unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    if let Ok(images) = fs::read_dir(to.join("images")) {
        let left: Vec<_> = images.flatten().map(|entry| entry.file_name()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn the_files_of_an_image_are_compared_with_those_of_the_import() {
    let (image, to) = (layout::small_image(), tempfile::tempdir().unwrap());
    let planned = import(&image.path(), to.path(), &["--name", "one", "--dry-run", "--json"]);
    let planned: serde_json::Value = serde_json::from_str(&planned).unwrap();
    assert!(planned["boots"].is_boolean() && planned["changes"].is_array(), "{planned}");
    import(&image.path(), to.path(), &["--name", "one", "--current"]);
    let verify = |options: &[&str]| {
        let mut command = pinetboot();
        command.args(["images", "verify", "one", "--dir"]).arg(to.path()).args(options);
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (before, said) = verify(&[]);
    assert!(said.contains(" are as they were imported"), "{said}");
    let place = to.path().join("images/one");
    let mut hashes = Command::new("sha256sum");
    let sum = run(hashes.arg("etc/os-release").current_dir(place.join("root")));
    let listed = fs::read_to_string(place.join("files.mtree")).unwrap();
    assert!(listed.contains("./etc/os-release type=file ") && listed.contains(&sum[..64]), "{listed}");

    fs::write(place.join("root/etc/os-release"), "").unwrap();
    fs::write(place.join("root/added"), "").unwrap();
    let (code, said) = verify(&[]);
    assert_ne!(code, 0);
    for line in ["changed  /etc/os-release (sha256digest, size)", "added    /added"] {
        assert!(said.contains(line), "{said}");
    }
    let json: serde_json::Value = serde_json::from_str(&verify(&["--json"]).1).unwrap();
    assert_eq!(json["differences"].as_array().unwrap().len(), 2, "{json}");
    // An image of an earlier version.
    fs::remove_file(place.join("files.mtree")).unwrap();
    let (code, said) = verify(&[]);
    assert!(code == before && said.contains("not compared"), "{said}");
}

fn current(to: &Path) -> Image {
    Images::open(to).unwrap().unwrap().current().unwrap().unwrap()
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn every_kind_of_file_system_comes_out_as_it_went_in() {
    let sources = Sources::of_everything();
    let raspios = "has_journal,extent,flex_bg,metadata_csum,dir_nlink,extra_isize,^64bit,^huge_file";
    for (name, packing, ext4, gpt, fat) in [
        // Raspberry Pi OS as built on Debian 12 and on 13, the boot partition as before and after March 2026.
        ("bookworm", Packing::Xz, Ext4Options::new(raspios, 4096), false, Fat { bits: 32, cluster: 4 }),
        (
            "trixie",
            Packing::Raw,
            Ext4Options::new(&format!("{raspios},metadata_csum_seed,orphan_file"), 4096),
            false,
            Fat::SMALL,
        ),
        (
            "ubuntu",
            Packing::Zstd,
            Ext4Options::new("64bit,metadata_csum", 4096),
            true,
            Fat { bits: 32, cluster: 8 },
        ),
        (
            "small-blocks",
            Packing::Gzip,
            Ext4Options::new("64bit,^metadata_csum", 1024),
            false,
            Fat { bits: 16, cluster: 16 },
        ),
        ("block-map", Packing::Zip, Ext4Options::new("^extent,^64bit,^flex_bg", 1024), false, Fat::SMALL),
        (
            "block-map-4k",
            Packing::Raw,
            Ext4Options::new("^extent,^64bit,^metadata_csum,^dir_index", 4096),
            true,
            Fat::SMALL,
        ),
        (
            "ext2",
            Packing::Raw,
            Ext4Options::new("^has_journal,^extent,^64bit,^flex_bg,^filetype,^metadata_csum", 2048),
            false,
            Fat::SMALL,
        ),
        (
            "small-inodes",
            Packing::Raw,
            Ext4Options { inode_size: 128, ..Ext4Options::new("^extra_isize,^metadata_csum", 4096) },
            false,
            Fat::SMALL,
        ),
    ] {
        let disk = Disk::new(&sources, &ext4, gpt, fat, packing);
        let to = tempfile::tempdir().unwrap();
        let said = import(disk.path(), to.path(), &["--name", name]);
        assert!(said.contains("unknown system"), "{said}");
        let image = current(to.path());
        assert_eq!(image.facts.release, "everything-1.0");
        assert_eq!(image.facts.sha256, disk.sha256(), "{name}");
        assert_eq!(image.facts.changes, [""; 0]);

        // The root without the files beneath the mount point, and that without the root.
        let mut found = differences(&sources.root(), &image.root);
        found.retain(|difference| {
            !difference.path.starts_with("boot/firmware") && difference.path != Path::new("lost+found")
        });
        assert_eq!(found, [], "{name}");
        let mut found = differences(&sources.boot(), &image.boot);
        found
            .retain(|Difference { what, .. }| what == "content" || what == "missing" || what == "not wanted");
        assert_eq!(found, [], "{name}");
        let overlay = fs::metadata(image.boot.join("overlays/Mixed Case.dtbo")).unwrap();
        assert_eq!((overlay.uid(), overlay.mode() & 0o7777), (0, 0o755));
        assert_eq!(overlay.mtime(), 1_700_000_000);
        // Holes stay holes, and zeros become some.
        assert!(fs::metadata(image.root.join("var/sparse")).unwrap().blocks() < 200, "{name}");
        assert!(fs::metadata(image.root.join("var/zeros")).unwrap().blocks() < 16, "{name}");
        // Only root can read the imported files.
        assert_eq!(fs::metadata(image.root.parent().unwrap()).unwrap().mode() & 0o7777, 0o750);
        assert!(image.facts.lost_capabilities.contains(&"/usr/bin/ping cap_net_raw=ep".to_owned()));
    }
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn the_comparison_can_fail() {
    let sources = Sources::of_everything();
    let copy = tempfile::tempdir().unwrap();
    let to = copy.path().join("root");
    run(Command::new("cp").arg("-a").arg(sources.root()).arg(&to));
    assert_eq!(differences(&sources.root(), &to), []);
    let whats = |to: &Path| -> Vec<String> {
        differences(&sources.root(), to).into_iter().map(|difference| difference.what).collect()
    };
    fs::set_permissions(to.join("etc/os-release"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(whats(&to), ["mode"]);
    fs::remove_file(to.join("usr/bin/second-name")).unwrap();
    // All files may have been made within one second.
    fs::File::open(to.join("usr/bin")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let mut found = whats(&to);
    found.sort();
    assert_eq!(found, ["links", "links", "missing", "mode", "time"]);
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn raspberry_pi_os_trixie_is_made_to_boot_from_the_network() {
    let sources = Sources::of_trixie();
    let disk =
        Disk::new(&sources, &Ext4Options::new("^64bit,^huge_file", 4096), false, Fat::SMALL, Packing::Xz);
    let to = tempfile::tempdir().unwrap();
    let key = to.path().join("key.pub");
    fs::write(&key, "ssh-ed25519 AAAA ada@home\n").unwrap();
    let options =
        ["--name", "t", "--hostname", "pi-kitchen", "--user", "ada", "--ssh-key", key.to_str().unwrap()];

    let to = to.path().join("srv"); // made by the import
    let planned = import(disk.path(), &to, &[&options[..], &["--dry-run"]].concat());
    assert!(!to.exists(), "a dry run writes nothing");
    let said = import(disk.path(), &to, &options);
    for line in planned.lines() {
        assert!(said.contains(line), "only planned: {line}");
    }

    let image = current(&to);
    assert_eq!((image.name.as_str(), image.facts.release.as_str()), ("t", "raspios-trixie"));
    assert!(image.facts.kernel_mounts_root);
    assert!(image.facts.cmdline.contains("root=PARTUUID="));
    let read = |path: &str| fs::read_to_string(image.root.join(path)).unwrap();
    assert_eq!(read("boot/firmware/cmdline.txt"), "console=serial0,115200 console=tty1\n");
    assert!(read("etc/fstab").ends_with("/boot/firmware /boot/firmware none bind 0 0\n"));
    assert_eq!(read("etc/machine-id"), "");
    assert_eq!(read("etc/hostname"), "pi-kitchen\n");
    assert_eq!(read("etc/rpi/swap.conf.d/90-pinetboot.conf"), "[Main]\nMechanism=zram\n");
    assert_eq!(fs::read_link(image.root.join("etc/resolv.conf")).unwrap(), Path::new("/proc/net/pnp"));
    assert!(read("boot/firmware/userconf.txt").starts_with("ada:$6$"));
    let keys = fs::metadata(image.root.join("home/pi/.ssh/authorized_keys")).unwrap();
    assert_eq!((keys.uid(), keys.gid(), keys.mode() & 0o7777), (1000, 1000, 0o600));
    assert!(!image.root.join("etc/ssh/ssh_host_ed25519_key").exists());
    assert!(!image.root.join("etc/systemd/system/sysinit.target.wants/rpi-resize.service").is_symlink());
    // Unchanged files stay the same, and kept files keep their owner.
    assert_eq!(read("boot/firmware/user-data"), "#cloud-config\n");
    assert_eq!(fs::metadata(image.root.join("etc/hosts")).unwrap().mode() & 0o7777, 0o640);
    let changed: Vec<_> =
        image.facts.changes.iter().map(|change| change.split(':').next().unwrap()).collect();
    for step in [
        "command-line",
        "fstab",
        "resize",
        "swap",
        "initramfs",
        "network-manager",
        "machine-id",
        "user",
        "ssh",
    ] {
        assert!(changed.contains(&step), "{step}");
    }
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn links_in_the_image_lead_nowhere_else() {
    // Every directory and file that a step writes to is a link out of the tree.
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "as it was").unwrap();
    let sources = Sources::of_trixie();
    let root = sources.root();
    for name in ["fstab", "hostname", "machine-id"] {
        fs::remove_file(root.join("etc").join(name)).unwrap();
        symlink(&victim, root.join("etc").join(name)).unwrap();
    }
    fs::remove_dir_all(root.join("etc/systemd")).unwrap();
    symlink(outside.path(), root.join("etc/systemd")).unwrap();
    // In the image that place exists, too; seen from its root, the link leads there.
    fs::create_dir_all(root.join(outside.path().strip_prefix("/").unwrap())).unwrap();
    let disk = Disk::new(&sources, &Ext4Options::new("^64bit", 4096), false, Fat::SMALL, Packing::Raw);
    let to = tempfile::tempdir().unwrap();
    import(disk.path(), to.path(), &["--hostname", "pi"]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(current(to.path()).root.join("etc/hostname")).unwrap(), "pi\n");
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn names_in_an_image_cannot_act_on_a_terminal() {
    const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}";
    let sources = Sources::of_trixie();
    let root = sources.root();
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let program = root.join(format!("usr/bin/{HOSTILE}"));
    fs::write(&program, "").unwrap();
    xattr::set(&program, "security.capability", &capability).unwrap();
    fs::write(
        root.join("etc/os-release"),
        format!("ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\nPRETTY_NAME=\"{HOSTILE}\"\n"),
    )
    .unwrap();
    fs::write(sources.boot().join("cmdline.txt"), format!("quiet init=/{HOSTILE} systemd.run={HOSTILE}\n"))
        .unwrap();
    let unknown = Sources::of_trixie();
    fs::write(unknown.root().join("etc/os-release"), format!("ID={HOSTILE}\nPRETTY_NAME={HOSTILE}\n"))
        .unwrap();
    fs::remove_file(unknown.root().join("etc/rpi-issue")).unwrap();

    let to = tempfile::tempdir().unwrap();
    let mut said = String::new();
    for (sources, name) in [(&sources, "one"), (&unknown, "two")] {
        let disk = Disk::new(sources, &Ext4Options::new("^64bit", 4096), false, Fat::SMALL, Packing::Raw);
        said += &import(disk.path(), to.path(), &["--name", name, "--dry-run"]);
        said += &import(disk.path(), to.path(), &["--name", name]);
    }
    said += &run(pinetboot().arg("images").arg(to.path()));
    assert!(said.matches("owned").count() >= 8, "{said:?}");
    let acts = |char: char| (char.is_control() && char != '\n') || char == '\u{202e}';
    assert!(!said.contains(acts), "{said:?}");
}

#[test]
#[ignore = "needs mke2fs, mkfs.vfat, mtools, sfdisk"]
fn an_import_is_whole_before_it_prints() {
    let disk =
        Disk::new(&Sources::of_trixie(), &Ext4Options::new("^64bit", 4096), false, Fat::SMALL, Packing::Raw);
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    for (stdout, code) in [(full().into(), 1), (std::process::Stdio::from(closed), 0)] {
        let to = tempfile::tempdir().unwrap();
        let mut command = pinetboot();
        command.arg("import").arg(disk.path()).arg("--to").arg(to.path()).arg("--boot-only");
        let output = command.stdout(stdout).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(current(to.path()).boot.join("config.txt").is_file());
    }
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk, setpriv"]
fn without_root_only_the_boot_files() {
    let sources = Sources::of_trixie();
    let disk = Disk::new(&sources, &Ext4Options::new("^64bit", 4096), false, Fat::SMALL, Packing::Xz);
    let to = tempfile::tempdir().unwrap();
    fs::set_permissions(to.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let as_nobody = |options: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(env!("CARGO_BIN_EXE_pinetboot"));
        command.arg("import").arg(disk.path()).arg("--to").arg(to.path()).args(options).output().unwrap()
    };
    let refused = as_nobody(&[]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("as root") && why.contains("--boot-only"), "{why}");

    let done = as_nobody(&["--boot-only"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let image = current(to.path());
    assert!(!image.facts.has_root);
    assert_eq!(
        fs::read(image.boot.join("config.txt")).unwrap(),
        fs::read(sources.boot().join("config.txt")).unwrap()
    );
    assert!(
        fs::read_to_string(image.boot.join("cmdline.txt")).unwrap().contains("root=PARTUUID"),
        "the command line is unchanged"
    );
    assert!(!image.root.join("etc").exists());
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn versions_are_side_by_side() {
    let sources = Sources::of_trixie();
    let disk = Disk::new(&sources, &Ext4Options::new("^64bit", 4096), false, Fat::SMALL, Packing::Raw);
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path();
    import(disk.path(), to, &["--name", "one"]);
    let said = import(disk.path(), to, &["--name", "two"]);
    assert!(said.contains("Current image: one"), "{said}");
    assert_eq!(current(to).name, "one");
    import(disk.path(), to, &["--name", "three", "--current"]);
    assert_eq!(current(to).name, "three");
    let again = pinetboot()
        .arg("import")
        .arg(disk.path())
        .arg("--to")
        .arg(to)
        .args(["--name", "one"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("already exists"));

    let list = pinetboot().arg("images").arg(to).args(["--use", "two"]).output().unwrap();
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let (said, list) = list.split_once('\n').unwrap();
    assert_eq!(said, "two is the current image, instead of three");
    let marks: Vec<_> = list.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(marks, ["  one", "  three", "* two"].map(|line| line.split("  ").next().unwrap()), "{list}");
    assert_eq!(current(to).name, "two");
    assert!(!pinetboot().arg("images").arg(to).args(["--use", "none"]).status().unwrap().success());
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn a_half_import_is_never_taken_for_a_whole_one() {
    let sources = Sources::of_much();
    let disk = Disk::new(&sources, &Ext4Options::new("^64bit", 4096), false, Fat::SMALL, Packing::Gzip);
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path();
    let partial = to.join("images/.importing-half");
    // Interrupted once its first files exist.
    let interrupted = |signal: &str| {
        let mut child = pinetboot()
            .arg("import")
            .arg(disk.path())
            .arg("--to")
            .arg(to)
            .args(["--name", "half"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while !partial.join("root/much").exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
            std::thread::yield_now();
        }
        run(Command::new("kill").arg(signal).arg(child.id().to_string()));
        child.wait_with_output().unwrap()
    };
    let stopped = interrupted("-INT");
    assert_eq!(stopped.status.code(), Some(130), "{}", String::from_utf8_lossy(&stopped.stderr));
    assert!(!partial.exists(), "ctrl-C leaves nothing");
    assert_eq!(Images::open(to).unwrap(), None);

    assert!(!interrupted("-KILL").status.success());
    assert!(partial.exists(), "no process was left to remove it");
    assert_eq!(Images::open(to).unwrap(), None, "and the remains do not count as an image");

    let said = import(disk.path(), to, &["--name", "half"]);
    assert!(said.contains("removing") && said.contains(".importing-half"), "{said}");
    let mut found = differences(&sources.root(), &current(to).root);
    found.retain(|found| found.path.starts_with("much"));
    assert_eq!(found, []);
    assert!(!partial.exists());
}

/// Root's group alone may enter an image, and the server is a user of that group without any capability.
#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn an_imported_image_is_served_without_the_rights_of_root() {
    let sources = Sources::of_trixie();
    let disk = Disk::small(&sources);
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    import(disk.path(), dir.path(), &["--name", "one"]);
    let options = ["serve", "--nfs-mode", "off", "--listen", "127.0.0.1", "--tftp-port", "0"];
    let mut command = pinetboot();
    let served = command.args(options).arg(dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut served = served.unwrap();
    let mut ready = String::new();
    BufReader::new(served.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    // Imported while it is served, too.
    import(disk.path(), dir.path(), &["--name", "two", "--current"]);
    let address = ready.split(' ').nth(2).unwrap();
    let url = format!("tftp://{address}/bd989ae1/config.txt");
    let got = pinetboot().args(["get", "-q", &url, "-o", "-"]).output().unwrap();
    served.kill().unwrap();
    let log = String::from_utf8(served.wait_with_output().unwrap().stderr).unwrap();
    assert!(got.status.success() && got.stdout.starts_with(b"arm_64bit=1"), "{got:?}\n{log}");
    assert!(log.contains("the server runs as user"), "{log}");
    // The image's device tree is none.
    let is_warning = |line: &&str| line.contains("WARN") && !line.contains("the file is not a device tree");
    assert_eq!(log.lines().find(is_warning), None, "{log}");
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk, debugfs"]
fn what_is_damaged_or_strange_is_refused() {
    let sources = Sources::of_trixie();
    let plain = Ext4Options::new("^64bit,^metadata_csum", 4096);
    let to = tempfile::tempdir().unwrap();
    let refused = |damage: &dyn Fn(&Disk)| {
        let disk = Disk::new(&sources, &plain, false, Fat::SMALL, Packing::Raw);
        damage(&disk);
        refusal(disk.path(), to.path(), &[])
    };
    let why = refused(&|disk| disk.debugfs("feature needs_recovery"));
    assert!(why.contains("needs its journal") && why.contains("e2fsck"), "{why}");
    let why = refused(&|disk| disk.debugfs("feature inline_data"));
    assert!(why.contains("inline_data"), "{why}");
    let why = refused(&|disk| disk.debugfs("link etc usr/share")); // a directory with two parents
    assert!(why.contains("inside itself"), "{why}");
    let why = refused(&|disk| disk.debugfs("set_inode_field etc/hosts size 0x7fffffffffff0000"));
    assert!(why.contains("larger than the format allows"), "{why}");
    let why = refused(&|disk| disk.truncate(disk.len() / 3));
    assert!(why.contains("Download it again"), "{why}");
    let packed = Disk::new(&sources, &plain, false, Fat::SMALL, Packing::Xz);
    packed.truncate(packed.len() - 100);
    assert!(!refusal(packed.path(), to.path(), &[]).is_empty());

    // The kernel's checksums tell which file is damaged; with none, a wrong owner would go unnoticed.
    let checked = Ext4Options::new("^64bit,metadata_csum", 4096);
    let disk = Disk::new(&sources, &checked, false, Fat::SMALL, Packing::Raw);
    let inode = disk.damage_inode("/usr/share/doc/readme");
    let why = refusal(disk.path(), to.path(), &[]);
    assert!(why.contains("/usr/share/doc/readme: the image is damaged"), "{why}");
    assert!(why.contains(&format!("inode {inode}")) && why.contains("e2fsck"), "{why}");

    let other = to.path().join("other");
    fs::write(&other, "no image at all").unwrap();
    let why = refusal(&other, to.path(), &[]);
    assert!(why.contains("not a disk image"), "{why}");
}
