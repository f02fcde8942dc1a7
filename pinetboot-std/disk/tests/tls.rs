//! Clients of other projects with TLS, and what is said to those without.
#![cfg(feature = "tls")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[expect(dead_code, reason = "most of it is for protocol.rs")]
mod client;

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use client::Client;
use pinetboot_disk::{Access, Image, Limits, OneExport, Server, Tls};

const LEN: u64 = 3 << 20;

/// Runs a shell's line; returns its output and whether it succeeded.
fn run(directory: &Path, line: &str) -> (String, bool) {
    let output = Command::new("sh").arg("-c").arg(line).current_dir(directory).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

#[track_caller]
fn ok(directory: &Path, line: &str) -> String {
    let (text, done) = run(directory, line);
    assert!(done, "{line}:\n{text}");
    text
}

/// An image, the certificates of a server and of a client in `good`, and of a client that another issuer signed in `other`.
fn files() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let content: Vec<u8> = (0..u32::try_from(LEN).unwrap()).map(|at| (at / 9) as u8 | 1).collect();
    fs::write(path.join("disk.img"), content).unwrap();
    fs::write(path.join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    let new = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch";
    for issuer in ["good", "other"] {
        ok(
            path,
            &format!(
                "mkdir {issuer} && cd {issuer} && {new} -x509 -days 2 -subj /CN=issuer-{issuer} -keyout ca-key.pem -out ca-cert.pem
                 for who in server client; do
                     {new} -subj /CN=$who -keyout $who-key.pem -out request.pem &&
                     openssl x509 -req -in request.pem -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile ../san -out $who-cert.pem || exit 1
                 done"
            ),
        );
    }
    // The other client trusts this server.
    ok(path, "cp good/ca-cert.pem other/ca-cert.pem");
    directory
}

fn serve(path: &Path, is_required: bool) -> (Server, SocketAddr) {
    let read = |name: &str| fs::read(path.join("good").join(name)).unwrap();
    let tls =
        Tls::for_clients_of(&read("server-cert.pem"), &read("server-key.pem"), &read("ca-cert.pem")).unwrap();
    let tls = if is_required { tls.required() } else { tls };
    let disk = Arc::new(Image::open(&path.join("disk.img"), Access::ReadWrite).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let exports = Arc::new(OneExport(disk));
    let server = Server::start_with_tls(vec![listener], exports, Limits::default(), Arc::new(()), tls);
    (server.unwrap(), address)
}

#[test]
#[ignore = "needs openssl, nbdinfo, nbdcopy, nbdsh, qemu-img and qemu-io"]
fn clients_of_other_projects_agree_on_tls() {
    let files = files();
    let path = files.path();
    let (_server, address) = serve(path, true);
    let port = address.port();
    let uri = format!("'nbds://localhost:{port}/disk?tls-certificates={}/good'", path.display());
    let info = ok(path, &format!("nbdinfo --json {uri}"));
    assert!(info.contains("\"TLS\": true") && info.contains("\"export-size\": 3145728"), "{info}");
    let bytes: Vec<u8> = (0..u32::try_from(LEN).unwrap()).map(|at| (at / 13) as u8 & 0xf3).collect();
    fs::write(path.join("in.img"), &bytes).unwrap();
    ok(path, &format!("nbdcopy --flush --connections=2 in.img {uri}"));
    ok(
        path,
        &format!(
            "nbdcopy --connections=2 --requests=16 {uri} out.img && cmp in.img out.img && cmp in.img disk.img"
        ),
    );
    let object =
        format!("--object tls-creds-x509,id=tls,dir={}/good,endpoint=client,verify-peer=yes", path.display());
    let opts = format!("driver=nbd,host=localhost,port={port},export=disk,tls-creds=tls");
    ok(path, &format!("qemu-img convert {object} --image-opts {opts} -O raw out.img && cmp in.img out.img"));
    ok(
        path,
        &format!(
            "qemu-io {object} --image-opts driver=raw,file.{} -c 'write -P 7 1000 300000' -c 'read -P 7 1000 300000' -c flush",
            opts.replace(',', ",file.")
        ),
    );
    // A client whose certificate another issuer signed, and one without any.
    for wrong in [
        format!("nbds://localhost:{port}/disk?tls-certificates={}/other", path.display()),
        format!("nbds://localhost:{port}/disk"),
    ] {
        assert!(!run(path, &format!("nbdinfo '{wrong}'")).1, "{wrong}");
    }
    assert!(!run(path, &format!("nbdinfo nbd://localhost:{port}/disk")).1, "TLS is required");
}

#[test]
#[ignore = "needs openssl and nbdinfo"]
fn tls_is_for_clients_that_ask_unless_it_is_required() {
    const INVALID: u32 = 1 << 31 | 3;
    const TLS_REQUIRED: u32 = 1 << 31 | 5;
    let files = files();
    let path = files.path();
    let (server, address) = serve(path, false);
    let both = format!("localhost:{}/disk", address.port());
    let plain = ok(path, &format!("nbdinfo --json nbd://{both}"));
    assert!(plain.contains("\"TLS\": false"), "{plain}");
    let tls = ok(path, &format!("nbdinfo --json 'nbds://{both}?tls-certificates={}/good'", path.display()));
    assert!(tls.contains("\"TLS\": true"), "{tls}");
    let mut client = Client::greet(address);
    client.option(5, b"x");
    assert_eq!(client.reply().0, INVALID);
    drop((client, server));

    let (_server, address) = serve(path, true);
    let mut client = Client::greet(address);
    for (option, data) in
        [(3, &b""[..]), (7, &[0, 0, 0, 4, b'd', b'i', b's', b'k', 0, 0]), (8, b""), (99, b""), (5, b"x")]
    {
        client.option(option, data);
        assert_eq!(client.reply().0, TLS_REQUIRED, "{option}");
    }
    client.option(1, b"disk");
    assert!(client.is_closed());
    // What stands in the clear behind the option is not taken for a part of what is encrypted.
    let mut client = Client::greet(address);
    let start = [b"IHAVEOPT", &5u32.to_be_bytes()[..], &[0; 4]].concat();
    let list = [b"IHAVEOPT", &3u32.to_be_bytes()[..], &[0; 4]].concat();
    client.0.write_all(&[start, list].concat()).unwrap();
    assert_eq!(client.reply().0, 1);
    assert!(client.is_closed());
}
