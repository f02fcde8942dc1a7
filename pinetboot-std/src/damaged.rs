//! Damaged texts from fixed seeds, for the parsers that no fuzz target reaches: those that need the whole program.

use std::ops::Range;

/// `count` texts, each the given one with 1 to 4 changes: a flipped bit, a part that is removed, doubled or replaced.
pub(crate) fn mutations(text: &[u8], count: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|seed| {
        let mut random = Random(seed);
        let mut text = text.to_vec();
        for _ in 0..=random.below(3) {
            change(&mut text, &mut random);
        }
        text
    })
}

fn change(text: &mut Vec<u8>, random: &mut Random) {
    let part = random.part(text.len());
    match random.below(4) {
        0 if !part.is_empty() => text[part.start] ^= 1 << random.below(8),
        1 => drop(text.drain(part)),
        2 => {
            let doubled = text[part.clone()].to_vec();
            text.splice(part.start..part.start, doubled);
        }
        _ => {
            let token = TOKENS[random.below(TOKENS.len())];
            text.splice(part, token.iter().copied());
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as usize % end
    }

    /// Up to 16 bytes of a text of that length.
    fn part(&mut self, len: usize) -> Range<usize> {
        let start = self.below(len + 1);
        start..(start + self.below(17)).min(len)
    }
}

const TOKENS: &[&[u8]] = &[
    b"18446744073709551615",
    b"9223372036854775807",
    b"4294967295",
    b"-1",
    b"0",
    b"",
    b"\0",
    b"\xff\xfe",
    b"\n",
    b"\"",
    b"'",
    b"=",
    b"[[",
    b"..",
    b"/",
    b" ",
    b"\x1b[2J",
];

mod tests {
    use std::fs;
    use std::path::{Component, Path};
    use std::time::Duration;

    use pinetboot_core::pi::Prefix;

    use super::mutations;
    use crate::config::Settings;
    use crate::events::{Fact, Root};
    use crate::images::Images;
    use crate::pis::{Inventory, Registry};
    use crate::roots::State;

    const PI: Prefix = Prefix::Serial(0xbd98_9ae1);

    #[test]
    fn a_damaged_configuration_is_settings_or_an_error() {
        toml::from_slice::<Settings>(CONFIGURATION).unwrap();
        let mut taken = 0;
        for text in mutations(CONFIGURATION, 3000) {
            let Ok(text) = String::from_utf8(text) else { continue };
            let Ok(settings) = toml::from_str::<Settings>(&text) else { continue };
            let Ok(inventory) = Inventory::of(&settings.pi) else { continue };
            for (pi, entry) in inventory.entries() {
                assert!(entry.name.iter().chain(&entry.cmdline_extra).all(|text| !text.contains('\n')));
                assert!(!inventory.host_name(pi).contains(['/', '.', ' ']), "{text}");
            }
            let _ = settings.resolve();
            taken += 1;
        }
        assert!(taken > 100, "{taken}");
    }

    #[test]
    fn damaged_records_of_a_pi_are_taken_or_left() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::at(directory.path());
        let layer = state.pi_dir(PI).join("trixie");
        fs::create_dir_all(&layer).unwrap();
        let (mut known, mut layers) = (0, 0);
        for (pi, facts) in mutations(PI_TOML, 2000).zip(mutations(LAYER_TOML, 2000)) {
            fs::write(state.pi_dir(PI).join("pi.toml"), pi).unwrap();
            fs::write(layer.join("layer.toml"), facts).unwrap();
            layers += state.layers().len();
            let facts = state.pi(PI);
            known += u32::from(facts.address.is_some());
            let mut registry = Registry::default();
            let (address, mac, boots) = (facts.address, facts.mac(), facts.boots);
            let fact = Fact::from(Root::Remembered { pi: PI, address, mac, boots });
            registry.apply(Duration::from_secs(1), address, &fact);
            registry.set_now(Duration::from_secs(1_000_000));
        }
        assert!(known > 100 && layers > 100, "{known} {layers}");
    }

    #[test]
    fn damaged_facts_of_an_image_are_taken_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("images/trixie");
        fs::create_dir_all(image.join("root/boot/firmware")).unwrap();
        std::os::unix::fs::symlink("images/trixie", directory.path().join("current")).unwrap();
        let mut taken = 0;
        for text in mutations(IMAGE_TOML, 2000) {
            fs::write(image.join("image.toml"), text).unwrap();
            let Ok(Some(images)) = Images::open(directory.path()) else { continue };
            let Ok(Some(image)) = images.current() else { continue };
            taken += 1;
            let beneath = image.boot.strip_prefix(&image.root).unwrap_or(Path::new(".."));
            assert!(
                beneath.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)),
                "{}",
                image.boot.display()
            );
        }
        assert!(taken > 100, "{taken}");
    }

    #[cfg(feature = "import")]
    #[test]
    fn a_damaged_system_is_changed_or_left() {
        use crate::import::changes::{Account, Context, Password, System, View, Wishes, plan};
        use pinetboot_image::ImageError;

        struct One<'a>(&'a str, Vec<u8>);

        impl View for One<'_> {
            fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ImageError> {
                let stock = SYSTEM.iter().find(|(name, _)| *name == path);
                let damaged = (self.0 == path).then(|| self.1.clone());
                Ok(damaged.or_else(|| stock.map(|(_, text)| text.as_bytes().to_vec())))
            }

            fn list(&self, directory: &str) -> Result<Vec<String>, ImageError> {
                let beneath = |path: &str| path.strip_prefix(directory)?.strip_prefix('/').map(str::to_owned);
                Ok(SYSTEM.iter().filter_map(|(path, _)| beneath(path)).collect())
            }
        }

        let account = Account {
            name: "ada".into(),
            password: Password { hash: "$6$x".into(), is_secret: false },
            ssh_keys: None,
        };
        let wishes = Wishes { hostname: Some("pi".into()), account: Some(account) };
        for (name, stock) in SYSTEM {
            for text in mutations(stock.as_bytes(), 500) {
                let view = One(name, text);
                let release = System::recognise(&view).unwrap().release;
                let context = Context { view: &view, release, boot: "boot/firmware", wishes: &wishes };
                let Ok(planned) = plan(&context) else { continue };
                for edit in planned.iter().flat_map(|planned| &planned.edits) {
                    let is_plain = |part| matches!(part, Component::Normal(_));
                    assert!(Path::new(edit.path()).components().all(is_plain), "{edit}");
                }
            }
        }
    }

    const CONFIGURATION: &[u8] = b"tree = '/srv/pi'
