//! Small images with unusual partitions, and images from elsewhere than a file.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use pinetboot::images::Images;
use tempfile::TempDir;

use crate::images::run;
use crate::pinetboot;

const BOOT: &[(&str, &str)] = &[
    ("config.txt", "arm_64bit=1\n"),
    ("cmdline.txt", "console=tty1 root=PARTUUID=4a3c1b2d-02 rootwait\n"),
    ("kernel_2712.img", "kernel"),
    ("bcm2712-rpi-5-b.dtb", "device tree"),
];
const ROOT: &[(&str, &str)] =
    &[("etc/os-release", "ID=other\n"), ("sbin/init", "init"), ("boot/firmware/.keep", "")];

/// A disk image: partitions of 4 MiB and more, in order.
pub(crate) struct Image(TempDir);

impl Image {
    fn new(script: &str, parts: &[(u64, Vec<u8>)]) -> Self {
        let image = Self(tempfile::tempdir().unwrap());
        let disk = File::create(image.path()).unwrap();
        let end = parts.iter().map(|(at, content)| at * MIB + content.len() as u64).max().unwrap_or(0);
        disk.set_len(end + 2 * MIB).unwrap();
        let mut sfdisk =
            Command::new("sfdisk").arg("-q").arg(image.path()).stdin(Stdio::piped()).spawn().unwrap();
        sfdisk.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(sfdisk.wait().unwrap().success());
        for (at, content) in parts {
            disk.write_all_at(content, at * MIB).unwrap();
        }
        image
    }

    /// Primary partitions of these types, each 16 MiB behind the one before.
    fn primary(parts: &[(&str, Vec<u8>)]) -> Self {
        let mut script = String::from("label: dos\nlabel-id: 0x4a3c1b2d\n");
        let mut placed = Vec::new();
        for ((kind, content), at) in parts.iter().zip((1..).step_by(16)) {
            script += &format!("start={at}MiB, size={}MiB, type={kind}\n", content.len() as u64 / MIB);
            placed.push((at, content.clone()));
        }
        Self::new(&script, &placed)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("disk.img")
    }

    fn import(&self, options: &[&str]) -> Imported {
        let to = tempfile::tempdir().unwrap();
        let output = pinetboot()
            .arg("import")
            .arg(self.path())
            .arg("--to")
            .arg(to.path())
            .args(["--name", "x"])
            .args(options)
            .output()
            .unwrap();
        Imported { to, code: output.status.code(), said: said(&output) }
    }
}

struct Imported {
    to: TempDir,
    code: Option<i32>,
    said: String,
}

impl Imported {
    fn has(&self, path: &str) -> bool {
        self.to.path().join("images/x/root").join(path).exists()
    }

