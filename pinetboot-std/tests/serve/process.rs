//! Being ready, reading the configuration, ending.

use std::net::UdpSocket;

use nix::sys::signal::Signal;
use pinetboot_core::tftp::Options;

use crate::common::{Folder, Peer, Process, Serving, fetch, pinetboot, run};

#[test]
fn the_ready_line_names_every_address() {
    let tree = Folder::tree(&[("file", b"content")]);
    let mut command = pinetboot();
    command.args(["serve", "--listen", "127.0.0.1", "--listen", "127.0.0.2", "--tftp-port", "0"]).arg(&tree);
    let serving = Serving::start_as(&mut command);
    let [first, second] = serving.addresses[..] else { panic!("{}", serving.ready) };
    assert_eq!(first.ip().to_string(), "127.0.0.1");
    assert_eq!(second.ip().to_string(), "127.0.0.2");
    for address in [first, second] {
        assert_ne!(address.port(), 0);
        assert_eq!(fetch(address, "file", Options::RASPBERRY_PI).unwrap(), b"content");
    }
    assert!(serving.ready.ends_with(&format!("serving {}", tree.path().display())), "{}", serving.ready);
    assert!(serving.ready.contains("a port for each transfer"), "{}", serving.ready);
    let single = Serving::start(&tree, &["--single-port"]);
    assert!(single.ready.contains("(single port)"), "{}", single.ready);
}

#[test]
fn standard_output_is_the_ready_line_alone() {
    let tree = Folder::new(&[("file", b"content")]); // warned of: no config.txt
    let serving = Serving::start(&tree, &["-vv"]);
    fetch(serving.address(), "file", Options::default()).unwrap();
    fetch(serving.address(), "missing", Options::default()).unwrap_err();
    let ready = format!("{}\n", serving.ready);
    serving.signal(Signal::SIGTERM);
    let ended = serving.wait();
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), ready);
}

#[test]
fn sigterm_and_sigint_end_every_transfer_and_the_process_well() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        for options in [&[][..], &["--single-port"]] {
            let tree = Folder::tree(&[("file", &[0; 2000])]);
            let serving = Serving::start(&tree, options);
            let (mut one, mut two) = (Peer::of(serving.address()), Peer::of(serving.address()));
            one.exchange("RRQ file octet", "DATA 1 +512");
            two.exchange("RRQ file octet blksize=1000", "OACK blksize=1000");
            two.exchange("ACK 0", "DATA 1 +1000");
            serving.signal(signal);
            for peer in [&mut one, &mut two] {
                let farewell = peer.hear();
                assert!(farewell.starts_with("ERROR 0 "), "{farewell}");
            }
            let ended = serving.wait();
            assert_eq!(ended.code, Some(0), "{signal}: {}", ended.log);
            assert!(ended.log.contains("stopped, open transfers ended: 2"), "{}", ended.log);
        }
    }
}

