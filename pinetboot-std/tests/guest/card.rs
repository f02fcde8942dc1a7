//! `pinetboot serve IMAGE` for emulated machines: Debian's kernel for arm64, all of it in modules, and `pinetboot-init` for a Pi.

use crate::cards::{SERIALS, World, a_card_lives};
use crate::machine::{Machine, UBoot};

#[test]
#[ignore = "needs root, QEMU, U-Boot, PINETBOOT_GUEST_IMAGE and PINETBOOT_GUEST_INIT; run by .ci/run"]
fn a_card_lives_on_an_emulated_machine() {
    let world = World::new("card", ["PINETBOOT_GUEST_IMAGE", "PINETBOOT_GUEST_INIT"], |world, number| {
        let machine = Machine::new(&world.network).number(number);
        UBoot::switch_on(&machine).stop().boot_with(SERIALS[usize::from(number)], "pinetboot-initramfs")
    });
    a_card_lives(&world);
}
