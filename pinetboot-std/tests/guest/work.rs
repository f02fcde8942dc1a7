//! Two Debians from an image file, which go on through a server that dies.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::namespace::{Namespace, PINETBOOT, Process, SOON};
use crate::shell::Shell;

/// Imports the image, serves it, and lets two machines work, which `boot` boots and logs in to. Returns the files.
pub(crate) fn an_image_outlives_the_server<'a>(
    network: &'a Namespace,
    image: &str,
    boot: impl FnOnce(&'a Namespace) -> [Shell; 2],
) {
    let files = tempfile::tempdir().unwrap();
    let began = Instant::now();
    import(image, files.path());
    println!("imported in {:.1} s", began.elapsed().as_secs_f64());

    let server = network.serve(files.path(), &OPTIONS);

    let began = Instant::now();
    let [mut one, mut other] = boot(network);
    println!("two machines are logged in to after {:.1} s", began.elapsed().as_secs_f64());
    for guest in [&mut one, &mut other] {
        let (_, state) = guest.try_run("systemctl is-system-running --wait", MINUTES);
        let failed = guest.run("systemctl list-units --failed --plain --no-legend", SOON);
        assert_eq!((state.trim(), failed.trim()), ("running", ""));
        guest.run("findmnt /boot/firmware", SOON);
    }

    // When the server is killed, one machine installs a package and the other writes.
    one.start("apt-get update && apt-get install --yes --no-install-recommends git");
    other.start(
        "cd /root; head -c 50000000 /dev/urandom | tee big | md5sum >sum; \
         seq 20000 | while read i; do echo line $i; done | tee lines | tail -n 1",
    );
    one.expect("Unpacking git-man", MINUTES);
    let began = Instant::now();
    drop(server); // by SIGKILL
    let _server = network.serve(files.path(), &OPTIONS);
    println!("killed and started again within {:.1} s", began.elapsed().as_secs_f64());
    let (status, said) = one.finish(MINUTES);
    assert_eq!(status, 0, "{said}");
    let (status, said) = other.finish(MINUTES);
    assert_eq!((status, said.as_str()), (0, "line 20000"));
    println!("both went on, and were done {:.1} s later", began.elapsed().as_secs_f64());

    other.run("sync; echo 3 >/proc/sys/vm/drop_caches; cd /root; md5sum <big | cmp - sum", MINUTES);
    other.run("cd /root; seq -f 'line %g' 20000 | cmp - lines", MINUTES);
    one.run(
        "sync; echo 3 >/proc/sys/vm/drop_caches; dpkg --verify git git-man && ! dpkg --audit | grep .",
        MINUTES,
    );
    one.run("cd /root && git init -q one && cd one && cp -a /usr/share/perl5 /etc . && git add .", MINUTES);
    one.run("cd /root/one && git -c user.name=a -c user.email=a@b commit -q -m all && git gc -q", MINUTES);
    one.run("cd /root && git clone -q one two && git -C two fsck && diff -r one/perl5 two/perl5", MINUTES);
    let (status, _) = other.try_run("test -e /usr/bin/git || test -e /root/one", SOON);
    assert_ne!(status, 0, "the other has nothing of it");

    thread::scope(|scope| {
        scope.spawn(|| one.power_off("poweroff"));
        other.power_off("poweroff");
    });
    let base_image = fs::canonicalize(files.path().join("current/root")).unwrap();
    for file in ["usr/bin/git", "root/big"] {
        assert!(!base_image.join(file).exists(), "{file} is in the tree that both share");
    }
}

/// Imports the Debian in the image that a variable of the environment names.
pub(crate) fn import(image: &str, to: &Path) {
    let image = env::var_os(image).unwrap_or_else(|| panic!("{image} is not set: .ci/run makes the image"));
    let mut command = Command::new(PINETBOOT);
    // An emulated machine has a boot loader of its own, and no Pi boots from this image.
    command.arg("import").arg(image).arg("--to").arg(to).arg("--current");
    let (status, said) = Process::start(command).finish(MINUTES);
    assert!(status.success(), "{said}");
}

/// The time limit of work that takes two emulated machines a minute or two.
pub(crate) const MINUTES: Duration = Duration::from_secs(420);

/// Of `pinetboot serve`, on a network with the server's interface `lan`.
pub(crate) const OPTIONS: [&str; 6] = ["--dhcp", "lease", "--dhcp-clients", "all", "--interface", "lan"];