#[test]
fn sighup_reads_the_configuration_again() {
    let old = Folder::tree(&[("file", &[b'o'; 1000])]);
    let new = Folder::tree(&[("file", &[b'n'; 1000])]);
    let uploads = Folder::new(&[]);
    let written = Folder::new(&[]);
    let write = |text: &str| written.write("pinetboot.toml", text.as_bytes());
    let address = "listen = ['127.0.0.1']\ntftp-port = 0\n";
    let (tree, directory) = (old.path().display(), uploads.path().display());
    write(&format!("{address}tree = '{tree}'\nallow-upload = '{directory}'"));
    let serving =
        Serving::start_as(pinetboot().args(["serve", "--config"]).arg(written.join("pinetboot.toml")));
    let reload = |wait_for: &str| {
        serving.signal(Signal::SIGHUP);
        serving.wait_for_log(wait_for)
    };
    let content = || fetch(serving.address(), "file", Options::default()).unwrap();
    assert_eq!(content(), [b'o'; 1000]);

    // A transfer under way goes on with what it has opened.
    let mut peer = Peer::of(serving.address());
    peer.say("RRQ file octet");
    assert_eq!(peer.hear_data(1), [b'o'; 512]);
    write(&format!("{address}tree = '{}'", new.path().display()));
    reload(&format!("serving {}", new.path().display()));
    assert_eq!(content(), [b'n'; 1000]);
    peer.say("ACK 1");
    assert_eq!(peer.hear_data(2), [b'o'; 488]);
    peer.say("ACK 2");

    // An invalid configuration is reported, and changes nothing.
    write("tree = 'x'\nports = 7");
    let complaint = reload("configuration not reloaded");
    assert!(complaint.contains("ERROR"), "{complaint}");
    serving.wait_for_log("unknown key ports");
    assert_eq!(content(), [b'n'; 1000]);
    write(&format!("{address}tree = '{}'", uploads.path().display()));
    reload("is empty");
    assert_eq!(content(), [b'n'; 1000]);

    // Uploads change at once, a directory that the sandbox did not leave to the server aside; a change of the address is
    // reported to need a restart.
    let tree = new.path().display();
    write(&format!("{address}tree = '{tree}'"));
    reload("configuration reloaded");
    let mut peer = Peer::of(serving.address());
    peer.exchange("WRQ up octet", "ERROR 2 access denied");
    write(&format!("{address}tree = '{tree}'\nallow-upload = '{}'", old.path().display()));
    reload("outside of the directories");
    write(&format!(
        "{address}tree = '{tree}'\nallow-upload = '{}'\nsingle-port = true",
        uploads.path().display()
    ));
    reload("require a restart");
    let mut peer = Peer::of(serving.address());
    peer.exchange("WRQ up octet", "ACK 0");
    peer.exchange("DATA 1 +3", "ACK 1");
    assert_eq!(uploads.read("up"), [0; 3]);
    serving.stop();
}

#[test]
fn a_tree_that_is_replaced_is_served_without_a_signal() {
    let tree = Folder::tree(&[("file", b"old")]);
    let serving = Serving::start(&tree, &[]);
    let moved = Folder::new(&[]);
    std::fs::rename(tree.path(), moved.join("away")).unwrap();
    // Until its path leads to another one, the open tree is served.
    let content = || fetch(serving.address(), "file", Options::default()).unwrap();
    while !serving.log().contains("the server goes on with the directory that it opened") {
        assert_eq!(content(), b"old");
    }
    tree.write("file", b"new");
    while content() != b"new" {}
    serving.wait_for_log("it is served from here on");
    serving.stop();
}

#[test]
fn the_command_line_overrides_the_file() {
    let (written, typed) = (Folder::tree(&[("name", b"written")]), Folder::tree(&[("name", b"typed")]));
    let text = format!(
        "tree = '{}'\nlisten = ['127.0.0.3']\ntftp-port = 0\nsingle-port = true\nlog-format = 'json'\n",
        written.path().display()
    );
    let folder = Folder::new(&[("pinetboot.toml", text.as_bytes())]);
    let serve = |arguments: &[&str]| {
        let mut command = pinetboot();
        command.args(["serve", "--config"]).arg(folder.join("pinetboot.toml")).args(arguments);
        Serving::start_as(&mut command)
    };

    // All that is written holds, a switch too that is not typed.
    let serving = serve(&[]);
    assert_eq!(serving.address().ip().to_string(), "127.0.0.3");
    assert!(serving.ready.contains("(single port)"), "{}", serving.ready);
    assert_eq!(fetch(serving.address(), "name", Options::default()).unwrap(), b"written");
    assert!(serving.stop().starts_with('{'), "log lines are JSON");

    let tree = typed.path().to_str().unwrap();
    let serving = serve(&[tree, "--listen", "127.0.0.4", "--single-port=false", "--log-format", "text"]);
    assert_eq!(serving.address().ip().to_string(), "127.0.0.4");
    assert!(serving.ready.contains("a port for each transfer"), "{}", serving.ready);
    assert_eq!(fetch(serving.address(), "name", Options::default()).unwrap(), b"typed");
    assert!(!serving.stop().starts_with('{'), "log lines are text");
}

