//! Root file systems for several Pis, over NFS and TFTP in network namespaces: each Pi's files, the files that no Pi gets, and
//! the fate of changed files.
//!
//! `.ci/run roots` runs them: they need root, network namespaces, overlayfs, and libnfs's tools (Debian: libnfs-utils).

#![cfg(feature = "nfs")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "roots/bounds.rs"]
mod bounds;
#[path = "roots/client.rs"]
mod client;
mod common;
#[path = "roots/container.rs"]
mod container;
#[path = "roots/copies.rs"]
mod copies;
#[path = "roots/crowd.rs"]
mod crowd;
#[path = "roots/descriptors.rs"]
mod descriptors;
#[path = "roots/handed.rs"]
mod handed;
#[path = "roots/keep.rs"]
mod keep;
#[path = "roots/layouts.rs"]
mod layouts;
mod namespace;
#[path = "../nfs/tests/nfs_client/mod.rs"]
mod nfs_client;
#[cfg(feature = "web")]
#[cfg(all(feature = "import", feature = "web"))]
#[path = "roots/own.rs"]
mod own;
#[path = "roots/page.rs"]
mod page;
#[path = "roots/restored.rs"]
mod restored;
#[path = "roots/simulated.rs"]
mod simulated;
#[path = "roots/world.rs"]
mod world;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pinetboot::bus::Bus;
use pinetboot::config::{NfsMode, NfsSync, RootLimits, Settings};
use pinetboot::images::Images;
use pinetboot::roots::{BaseImages, RootExports, Roots, State, own_namespace};
use pinetboot_core::pi::Prefix;
use pinetboot_nfs::{Absent, Exports};

use client::{DENIED, GRANTED, STALE};
use namespace::{SOON, part};
use world::{ONE, TWO, World, run};

