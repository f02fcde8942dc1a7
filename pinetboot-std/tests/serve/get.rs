//! `pinetboot get`: the whole file or none, and an exit code that says why.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::common::{Ended, Folder, Peer, Process, Serving, content, difference, pinetboot, run};

fn get(arguments: &[&str]) -> Ended {
    run([&["get"], arguments].concat())
}

/// Starts to get a file from a server that is moved by hand.
fn start(server: &Peer, output: &Path) -> Process {
    let url = format!("tftp://{}/file", server.address());
    Process::start(pinetboot().args(["get", &url, "-o"]).arg(output))
}

#[test]
fn a_file_comes_to_where_it_is_wanted() {
    let (long, own) = (content("long", 3_000_000), content("own", 1000));
    let tree = Folder::tree(&[("long", &long), ("a b/own", &own), ("empty", b"")]);
    for mode in [&[][..], &["--single-port"]] {
        let serving = Serving::start(&tree, mode);
        let folder = Folder::new(&[]);
        let output = folder.join("output");
        let output = output.to_str().unwrap();

        let ended = get(&[&serving.url("long"), "-o", output]);
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!(difference(&folder.read("output"), &long), None);
        assert_eq!(ended.stdout, b"");
        assert!(ended.log.contains("3.00 MB in "), "{}", ended.log);

        let ended = get(&[&serving.url("long"), "-o", "-", "-q", "--blksize", "512", "--windowsize", "1"]);
        assert_eq!((ended.code, &*ended.log), (Some(0), ""));
        assert_eq!(difference(&ended.stdout, &long), None);

        let ended = get(&[&serving.url("long"), "-o", "/dev/stdout", "--blksize", "65464", "-q"]);
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!(difference(&ended.stdout, &long), None);

        // The name is the URL's own if none is given, and %20 is a space.
        let mut command = pinetboot();
        let ended =
            Process::start(command.current_dir(folder.path()).args(["get", &serving.url("a%20b/own")]))
                .wait();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!(difference(&folder.read("own"), &own), None);

        let ended = get(&[&serving.url("empty"), "-o", output]);
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!(folder.read("output"), b"", "an existing file is replaced");
        assert_eq!(folder.names(), ["output", "own"]);
        let mode = fs::metadata(output).unwrap().permissions().mode();
        fs::write(folder.join("any"), b"").unwrap();
        let any = fs::metadata(folder.join("any")).unwrap().permissions().mode();
        assert_eq!(mode, any, "as any program would make it");
        serving.stop();
    }
}

#[test]
fn get_asks_with_the_given_options() {
    let folder = Folder::new(&[]);
    let output = folder.join("output");
    for (options, request) in [
        (&[][..], "RRQ file octet tsize=0 blksize=1468 windowsize=16"),
        (&["--blksize", "8", "--windowsize", "1000"], "RRQ file octet tsize=0 blksize=8 windowsize=1000"),
        (&["--blksize", "65464", "--windowsize", "1"], "RRQ file octet tsize=0 blksize=65464"),
    ] {
        let mut server = Peer::listening();
        let url = format!("tftp://{}/file", server.address());
        let process = Process::start(pinetboot().args(["get", &url, "-q", "-o"]).arg(&output).args(options));
        assert_eq!(server.hear(), request);
        // A server that knows no options answers with the first block.
        server.exchange("DATA 1 +512", "ACK 1");
        server.exchange("DATA 2 +3", "ACK 2");
        assert_eq!(process.wait().code, Some(0));
        assert_eq!(folder.read("output"), [0; 515]);
    }
}

#[test]
fn what_goes_wrong_is_said_with_an_exit_code() {
    let tree = Folder::tree(&[("file", b"content")]);
    let serving = Serving::start(&tree, &[]);
    let folder = Folder::new(&[]);
    let output = folder.join("output");
    let output = output.to_str().unwrap();
    let (file, missing, outside) = (serving.url("file"), serving.url("missing"), serving.url("../x"));
    let no_directory = folder.join("no/directory");
    for (arguments, code, said) in [
        (&[&*missing, "-o", output][..], 6, &[&*missing, "the server refused: file not found (error 1)"][..]),
        (&[&outside, "-o", output], 6, &["the name holds '..' (error 2)"]),
        (&["http://127.0.0.1/file"], 2, &["tftp://HOST[:PORT]/PATH"]),
        (&["127.0.0.1/file"], 2, &["tftp://HOST[:PORT]/PATH"]),
        (&["tftp://127.0.0.1"], 2, &["names no file"]),
        (&["tftp://127.0.0.1/"], 2, &["names no file"]),
        (&["tftp://127.0.0.1:99999/file"], 2, &["port"]),
        (&[&serving.url("directory/")], 2, &["-o FILE"]),
        (&[&file, "--blksize", "7"], 2, &["8..=65464"]),
        (&[&file, "--blksize", "65465"], 2, &["8..=65464"]),
        (&[&file, "--windowsize", "0"], 2, &["--windowsize"]),
        (&[], 2, &["pinetboot get <"]),
        (&[&file, "-o", no_directory.to_str().unwrap()], 1, &["no/directory", "No such file"]),
        (&[&file, "-o", folder.path().to_str().unwrap()], 1, &["Is a directory"]),
        (&[&file, "-o", "/dev/full"], 1, &["/dev/full", "No space left"]),
    ] {
        let ended = get(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.log);
        for word in said {
            assert!(ended.log.contains(word), "{arguments:?}: {word:?} is not in: {}", ended.log);
        }
        assert_eq!(folder.names(), [""; 0], "{arguments:?}");
    }
    serving.stop();
}

