//! The same Debian as on emulated machines, for this machine's architecture: initramfs-tools finds the root, systemd runs on it.

use super::machine::boot_by_firmware;
use crate::debian::{MINUTES, an_image_outlives_the_server};
use crate::namespace::Namespace;
use crate::shell::Shell;

#[test]
#[ignore = "needs root, overlayfs, user-mode Linux and PINETBOOT_UML_IMAGE; run by .ci/run"]
fn an_image_boots_to_a_login_prompt_and_outlives_the_server() {
    let network = Namespace::new("debian");
    network.tap("tap0");
    network.tap("tap1");
    network.bridge("lan", &["tap0", "tap1"]);
    network.address("lan", "10.77.0.1/24");
    let files = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    an_image_outlives_the_server(&network, "PINETBOOT_UML_IMAGE", |network| {
        let [one, other] = [0, 1].map(|number| {
            boot_by_firmware(network, number, SERIALS[usize::from(number)], files[usize::from(number)].path())
        });
        [one, other].map(|console| Shell::log_in(console, MINUTES))
    });
}

const SERIALS: [&str; 2] = ["5e9f2a01", "5e9f2a02"];