const WORDS: &str = ",vers=3,tcp,nolock,rsize=1048576,wsize=1048576 rw ip=dhcp rootwait";

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn two_pis_share_a_tree_and_nothing_else() {
    let world = World::new();
    let before = world.base_image();
    let mut server = world.serve(&[]);
    let mut secrets = Vec::new();

    for (pi, serial, address) in [(&world.one, ONE, "10.77.1.1"), (&world.two, TWO, "10.77.2.1")] {
        let line = pi.get(&format!("{serial}//cmdline.txt"));
        let root = root_of(&line);
        assert_eq!(line, format!("console=tty1 root=/dev/nfs nfsroot={address}:/{root}{WORDS} quiet\n"));
        assert!(root.starts_with(&format!("{serial}-")) && root.len() == 8 + 1 + 20, "{root}");
        secrets.push(root.clone());
        assert_eq!(pi.get(&format!("{serial}/config.txt")), "arm_64bit=1\nauto_initramfs=0\n");
        assert_eq!(pi.get(&format!("{serial}/kernel8.img")), "base kernel");
        // The command line has the path; with the token of another boot the root is not to be had, nor from elsewhere.
        assert!(pi.list(&format!("{serial}-0123456789abcdef0123/etc")).is_err());
        assert!(world.intruder.list(&format!("{root}/etc")).is_err());
        assert!(pi.list(&format!("{root}/etc")).unwrap().contains(" motd"));
    }
    server.expect("gets cmdline.txt rewritten: root=/dev/nfs", SOON);

    // From here on both are known by the root that they use.
    world.one.put("mine", &format!("{ONE}/etc/mine")).unwrap();
    world.two.put("mine", &format!("{TWO}/etc/other")).unwrap();
    let (one, two) =
        (world.one.list(&format!("{ONE}/etc")).unwrap(), world.two.list(&format!("{TWO}/etc")).unwrap());
    assert!(one.contains(" mine") && !one.contains(" other"), "{one}");
    assert!(two.contains(" other") && !two.contains(" mine"), "{two}");
    assert_eq!(world.one.cat(&format!("{ONE}/etc/hostname")).unwrap(), format!("pi-{ONE}\n"));
    assert_eq!(world.two.cat(&format!("{TWO}/etc/hostname")).unwrap(), "kitchen\n");
    let id = |pi: &world::Pi, serial| pi.cat(&format!("{serial}/etc/machine-id")).unwrap();
    assert_ne!(id(&world.one, ONE), id(&world.two, TWO));
    // "/" is the root of the client that asks.
    assert!(world.one.list("etc").unwrap().contains(" mine"));
    // The same holds for the exports: libnfs mounts every export listed beneath, and takes one refusal for a refusal of all.
    assert!(world.one.list("").unwrap().contains(" etc"));
    assert_eq!(world.base_image(), before, "no Pi writes to the base image");

    let said = server.stop();
    assert!(said.matches("gets cmdline.txt rewritten:").count() == 2, "once for each: {said}");
    assert!(secrets.iter().all(|secret| !said.contains(secret)), "the log has no secret of a boot: {said}");
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn no_client_gets_the_root_of_another() {
    let world = World::new();
    let mut server = world.serve(&[]);
    // No Pi is known yet.
    assert!(world.one.list(&format!("{ONE}/etc")).is_err());
    let said = server.line("may not mount", SOON);
    assert!(
        said.contains(&format!("10.77.1.2 may not mount /{ONE}/etc: that address has fetched no boot")),
        "{said}"
    );
    // The first files alone show nothing, and make nothing on the disk.
    world.one.get(&format!("{ONE}/config.txt"));
    assert!(world.one.list(&format!("{ONE}/etc")).is_err());
    assert!(!world.layer(ONE).exists());

    world.one.get(&format!("{ONE}/kernel8.img"));
    world.two.get(&format!("{TWO}/kernel8.img"));
    world.one.list(&format!("{ONE}/etc")).unwrap();
    assert!(world.two.list(&format!("{ONE}/etc")).is_err());
    let said = server.line("10.77.2.2) may not mount", SOON);
    assert!(
        said.contains(&format!("kitchen (10.77.2.2) may not mount /{ONE}/etc: that Pi is up at 10.77.1.2")),
        "{said}"
    );
    assert!(world.intruder.list(&format!("{ONE}/etc")).is_err());
    assert!(world.intruder.list("etc").is_err());

    // A handle of another client is refused too.
    let handle = world.path("handle");
    world.one.ask(&format!("mount 10.77.1.1 {ONE} {handle} {GRANTED}"));
    world.one.ask(&format!("attributes 10.77.1.1 {handle} {GRANTED}"));
    world.intruder.ask(&format!("attributes 10.77.3.1 {handle} {DENIED}"));
    world.two.ask(&format!("attributes 10.77.2.1 {handle} {DENIED}"));
    server.stop();
}

/// A host on the network imitates a Pi that is up, by all that TFTP and DHCP take on trust.
#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn a_pi_that_is_up_loses_nothing_to_a_host_that_imitates_it() {
    let world = World::new();
    let interfaces = ["--interface", "to-one", "--interface", "to-intruder"];
    let options = [&["--dhcp", "proxy", "--dhcp-clients", "all"][..], &interfaces].concat();
    let mut server = world.serve(&options);
    let handle = world.path("handle");
    let lives = || world.one.ask(&format!("attributes 10.77.1.1 {handle} {GRANTED}"));
    world.one.boot(ONE);
    world.one.ask(&format!("mount 10.77.1.1 {ONE} {handle} {GRANTED}"));
    lives();

    // The intruder fetches as a Pi does: what is made for that Pi it does not get, nor the root.
    assert!(world.intruder.try_get(&format!("{ONE}/config.txt")).is_err());
    assert!(world.intruder.try_get(&format!("{ONE}/cmdline.txt")).is_err());
    assert_eq!(world.intruder.get(&format!("{ONE}/kernel8.img")), "base kernel");
    world.intruder.ask(&format!("mount 10.77.3.1 {ONE} {} {DENIED}", world.path("no")));
    world.intruder.ask(&format!("attributes 10.77.3.1 {handle} {DENIED}"));
    lives();
    // Any user of the Pi fetches what another Pi would.
    world.one.boot(TWO);
    lives();
    // The intruder forges the DHCP messages by which the Pi's address would become another board's.
    world.intruder.ask("forge 10.77.1.2 bd989ae1");
    server.expect("takes 10.77.1.2 from another DHCP server", SOON);
    lives();
    let said = server.stop();
    let warned = said.lines().filter(|line| line.contains("WARN") && line.contains("10.77.3.2"));
    let warned: Vec<_> = warned.collect();
    assert_eq!(warned.len(), 1, "one warning names the intruder:\n{said}");
    assert!(warned[0].contains("that Pi is up at 10.77.1.2"), "{warned:?}");

    // The same after a restart, whichever of them asks first.
    let server = world.serve(&options);
    assert!(world.intruder.try_get(&format!("{ONE}/config.txt")).is_err());
    world.intruder.ask(&format!("mount 10.77.3.1 {ONE} {} {DENIED}", world.path("no")));
    world.intruder.ask(&format!("attributes 10.77.3.1 {handle} {DENIED}"));
    lives();
    server.stop();
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn two_boards_of_one_serial_number_have_two_roots() {
    let world = World::new();
    let interfaces = ["--interface", "to-one", "--interface", "to-two"];
    let mut server = world.serve(&[&["--dhcp", "lease"][..], &interfaces].concat());
    let roots: Vec<_> = [&world.one, &world.two]
        .into_iter()
        .map(|pi| {
            pi.ask_for_an_address();
            let root = root_of(&pi.get("bd989ae1/cmdline.txt"));
            pi.get("bd989ae1/kernel8.img");
            pi.put("mine", &format!("{root}/etc/mine-of-{}", pi.server)).unwrap();
            root
        })
        .collect();
    assert!(roots[0].starts_with("bd989ae1-"), "{roots:?}");
    assert!(!roots[1].starts_with("bd989ae1-"), "{roots:?}");
    server.expect("two boards have the serial number bd989ae1", SOON);
    for (pi, root) in [&world.one, &world.two].into_iter().zip(&roots) {
        let etc = pi.list(&format!("{root}/etc")).unwrap();
        assert_eq!(etc.matches(" mine-of-").count(), 1, "{etc}");
    }
    server.stop();
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn what_is_said_of_a_mount_is_true() {
    let world = World::new();
    let server = world.serve(&[]);
    // A kernel of any name will do: only config.txt says which it is.
    assert!(world.one.try_get(&format!("{ONE}/Image")).is_err());
    fs::write(world.dir.path().join("images/one/root/boot/firmware/Image"), "any kernel").unwrap();
    world.one.get(&format!("{ONE}/Image"));
    world.one.ask(&format!("mount 10.77.1.1 {ONE}/nope {} 2", world.path("no")));
    world.two.ask(&format!("mount 10.77.2.1 nfs/client1 {} {DENIED}", world.path("no")));
    let said = server.stop();
    assert!(!said.contains(" mounted"), "{said}");
    assert!(said.contains(&format!("may not mount /{ONE}/nope")), "{said}");

    let mut server = world.serve(&[]);
    world.one.get(&format!("{ONE}/Image"));
    assert!(world.one.list(&format!("{ONE}/etc")).unwrap().contains(" motd"));
    let line = server.line(&format!("{ONE} root /{ONE}"), SOON);
    assert!(line.ends_with(" mounted"), "{line}");
    server.stop();
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn handles_outlive_the_server() {
    let world = World::new();
    let handle = world.path("handle");
    let server = world.serve(&[]);
    world.one.boot(ONE);
    world.one.put("mine", &format!("{ONE}/etc/mine")).unwrap();
    world.one.ask(&format!("mount 10.77.1.1 {ONE}/etc {handle} {GRANTED}"));
    server.stop();
    // Nothing is left mounted, wherever one looks.
    assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(&world.path("state")));
    assert_eq!(fs::read_dir(world.layer(ONE).join("merged")).unwrap().count(), 0);

    let mut server = world.serve(&[]);
    world.one.ask(&format!("attributes 10.77.1.1 {handle} {GRANTED}"));
    server.expect("continues with its root", SOON);
    drop(server); // kill -9
    let server = world.serve(&[]);
    world.one.ask(&format!("attributes 10.77.1.1 {handle} {GRANTED}"));
    assert!(world.one.list(&format!("{ONE}/etc")).unwrap().contains(" mine"), "known from before");
    // A layer that is reset takes its handles with it.
    assert!(world.try_roots(&["reset", ONE, "--now"]).unwrap_err().contains("mounted"));
    assert!(world.roots(&["reset", ONE]).contains("boots next"));
    assert!(world.roots(&["reset", ONE, "--cancel"]).contains("is kept"));
    assert!(world.roots(&["reset", ONE]).contains("boots next"));
    // A Pi that fetches boot files while its system runs, and mounts, keeps its root.
    world.one.boot(ONE);
    world.one.ask(&format!("attributes 10.77.1.1 {handle} {GRANTED}"));
    assert!(world.one.list(&format!("{ONE}/etc")).unwrap().contains(" mine"));
    assert!(world.roots(&["list"]).contains("reset at the next boot"));
    world.one.boot(ONE);
    assert!(!world.one.list(&format!("{ONE}/etc")).unwrap().contains(" mine"), "a new layer");
    world.one.ask(&format!("attributes 10.77.1.1 {handle} {STALE}"));
    let said = server.stop();
    assert!(said.contains(&format!("{ONE}'s layer on one is reset")), "{said}");
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn files_stay_the_same_when_they_are_changed_and_renamed() {
    let world = World::new();
    let before = world.base_image();
    let server = world.serve(&[]);
    world.one.boot(ONE);
    let handle = world.path("handle");
    world.one.ask(&format!("mount 10.77.1.1 {ONE} {handle} {GRANTED}"));
    world.one.ask(&format!("change 10.77.1.1 {handle}"));
    server.stop();
    let changes = world.roots(&["diff", ONE]);
    assert!(changes.contains("R /opt/ -> /etc/moved/\n") && changes.contains("A /elsewhere\n"), "{changes}");
    assert_eq!(world.base_image(), before);
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn a_kernel_that_a_pi_installs_is_what_it_boots() {
    let world = World::new();
    let server = world.serve(&[]);
    world.one.boot(ONE);
    world.one.list(&format!("{ONE}/etc")).unwrap();
    let merged = world.layer(ONE).join("merged");
    world.within(
        &server,
        &format!("cd {}/boot/firmware; echo -n new > new; mv new kernel8.img", merged.display()),
    );
    assert_eq!(world.two.get(&format!("{TWO}/kernel8.img")), "base kernel");
    server.stop();

    // From the beginning of its boot, before it has mounted anything.
    let server = world.serve(&[]);
    assert_eq!(world.one.get(&format!("{ONE}/kernel8.img")), "new");
    assert_eq!(world.two.get(&format!("{TWO}/kernel8.img")), "base kernel");
    // A Pi can change that directory, but not lead the server elsewhere.
    world.within(&server, &format!("cd {}/boot; mv firmware old; ln -s /etc firmware", merged.display()));
    server.stop();
    let mut server = world.serve(&[]);
    assert!(world.one.try_get(&format!("{ONE}/hostname")).is_err());
    server.expect("gets no boot files", SOON);
    server.stop();
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn what_a_pi_changed_is_shown_kept_and_undone() {
    let world = World::new();
    let before = world.base_image();
    let server = world.serve(&[]);
    world.one.boot(ONE);
    world.one.list(&format!("{ONE}/etc")).unwrap();
    world.within(
        &server,
        &format!(
            "cd {}; rm etc/motd; mv opt/a opt/b; echo new > opt/b/new; rm -r var/old; mkdir var/old; echo x > var/old/x; \
             chmod 600 etc/hosts; touch usr/touched",
            world.layer(ONE).join("merged").display()
        ),
    );
    let changes = world.roots(&["diff", ONE]);
    let without_identity: Vec<_> = changes
        .lines()
        .filter(|line| !["/hostname", "/machine-id", "ssh_host"].iter().any(|part| line.contains(part)))
        .collect();
    assert_eq!(
        without_identity,
        [
            "C /etc/hosts",
            "D /etc/motd",
            "R /opt/a/ -> /opt/b/",
            "A /opt/b/new",
            "D /var/old/file",
            "A /var/old/x"
        ],
        "{changes}"
    );
    let list = world.roots(&["list"]);
    assert!(list.contains("mounted") && list.contains("10.77.1.2"), "{list}");
    let refused = world.try_roots(&["commit", ONE, "--name", "two"]).unwrap_err();
    assert!(refused.contains("has its root mounted"), "{refused}");
    server.stop();

    let key = world.layer(ONE).join("upper/etc/ssh/ssh_host_ed25519_key.pub");
    let key = fs::read(key).unwrap();
    // By name, too.
    let kept = world.roots(&["commit", &format!("pi-{ONE}"), "--name", "two", "--current"]);
    assert!(kept.contains("is the current image"), "{kept}");
    let two = world.dir.path().join("images/two/root");
    assert!(two.join("opt/b/new").exists() && !two.join("etc/motd").exists());
    assert_eq!(fs::read_to_string(two.join("etc/hostname")).unwrap(), "raspberrypi\n");
    assert_eq!(fs::read_dir(two.join("etc/ssh")).unwrap().count(), 0, "keys are one Pi's");
    assert_eq!(fs::read_to_string(two.join("etc/machine-id")).unwrap(), "");
    assert_eq!(fs::read_link(world.dir.path().join("current")).unwrap().to_str(), Some("images/two"));
    assert!(world.try_roots(&["commit", ONE, "--name", "two"]).unwrap_err().contains("already"));
    assert_eq!(world.base_image(), before);

    // On the new image it begins a layer, and is who it was.
    let server = world.serve(&[]);
    world.one.boot(ONE);
    assert!(world.one.list(&format!("{ONE}/opt/b")).unwrap().contains(" new"));
    let path = format!("{ONE}/etc/ssh/ssh_host_ed25519_key.pub");
    assert_eq!(world.one.cat(&path).unwrap().as_bytes(), key);
    server.stop();
    assert!(world.try_roots(&["reset", ONE]).unwrap_err().contains("--image"));
    assert!(world.roots(&["reset", ONE, "--image", "one", "--now"]).contains("is reset"));
    assert!(!world.layer(ONE).exists());
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn a_pi_that_is_off_leaves_its_layer_to_others() {
    let world = World::new();
    own_namespace().unwrap(); // of this thread
    let dir = world.dir.path();
    let (bus, goldens) = (Bus::silent(), BaseImages::Images(Images::open(dir).unwrap().unwrap()));
    let state = State::at(&dir.join("state"));
    let roots =
        Arc::new(Roots::new(NfsMode::Overlay, goldens, state, RootLimits::default(), bus.clone()).unwrap());
    let exports = RootExports::new(roots.clone(), bus.clone(), NfsSync::On).unwrap();
    let address = Ipv4Addr::new(10, 77, 1, 2);
    let settings: Settings =
        toml::from_str(&format!("tree = '/x'\n[pi.{ONE}]\naddress = '{address}'")).unwrap();
    bus.set_inventory(Arc::new(settings.resolve().unwrap().inventory));
    let id = exports.mount(&Path::new("/").join(ONE), address).unwrap().id;
    let commit = ["commit", ONE, "--name", "two"];
    assert!(world.try_roots(&commit).unwrap_err().contains("has its root mounted"));

    exports.rest_after(Duration::ZERO);
    world.roots(&commit);
    // While another process has the lock the Pi waits; then it continues.
    let lock = roots.state().layer(Prefix::parse(ONE).unwrap(), "one").unwrap().lock().unwrap();
    assert!(lock.is_some());
    assert_eq!(exports.find(id).unwrap_err(), Absent::NotYet);
    drop(lock);
    while exports.find(id).is_err_and(|error| error == Absent::NotYet) {}
    assert_eq!(exports.find(id).unwrap().id, id);
    assert!(world.roots(&["list"]).contains("mounted"));

    exports.rest_after(Duration::ZERO);
    assert!(world.roots(&["reset", ONE, "--now"]).contains("is reset"));
    while exports.find(id).is_err_and(|error| error == Absent::NotYet) {}
    assert_eq!(exports.find(id).unwrap_err(), Absent::Unknown);
    let new = exports.mount(&Path::new("/").join(ONE), address).unwrap();
    assert_ne!(new.id, id);
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn the_other_modes() {
    let world = World::new();
    let before = world.base_image();
    let server = world.serve(&["--nfs-mode", "shared-ro"]);
    let line = world.two.get(&format!("{TWO}/cmdline.txt"));
    assert!(line.contains("nfsroot=10.77.2.1:/,vers=3,"), "{line}");
    assert!(
        line.contains(" ro ip=dhcp rootwait overlayroot=tmpfs systemd.hostname=kitchen systemd.machine_id="),
        "{line}"
    );
    assert_eq!(
        world.two.get(&format!("{TWO}/config.txt")),
        "arm_64bit=1\nauto_initramfs=1\n",
        "it takes the initramfs"
    );
    assert!(world.two.list("etc").is_err(), "it has no kernel yet");
    world.two.get(&format!("{TWO}/kernel8.img"));
    assert!(world.two.list("etc").unwrap().contains(" motd"));
    assert!(world.two.put("mine", "etc/mine").is_err());
    assert!(world.intruder.list("etc").is_err());
    let said = server.stop();
    assert!(said.contains("has no overlayroot"), "{said}");
    assert_eq!(world.base_image(), before);

    let mut server = world.serve(&["--nfs-mode", "rw"]);
    world.one.boot(ONE);
    world.two.boot(TWO);
    world.one.put("mine", "etc/mine").unwrap();
    assert!(world.two.list("etc").is_err());
    let said = server.line("may not mount", SOON);
    assert!(said.contains(&format!("one tree for one Pi, and {ONE} has it")), "{said}");
    assert!(world.dir.path().join("images/one/root/etc/mine").exists());
    server.stop();
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn a_tree_that_was_not_imported() {
    let world = World::new();
    let root = world.path("images/one/root");
    let state = world.path("state");
    let server = world.serve_nothing(&["--nfs", &root, "--state", &state]);
    // Its boot files are where systems have them.
    let line = world.one.get(&format!("{ONE}/cmdline.txt"));
    let path = root_of(&line);
    assert!(path.starts_with(&format!("{ONE}-")), "{line}");
    world.one.get(&format!("{ONE}/kernel8.img"));
    assert!(world.one.list(&format!("{path}/etc")).unwrap().contains(" motd"));
    server.stop();
    // The tree changes beneath the layer, which is not as it should be.
    fs::write(world.dir.path().join("images/one/root/etc/changed"), "").unwrap();
    let mut server = world.serve_nothing(&["--nfs", &root, "--state", &state]);
    world.one.list(&format!("{ONE}/etc")).unwrap();
    server.expect("was changed after", SOON);
    server.stop();
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn what_is_missing_is_said_before_anything_is_served() {
    let world = World::new();
    let mut command = world.server.command("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        namespace::PINETBOOT,
        "serve",
        "--tftp-port",
        "0",
    ]);
    let (fine, said) = run(command.arg(world.dir.path()));
    assert!(!fine && !said.contains("ready"), "{said}");
    assert!(said.contains("CAP_SYS_ADMIN") && said.contains("--nfs-mode off"), "{said}");
    // A path that cannot be a layer's place.
    symlink("/proc", world.dir.path().join("nowhere")).unwrap();
    let mut command = world.server.command(namespace::PINETBOOT);
    command
        .args(["serve", "--tftp-port", "0", "--state"])
        .arg(world.dir.path().join("nowhere"))
        .arg(world.dir.path());
    let (fine, said) = run(&mut command);
    assert!(!fine && said.contains("Name another directory with --state DIR"), "{said}");
}

/// In another namespace: what [`world::Pi::ask`] wants to know.
#[test]
#[ignore = "called by the others"]
fn ask() {
    if let Some(part) = part() {
        client::ask(&part);
    }
}

/// The path of the root that a command line names, without the slash in front.
fn root_of(line: &str) -> String {
    let (_, root) = line.split_once(":/").unwrap();
    root.split(',').next().unwrap().to_owned()
}
