//! Images, made of trees by the programs that make real ones.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use tempfile::TempDir;

use crate::compare::odd_name;

/// Runs a program, which must succeed; returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The contents of the two partitions.
pub(crate) struct Sources(TempDir);

impl Sources {
    fn new(files: &[(&str, &str)]) -> Self {
        let sources = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(sources.root().join("boot/firmware")).unwrap();
        fs::create_dir_all(sources.boot().join("overlays")).unwrap();
        for (path, text) in files {
            let path = sources.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        sources
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    pub(crate) fn boot(&self) -> PathBuf {
        self.0.path().join("boot")
    }

    /// One of each kind of entry that a file system can have, in an unknown system.
    pub(crate) fn of_everything() -> Self {
        let sources = Self::new(&[
            ("root/etc/os-release", "ID=everything\nVERSION_ID=1.0\n"),
            ("root/boot/firmware/hidden", "beneath the boot partition's files"),
            ("root/usr/bin/program", "setuid"),
            ("root/usr/bin/ping", "with a capability"),
            ("root/etc/with-acl", "acl"),
            ("root/deep/a/b/c/d/file", "x"),
            ("root/empty", ""),
            ("boot/config.txt", "arm_64bit=1\n"),
            ("boot/cmdline.txt", "root=LABEL=x\n"),
            ("boot/overlays/Mixed Case.dtbo", "overlay"),
            ("boot/bcm2712-rpi-5-b.dtb", "device tree"),
            ("boot/start4.elf", ""),
        ]);
        let (root, boot) = (sources.root(), sources.boot());
        fs::write(boot.join("kernel_2712.img"), noise(3_000_001)).unwrap();
        for overlay in 0..120 {
            fs::write(
                boot.join(format!("overlays/overlay-with-a-long-name-{overlay}.dtbo")),
                noise(overlay * 7),
            )
            .unwrap();
        }
        // Content of all sizes around a block and around what an inode and each level of a block map can hold.
        for size in
            [1, 59, 60, 1023, 1024, 1025, 4095, 4096, 4097, 12 * 1024, 13 * 1024 + 1, 270 * 1024, 5_000_003]
        {
            fs::create_dir_all(root.join("sizes")).unwrap();
            fs::write(root.join(format!("sizes/{size}")), noise(size)).unwrap();
        }
        fs::create_dir_all(root.join("var")).unwrap();
        fs::write(root.join("var/zeros"), vec![0; 300_000]).unwrap();
        // A hole before, between and after; up to where a block map needs its third level.
        let sparse = File::create(root.join("var/sparse")).unwrap();
        for at in [100_000, 9_000_000, 80_000_000] {
            sparse.write_all_at(b"data", at).unwrap();
        }
        sparse.set_len(100_000_000).unwrap();
        // Enough names for an index of two levels at 1 KiB, and for several blocks at 4 KiB.
        fs::create_dir(root.join("many")).unwrap();
        for number in 0..2500 {
            fs::write(
                root.join(format!("many/a-name-that-takes-some-room-{number:05}")),
                format!("{number}"),
            )
            .unwrap();
        }
        fs::write(root.join(odd_name()), "not UTF-8").unwrap();
        fs::write(root.join("x".repeat(255)), "as long as names can be").unwrap();
        for len in [1, 58, 59, 60, 61, 900] {
            symlink("t".repeat(len), root.join(format!("link-{len}"))).unwrap();
        }
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("../../../..", root.join("upwards")).unwrap();
        fs::hard_link(root.join("usr/bin/program"), root.join("usr/bin/second-name")).unwrap();
        fs::hard_link(root.join("usr/bin/program"), root.join("deep/a/third-name")).unwrap();
        let node = |name: &str, kind, major, minor| {
            let path = root.join(name);
            mknodat(AT_FDCWD, &path, kind, Mode::from_bits_retain(0o620), makedev(major, minor)).unwrap();
        };
        node("null", SFlag::S_IFCHR, 1, 3);
        node("large-number", SFlag::S_IFCHR, 4000, 700_000);
        node("disk", SFlag::S_IFBLK, 179, 2);
        node("pipe", SFlag::S_IFIFO, 0, 0);
        node("socket", SFlag::S_IFSOCK, 0, 0);
        let owner = |path: &str, uid, gid| lchown(root.join(path), Some(uid), Some(gid)).unwrap();
        owner("deep/a", 1000, 100_000);
        owner("deep/a/b/c/d/file", 4_000_000_000, 65_534);
        owner("link-1", 1000, 1000);
        owner("usr/bin/program", 0, 27);
        let mode = |path: &str, mode| {
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap()
        };
        mode("usr/bin/program", 0o4755);
        mode("var", 0o1777);
        mode("deep", 0o2750);
        mode("deep/a/b/c", 0o000);
        mode("empty", 0o000);
        let xattr = |path: &str, name: &str, value: &[u8]| {
            xattr::set(root.join(path), name, value).unwrap();
        };
        xattr(
            "usr/bin/ping",
            "security.capability",
            &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        );
        xattr("usr/bin/ping", "user.small", b"in the inode");
        xattr("etc/with-acl", "user.large", &[7; 700]);
        xattr("etc", "user.on-a-directory", b"yes");
        xattr("etc/with-acl", "trusted.mine", b"");
        run(Command::new("setfacl").args(["-m", "u:1000:r,g:33:rw"]).arg(root.join("etc/with-acl")));
        run(Command::new("setfacl").args(["-d", "-m", "u:1000:rwx"]).arg(root.join("var")));
        let time = |path: PathBuf, seconds| {
            let time = TimeSpec::new(seconds, 0);
            utimensat(AT_FDCWD, &path, &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
        };
        time(root.join("deep/a/b"), -86_400);
        time(root.join("link-61"), 1_000_000_000);
        time(boot.join("overlays/Mixed Case.dtbo"), 1_700_000_000);
        sources
    }

    /// Raspberry Pi OS Lite of 2026: the files that an import is about, with pi-gen's texts.
    pub(crate) fn of_trixie() -> Self {
        let sources = Self::new(&[
            (
                "root/etc/os-release",
                "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n",
            ),
            ("root/etc/rpi-issue", "Raspberry Pi reference 2026-04-13\n"),
            (
                "root/etc/fstab",
                "proc            /proc           proc    defaults          0       0\n\
                 PARTUUID=4a3c1b2d-01  /boot/firmware  vfat    defaults          0       2\n\
                 PARTUUID=4a3c1b2d-02  /               ext4    defaults,noatime  0       1\n",
            ),
            ("root/etc/machine-id", "uninitialized\n"),
            ("root/etc/resolv.conf", "nameserver 8.8.8.8\n"),
            ("root/etc/hostname", "raspberrypi\n"),
            ("root/etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n"),
            ("root/etc/passwd", "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n"),
            ("root/etc/rpi/swap.conf", "[Main]\n#Mechanism=auto\n"),
            ("root/etc/initramfs-tools/initramfs.conf", "MODULES=dep\n"),
            ("root/etc/NetworkManager/NetworkManager.conf", "[main]\n"),
            ("root/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg", "datasource_list: [ NoCloud, None ]\n"),
            ("root/etc/ssh/ssh_host_ed25519_key", "secret\n"),
            ("root/etc/systemd/system/sysinit.target.wants/.keep", ""),
            ("root/usr/bin/ssh-keygen", ""),
            ("root/usr/lib/systemd/system/ssh.service", ""),
            ("root/usr/lib/systemd/system/rpi-eeprom-update.service", ""),
            ("root/usr/lib/systemd/system/systemd-network-generator.service", ""),
            ("root/usr/share/doc/readme", "x"),
            ("root/home/pi/.profile", "# profile\n"),
            (
                "boot/cmdline.txt",
                "console=serial0,115200 console=tty1 root=PARTUUID=4a3c1b2d-02 rootfstype=ext4 fsck.repair=yes rootwait resize\n",
            ),
            ("boot/config.txt", "arm_64bit=1\nauto_initramfs=1\n"),
            ("boot/kernel_2712.img", "kernel"),
            ("boot/bcm2712-rpi-5-b.dtb", "device tree"),
            ("boot/user-data", "#cloud-config\n"),
            ("boot/meta-data", "dsmode: local\ninstance_id: rpios-image\n"),
        ]);
        let root = sources.root();
        fs::set_permissions(root.join("etc/hosts"), fs::Permissions::from_mode(0o640)).unwrap();
        lchown(root.join("home/pi"), Some(1000), Some(1000)).unwrap();
        symlink(
            "/usr/lib/systemd/system/rpi-resize.service",
            root.join("etc/systemd/system/sysinit.target.wants/rpi-resize.service"),
        )
        .unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        sources
    }

    /// Enough data to interrupt its import.
    pub(crate) fn of_much() -> Self {
        let sources = Self::of_trixie();
        for directory in 0..40 {
            let directory = sources.root().join(format!("much/{directory}"));
            fs::create_dir_all(&directory).unwrap();
            for file in 0..400 {
                fs::write(directory.join(format!("{file}")), noise(2000)).unwrap();
            }
        }
        sources
    }
}

/// Bytes that do not compress, always the same.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// How mke2fs is called.
pub(crate) struct Ext4Options {
    pub(crate) features: String,
    pub(crate) block_size: u32,
    pub(crate) inode_size: u32,
}

impl Ext4Options {
    pub(crate) fn new(features: &str, block_size: u32) -> Self {
        Self { features: features.into(), block_size, inode_size: 256 }
    }
}

/// How the boot partition is made: bits of the FAT, and sectors in a cluster.
#[derive(Clone, Copy)]
pub(crate) struct Fat {
    pub(crate) bits: u32,
    pub(crate) cluster: u32,
}

impl Fat {
    /// FAT32 with the fewest clusters possible, as Raspberry Pi OS has it since 2026-04.
    pub(crate) const SMALL: Self = Self { bits: 32, cluster: 1 };
}

/// The compression of the image.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Packing {
    Raw,
    Xz,
    Gzip,
    Zstd,
    Zip,
}

/// An image.
pub(crate) struct Disk {
    _directory: TempDir,
    path: PathBuf,
    root_start: u64,
}

impl Disk {
    pub(crate) fn new(sources: &Sources, ext4: &Ext4Options, gpt: bool, fat: Fat, packing: Packing) -> Self {
        Self::with_boot_partition(BOOT_LEN, sources, ext4, gpt, fat, packing)
    }

    /// A plain image with little room for boot files, which is quickly read.
    pub(crate) fn small(sources: &Sources) -> Self {
        let ext4 = Ext4Options::new("^64bit", 4096);
        Self::with_boot_partition(SMALL_BOOT_LEN, sources, &ext4, false, Fat::SMALL, Packing::Raw)
    }

    fn with_boot_partition(
        boot_len: u64,
        sources: &Sources,
        ext4: &Ext4Options,
        gpt: bool,
        fat: Fat,
        packing: Packing,
    ) -> Self {
        let root_start = BOOT_START + boot_len;
        let directory = tempfile::tempdir().unwrap();
        // Any user may read the image, like a downloaded file.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().join("disk.img");
        let disk = File::create(&path).unwrap();
        disk.set_len(root_start + ROOT_LEN + (1 << 20)).unwrap();
        let (boot, root) = (boot_len / 512, ROOT_LEN / 512);
        let table = if gpt {
            format!(
                "label: gpt\nstart={},size={boot},type=U\nstart={},size={root},type=L\n",
                BOOT_START / 512,
                root_start / 512
            )
        } else {
            format!(
                "label: dos\nlabel-id: 0x4a3c1b2d\nstart={},size={boot},type=c\nstart={},size={root},type=83\n",
                BOOT_START / 512,
                root_start / 512
            )
        };
        let mut sfdisk = Command::new("sfdisk").arg("-q").arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        sfdisk.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
        assert!(sfdisk.wait().unwrap().success());

        let partition = format!("{}@@{BOOT_START}", path.display());
        run(Command::new("mkfs.vfat")
            .args([
                "-F",
                &fat.bits.to_string(),
                "-n",
                "BOOTFS",
                "-s",
                &fat.cluster.to_string(),
                "--offset",
                &(BOOT_START / 512).to_string(),
            ])
            .arg(&path)
            .arg((boot_len / 1024).to_string()));
        let mut files: Vec<_> =
            fs::read_dir(sources.boot()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        run(Command::new("mcopy")
            .env("TZ", "UTC")
            .args(["-s", "-m", "-i", &partition])
            .args(files)
            .arg("::"));
        run(Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-L", "rootfs", "-O", &ext4.features])
            .args(["-b", &ext4.block_size.to_string(), "-I", &ext4.inode_size.to_string()])
            .args(["-E", &format!("offset={root_start}"), "-d"])
            .arg(sources.root())
            .arg(&path)
            .arg(format!("{}k", ROOT_LEN / 1024)));

        let pack = |program: &str, options: &[&str], end: &str| {
            run(Command::new(program).args(options).arg(&path));
            format!("disk.img.{end}")
        };
        let name = match packing {
            Packing::Raw => "disk.img".into(),
            Packing::Xz => pack("xz", &["-0", "-T2", "--block-size=4MiB"], "xz"),
            Packing::Gzip => pack("gzip", &["-1"], "gz"),
            Packing::Zstd => pack("zstd", &["-q", "-1", "--rm"], "zst"),
            Packing::Zip => {
                let zip = directory.path().join("disk.zip");
                run(Command::new("zip").args(["-q", "-1", "-j", "-m"]).arg(&zip).arg(&path));
                "disk.zip".into()
            }
        };
        let path = directory.path().join(name);
        Self { _directory: directory, path, root_start }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn sha256(&self) -> String {
        run(Command::new("sha256sum").arg(self.path())).split(' ').next().unwrap().to_owned()
    }

    /// Changes the file system as only debugfs can.
    pub(crate) fn debugfs(&self, request: &str) {
        let device = format!("{}?offset={}", self.path().display(), self.root_start);
        run(Command::new("debugfs").args(["-w", "-R", request]).arg(device));
    }

    /// Flips a bit of a file's owner, and returns the file's inode number.
    pub(crate) fn damage_inode(&self, path: &str) -> u64 {
        let device = format!("{}?offset={}", self.path().display(), self.root_start);
        let place = run(Command::new("debugfs").args(["-R", &format!("imap {path}")]).arg(device));
        // Inode 42 is part of block group 0
        //         located at block 38, offset 0x0900
        let number = |text: &str, end: char| text.split(end).next().unwrap().trim().to_owned();
        let after = |mark: &str| place.split_once(mark).unwrap().1;
        let block: u64 = number(after("located at block "), ',').parse().unwrap();
        let offset = u64::from_str_radix(&number(after("offset 0x"), '\n'), 16).unwrap();
        let at = self.root_start + block * 4096 + offset + 2;
        let disk = File::options().read(true).write(true).open(self.path()).unwrap();
        let mut owner = [0];
        disk.read_exact_at(&mut owner, at).unwrap();
        disk.write_all_at(&[owner[0] ^ 1], at).unwrap();
        number(after("Inode "), ' ').parse().unwrap()
    }

    pub(crate) fn truncate(&self, len: u64) {
        fs::OpenOptions::new().write(true).open(self.path()).unwrap().set_len(len).unwrap();
    }

    pub(crate) fn len(&self) -> u64 {
        fs::metadata(self.path()).unwrap().size()
    }
}

const BOOT_START: u64 = 8 << 20;
/// Enough for FAT32 with clusters of 4 KiB, and little enough for FAT16.
const BOOT_LEN: u64 = 280 << 20;
/// Enough for FAT32 with clusters of 512 bytes.
const SMALL_BOOT_LEN: u64 = 40 << 20;
const ROOT_LEN: u64 = 120 << 20;
