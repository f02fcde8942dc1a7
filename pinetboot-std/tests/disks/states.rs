//! A disk's way through the boot: its states, its verdicts, and a healthy boot without one.

use std::net::TcpStream;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::client::Client;
use super::{GONE, HERE, ONE, UNKNOWN, World, boot, common};

#[test]
#[ignore = "needs mkfs.vfat, mcopy, mkfs.ext4 and sfdisk; run by .ci/run"]
fn a_disk_has_states_and_verdicts_like_a_root() {
    let mut world = World::new();
    let control = world.path("control");
    let options = ["--control", control.to_str().unwrap(), "--boot-clock", "50", "-v"];
    let serving = world.serve(&options);
    let state = || {
        let ended = common::run(["status", "--control", control.to_str().unwrap(), "--json"]);
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
        document["pis"][0]["state"].as_str().unwrap().to_owned()
    };
    // A healthy boot.
    let name = boot(&serving, ONE, HERE);
    let disk = Client::connect(HERE, world.nbd(), &name).unwrap();
    serving.wait_for_log("connects to its disk on card");
    assert!(["disk-in-use", "up"].contains(&&*state()), "{}", state());
    serving.wait_for_log("up, ");
    assert_eq!(state(), "up");
    assert!(!serving.log().contains("! stuck"), "{}", serving.log());
    disk.disconnect();
    serving.wait_for_log(GONE);
    assert_eq!(state(), "unseen", "the client ended the use");

    // Connected, and no more; then the disk.
    let name = boot(&serving, ONE, HERE);
    // The kernel's last acknowledgement is handled.
    serving.settle();
    let silent = TcpStream::connect(world.nbd()).unwrap();
    serving.wait_for_log("! stuck: connects to the port of its disk, takes no disk");
    assert_eq!(state(), "connecting");
    let disk = Client::connect(HERE, world.nbd(), &name).unwrap();
    serving.wait_for_log("goes on");
    // No power: the connection breaks, and nothing more comes.
    drop((disk, silent));
    serving.wait_for_log("! stuck: does not answer any more");

    // Another name than the command line's.
    boot(&serving, ONE, HERE);
    serving.settle();
    assert_eq!(Client::connect(HERE, world.nbd(), ONE).unwrap_err(), UNKNOWN);
    let told = serving.wait_for_log("! stuck: may not have its disk");
    assert!(told.contains("[rule 98:"), "{told}");
    serving.signal(Signal::SIGTERM);
    assert_eq!(serving.wait().code, Some(0));
}
