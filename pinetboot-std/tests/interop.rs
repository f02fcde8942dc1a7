//! `pinetboot serve` with other people's clients: curl, tftp-hpa, atftp and busybox, as Debian 12 has them.
//!
//! Every client, with options and without as far as it can, gets and puts files of the lengths at which block sizes and
//! block numbers turn, and every file is compared byte by byte. Limits of a client have separate tests.

#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use common::{Folder, Process, Serving, content, difference};

/// The lengths of the files: around blocks of 512 and of 1468 bytes, the first block number 0, and one beyond it.
const LENGTHS: [usize; 10] = [0, 1, 511, 512, 513, 1467, 1468, 1469, BLOCK_NUMBER_0, LONG];

/// With blocks of 1468 bytes, 4096 blocks beyond number 0. With those of 512 bytes [`LONG_OF_512`] is.
const LONG: usize = (65536 + 4096) * 1468;
const LONG_OF_512: usize = (65536 + 4096) * 512;

/// With blocks of 512 bytes the last one, of a single byte, is the block after number 65535.
const BLOCK_NUMBER_0: usize = 65535 * 512 + 1;

/// A program and how it is told to get or put a file. `{ip}`, `{port}`, `{name}` (there) and `{file}` (here) are filled in.
struct Client(&'static str);

const CURL: Client = Client("curl -sS -o {file} tftp://{ip}:{port}/{name}");
const CURL_1468: Client = Client("curl -sS --tftp-blksize 1468 -o {file} tftp://{ip}:{port}/{name}");
const CURL_PLAIN: Client = Client("curl -sS --tftp-no-options -o {file} tftp://{ip}:{port}/{name}");
const TFTP_HPA: Client = Client("tftp -m binary {ip} {port} -c get {name} {file}");
const ATFTP: Client = Client("atftp --get -r {name} -l {file} {ip} {port}");
const ATFTP_TSIZE: Client = Client(
    "atftp --option blksize_1468 --option timeout_5 --option tsize --get -r {name} -l {file} {ip} {port}",
);
const ATFTP_WINDOW: Client = Client(
    "atftp --option blksize_1468 --option windowsize_8 --option tsize --get -r {name} -l {file} {ip} {port}",
);
const BUSYBOX: Client = Client("busybox tftp -g -r {name} -l {file} {ip} {port}");
const BUSYBOX_1468: Client = Client("busybox tftp -b 1468 -g -r {name} -l {file} {ip} {port}");

const CURL_PUT: Client = Client("curl -sS -T {file} tftp://{ip}:{port}/{name}");
const CURL_PUT_1468: Client = Client("curl -sS --tftp-blksize 1468 -T {file} tftp://{ip}:{port}/{name}");
const CURL_PUT_PLAIN: Client = Client("curl -sS --tftp-no-options -T {file} tftp://{ip}:{port}/{name}");
const TFTP_HPA_PUT: Client = Client("tftp -m binary {ip} {port} -c put {file} {name}");
const ATFTP_PUT: Client = Client("atftp --put -r {name} -l {file} {ip} {port}");
const ATFTP_PUT_WINDOW: Client = Client(
    "atftp --option blksize_1468 --option windowsize_8 --option tsize --put -r {name} -l {file} {ip} {port}",
);
const BUSYBOX_PUT: Client = Client("busybox tftp -p -r {name} -l {file} {ip} {port}");
const BUSYBOX_PUT_1468: Client = Client("busybox tftp -b 1468 -p -r {name} -l {file} {ip} {port}");

#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn curl_gets_every_length() {
    // With options not the empty one: see below.
    gets(&CURL, &LENGTHS[1..]);
    gets(&CURL_1468, &LENGTHS[1..]);
    gets(&CURL_PLAIN, &LENGTHS);
}

#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn tftp_hpa_gets_every_length() {
    gets(&TFTP_HPA, &LENGTHS);
}

#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn atftp_gets_every_length() {
    gets(&ATFTP, &LENGTHS);
    gets(&ATFTP_TSIZE, &LENGTHS);
    gets(&ATFTP_WINDOW, &LENGTHS);
}

#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn busybox_gets_every_length() {
    gets(&BUSYBOX, &LENGTHS);
    gets(&BUSYBOX_1468, &LENGTHS);
}

#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn curl_puts_every_length() {
    let lengths = all_but_block_number_0();
    puts(&CURL_PUT, &lengths);
    puts(&CURL_PUT_1468, &LENGTHS);
    puts(&CURL_PUT_PLAIN, &lengths[..9]);
}

#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn tftp_hpa_puts_every_length() {
    puts(&TFTP_HPA_PUT, &all_but_block_number_0());
}

#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn atftp_puts_every_length() {
    puts(&ATFTP_PUT, &LENGTHS[..9]);
    puts(&ATFTP_PUT_WINDOW, &LENGTHS);
}

#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn busybox_puts_every_length() {
    puts(&BUSYBOX_PUT, &LENGTHS[..9]);
    puts(&BUSYBOX_PUT_1468, &LENGTHS);
}

