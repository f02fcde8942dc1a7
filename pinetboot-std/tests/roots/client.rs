//! As much of an NFS client as it takes to hold on to a file handle: MNT, GETATTR, SETATTR, LOOKUP and RENAME, over UDP
//! (RFC 1813, RFC 5531).

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// `NFS3_OK`.
pub(crate) const GRANTED: u32 = 0;
/// `NFS3ERR_STALE`: also what someone is told who has another's handle.
pub(crate) const STALE: u32 = 70;
/// `NFS3ERR_JUKEBOX`: later.
const LATER: u32 = 10008;

/// `mount SERVER PATH FILE STATUS` puts the handle into the file; `attributes SERVER FILE STATUS` uses it; the status has to
/// be that. `change SERVER FILE` changes and renames things in the directory `etc` beneath that handle, and sees that all
/// stay what they are.
pub(crate) fn ask(what: &str) {
    let words: Vec<_> = what.split(' ').collect();
    match words[..] {
        ["mount", server, path, file, status] => {
            let path = format!("/{path}");
            let reply = call(server, (100_005, 3, 1), &opaque(path.as_bytes()));
            assert_eq!(number(&reply, 0).to_string(), status);
            let len = number(&reply, 4) as usize;
            fs::write(file, &reply[8..8 + len]).unwrap();
        }
        ["attributes", server, file, status] => {
            let handle = opaque(&fs::read(file).unwrap());
            let until = Instant::now() + Duration::from_secs(20);
            loop {
                let reply = call(server, (100_003, 3, 1), &handle);
                match number(&reply, 0) {
                    LATER if Instant::now() < until => std::thread::yield_now(),
                    said => return assert_eq!(said.to_string(), status),
                }
            }
        }
        ["change", server, file] => change(server, &opaque(&fs::read(file).unwrap())),
        _ => panic!("{what}"),
    }
}

/// What is copied into the layer by this, and renamed there, is to its client the same file all the time.
fn change(server: &str, root: &[u8]) {
    let done = |procedure, arguments: &[&[u8]]| {
        let reply = call(server, (100_003, 3, procedure), &arguments.concat());
        assert_eq!(number(&reply, 0), GRANTED);
        reply
    };
    let look_up = |directory: &[u8], name: &str| {
        let reply = done(3, &[directory, &opaque(name.as_bytes())]);
        let len = number(&reply, 4) as usize;
        opaque(&reply[8..8 + len])
    };
    // The file id is behind the status, type, mode, links, uid, gid, size, space, device and file system.
    let file_id = |handle: &[u8]| done(1, &[handle])[4 + 52..4 + 60].to_vec();
    let etc = look_up(root, "etc");
    let (file, directory) = (look_up(&etc, "hosts"), look_up(root, "opt"));
    let before = (file_id(&file), file_id(&directory), file_id(&etc));
    // Mode 0600, and nothing else; no guard.
    let mode: Vec<u8> =
        [1, 0o600, 0, 0, 0, 0, 0, 0].iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    done(2, &[&file, &mode]);
    assert_eq!(look_up(&etc, "hosts"), file, "copied into the layer");
    done(14, &[&etc, &opaque(b"hosts"), root, &opaque(b"elsewhere")]);
    done(14, &[root, &opaque(b"opt"), &etc, &opaque(b"moved")]);
    assert_eq!((look_up(root, "elsewhere"), look_up(&etc, "moved")), (file.clone(), directory.clone()));
    assert_eq!((file_id(&file), file_id(&directory), file_id(&etc)), before);
}

/// Calls a procedure, as root, and returns its results.
fn call(server: &str, (program, version, procedure): (u32, u32, u32), arguments: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((server, 2049)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // xid, CALL, RPC 2, what; AUTH_SYS of 20 bytes: stamp, no machine name, uid 0, gid 0, no groups; no verifier.
    let words = [7, 0, 2, program, version, procedure, 1, 20, 0, 0, 0, 0, 0, 0, 0];
    let mut message: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    message.extend_from_slice(arguments);
    socket.send(&message).unwrap();
    let mut reply = vec![0; 4096];
    let len = socket.recv(&mut reply).unwrap();
    reply.truncate(len);
    // xid, REPLY, accepted, an empty verifier, success.
    let head: Vec<_> = (0..6).map(|word| number(&reply, 4 * word)).collect();
    assert_eq!(head, [7, 1, 0, 0, 0, 0]);
    reply.split_off(24)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn opaque(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = (bytes.len() as u32).to_be_bytes().to_vec();
    encoded.extend_from_slice(bytes);
    encoded.resize(encoded.len().next_multiple_of(4), 0);
    encoded
}
