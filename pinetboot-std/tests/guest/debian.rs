//! From an image file to Debian's login prompt, for two machines at once, and on through a server that dies.

use std::thread;

use super::world::{SERIALS, network};
use crate::debian::{MINUTES, an_image_outlives_the_server};
use crate::machine::{Machine, UBoot};
use crate::shell::Shell;

#[test]
#[ignore = "needs root, overlayfs, QEMU, U-Boot and PINETBOOT_GUEST_IMAGE; run by .ci/run"]
fn an_image_boots_to_a_login_prompt_and_outlives_the_server() {
    an_image_outlives_the_server(&network("debian"), "PINETBOOT_GUEST_IMAGE", |network| {
        let switch_on = |number| UBoot::switch_on(&Machine::new(network).number(number));
        let boot = |machine: UBoot, serial| Shell::log_in(machine.stop().boot(serial), MINUTES);
        let (one, other) = (switch_on(0), switch_on(1));
        thread::scope(|scope| {
            let other = scope.spawn(|| boot(other, SERIALS[1]));
            [boot(one, SERIALS[0]), other.join().unwrap()]
        })
    });
}