#[test]
fn the_text_of_a_server_cannot_act_on_a_terminal() {
    let folder = Folder::new(&[]);
    let mut server = Peer::listening();
    let process = start(&server, &folder.join("file"));
    server.hear();
    server.say("ERROR 1 \x1b]0;owned\x07\u{9b}2J\u{202e}gpj.exe\r\nfile: 3.00 MB in 0.01 s");
    let ended = process.wait();
    assert_eq!(ended.code, Some(6), "{}", ended.log);
    let shown = "the server refused: \\u{1b}]0;owned\\u{7}\\u{9b}2J\\u{202e}gpj.exe\\r\\nfile: 3.00 MB in 0.01 s (error 1)";
    assert!(ended.log.contains(shown) && ended.log.lines().count() == 1, "{}", ended.log);
}

#[test]
fn a_transfer_that_fails_leaves_everything_as_it_was() {
    let folder = Folder::new(&[("file", b"old")]);
    for (farewell, code) in
        [("ERROR 0 the disk is gone", 6), ("ERROR 3 full", 6), ("DATA 2 +5000", 1), ("ACK 1", 1)]
    {
        let mut server = Peer::listening();
        let process = start(&server, &folder.join("file"));
        assert_eq!(server.hear(), "RRQ file octet tsize=0 blksize=1468 windowsize=16");
        server.exchange("OACK tsize=5000 blksize=1000", "ACK 0");
        server.exchange("DATA 1 +1000", "ACK 1");
        assert_eq!(folder.read("file"), b"old", "the file appears only when it is complete");
        server.say(farewell);
        let ended = process.wait();
        assert_eq!(ended.code, Some(code), "{farewell}: {}", ended.log);
        assert_eq!(folder.read("file"), b"old");
        assert_eq!(folder.names(), ["file"], "{farewell}");
    }
}

#[test]
fn ctrl_c_leaves_everything_as_it_was() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        for there in [&[][..], &[("file", &b"old"[..])]] {
            let folder = Folder::new(there);
            let mut server = Peer::listening();
            let process = start(&server, &folder.join("file"));
            server.hear();
            server.exchange("OACK tsize=5000 blksize=1000", "ACK 0");
            server.exchange("DATA 1 +1000", "ACK 1");
            process.signal(signal); // and the server says no more
            assert_eq!(process.wait().code, Some(130));
            assert_eq!(folder.names().len(), there.len());
            assert!(there.is_empty() || folder.read("file") == b"old");
        }
    }
}

#[test]
fn a_file_is_replaced_in_one_step() {
    let folder = Folder::new(&[("file", &[b'o'; 5000])]);
    let other = Folder::new(&[("target", b"target")]);
    fs::hard_link(folder.join("file"), folder.join("same")).unwrap();
    let mut server = Peer::listening();
    let process = start(&server, &folder.join("file"));
    server.hear();
    server.exchange("OACK tsize=1001 blksize=1000", "ACK 0");
    server.exchange("DATA 1 +1000", "ACK 1");
    assert_eq!(folder.read("file"), [b'o'; 5000]);
    server.exchange("DATA 2 +1", "ACK 2");
    assert_eq!(process.wait().code, Some(0));
    assert_eq!(folder.read("file"), [0; 1001]);
    assert_eq!(folder.read("same"), [b'o'; 5000], "it is another file now");
    drop(other);
}

/// A user who names a link as the output gets the link's target replaced.
#[test]
fn a_link_stays_a_link() {
    let tree = Folder::tree(&[("file", b"new")]);
    let serving = Serving::start(&tree, &[]);
    let folder = Folder::new(&[("target", b"old")]);
    symlink("target", folder.join("link")).unwrap();
    let ended = get(&[&serving.url("file"), "-o", folder.join("link").to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(folder.read("target"), b"new");
    assert!(folder.join("link").is_symlink());
}

#[test]
fn a_server_that_is_silent_is_given_up() {
    let folder = Folder::new(&[("file", b"old")]);
    let mut server = Peer::listening();
    let process = start(&server, &folder.join("file"));
    // Asked again after a second, two and four, always from the same port.
    server.hear();
    let client = server.transfer;
    for _ in 0..3 {
        assert_eq!(server.hear(), "RRQ file octet tsize=0 blksize=1468 windowsize=16");
        assert_eq!(server.transfer, client);
    }
    let ended = process.wait();
    assert_eq!(ended.code, Some(5), "{}", ended.log);
    assert!(ended.log.contains("127.0.0.1 does not answer"), "{}", ended.log);
    assert_eq!(folder.names(), ["file"]);
    assert_eq!(folder.read("file"), b"old");
}
