//! A server that is restored from its backup: on another disk, under another host name, at another address.

use std::path::Path;
use std::process::Command;

use super::namespace::{PINETBOOT, Process, SOON};
use super::root_of;
use super::world::{Pi, World, run};

/// The serial number of the Pi that `Pi::ask_for_an_address` is.
const PI: &str = "bd989ae1";

#[test]
#[ignore = "needs root, overlayfs, libnfs-utils, rsync and busybox"]
fn pis_go_on_with_a_server_of_another_disk_name_and_address() {
    let mut world = World::new();
    let (old, new) = (world.dir.path().join("old"), tempfile::tempdir_in("/dev/shm").unwrap());
    let script = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-ec", script]).current_dir(world.dir.path()).arg("bash").args([&old, new.path()]);
        let (fine, said) = run(&mut command);
        assert!(fine, "{script}: {said}");
        said
    };
    script("mkdir \"$1\"; mv images current \"$1\"");
    let server = serve(&world, "one", &old);
    world.one.ask_for_an_address();
    let before = boot(&world.one);
    assert!(before.line.contains("nfsroot=10.77.1.1:/"), "{}", before.line);
    world.one.put("mine", &format!("{}/etc/mine", before.root)).unwrap();
    // The line of this boot, as `cp /proc/cmdline /boot/firmware/cmdline.txt` on the Pi keeps it.
    std::fs::write(world.dir.path().join("line"), &before.line).unwrap();
    let merged = old.join("state/pis").join(PI).join("one/merged");
    let copy = format!("cp {} {}/boot/firmware/cmdline.txt", world.path("line"), merged.display());
    world.within(&server, &copy);
    server.stop();

    script("rsync -aHX --numeric-ids \"$1/\" \"$2\"; chmod 755 \"$2\"; mv \"$1\" lost");
    let told = script(
        "grep -rlF -e 10.77.1.1: -e server-one \"$2\" --exclude=cmdline.txt --exclude-dir=work || true",
    );
    assert_eq!(told.trim(), "", "the state names the server's address or host name");
    world.server.ip("addr del 10.77.1.1/24 dev to-one");
    world.server.address("to-one", "10.77.1.77/24");
    world.one.server = "10.77.1.77".into();
    let mut server = serve(&world, "two", new.path());
    world.one.ask_for_an_address();
    let after = boot(&world.one);
    assert!(
        after.line.contains("nfsroot=10.77.1.77:/") && !after.line.contains("10.77.1.1:"),
        "{}",
        after.line
    );
    assert_eq!(after.line.matches("root=/dev/nfs").count(), 1, "{}", after.line);
    assert_eq!(after.identity, before.identity, "host name, machine-id, host key");
    assert_eq!(world.one.cat(&format!("{}/etc/mine", after.root)).unwrap(), "mine");
    server.expect("was moved or copied", SOON);
    server.stop();
}

/// Starts a server of a directory, with leases, under a host name.
fn serve(world: &World, name: &str, dir: &Path) -> Process {
    let mut command = world.server.command("unshare");
    let named = "busybox hostname \"server-$0\"; exec \"$@\"";
    command.args([
        "--uts",
        "sh",
        "-ec",
        named,
        name,
        PINETBOOT,
        "serve",
        "-v",
        "--dhcp",
        "lease",
        "--interface",
        "to-one",
    ]);
    let mut server = Process::start({
        command.arg(dir);
        command
    });
    server.line("ready tftp ", SOON);
    server
}

/// What a Pi has after its boot.
struct Booted {
    /// The command line.
    line: String,
    /// The name of the root.
    root: String,
    /// Files that tell the Pi from others.
    identity: Vec<String>,
}

fn boot(pi: &Pi) -> Booted {
    pi.get(&format!("{PI}/config.txt"));
    let line = pi.get(&format!("{PI}/cmdline.txt"));
    pi.get(&format!("{PI}/kernel8.img"));
    let root = root_of(&line);
    let files = ["hostname", "machine-id", "ssh/ssh_host_ed25519_key.pub"];
    let identity = files.iter().map(|name| pi.cat(&format!("{root}/etc/{name}")).unwrap()).collect();
    Booted { line, root, identity }
}