/// Line ends of all kinds: LF, CR LF, a lone CR, and an empty line at the end. curl leaves the mode's work to its user: it
/// keeps what is on the wire, and puts what it is given there.
#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn text_goes_through_netascii_both_ways() {
    let text = [b"one\ntwo\r\n\rthree\n\n".repeat(1000), vec![b'x'; 511], b"\n".to_vec()].concat();
    let on_the_wire: Vec<u8> = text
        .iter()
        .flat_map(|byte| match byte {
            b'\n' => &b"\r\n"[..],
            b'\r' => b"\r\0",
            byte => std::slice::from_ref(byte),
        })
        .copied()
        .collect();
    let tree = Folder::tree(&[("text", &text)]);
    let here = Folder::new(&[("text", &text), ("encoded", &on_the_wire)]);
    for mode in [&[][..], &["--single-port"]] {
        let uploads = Folder::new(&[]);
        let serving =
            Serving::start(&tree, &[mode, &["--allow-upload", uploads.path().to_str().unwrap()]].concat());
        for (client, expected) in [
            (Client("tftp -m ascii {ip} {port} -c get {name} {file}"), &text),
            (Client("atftp --option mode_netascii --get -r {name} -l {file} {ip} {port}"), &text),
            (Client("curl -sS -o {file} tftp://{ip}:{port}/{name};mode=netascii"), &on_the_wire),
            (
                Client("curl -sS --use-ascii --tftp-blksize 1000 -o {file} tftp://{ip}:{port}/{name}"),
                &on_the_wire,
            ),
        ] {
            client.run(&serving, "text", &here.join("got"));
            assert_eq!(difference(&here.read("got"), expected), None, "{}", client.0);
            fs::remove_file(here.join("got")).unwrap();
        }
        for (client, from) in [
            (Client("tftp -m ascii {ip} {port} -c put {file} {name}"), "text"),
            (Client("atftp --option mode_netascii --put -r {name} -l {file} {ip} {port}"), "text"),
            (Client("curl -sS -T {file} tftp://{ip}:{port}/{name};mode=netascii"), "encoded"),
        ] {
            client.run(&serving, "put", &here.join(from));
            assert_eq!(difference(&uploads.read("put"), &text), None, "{}", client.0);
            fs::remove_file(uploads.join("put")).unwrap();
        }
        no_warnings(&serving.stop());
    }
}

/// A missing file is an error for each client, at once.
#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn errors_are_understood() {
    let tree = Folder::tree(&[]);
    let here = Folder::new(&[("file", b"content")]);
    let serving = Serving::start(&tree, &[]);
    // curl reports the failure by its exit code, some of the others only in words.
    for (client, file, code, said) in [
        (&CURL, "got", Some(68), ""),
        (&TFTP_HPA, "got", None, "file not found"),
        (&ATFTP, "got", None, "file not found"),
        (&BUSYBOX, "got", Some(1), "file not found"),
        (&CURL_PUT, "file", Some(69), ""),
        (&TFTP_HPA_PUT, "file", None, "access denied"),
        (&ATFTP_PUT, "file", None, "access denied"),
        (&BUSYBOX_PUT, "file", Some(1), "access denied"),
    ] {
        let began = Instant::now();
        let ended = Process::start(&mut client.command(&serving, "missing", &here.join(file))).wait();
        let words = [&String::from_utf8_lossy(&ended.stdout), &*ended.log].concat();
        assert!(words.contains(said), "{}: {words}", client.0);
        assert!(code.is_none() || ended.code == code, "{}: {ended:?}", client.0);
        assert!(began.elapsed().as_secs() < 3, "{}", client.0);
    }
    serving.stop();
}

/// A limit of curl 7.88: it takes `tsize 0` in an OACK for an error. But RFC 2349 has the server answer with the file's
/// length, and dnsmasq 2.90 does the same.
#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn curl_with_options_gets_no_empty_file() {
    let tree = Folder::tree(&[("empty", b"")]);
    let serving = Serving::start(&tree, &["-vv"]);
    let url = serving.url("empty");
    let curl = Process::start(Command::new("curl").args(["-v", "-o", "/dev/null", &url]));
    let ended = curl.wait();
    assert_ne!(ended.code, Some(0), "it has learned: expect the empty file of it above");
    assert!(ended.log.contains("invalid tsize -:0:- value in OACK packet"), "{}", ended.log);
    assert!(serving.stop().contains("OACK tsize 0 blksize 512 timeout 6"));
}

