//! A machine goes on when its server is killed while it writes, and another one with the same state takes over.

use std::time::Instant;

use super::world::{SERIALS, network, plant};
use crate::debian::{MINUTES, OPTIONS};
use crate::machine::{Machine, UBoot};
use crate::namespace::SOON;
use crate::shell::Shell;

#[test]
#[ignore = "needs root, network namespaces, overlayfs, QEMU, U-Boot and PINETBOOT_ARM64_KERNEL; run by .ci/run"]
fn nothing_is_lost_when_the_server_is_killed() {
    let files = tempfile::tempdir().unwrap();
    let (base_image, state) = (files.path().join("base"), files.path().join("state"));
    plant(&base_image);
    let network = network("killed");
    let options = [&OPTIONS[..], &["--state", state.to_str().unwrap(), "--nfs"]].concat();
    let mut server = network.serve(&base_image, &options);
    let mut guest = Shell::on(UBoot::start(&Machine::new(&network)).boot(SERIALS[0]));

    // With so little memory for what is not written yet, it waits for the server nearly always.
    guest.run(
        "echo 1000000 >/proc/sys/vm/dirty_background_bytes; echo 4000000 >/proc/sys/vm/dirty_bytes",
        SOON,
    );
    guest.start(&format!(
        "cd /home; exec 3</srv/data/file; echo unlinked >gone; exec 4<gone; rm gone; \
         seq {MEGABYTES} | while read i; do head -c 1000000 /dev/urandom; echo \"[$i]\" >&2; done | \
         tee big | md5sum >sum; sync; cat <&3; cat <&4"
    ));
    for at in [MEGABYTES / 4, MEGABYTES / 2] {
        guest.expect(&format!("[{at}]"), MINUTES);
        let began = Instant::now();
        drop(server); // by SIGKILL
        server = network.serve(&base_image, &options);
        println!("killed after {at} MB, and started again within {:.1} s", began.elapsed().as_secs_f64());
    }
    let (status, said) = guest.finish(MINUTES);
    assert_eq!(status, 0, "{said}");
    assert!(said.ends_with("content\nunlinked"), "what was open before is so still: {said}");
    guest.run("echo 3 >/proc/sys/vm/drop_caches", SOON); // so that what follows is what the server has
    guest.run(&format!("stat -c %s /home/big | grep -qx {MEGABYTES}000000"), SOON);
    guest.run("cd /home; md5sum <big | cmp - sum", MINUTES);
    guest.power_off("poweroff -f");
    let log = server.stop();
    assert!(!log.contains("ERROR"), "{log}");
}

const MEGABYTES: u32 = 48;
