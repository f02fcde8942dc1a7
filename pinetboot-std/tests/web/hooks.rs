//! `on-event`: a program gets each verdict.

use std::fs;
use std::io::Read;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::common::{Folder, Serving};

#[test]
fn a_verdict_is_told_to_a_program() {
    let tree = Folder::new(&[("config.txt", b"arm_64bit=1\n"), ("kernel8.img", &[7; 3_000_000])]);
    let place = Folder::new(&[]);
    // The server's user may be another one than the test's.
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let (told, control) = (place.join("told"), place.join("control"));
    mkfifo(&told, Mode::S_IRWXU).unwrap();
    fs::set_permissions(&told, fs::Permissions::from_mode(0o666)).unwrap();
    let mut options = vec!["--boot-clock", "100", "--control", control.to_str().unwrap()];
    for word in ["/bin/sh", "-c", "cat > \"$0\"", told.to_str().unwrap()] {
        options.extend(["--on-event", word]);
    }
    let serving = Serving::start(tree.path(), &options);

    // A Pi that stops in the middle of a file (RFC 1350): the first blocks, and no further acknowledgement.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.send_to(b"\0\x01bd989ae1/kernel8.img\0octet\0", serving.address()).unwrap();
    let mut packet = [0; 600];
    for block in 1..=100_u8 {
        let (_, peer) = socket.recv_from(&mut packet).unwrap();
        socket.send_to(&[0, 4, 0, block], peer).unwrap();
    }
    let mut text = String::new();
    fs::File::open(&told).unwrap().read_to_string(&mut text).unwrap();
    let event: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in
        [("event", "stuck"), ("pi", "bd989ae1"), ("boot", "bd989ae1.1"), ("address", "127.0.0.1")]
    {
        assert_eq!(event[key], value, "{event:#}");
    }
    assert!(event["schema"] == 1 && event["verdict"]["rules"][0].is_u64(), "{event:#}");
    assert!(event["verdict"]["causes"][0].is_string() && event["at"].is_string(), "{event:#}");
    let log = serving.stop();
    assert!(!log.contains("on-event"), "{log}");
}

#[test]
fn a_target_without_sense_is_refused() {
    let tree = Folder::new(&[("config.txt", b"")]);
    for (target, why) in [
        (&["ftp://example.net/"][..], "begins with https:// or http://"),
        (&["https://example.net/", "x"], "name one address"),
        (&["a\nb"], "control character"),
    ] {
        let mut arguments = vec!["serve", "--check", tree.path().to_str().unwrap()];
        target.iter().for_each(|word| arguments.extend(["--on-event", word]));
        let ended = crate::common::run(arguments);
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        assert!(ended.log.contains(why), "{}", ended.log);
    }
}
