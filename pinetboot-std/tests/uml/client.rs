//! A kernel's NFS client on a root from our server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use super::machine::{MINUTES, ROOT, Uml, succeed};
use super::{load, posix};
use crate::namespace::{Namespace, Process, SOON, part};
use crate::shell::Shell;

#[test]
#[ignore = "needs root, network namespaces, overlayfs and user-mode Linux; run by .ci/run"]
fn two_kernels_share_a_tree_and_see_nothing_of_each_other() {
    let world = World::new("share");
    let server = world.serve();
    let began = Instant::now();
    let mut one = Uml::boot_as(&world.network, 0, SERIALS[0]);
    let mut other = Uml::boot_as(&world.network, 1, SERIALS[1]);
    println!("two machines have their roots after {:.1} s", began.elapsed().as_secs_f64());

    // The same names, so that any mix-up shows.
    for (machine, serial) in [(&mut one, SERIALS[0]), (&mut other, SERIALS[1])] {
        let shell = &mut machine.shell;
        assert_eq!(shell.run("cd /mnt/root; cat etc/motd; ls home", SOON), "base");
        shell.run(&format!("cd /mnt/root/home; echo I am {serial} >mine; touch {serial}; sync"), SOON);
        shell.run(&format!("echo changed by {serial} >/mnt/root/etc/motd"), SOON);
    }
    one.shell.run(
        "cd /mnt/root; rm etc/rules; mv srv/data srv/moved; mknod home/node c 1 3; ln home/mine home/link",
        SOON,
    );
    other.shell.run("cd /mnt/root; chmod 4700 etc/rules; rm -r srv/data", SOON);
    let look = "cd /mnt/root; cat home/mine etc/motd; echo home/* srv/*";
    let said =
        |serial: &str, names: &str| format!("I am {serial}\nchanged by {serial}\nhome/{serial} {names}");
    let of_one = said(SERIALS[0], "home/link home/mine home/node srv/moved");
    assert_eq!(one.shell.run(look, SOON), of_one);
    assert_eq!(other.shell.run(look, SOON), said(SERIALS[1], "home/mine srv/*"));
    one.shell.run("cd /mnt/root; ! test -e etc/rules && test -c home/node", SOON);
    other.shell.run("test -u /mnt/root/etc/rules", SOON);

    // The same files by a new mount, from a server that was started again.
    one.shell.run("umount /mnt/root", SOON);
    let log = server.stop();
    assert!(!log.contains("ERROR"), "{log}");
    world.is_unchanged();
    let _server = world.serve();
    one.mount();
    assert_eq!(one.shell.run(look, SOON), of_one);
    assert_eq!(one.shell.run("cat /mnt/root/srv/moved/file", SOON), "content");
    println!("all in {:.1} s", began.elapsed().as_secs_f64());
}

/// In the machine: the tests of [`posix`].
#[test]
#[ignore = "needs root, network namespaces, overlayfs and user-mode Linux; run by .ci/run"]
fn a_root_keeps_to_posix() {
    if part().is_some() {
        return posix::check(&Path::new(ROOT).join("home"));
    }
    let world = World::new("posix");
    let server = world.serve();
    let mut machine = Uml::boot_as(&world.network, 0, SERIALS[0]);
    machine.start("uml::client::a_root_keeps_to_posix", "client");
    println!("{}", machine.finish(MINUTES));
    let log = server.stop();
    assert!(!log.contains("ERROR"), "{log}");
}

/// In the machine: the work of [`load`].
#[test]
#[ignore = "needs root, network namespaces, overlayfs and user-mode Linux; run by .ci/run"]
fn nothing_is_lost_when_the_server_is_killed() {
    if part().is_some() {
        return load::run(Path::new(ROOT));
    }
    let world = World::new("killed");
    let mut server = world.serve();
    let mut machine = Uml::boot_as(&world.network, 0, SERIALS[0]);
    // With so little memory for what is not written yet, the machine waits for the server nearly always.
    machine
        .shell
        .run("cd /proc/sys/vm; echo 500000 >dirty_background_bytes; echo 2000000 >dirty_bytes", SOON);
    let began = Instant::now();
    machine.start("uml::client::nothing_is_lost_when_the_server_is_killed", "client");
    for at in 1..=KILLS {
        machine.shell.expect(&format!("[{}]", at * load::ROUNDS / (KILLS + 1)), MINUTES);
        drop(server); // by SIGKILL
        server = world.serve();
        println!("killed, and started again, {:.1} s after the start", began.elapsed().as_secs_f64());
    }
    let said = machine.finish(MINUTES);
    println!(
        "{}; {:.1} s",
        said.lines().find(|line| line.ends_with(" right")).unwrap(),
        began.elapsed().as_secs_f64()
    );
    let log = server.stop();
    assert!(!log.contains("ERROR"), "{log}");
}