/// A limit of curl 7.88 and of tftp-hpa 5.2: when the last block has number 0 they take themselves to be at the first, and
/// send an empty block 1 after the end. The file itself is whole by then.
#[test]
#[ignore = "needs curl, tftp-hpa, atftp and busybox; run by .ci/run"]
fn curl_and_tftp_hpa_do_not_end_with_block_number_0() {
    let file = source(BLOCK_NUMBER_0);
    for client in [CURL_PUT, TFTP_HPA_PUT] {
        let tree = Folder::tree(&[]);
        let uploads = Folder::new(&[]);
        let serving = Serving::start(&tree, &["-vv", "--allow-upload", uploads.path().to_str().unwrap()]);
        let under_way = Process::start(&mut client.command(&serving, "put", &file));
        let lines = serving.wait_for_logs(2, "DATA 1 (");
        assert!(
            lines[0].contains("(512 bytes)") && lines[1].contains("(0 bytes)"),
            "{}: {lines:?}",
            client.0
        );
        assert_eq!(difference(&uploads.read("put"), &fs::read(&file).unwrap()), None, "{}", client.0);
        drop(under_way);
    }
}

/// Gets files of these lengths, in both modes of the server.
#[track_caller]
fn gets(client: &Client, lengths: &[usize]) {
    let here = Folder::new(&[]);
    let got = here.join("got");
    for mode in [&[][..], &["--single-port"]] {
        let serving = Serving::start(source(LENGTHS[0]).parent().unwrap(), mode);
        for len in lengths.iter().map(|len| client.long(*len)) {
            let began = Instant::now();
            client.run(&serving, &len.to_string(), &got);
            let took = began.elapsed();
            assert!(same(&got, &source(len)), "{len} bytes {mode:?} by {}", client.0);
            fs::remove_file(&got).unwrap();
            if len > 1 << 20 {
                println!("{took:8.2?} for {len} bytes {mode:?} by {}", client.0);
            }
        }
        println!("server's peak: {} KiB", serving.peak_memory());
        no_warnings(&serving.stop());
    }
}

/// Puts files of these lengths; the long ones to a server in one mode, which is enough.
#[track_caller]
fn puts(client: &Client, lengths: &[usize]) {
    let tree = Folder::tree(&[]);
    for mode in [&[][..], &["--single-port"]] {
        let uploads = Folder::new(&[]);
        let serving =
            Serving::start(&tree, &[mode, &["--allow-upload", uploads.path().to_str().unwrap()]].concat());
        for len in lengths.iter().filter(|len| mode.is_empty() || **len < 1 << 20) {
            let len = client.long(*len);
            let name = format!("put-{len}");
            let began = Instant::now();
            client.run(&serving, &name, &source(len));
            let took = began.elapsed();
            assert!(same(&uploads.join(&name), &source(len)), "{len} bytes {mode:?} by {}", client.0);
            fs::remove_file(uploads.join(&name)).unwrap();
            if len > 1 << 20 {
                println!("{took:8.2?} for {len} bytes {mode:?} by {}", client.0);
            }
        }
        no_warnings(&serving.stop());
    }
}

impl Client {
    /// This length, or in place of the long one that of the client's blocks.
    fn long(&self, len: usize) -> usize {
        if len == LONG && !self.0.contains("1468") { LONG_OF_512 } else { len }
    }

    #[track_caller]
    fn run(&self, serving: &Serving, name: &str, file: &Path) {
        let ended = Process::start(&mut self.command(serving, name, file)).wait();
        assert_eq!(ended.code, Some(0), "{}: {}", self.0, ended.log);
    }

    fn command(&self, serving: &Serving, name: &str, file: &Path) -> Command {
        let (ip, port) = (serving.address().ip().to_string(), serving.address().port().to_string());
        // atftp wants option and value in one argument.
        let mut words = self.0.split(' ').map(|word| match word {
            "blksize_1468" | "windowsize_8" | "timeout_5" | "mode_netascii" => word.replace('_', " "),
            word => [("{ip}", &*ip), ("{port}", &port), ("{name}", name), ("{file}", file.to_str().unwrap())]
                .iter()
                .fold(word.to_owned(), |word, (mark, value)| word.replace(mark, value)),
        });
        let mut command = Command::new(words.next().unwrap());
        command.args(words).stdin(std::process::Stdio::null());
        command
    }
}

/// A file of this length, the same in every run: made once, in the build's own directory.
fn source(len: usize) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
        fs::create_dir_all(&folder).unwrap();
        for len in LENGTHS.iter().chain(&all_but_block_number_0()).chain(&[LONG_OF_512]) {
            fs::write(folder.join(len.to_string()), content("interop", *len)).unwrap();
        }
        fs::write(folder.join("config.txt"), "").unwrap();
        folder
    });
    folder.join(len.to_string())
}

/// With one whole block more instead: its last block is number 1.
fn all_but_block_number_0() -> [usize; 10] {
    LENGTHS.map(|len| if len == BLOCK_NUMBER_0 { len + 512 } else { len })
}

/// Compares two files, byte by byte.
fn same(one: &Path, other: &Path) -> bool {
    difference(&fs::read(one).unwrap(), &fs::read(other).unwrap())
        .inspect(|found| println!("{found}"))
        .is_none()
}

#[track_caller]
fn no_warnings(log: &str) {
    assert!(!log.contains("WARN") && !log.contains("resent packets"), "{log}");
}