    fn is_current(&self) -> bool {
        self.to.path().join("current").exists()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn plant(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

fn fat(files: &[(&str, &str)]) -> Vec<u8> {
    let (files, image) = (plant(files), tempfile::NamedTempFile::new().unwrap());
    image.as_file().set_len(4 * MIB).unwrap();
    run(Command::new("mkfs.vfat").arg(image.path()));
    let names = fs::read_dir(files.path()).unwrap().map(|entry| entry.unwrap().path());
    run(Command::new("mcopy").arg("-s").arg("-i").arg(image.path()).args(names).arg("::"));
    fs::read(image.path()).unwrap()
}

fn ext4(files: &[(&str, &str)]) -> Vec<u8> {
    let (files, image) = (plant(files), tempfile::NamedTempFile::new().unwrap());
    image.as_file().set_len(8 * MIB).unwrap();
    run(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-d"]).arg(files.path()).arg(image.path()));
    fs::read(image.path()).unwrap()
}

/// An image with a boot partition and a root.
pub(crate) fn small_image() -> Image {
    Image::primary(&[("c", boot()), ("83", root())])
}

fn boot() -> Vec<u8> {
    fat(BOOT)
}

fn root() -> Vec<u8> {
    ext4(ROOT)
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn partitions_are_found_by_what_they_are() {
    let auto =
        fat(&[("autoboot.txt", "[tryboot]\nboot_partition=2\n[all]\ntryboot_a_b=1\nboot_partition=3\n")]);
    let marked = fat(&[BOOT, &[("of-b", "")]].concat());
    let ab = Image::primary(&[("c", auto), ("c", boot()), ("c", marked), ("83", root())]).import(&[]);
    assert!(ab.code == Some(0) && ab.has("boot/firmware/of-b") && ab.has("sbin/init"), "{}", ab.said);
    assert!(
        ab.said.contains("autoboot.txt names partition 3") && ab.said.contains("Boots on: Raspberry Pi 5")
    );

    let data = || ext4(&[("precious", "x")]);
    let data_first = Image::primary(&[("c", boot()), ("83", data()), ("83", root())]);
    let imported = data_first.import(&[]);
    assert!(imported.code == Some(0) && imported.has("sbin/init"), "{}", imported.said);
    assert!(imported.said.contains("names PARTUUID=4a3c1b2d-02, which is no partition with a system"));
    let imported = data_first.import(&["--root-partition", "2"]);
    assert!(
        imported.code == Some(7) && imported.has("precious") && !imported.is_current(),
        "{}",
        imported.said
    );
    assert!(imported.said.contains("its root holds no system"), "{}", imported.said);
    assert!(
        data_first
            .import(&["--root-partition", "1"])
            .said
            .contains("which holds no ext4: partition 1 FAT, 2 ext4")
    );

    // PINN: a recovery system first, and the system in logical partitions.
    let recovery = fat(&[("recovery.elf", ""), ("config.txt", ""), ("recovery.cmdline", "")]);
    let script = "label: dos\nstart=1MiB,size=4MiB,type=e\nstart=8MiB,size=21MiB,type=5\n\
                  start=9MiB,size=4MiB,type=c\nstart=20MiB,size=8MiB,type=83\n";
    let pinn = Image::new(script, &[(1, recovery), (9, boot()), (20, root())]).import(&[]);
    assert!(pinn.code == Some(0) && pinn.has("boot/firmware/kernel_2712.img"), "{}", pinn.said);
    // A FAT with the type of Linux; one partition with both.
    let odd = Image::primary(&[("83", boot()), ("83", root())]).import(&[]);
    assert!(odd.code == Some(0) && odd.is_current(), "{}", odd.said);
    let in_boot: Vec<_> = BOOT.iter().map(|(name, text)| (format!("boot/{name}"), *text)).collect();
    let in_boot: Vec<_> = in_boot.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let both = Image::primary(&[("83", ext4(&[ROOT, &in_boot].concat()))]).import(&[]);
    assert!(
        both.code == Some(0) && both.is_current() && both.said.contains("no FAT partition"),
        "{}",
        both.said
    );
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn an_image_that_no_pi_boots_is_not_put_into_use() {
    for missing in ["config.txt", "kernel_2712.img", "bcm2712-rpi-5-b.dtb"] {
        let files: Vec<_> = BOOT.iter().filter(|(name, _)| *name != missing).copied().collect();
        let image = Image::primary(&[("c", fat(&files)), ("83", root())]);
        let imported = image.import(&[]);
        assert_eq!(imported.code, Some(7), "{}", imported.said);
        assert!(
            imported.said.contains(&format!("a Raspberry Pi 5 does not boot it: no {missing}")),
            "{}",
            imported.said
        );
        assert!(imported.said.contains("not put into use") && !imported.is_current());
        let verified =
            pinetboot().args(["images", "verify", "x", "--dir"]).arg(imported.to.path()).output().unwrap();
        assert!(
            verified.status.code() == Some(7) && said(&verified).contains(missing),
            "{}",
            said(&verified)
        );
        assert!(image.import(&["--current"]).is_current(), "on demand");
    }
    let no_fat = |magic: &[u8], at: usize| {
        let mut content = vec![0; 4 << 20];
        content[at..at + magic.len()].copy_from_slice(magic);
        content
    };
    let exfat = Image::primary(&[("7", no_fat(b"EXFAT   ", 3)), ("83", root())]).import(&[]);
    assert!(exfat.code == Some(7) && exfat.said.contains("partition 1 exFAT, 2 ext4"), "{}", exfat.said);
    for (magic, at, name) in [
        (&b"_BHRfS_M"[..], 0x1_0040, "btrfs"),
        (b"LUKS\xba\xbe", 0, "LUKS"),
        (b"LABELONE", 512, "LVM"),
        (b"hsqs", 0, "squashfs"),
        (b"\x10\x20\xf5\xf2", 1024, "F2FS"),
    ] {
        let refused = Image::primary(&[("c", boot()), ("83", no_fat(magic, at))]).import(&[]);
        assert!(refused.code == Some(1) && refused.said.contains(name), "{name}: {}", refused.said);
        assert!(refused.said.contains("--boot-only") && !refused.has(""), "{}", refused.said);
    }
}

#[test]
#[ignore = "needs root, mke2fs, mkfs.vfat, mtools, sfdisk, xz, curl"]
fn images_come_from_streams_and_addresses() {
    let image = small_image();
    let packed =
        run(Command::new("sh").args(["-ec", "xz -0k \"$0\"; sha256sum \"$0.xz\""]).arg(image.path()));
    let sum = packed.split(' ').next().unwrap().to_owned();
    let file = image.path().with_extension("img.xz");
    let to = tempfile::tempdir().unwrap();
    let import = |from: &str, options: &[&str], input: Stdio| {
        let mut command = pinetboot();
        command.arg("import").arg(from).arg("--to").arg(to.path()).args(options).stdin(input);
        let output = command.output().unwrap();
        (output.status.code().unwrap(), said(&output))
    };
    let (code, text) = import("-", &["--name", "piped"], File::open(&file).unwrap().into());
    assert_eq!(code, 0, "{text}");
    let facts = Images::at(to.path()).find("piped").unwrap().unwrap().facts;
    assert_eq!((facts.sha256.as_str(), facts.source.as_str()), (sum.as_str(), "standard input"));
    let (code, text) = import("-", &[], Stdio::null());
    assert!(code == 2 && text.contains("--name"), "{text}");
    let (code, text) = import("/none.img", &["--name", "piped", "--if-missing"], Stdio::null());
    assert!(code == 2 && text.contains("no such file"), "{text}");
    let (code, text) = import(file.to_str().unwrap(), &["--name", "piped", "--if-missing"], Stdio::null());
    assert!(code == 0 && text.contains("unchanged"), "{text}");

    let server = serve(image.0.path().to_owned());
    let url = format!("{server}/disk.img.xz");
    let (code, text) = import(&url, &["--name", "web"], Stdio::null());
    assert!(code == 2 && text.contains("--sha256"), "{text}");
    let wrong = "0".repeat(64);
    let (code, text) = import(&url, &["--name", "web", "--sha256", &wrong], Stdio::null());
    assert!(code == 1 && text.contains(&sum) && text.contains(&wrong), "{text}");
    let (code, text) = import(&format!("{server}/none"), &["--sha256", &sum], Stdio::null());
    assert!(code == 1 && text.contains("404"), "{text}");
    assert_eq!(Images::at(to.path()).list().unwrap().len(), 1, "what is refused leaves nothing");
    let (code, text) = import(&url, &["--name", "web", "--sha256", &sum], Stdio::null());
    assert_eq!(code, 0, "{text}");
    // A list holds the sums.
    let list = format!("{server}/list.json");
    let (code, text) = import("raspios-lite", &["--list-url", &list], Stdio::null());
    assert!(code == 2 && text.contains("Give an https address"), "{text}");
}

/// Serves a directory by HTTP; returns the address. The thread ends with the process.
fn serve(directory: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let name = request.split(' ').nth(1).unwrap().rsplit('/').next().unwrap().to_owned();
            let content = fs::read(Path::new(&directory).join(name)).ok();
            let (status, content) =
                content.map_or(("404 Not Found", Vec::new()), |content| ("200 OK", content));
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                content.len()
            );
            let body = if request.starts_with("HEAD") { &[][..] } else { &content };
            let _client_left = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}

const MIB: u64 = 1 << 20;
