//! Boot files made for single Pis, and left alone for the others.

use pinetboot_core::tftp::{Options, Outcome};

use crate::common::{Folder, Peer, Serving, fetch, pinetboot};

const TEMPLATE: &[u8] = b"host={hostname} s={serial} at={server} other={braces}\n";

fn serve(tree: &Folder, settings: &str) -> (Serving, Folder) {
    let text = format!("tree = '{}'\nlisten = '127.0.0.1'\ntftp-port = 0\n{settings}", tree.path().display());
    let written = Folder::new(&[("pinetboot.toml", text.as_bytes())]);
    let mut command = pinetboot();
    let serving =
        Serving::start_as(command.args(["serve", "-v", "--config"]).arg(written.join("pinetboot.toml")));
    (serving, written)
}

fn text(serving: &Serving, name: &str) -> String {
    String::from_utf8(fetch(serving.address(), name, Options::RASPBERRY_PI).unwrap()).unwrap()
}

#[test]
fn values_are_filled_in_for_each_pi() {
    let tree = Folder::tree(&[
        ("user-data", TEMPLATE),
        ("cmdline.txt", b"console=tty1 {hostname}"),
        ("as-it-is", TEMPLATE),
    ]);
    let (serving, _written) = serve(
        &tree,
        "[template]\nfiles = ['user-data']\n[pi.0c8f7e5c0badcaf1]\nname = 'kitchen'\ncmdline-extra = 'cma=64M'\n",
    );
    assert_eq!(text(&serving, "0badcaf1/user-data"), "host=kitchen s=0badcaf1 at=127.0.0.1 other={braces}\n");
    assert_eq!(text(&serving, "0badcaf1//cmdline.txt"), "console=tty1 kitchen cma=64M\n");
    assert_eq!(
        text(&serving, "0badcaf2/user-data"),
        "host=pi-0badcaf2 s=0badcaf2 at=127.0.0.1 other={braces}\n"
    );
    assert_eq!(text(&serving, "0badcaf2/cmdline.txt"), "console=tty1 pi-0badcaf2");
    assert_eq!(text(&serving, "0badcaf1/as-it-is").as_bytes(), TEMPLATE);
    let log = serving.stop();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn the_old_name_of_a_setting_is_read_with_one_warning() {
    let tree = Folder::tree(&[("cmdline.txt", b"quiet")]);
    let (serving, _written) =
        serve(&tree, "[pi.0badcaf1]\nwords = 'cma=64M'\n[pi.0badcaf2]\nwords = 'cma=32M'\n");
    assert_eq!(text(&serving, "0badcaf1/cmdline.txt"), "quiet cma=64M\n");
    assert_eq!(text(&serving, "0badcaf2/cmdline.txt"), "quiet cma=32M\n");
    let log = serving.stop();
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("the setting words is now named cmdline-extra"), "{log}");
}

#[test]
fn the_length_is_that_of_what_is_sent() {
    let tree = Folder::tree(&[("cmdline.txt", b"{serial}{serial}")]);
    let (serving, _written) = serve(&tree, "");
    let mut peer = Peer::of(serving.address());
    peer.exchange("RRQ 0badcaf1/cmdline.txt octet tsize=0", "OACK tsize=16");
    peer.exchange("ACK 0", "DATA 1 +16");
    peer.say("ACK 1");
    serving.stop();
}

#[test]
fn one_boot_sees_one_version_and_the_next_the_new_one() {
    let tree = Folder::tree(&[("cmdline.txt", b"old {serial}"), ("kernel8.img", &[0; 2000])]);
    let (serving, _written) = serve(&tree, "");
    assert_eq!(text(&serving, "0badcaf1/cmdline.txt"), "old 0badcaf1");
    // As long as something is being sent, its boot goes on.
    let mut kernel = Peer::of(serving.address());
    kernel.exchange("RRQ 0badcaf1/kernel8.img octet", "DATA 1 +512");
    tree.write("cmdline.txt", b"new {serial}");
    assert_eq!(text(&serving, "0badcaf1/cmdline.txt"), "old 0badcaf1");
    // Another Pi begins its boot now.
    assert_eq!(text(&serving, "0badcaf2/cmdline.txt"), "new 0badcaf2");
    assert_eq!(text(&serving, "0badcaf1/cmdline.txt"), "new 0badcaf1");
    serving.stop();
}

#[test]
fn a_pi_may_have_a_tree_elsewhere() {
    let tree = Folder::tree(&[("kernel8.img", b"shared")]);
    let own = Folder::tree(&[("kernel8.img", b"own")]);
    let (serving, written) = serve(&tree, &format!("[pi.0badcaf1]\ntree = '{}'\n", own.path().display()));
    assert_eq!(text(&serving, "0badcaf1/kernel8.img"), "own");
    assert_eq!(text(&serving, "0badcaf2/kernel8.img"), "shared");
    // A Pi that has dropped its prefix in the middle of a boot keeps its identity.
    assert_eq!(text(&serving, "0badcaf1/config.txt"), "[all]\n");
    assert_eq!(text(&serving, "kernel8.img"), "own");
    // An invalid configuration is refused, and changes nothing.
    let config = String::from_utf8(written.read("pinetboot.toml")).unwrap();
    written.write("pinetboot.toml", config.replace("tree = '/", "tree = '/nowhere/").as_bytes());
    serving.signal(nix::sys::signal::Signal::SIGHUP);
    serving.wait_for_log("configuration not reloaded");
    assert_eq!(text(&serving, "0badcaf1/kernel8.img"), "own");
    serving.stop();
}

#[test]
fn without_a_root_to_offer_a_command_line_stays_unchanged() {
    let line: &[u8] = b"console=tty1 root=PARTUUID=1-02 rootwait resize\n";
    let tree = Folder::tree(&[("cmdline.txt", line)]);
    let serving = Serving::start(&tree, &[]);
    assert_eq!(text(&serving, "0badcaf1/cmdline.txt").as_bytes(), line);
    let missing = fetch(serving.address(), "0badcaf1/current/cmdline.txt", Options::default());
    assert!(matches!(missing, Err(Outcome::PeerError(_))), "{missing:?}");
    serving.stop();
}
