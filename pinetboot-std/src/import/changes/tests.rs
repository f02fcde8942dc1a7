//! Every step on small systems with the files that it is about, as the releases have them.

use std::collections::BTreeMap;

use super::*;
use pinetboot_image::ImageError;

/// A system of a few files; links are not followed, directories are there if something is in them.
#[derive(Default)]
struct Small(BTreeMap<String, String>);

impl Small {
    fn new(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    fn with(mut self, files: &[(&str, &str)]) -> Self {
        self.0.extend(Self::new(files).0);
        self
    }

    fn release(&self) -> Release {
        System::recognise(self).unwrap().release
    }

    fn plan_with(&self, wishes: &Wishes) -> Vec<Planned> {
        let release = self.release();
        plan(&Context { view: self, release, boot: "boot/firmware", wishes }).unwrap()
    }

    fn plan(&self) -> Vec<Planned> {
        self.plan_with(&Wishes::default())
    }

    /// The system as the steps leave it: links as `-> target`.
    fn changed(&self, wishes: &Wishes) -> BTreeMap<String, String> {
        let mut files = self.0.clone();
        for edit in self.plan_with(wishes).iter().flat_map(|planned| &planned.edits) {
            let path = edit.path().to_owned();
            match edit {
                Edit::Write { content, .. } => {
                    files.insert(path, String::from_utf8(content.clone()).unwrap());
                }
                Edit::Remove { .. } => assert!(files.remove(&path).is_some(), "{path} was not there"),
                Edit::Link { target, .. } => {
                    files.insert(path, format!("-> {target}"));
                }
                Edit::Directory { .. } => {}
            }
        }
        files
    }
}

impl View for Small {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ImageError> {
        Ok(self.0.get(path).map(|text| text.clone().into_bytes()))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, ImageError> {
        let inside = self.0.keys().filter_map(|path| {
            let rest =
                if directory.is_empty() { path } else { path.strip_prefix(directory)?.strip_prefix('/')? };
            rest.split('/').next().map(str::to_owned)
        });
        let names: std::collections::BTreeSet<_> = inside.collect();
        Ok(names.into_iter().collect())
    }
}

fn edited(planned: &[Planned], step: &str) -> Vec<String> {
    planned
        .iter()
        .filter(|planned| planned.step == step)
        .flat_map(|planned| &planned.edits)
        .map(Edit::to_string)
        .collect()
}

const OS_BOOKWORM: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n\
                           VERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n";
const OS_TRIXIE: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"13\"\n\
                         VERSION=\"13 (trixie)\"\nVERSION_CODENAME=trixie\nID=debian\n";
const OS_NOBLE: &str = "PRETTY_NAME=\"Ubuntu 24.04.3 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\nID=ubuntu\n";
const FSTAB: &str = "proc            /proc           proc    defaults          0       0\n\
                     PARTUUID=4a3c1b2d-01  /boot/firmware  vfat    defaults          0       2\n\
                     PARTUUID=4a3c1b2d-02  /               ext4    defaults,noatime  0       1\n";

/// The files that matter of Raspberry Pi OS Lite of 2024 to 2026 with pi-gen's texts.
fn bookworm() -> Small {
    Small::new(&[
        ("etc/os-release", OS_BOOKWORM),
        ("etc/rpi-issue", "Raspberry Pi reference 2024-11-19\n"),
        ("etc/fstab", FSTAB),
        ("etc/machine-id", ""),
        ("etc/resolv.conf", "nameserver 8.8.8.8\n"),
        ("etc/hostname", "raspberrypi\n"),
        (
            "etc/hosts",
            "127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n\n127.0.1.1\traspberrypi\n",
        ),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n"),
        ("etc/init.d/resize2fs_once", "#!/bin/sh\n"),
        ("etc/rc3.d/S01resize2fs_once", "-> ../init.d/resize2fs_once"),
        ("etc/rc3.d/S01ssh", "-> ../init.d/ssh"),
        ("etc/dphys-swapfile", "CONF_SWAPSIZE=512\n"),
        ("etc/systemd/system/multi-user.target.wants/dphys-swapfile.service", ""),
        ("etc/systemd/system/multi-user.target.wants/regenerate_ssh_host_keys.service", ""),
        ("etc/initramfs-tools/initramfs.conf", "MODULES=dep\n"),
        ("etc/NetworkManager/NetworkManager.conf", "[main]\n"),
        ("etc/ssh/ssh_config", ""),
        ("usr/bin/ssh-keygen", ""),
        ("usr/lib/systemd/system/ssh.service", ""),
        ("usr/lib/systemd/system/rpi-eeprom-update.service", ""),
        ("usr/lib/systemd/system/systemd-network-generator.service", ""),
        (
            "boot/firmware/cmdline.txt",
            "console=serial0,115200 console=tty1 root=PARTUUID=4a3c1b2d-02 rootfstype=ext4 fsck.repair=yes rootwait quiet \
             init=/usr/lib/raspberrypi-sys-mods/firstboot\n",
        ),
    ])
}

fn trixie() -> Small {
    let mut system = bookworm().with(&[
        ("etc/os-release", OS_TRIXIE),
        ("etc/machine-id", "uninitialized\n"),
        ("etc/rpi/swap.conf", "[Main]\n#Mechanism=auto\n"),
        ("etc/systemd/system/sysinit.target.wants/rpi-resize.service", ""),
        ("etc/systemd/system/sysinit.target.wants/regenerate_ssh_host_keys.service", ""),
        ("etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg", "datasource_list: [ NoCloud, None ]\n"),
        ("boot/firmware/user-data", "#cloud-config\n"),
        ("boot/firmware/meta-data", "instance_id: rpios-image\n"),
        (
            "boot/firmware/cmdline.txt",
            "console=serial0,115200 console=tty1 root=PARTUUID=4a3c1b2d-02 rootfstype=ext4 fsck.repair=yes rootwait resize \
             quiet splash plymouth.ignore-serial-consoles cfg80211.ieee80211_regdom=GB ds=nocloud;i=rpi-imager-1765432100000\n",
        ),
    ]);
    for gone in [
        "etc/init.d/resize2fs_once",
        "etc/rc3.d/S01resize2fs_once",
        "etc/dphys-swapfile",
        "etc/systemd/system/multi-user.target.wants/dphys-swapfile.service",
        "etc/systemd/system/multi-user.target.wants/regenerate_ssh_host_keys.service",
    ] {
        system.0.remove(gone);
    }
    system
}

fn noble() -> Small {
    Small::new(&[
        ("etc/os-release", OS_NOBLE),
        (
            "etc/fstab",
            "LABEL=writable\t/\text4\tdefaults\t0\t1\nLABEL=system-boot       /boot/firmware  vfat    defaults        0       1\n",
        ),
        ("etc/cloud/cloud.cfg", ""),
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
        ),
        ("etc/group", "root:x:0:\nsudo:x:27:\nother:x:1000:\n"),
        ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
        ("etc/gshadow", "root:*::\nsudo:*::\n"),
        ("etc/sudoers.d/README", ""),
        ("etc/skel/.profile", "# profile\n"),
        ("usr/lib/systemd/system/systemd-networkd-wait-online.service", ""),
        ("usr/lib/systemd/system/systemd-network-generator.service", ""),
        ("boot/firmware/user-data", "#cloud-config\nchpasswd:\n  expire: true\n"),
        ("boot/firmware/meta-data", "instance-id: nocloud\n"),
        (
            "boot/firmware/cmdline.txt",
            "console=serial0,115200 multipath=off dwc_otg.lpm_enable=0 console=tty1 root=LABEL=writable rootfstype=ext4 \
             panic=10 rootwait fixrtc\n",
        ),
    ])
}

fn account(name: &str, is_secret: bool) -> Wishes {
    let password = Password { hash: "$6$salt$hash".into(), is_secret };
    let ssh_keys = is_secret.then(|| "ssh-ed25519 AAAA ada@home".into());
    Wishes { hostname: None, account: Some(Account { name: name.into(), password, ssh_keys }) }
}

#[test]
fn systems_are_recognised_by_what_is_in_them() {
    assert_eq!(bookworm().release(), Release::RaspiosBookworm);
    assert_eq!(trixie().release(), Release::RaspiosTrixie);
    assert_eq!(noble().release(), Release::Ubuntu2404);
    assert_eq!(Small::new(&[("etc/os-release", OS_TRIXIE)]).release(), Release::Debian);
    assert_eq!(Small::new(&[("usr/lib/os-release", OS_BOOKWORM)]).release(), Release::Debian);
    let named = |text: &str| System::recognise(&Small::new(&[("etc/os-release", text)])).unwrap();
    assert_eq!(named("ID=raspbian\nVERSION_CODENAME=trixie\n").id, "raspios-trixie");
    assert_eq!(named("ID=ubuntu\nVERSION_ID=\"26.04\"\n").release, Release::Ubuntu2604);
    assert_eq!(named("ID=debian\nVERSION_ID=\"11\"\nVERSION_CODENAME=bullseye\n").release, Release::Unknown);
    assert_eq!(named("ID=raspbian\nVERSION_CODENAME=bullseye\n").release, Release::Unknown);
    assert_eq!(named("ID=alpine\nVERSION_ID=3.22.0\n").id, "alpine-3.22.0");
    assert_eq!(Small::default().release(), Release::Unknown);
    assert_eq!(System::recognise(&trixie()).unwrap().pretty_name, "Debian GNU/Linux 13 (trixie)");
}

#[test]
fn a_system_that_is_not_known_stays_as_it_is() {
    assert!(Small::new(&[("etc/os-release", "ID=arch\n"), ("etc/fstab", FSTAB)]).plan().is_empty());
}

#[test]
fn bookworm_boots_without_its_card() {
    let files = bookworm().changed(&Wishes::default());
    let line = &files["boot/firmware/cmdline.txt"];
    assert_eq!(line, "console=serial0,115200 console=tty1 quiet\n");
    assert_eq!(
        files["etc/fstab"],
        "proc            /proc           proc    defaults          0       0\n\
         # on the card: PARTUUID=4a3c1b2d-01  /boot/firmware  vfat    defaults          0       2\n\
         # on the card: PARTUUID=4a3c1b2d-02  /               ext4    defaults,noatime  0       1\n\
         /boot/firmware /boot/firmware none bind 0 0\n"
    );
    for gone in [
        "etc/init.d/resize2fs_once",
        "etc/rc3.d/S01resize2fs_once",
        "etc/systemd/system/multi-user.target.wants/dphys-swapfile.service",
        "etc/systemd/system/multi-user.target.wants/regenerate_ssh_host_keys.service",
    ] {
        assert!(!files.contains_key(gone), "{gone}");
    }
    assert!(files.contains_key("etc/rc3.d/S01ssh"));
    assert_eq!(files["etc/initramfs-tools/conf.d/pinetboot"], "MODULES=most\n");
    assert_eq!(files["etc/resolv.conf"], "-> /proc/net/pnp");
    assert_eq!(files["etc/systemd/system/rpi-eeprom-update.service"], "-> /dev/null");
    assert_eq!(files["etc/systemd/system/systemd-network-generator.service"], "-> /dev/null");
    assert!(
        files["etc/NetworkManager/conf.d/90-pinetboot.conf"]
            .contains("unmanaged-devices=interface-name:eth0")
    );
    assert!(!files.contains_key("etc/rpi/swap.conf.d/90-pinetboot.conf"));
    assert_eq!(edited(&bookworm().plan(), "machine-id"), [""; 0], "empty already");
    assert_eq!(files["etc/hostname"], "raspberrypi\n", "unasked");
}

#[test]
fn trixie_boots_without_its_card() {
    let files = trixie().changed(&Wishes::default());
    assert_eq!(
        files["boot/firmware/cmdline.txt"],
        "console=serial0,115200 console=tty1 quiet splash plymouth.ignore-serial-consoles cfg80211.ieee80211_regdom=GB\n"
    );
    assert_eq!(files["etc/rpi/swap.conf.d/90-pinetboot.conf"], "[Main]\nMechanism=zram\n");
    assert_eq!(files["etc/machine-id"], "");
    assert!(!files.contains_key("etc/systemd/system/sysinit.target.wants/rpi-resize.service"));
    assert!(!files.contains_key("etc/systemd/system/sysinit.target.wants/regenerate_ssh_host_keys.service"));
    assert_eq!(files["boot/firmware/user-data"], "#cloud-config\n", "its seed is found in /boot/firmware");
    assert!(!files.keys().any(|path| path.starts_with("var/lib/cloud")));
}

#[test]
fn ubuntu_boots_without_its_card_and_finds_its_seed() {
    let files = noble().changed(&Wishes::default());
    assert_eq!(
        files["boot/firmware/cmdline.txt"],
        "console=serial0,115200 multipath=off dwc_otg.lpm_enable=0 console=tty1 panic=10 network-config=disabled\n"
    );
    assert_eq!(files["var/lib/cloud/seed/nocloud/user-data"], files["boot/firmware/user-data"]);
    assert_eq!(files["var/lib/cloud/seed/nocloud/meta-data"], "instance-id: nocloud\n");
    assert_eq!(files["etc/systemd/system/systemd-networkd-wait-online.service"], "-> /dev/null");
    assert!(!files.contains_key("etc/resolv.conf"), "its kernel leaves no name servers");
    assert!(files["etc/fstab"].ends_with("/boot/firmware /boot/firmware none bind 0 0\n"));
}

#[test]
fn ubuntu_of_2026_has_its_command_line_in_current() {
    let system = noble().with(&[
        ("etc/os-release", "ID=ubuntu\nVERSION_ID=\"26.04\"\n"),
        ("boot/firmware/cmdline.txt", "cfg80211.ieee80211_regdom=GB\n"), // left by Imager, never read
        ("boot/firmware/current/cmdline.txt", "console=tty1 root=LABEL=writable rootfstype=ext4 rootwait\n"),
    ]);
    let files = system.changed(&Wishes::default());
    assert_eq!(files["boot/firmware/current/cmdline.txt"], "console=tty1 network-config=disabled\n");
    let wishes = Wishes::default();
    let context =
        Context { view: &system, release: system.release(), boot: "boot/firmware", wishes: &wishes };
    assert!(command_line_as_found(&context).unwrap().contains("root=LABEL=writable"));
    assert!(notes(&context).unwrap()[0].contains("experimental"));
}

#[test]
fn what_has_been_changed_already_is_not_changed_again() {
    for system in [bookworm(), trixie(), noble()] {
        let once = Small(system.changed(&Wishes::default()));
        assert_eq!(once.changed(&Wishes::default()), once.0);
        for step in ["command-line", "fstab", "resize", "machine-id"] {
            assert_eq!(edited(&once.plan(), step), [""; 0], "{step}");
        }
    }
}

#[test]
fn keys_in_the_image_are_nobodys() {
    let system = bookworm().with(&[
        ("etc/ssh/ssh_host_ed25519_key", "secret"),
        ("etc/ssh/ssh_host_ed25519_key.pub", "public"),
        ("var/lib/systemd/random-seed", "x"),
        ("var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    ]);
    let files = system.changed(&Wishes::default());
    assert!(!files.keys().any(|path| path.contains("ssh_host_") || path.ends_with("random-seed")));
    assert_eq!(files["etc/machine-id"], "");
    assert_eq!(files["var/lib/dbus/machine-id"], "-> /etc/machine-id");
    assert!(files["etc/systemd/system/pinetboot-ssh-keys.service"].contains("ssh-keygen -A"));
}

#[test]
fn a_host_name_is_known_to_the_host() {
    let wishes = Wishes { hostname: Some("pi-kitchen".into()), account: None };
    let files = trixie().changed(&wishes);
    assert_eq!(files["etc/hostname"], "pi-kitchen\n");
    assert!(files["etc/hosts"].ends_with("127.0.1.1\tpi-kitchen\n"));
    assert!(!files["etc/hosts"].contains("raspberrypi"));
    assert_eq!(files["etc/cloud/cloud.cfg.d/90-pinetboot.cfg"], "preserve_hostname: true\n");
    assert!(!bookworm().changed(&wishes).contains_key("etc/cloud/cloud.cfg.d/90-pinetboot.cfg"));
    assert!(is_host_name("pi-5") && !is_host_name("-pi") && !is_host_name("a.b") && !is_host_name(""));
}

#[test]
fn raspberry_pi_os_makes_its_user_of_userconf() {
    let files = trixie().changed(&account("ada", true));
    assert_eq!(files["boot/firmware/userconf.txt"], "ada:$6$salt$hash\n");
    assert_eq!(files["home/pi/.ssh/authorized_keys"], "ssh-ed25519 AAAA ada@home\n", "moved with the home");
    let ssh = "etc/systemd/system/multi-user.target.wants/ssh.service";
    assert_eq!(files[ssh], "-> /usr/lib/systemd/system/ssh.service");
    assert!(!trixie().changed(&Wishes::default()).contains_key(ssh), "unasked");
    let wishes = account("root", false);
    let system = trixie();
    let context =
        Context { view: &system, release: system.release(), boot: "boot/firmware", wishes: &wishes };
    assert!(plan(&context).is_err());
}

#[test]
fn elsewhere_the_user_is_added_by_hand() {
    let files = noble().changed(&account("ada", true));
    assert!(files["etc/passwd"].ends_with("\nada:x:1001:1001::/home/ada:/bin/bash\n"), "1000 is a group's");
    assert_eq!(files["etc/group"], "root:x:0:\nsudo:x:27:ada\nother:x:1000:\nada:x:1001:\n");
    assert_eq!(files["etc/gshadow"], "root:*::\nsudo:*::ada\nada:!::\n");
    assert_eq!(files["etc/shadow"], "root:*:19000:0:99999:7:::\nada:$6$salt$hash:19000:0:99999:7:::\n");
    assert_eq!(files["home/ada/.profile"], "# profile\n");
    assert_eq!(files["home/ada/.ssh/authorized_keys"], "ssh-ed25519 AAAA ada@home\n");
    assert_eq!(files["etc/sudoers.d/010_ada-nopasswd"], "ada ALL=(ALL) NOPASSWD: ALL\n");
    let with_password = noble().changed(&account("ada", false));
    assert!(!with_password.contains_key("etc/sudoers.d/010_ada-nopasswd"), "there is a password to give");
}

#[test]
fn a_user_that_is_there_is_only_given_a_password() {
    let files = noble().changed(&account("root", false));
    assert_eq!(files["etc/shadow"], "root:$6$salt$hash:19000:0:99999:7:::\n");
    assert_eq!(files["etc/passwd"], noble().0["etc/passwd"]);
    assert!(is_user_name("ada") && !is_user_name("Ada") && !is_user_name("1a") && !is_user_name("a:b"));
}

#[test]
fn what_has_no_effect_any_more_is_said() {
    let system = bookworm().with(&[("boot/firmware/firstrun.sh", ""), ("boot/firmware/custom.toml", "")]);
    let wishes = Wishes::default();
    let context =
        Context { view: &system, release: system.release(), boot: "boot/firmware", wishes: &wishes };
    assert_eq!(notes(&context).unwrap().len(), 2);
}

#[test]
fn the_boot_partition_is_where_the_image_mounts_it() {
    assert_eq!(boot_place(FSTAB).as_deref(), Some("boot/firmware"));
    assert_eq!(boot_place("PARTUUID=1-01 /boot vfat defaults 0 2\n").as_deref(), Some("boot"));
    assert_eq!(boot_place("UUID=1 /boot/efi vfat umask=0077 0 1\n").as_deref(), Some("boot/efi"));
    for hostile in [
        "a / vfat",
        "a /boot/../etc vfat",
        "a /etc vfat",
        "a /boot/a/b vfat",
        "a boot vfat",
        "#a /boot vfat",
        "a /boot/ vfat",
    ] {
        assert_eq!(boot_place(hostile), None, "{hostile}");
    }
}

#[test]
fn whether_the_kernel_mounts_the_root() {
    let rpi = "CONFIG_ROOT_NFS=y\nCONFIG_IP_PNP=y\nCONFIG_IP_PNP_DHCP=y\nCONFIG_BCMGENET=y\nCONFIG_MACB=y\n";
    let debian = "CONFIG_ROOT_NFS=y\n# CONFIG_IP_PNP is not set\nCONFIG_BCMGENET=m\n";
    let mounts = |system: Small, release| kernel_mounts_root(&system, release).unwrap();
    assert!(mounts(trixie(), Release::RaspiosTrixie), "known of the release");
    assert!(!mounts(noble(), Release::Ubuntu2404));
    assert!(mounts(Small::new(&[("boot/config-6.12.47+rpt-rpi-2712", rpi)]), Release::RaspiosTrixie));
    let both =
        Small::new(&[("boot/config-6.12.47+rpt-rpi-2712", rpi), ("boot/config-6.12.57+deb13-arm64", debian)]);
    assert!(!mounts(both, Release::RaspiosTrixie), "one of them does not");
}