tftp-port = 69
threads = 2
max-transfers = 64
dhcp = 'proxy'

[template]
files = ['greeting.txt']

[pi.bd989ae1]
name = 'kitchen'
cmdline-extra = 'quiet'
address = '10.77.0.20'

[pi.2c-cf-67-01-02-03]
name = 'attic'
image = 'trixie'
";

    const PI_TOML: &[u8] = b"address = '10.77.0.20'
mac = '2c-cf-67-01-02-03'
name = 'kitchen'

[[boot]]
number = 3
began = 1795900000
files = 40
bytes = 30000000
missing = 2
stage = 'kernel'
kernel = true
mounted = true
took-ms = 4000
";

    const LAYER_TOML: &[u8] = b"export = 7
root = '/srv/pi/images/trixie/root'
boot = 'boot/firmware'
kernel-mounts-root = true
image-sha256 = 'aa'
tree = '00'
";

    const IMAGE_TOML: &[u8] = b"release = 'raspios-trixie'
pretty-name = 'Debian GNU/Linux 13 (trixie)'
source = 'trixie.img.xz'
sha256 = '00'
imported = '2026-04-13T00:00:00Z'
boot = 'boot/firmware'
has-root = true
kernel-mounts-root = true
cmdline = 'quiet'
changes = ['fstab: x']
lost-capabilities = []
";

    #[cfg(feature = "import")]
    const SYSTEM: &[(&str, &str)] = &[
        ("etc/os-release", "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\nPRETTY_NAME=\"Debian\"\n"),
        ("etc/rpi-issue", "Raspberry Pi reference\n"),
        (
            "etc/fstab",
            "proc /proc proc defaults 0 0\nPARTUUID=4a-01 /boot/firmware vfat defaults 0 2\nPARTUUID=4a-02 / ext4 defaults 0 1\n",
        ),
        ("etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n"),
        ("etc/hostname", "raspberrypi\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n"),
        ("etc/group", "root:x:0:\nsudo:x:27:pi\n"),
        ("etc/shadow", "root:*:1:0:9:7:::\npi:!:1:0:9:7:::\n"),
        ("etc/initramfs-tools/initramfs.conf", "MODULES=dep\n"),
        ("boot/firmware/cmdline.txt", "console=tty1 root=PARTUUID=4a-02 rootwait quiet init=/x\n"),
    ];
}