#[test]
fn what_keeps_it_from_serving_is_said_with_an_exit_code() {
    let empty = Folder::new(&[]);
    let tree = Folder::tree(&[("file", b"")]);
    let wrong = |name: &str, text: &str| {
        tree.write(name, text.as_bytes());
        tree.join(name).to_str().unwrap().to_owned()
    };
    let unknown = wrong("unknown.toml", "tftp_port = 1");
    let typed = wrong("typed.toml", "tftp-port = 'sixty-nine'");
    let broken = wrong("broken.toml", "tree = ");
    let (tree, empty) = (tree.path().to_str().unwrap(), empty.path().to_str().unwrap());
    let file = &format!("{tree}/file");
    // The only image was removed by hand.
    let images = Folder::tree(&[("state/pis/bd989ae1/identity/ssh_host_ed25519_key", b"")]);
    let images = images.path().to_str().unwrap();
    for (arguments, code, said) in [
        (&[][..], 2, &["no tree"][..]),
        (&["--bogus", tree], 2, &["--bogus"]),
        (&["--listen", "nowhere", tree], 2, &["nowhere", "--listen"]),
        (&["--tftp-port", "65536", tree], 2, &["65536"]),
        (&["--log-format", "xml", tree], 2, &["text, json"]),
        (&["--max-transfers", "0", tree], 2, &["1 to 4096"]),
        (&["--max-transfers", "4097", tree], 2, &["1 to 4096"]),
        (&["--config", "/missing.toml"], 2, &["/missing.toml", "No such file"]),
        (&["--config", &unknown], 2, &["unknown.toml", "line 1", "unknown key tftp_port", "tftp-port"]),
        (&["--config", &typed], 2, &["typed.toml", "line 1"]),
        (&["--config", &broken], 2, &["broken.toml", "line 1"]),
        (&["--listen", "192.0.2.77", "--tftp-port", "0", tree], 3, &["192.0.2.77", "ip addr"]),
        (&["/missing"], 4, &["/missing", "No such file"]),
        (&[empty], 4, &[empty, "is empty", "config.txt"]),
        (&[file], 4, &[file, "not a directory", "not the image"]),
        (&[images], 4, &[images, "state", "pinetboot images", "serve another directory"]),
        (&["--allow-upload", "/missing", tree], 4, &["/missing", "No such file"]),
    ] {
        let ended = run([&["serve"], arguments].concat());
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.log);
        assert_eq!(ended.stdout, b"", "{arguments:?}");
        for word in said {
            assert!(ended.log.contains(word), "{arguments:?}: {word:?} is not in: {}", ended.log);
        }
    }
}

#[test]
fn a_tree_without_config_txt_is_served_with_a_warning() {
    let lone = Folder::new(&[("kernel8.img", b"kernel")]);
    let serving = Serving::start(&lone, &[]);
    fetch(serving.address(), "kernel8.img", Options::default()).unwrap();
    let warning = serving.wait_for_log("config.txt");
    assert!(warning.contains("WARN") && warning.contains(lone.path().to_str().unwrap()), "{warning}");
    serving.stop();

    let own = Folder::new(&[("7bf18f79/config.txt", b"")]);
    let log = Serving::start(&own, &[]).stop();
    assert!(!log.contains("config.txt"), "{log}");
}

#[test]
fn the_process_that_holds_the_port_is_named() {
    let tree = Folder::tree(&[]);
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let ended = run(["serve", "--listen", "127.0.0.1", "--tftp-port", &port, tree.path().to_str().unwrap()]);
    assert_eq!(ended.code, Some(3), "{}", ended.log);
    for word in [&format!("(pid {})", std::process::id()), "--tftp-port", &format!("127.0.0.1:{port}")] {
        assert!(ended.log.contains(word), "{word:?} is not in: {}", ended.log);
    }
}

#[test]
fn help_shows_the_options_and_the_exit_codes() {
    let ended = run(["serve", "--help"]);
    assert_eq!(ended.code, Some(0));
    let help = String::from_utf8(ended.stdout).unwrap();
    for option in
        ["--listen", "--tftp-port", "--single-port", "--interface", "--max-transfers", "--allow-upload"]
    {
        assert!(help.contains(option), "{option}: {help}");
    }
    let help = String::from_utf8(run(["--help"]).stdout).unwrap();
    assert!(help.contains("Exit codes"), "{help}");
    assert_eq!(run(["--version"]).code, Some(0));
    let ended = Process::start(&mut pinetboot()).wait();
    assert_eq!(ended.code, Some(2), "without a command: {}", ended.log);
}