/// A directory that gets another number is another directory to the kernel: its programs get ESTALE, and mounts in it are lost.
#[test]
#[ignore = "needs root, network namespaces, overlayfs and user-mode Linux; run by .ci/run"]
fn a_kernel_goes_on_with_tree_and_state_on_two_file_systems() {
    let world = World::new("disks");
    let state = world.files.path().join("state");
    fs::create_dir(&state).unwrap();
    let _disk = Mounted::tmpfs(&state);
    let server = world.serve();
    let mut machine = Uml::boot_as(&world.network, 0, SERIALS[0]);
    let shell = &mut machine.shell;
    shell.run("mount -t tmpfs tmpfs /mnt/root/home && touch /mnt/root/home/there", SOON);
    start_within(shell, "/mnt/root/srv/data");
    within(shell, "echo mine >mine; ls -di . .. ../../etc ../../boot >/run/before");
    drop(server); // by SIGKILL
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    let _server = world.serve();
    shell.run("echo 2 >/proc/sys/vm/drop_caches; test -e /mnt/root/home/there", SOON);
    assert_eq!(within(shell, "cat file mine; mkdir new; ls"), "content\nmine\nfile\nmine\nnew");
    within(shell, "ls -di . .. ../../etc ../../boot >/run/after");
    shell.run("cmp /run/before /run/after", SOON);
    assert_eq!(shell.run("dmesg | grep -c 'fileid changed' || true", SOON), "0");
}

#[test]
#[ignore = "needs root, network namespaces, overlayfs and user-mode Linux; run by .ci/run"]
fn a_kernel_goes_on_while_its_server_moves_and_boots_from_a_copy() {
    let world = World::new("moved");
    let at = |name: &str| world.files.path().join(name);
    let server = world.serve();
    let mut machine = Uml::boot_as(&world.network, 0, SERIALS[0]);
    let shell = &mut machine.shell;
    start_within(shell, "/mnt/root/srv/data");
    within(shell, "echo mine >mine; rm file; mv ../../etc ../../etc2; sync");
    server.stop();
    fs::create_dir(at("moved")).unwrap();
    for part in ["base", "state"] {
        fs::rename(at(part), at("moved").join(part)).unwrap();
    }
    let server = world.serve_at(&at("moved"));
    assert_eq!(
        within(shell, "echo >>mine; cat mine; ls . ../../etc2"),
        "mine\n\n.:\nmine\n\n../../etc2:\nmotd\nrules"
    );
    within(shell, "exit");
    shell.run("umount /mnt/root", SOON);
    server.stop();

    let mut copy = Command::new("cp");
    copy.arg("-a").arg(at("moved")).arg(at("copy"));
    succeed(copy);
    fs::remove_dir_all(at("moved")).unwrap();
    let mut server = world.serve_at(&at("copy"));
    machine.mount();
    server.expect("adopted", SOON);
    let look = "cd /mnt/root/srv/data; cat mine; ls . ../../etc2";
    assert_eq!(machine.shell.run(look, SOON), "mine\n\n.:\nmine\n\n../../etc2:\nmotd\nrules");
    let log = server.stop();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

/// Starts a program whose directory this is.
fn start_within(shell: &mut Shell, directory: &str) {
    let work = "while read line </run/in; do eval \"$line\" >/run/out 2>&1; done";
    shell.run(
        &format!("mkfifo /run/in /run/out; (cd {directory}; {work}) </dev/null >/dev/null 2>&1 &"),
        SOON,
    );
}

/// Lets that program do this; returns its output.
fn within(shell: &mut Shell, command: &str) -> String {
    shell.run(&format!("echo '{command}' >/run/in; cat /run/out"), SOON)
}

/// A file system that is mounted until this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: &Path) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "tmpfs"]).arg(at);
        succeed(mount);
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

/// A network with the server's interface `lan`, on which are two machines, and a tree for them.
struct World {
    network: Namespace,
    files: TempDir,
}

impl World {
    fn new(role: &str) -> Self {
        let network = Namespace::new(role);
        network.tap("tap0");
        network.tap("tap1");
        network.bridge("lan", &["tap0", "tap1"]);
        network.address("lan", "10.77.0.1/24");
        let files = tempfile::tempdir().unwrap();
        for (name, content) in TREE {
            let path = files.path().join("base").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::create_dir(files.path().join("base/home")).unwrap();
        Self { network, files }
    }

    fn serve(&self) -> Process {
        self.serve_at(self.files.path())
    }

    /// Serves the tree in this directory, with the state beside it.
    fn serve_at(&self, dir: &Path) -> Process {
        let state = dir.join("state");
        self.network.serve(&dir.join("base"), &["--state", state.to_str().unwrap(), "--nfs"])
    }

    /// Whether the tree that all share has the files that it had at first.
    fn is_unchanged(&self) {
        let base = self.files.path().join("base");
        let found = walkdir::WalkDir::new(&base).into_iter().map(Result::unwrap);
        let found = found.filter(|entry| !entry.file_type().is_dir()).map(|entry| entry.into_path());
        assert_eq!(found.collect::<BTreeSet<_>>(), BTreeSet::from(TREE.map(|(name, _)| base.join(name))));
        for (name, content) in TREE {
            assert_eq!(fs::read_to_string(base.join(name)).unwrap(), content);
        }
    }
}

const TREE: [(&str, &str); 6] = [
    ("boot/firmware/config.txt", "arm_64bit=1\n"),
    ("boot/firmware/cmdline.txt", "console=tty1 root=PARTUUID=1-02 rootfstype=ext4 rootwait\n"),
    ("boot/firmware/kernel8.img", "kernel"),
    ("etc/motd", "base\n"),
    ("etc/rules", "none\n"),
    ("srv/data/file", "content\n"),
];
const SERIALS: [&str; 2] = ["5e9f2a01", "5e9f2a02"];
const KILLS: u32 = 2;
