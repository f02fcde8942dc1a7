//! The cards of the systems for a Pi: their modules, their root, and the first program for their processor.

use std::fs;

use nix::sys::signal::Signal;

use crate::card;
use crate::common;
use crate::{HERE, ONE, World, fetch, text};

#[test]
#[ignore = "needs mkfs.vfat, mcopy, mkfs.ext4, sfdisk, xz and zstd; run by .ci/run"]
fn the_cards_of_all_systems_get_their_own_modules_and_keep_their_root() {
    for (system, layout) in card::SYSTEMS {
        let mut world = World::new();
        fs::remove_file(world.path("card.img")).unwrap();
        card::make_as(&layout, &world.path("card.img"));
        let first = card::program(layout.machine, "first program");
        fs::write(world.path("init"), &first).unwrap();
        let serving = world.serve(&[]);
        let config = text(&serving, ONE, HERE, "config.txt");
        let mine: Vec<_> =
            config.lines().filter(|line| line.contains("initramfs") && !line.starts_with('#')).collect();
        assert_eq!(mine, ["auto_initramfs=0", "initramfs pinetboot-initramfs followkernel"], "{system}");
        let line = text(&serving, ONE, HERE, "cmdline.txt");
        assert!(line.starts_with(layout.command_line.trim_end()), "{system}: {line}");
        let initramfs = fetch(&serving, ONE, HERE, "pinetboot-initramfs");
        assert!(initramfs.windows(first.len()).any(|bytes| bytes == first), "{system}");
        let initramfs = String::from_utf8_lossy(&initramfs);
        for release in layout.kernels {
            assert!(
                initramfs.contains(&format!("\x7fELF nbd of {release}")),
                "{system}: {release}, unpacked"
            );
        }
        if system.starts_with("Ubuntu") {
            for module in ["000-macb.ko", "001-genet.ko", "002-nbd.ko"] {
                assert!(
                    initramfs.contains(&format!("modules/6.8.0-1013-raspi/{module}")),
                    "{system}: {module}"
                );
            }
        }
        serving.signal(Signal::SIGTERM);
        assert_eq!(serving.wait().code, Some(0));
    }
}

#[test]
#[ignore = "needs mkfs.vfat, mcopy, mkfs.ext4, sfdisk and xz; run by .ci/run"]
fn a_card_is_refused_without_a_first_program_for_its_system() {
    let world = World::new();
    let image = world.path("card-armhf.img");
    let (_, layout) = card::SYSTEMS.into_iter().find(|(_, layout)| layout.machine == card::ARM).unwrap();
    card::make_as(&layout, &image);
    let [init, state, image] = ["init", "state", "card-armhf.img"].map(|name| world.path(name));
    let [init, state, image] = [&init, &state, &image].map(|path| path.to_str().unwrap());
    let options = ["--listen", "127.0.0.1", "--tftp-port", "0", "--disk-port", "0", "--control", "none"];
    let ended = common::run(["serve", "--state", state, "--init", init, image].into_iter().chain(options));
    assert_eq!(ended.code, Some(4), "{}", ended.log);
    let why = format!(
        "the system on the image is for armhf, and --init {init} is for arm64: name a pinetboot-init for armhf"
    );
    assert!(ended.log.contains(&why), "{}", ended.log);
}
