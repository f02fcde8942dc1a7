//! Programs of QEMU, libnbd and fio as clients of the server and readers of overlays; and a server that is killed again and again.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[expect(dead_code, reason = "the hostile part is for protocol.rs")]
mod client;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use client::{Client, FLUSH, READ, WRITE};
use pinetboot_disk::conformance::check_disk;
use pinetboot_disk::{Access, Disk, Export, Exports, Image, Limits, Overlay, Refused, Server};

const LEN: u64 = 6 << 20;

/// Runs a program to its end; returns its output and exit code.
fn run(directory: &Path, line: &str) -> (String, i32) {
    let output = Command::new("sh").arg("-c").arg(line).current_dir(directory).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code().unwrap_or(-1))
}

/// The output of a program that must succeed.
fn ok(directory: &Path, line: &str) -> String {
    let (text, code) = run(directory, line);
    assert_eq!(code, 0, "{line}:\n{text}");
    text
}

fn with_base() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..2u32 << 20).map(|at| (at / 9) as u8 | 1).collect();
    fs::write(directory.path().join("base.img"), content).unwrap();
    directory
}

fn open(directory: &Path, name: &str) -> Overlay {
    Overlay::open(&directory.join(name), directory, Access::ReadWrite).unwrap()
}

fn content(disk: &dyn Disk) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(disk.len()).unwrap()];
    disk.read_at(&mut content, 0).unwrap();
    content
}

#[test]
#[ignore = "needs qemu-img"]
fn qemu_reads_what_an_overlay_holds() {
    let directory = with_base();
    let path = directory.path();
    Overlay::create(&path.join("a.qcow2"), Path::new("base.img"), LEN).unwrap();
    assert!(ok(path, "qemu-img check a.qcow2").contains("No errors"));
    for seed in 0..5 {
        let overlay = open(path, "a.qcow2");
        check_disk(&overlay, seed, 100).unwrap();
        let content = content(&overlay);
        drop(overlay);
        let checked = ok(path, "qemu-img check a.qcow2");
        assert!(checked.contains("No errors were found"), "{checked}");
        ok(path, "qemu-img convert -f qcow2 -O raw a.qcow2 a.img");
        assert!(fs::read(path.join("a.img")).unwrap() == content, "seed {seed}");
    }
    let info = ok(path, "qemu-img info --output=json a.qcow2");
    for fact in ["\"virtual-size\": 6291456", "\"backing-filename\": \"base.img\"", "\"cluster-size\": 4096"]
    {
        assert!(info.contains(fact), "{fact}: {info}");
    }
    // QEMU copies the base into the overlay: the disk stays the same without the base.
    let before = content(&open(path, "a.qcow2"));
    ok(
        path,
        "qemu-img rebase -f qcow2 -b '' a.qcow2 && mv base.img gone && qemu-img check a.qcow2 && qemu-img convert -O raw a.qcow2 b.img",
    );
    assert!(fs::read(path.join("b.img")).unwrap() == before);
}

#[test]
#[ignore = "needs qemu-img and qemu-io"]
fn an_overlay_of_qemu_is_a_disk() {
    let directory = with_base();
    let path = directory.path();
    for (name, options) in
        [("a", ""), ("b", "-o cluster_size=512"), ("c", "-o cluster_size=4096"), ("d", "-o cluster_size=2M")]
    {
        ok(path, &format!("qemu-img create -q -f qcow2 -b base.img -F raw {options} {name}.qcow2 {LEN}"));
        ok(
            path,
            &format!(
                "qemu-io -c 'write -P 3 10000 300000' -c 'write -z 1M 1M' -c 'discard 2M 64k' {name}.qcow2"
            ),
        );
        ok(path, &format!("qemu-img convert -f qcow2 -O raw {name}.qcow2 {name}.img"));
        let overlay = open(path, &format!("{name}.qcow2"));
        assert!(content(&overlay) == fs::read(path.join(format!("{name}.img"))).unwrap(), "{name}");
        check_disk(&overlay, 7, 100).unwrap();
        let content = content(&overlay);
        drop(overlay);
        let checked = ok(path, &format!("qemu-img check {name}.qcow2"));
        assert!(checked.contains("No errors were found"), "{name}: {checked}");
        ok(path, &format!("qemu-img convert -f qcow2 -O raw {name}.qcow2 {name}.img"));
        assert!(fs::read(path.join(format!("{name}.img"))).unwrap() == content, "{name}");
    }
}

#[test]
#[ignore = "needs qemu-img"]
fn what_this_crate_does_not_do_is_refused() {
    let directory = with_base();
    let path = directory.path();
    let create = "qemu-img create -q -f qcow2 -b base.img -F raw";
    for (name, made) in [
        ("snapshot", format!("{create} snapshot.qcow2 && qemu-img snapshot -c one snapshot.qcow2")),
        ("version", format!("{create} -o compat=0.10 version.qcow2")),
        ("extended", format!("{create} -o extended_l2=on extended.qcow2")),
        ("refcounts", format!("{create} -o refcount_bits=8 refcounts.qcow2")),
        ("alone", "qemu-img create -q -f qcow2 alone.qcow2 1M".to_owned()),
    ] {
        ok(path, &made);
        let refused = Overlay::open(&path.join(format!("{name}.qcow2")), path, Access::ReadWrite);
        assert!(refused.is_err(), "{name}");
    }
}

#[test]
#[ignore = "needs qemu-img and qemu-io"]
fn a_disk_in_use_is_kept_from_other_programs() {
    let directory = with_base();
    let path = directory.path();
    Overlay::create(&path.join("a.qcow2"), Path::new("base.img"), LEN).unwrap();
    let overlay = open(path, "a.qcow2");
    for line in [
        "qemu-io -c 'write 0 4096' a.qcow2",
        "qemu-img commit a.qcow2",
        "qemu-io -f raw -c 'write 0 4096' base.img",
    ] {
        let (text, code) = run(path, line);
        assert!(code != 0 && text.contains("lock"), "{line}: {text}");
    }
    ok(path, "qemu-img info -U a.qcow2");
    drop(overlay);
    let (mut qemu, opened) = {
        let mut qemu = Command::new("qemu-io")
            .arg("a.qcow2")
            .current_dir(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut prompt = [0; 8];
        qemu.stdout.as_mut().unwrap().read_exact(&mut prompt).unwrap();
        (qemu, Overlay::open(&path.join("a.qcow2"), path, Access::ReadWrite))
    };
    drop(qemu.stdin.take());
    qemu.wait().unwrap();
    assert!(opened.is_err(), "QEMU had it open");
    open(path, "a.qcow2");
}

/// One disk, as the export `mine` and the default.
struct Mine(Arc<dyn Disk>);

impl Exports for Mine {
    fn open(&self, _client: IpAddr, name: &str) -> Result<Export, Refused> {
        if name.is_empty() || name == "mine" { Ok(Export::new(self.0.clone())) } else { Err(Refused) }
    }
    fn list(&self, _client: IpAddr) -> Vec<String> {
        vec!["mine".into()]
    }
}

fn serve(disk: Arc<dyn Disk>) -> (Server, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (Server::start(vec![listener], Arc::new(Mine(disk)), Limits::default(), Arc::new(())).unwrap(), address)
}

#[test]
#[ignore = "needs nbdinfo, nbdcopy, nbdsh, nbd-client, qemu-img, qemu-io and fio"]
fn clients_of_other_projects_agree() {
    let directory = with_base();
    let path = directory.path();
    Overlay::create(&path.join("a.qcow2"), Path::new("base.img"), LEN).unwrap();
    let overlay = Arc::new(open(path, "a.qcow2"));
    let (server, address) = serve(overlay.clone());
    let uri = format!("nbd://{address}/mine");

    let info = ok(path, &format!("nbdinfo --json {uri}"));
    for fact in [
        "\"export-size\": 6291456",
        "\"base:allocation\"",
        "\"can_multi_conn\": true",
        "\"can_fua\": true",
        "\"can_cache\": true",
    ] {
        assert!(info.contains(fact), "{fact}: {info}");
    }
    let list = ok(path, &format!("nbdinfo --list --json nbd://{address}"));
    assert_eq!(list.matches("\"export-name\"").count(), 1, "{list}");
    assert_ne!(run(path, &format!("nbdinfo nbd://{address}/other")).1, 0);
    let names = ok(path, &format!("nbd-client -l {} {}", address.ip(), address.port()));
    assert_eq!(names.lines().filter(|line| *line == "mine").count(), 1, "{names}");
    let map = ok(path, &format!("nbdinfo --map {uri}"));
    assert!(map.contains("hole,zero"), "{map}");

    // Four connections at once, there and back.
    let bytes: Vec<u8> = (0..u32::try_from(LEN).unwrap()).map(|at| (at / 13) as u8 & 0xf3).collect();
    fs::write(path.join("in.img"), &bytes).unwrap();
    ok(path, &format!("nbdcopy --flush --connections=4 in.img {uri}"));
    ok(path, &format!("nbdcopy --connections=4 {uri} out.img && cmp in.img out.img"));
    assert!(content(&*overlay) == bytes);

    ok(
        path,
        &format!(
            "qemu-io -f raw -c 'write -P 7 1000 300000' -c 'read -P 7 1000 300000' -c 'discard 1M 1M' -c 'write -f -z 3M 1M' -c 'read -P 0 3M 1M' -c 'flush' {uri}"
        ),
    );
    ok(
        path,
        &format!(
            "qemu-img convert -f raw -O raw {uri} out.img && qemu-img compare -f raw -F raw {uri} out.img"
        ),
    );
    ok(path, &format!("qemu-img map -f raw --output=json {uri}"));

    let script = r#"
import errno
h.set_strict_mode(0)
size = h.get_size()
assert h.get_structured_replies_negotiated() and h.can_meta_context("base:allocation")
h.pwrite(b"x" * 70000, 5, nbd.CMD_FLAG_FUA)
assert h.pread(70002, 4)[1:-1] == b"x" * 70000
assert h.pread(65536, 0, nbd.CMD_FLAG_DF)[5:] == b"x" * 65531
h.zero(4096, 4096); assert h.pread(4096, 4096) == bytes(4096)
h.zero(4096, 4096, nbd.CMD_FLAG_NO_HOLE)
h.trim(8192, 8192); h.cache(1 << 20, 0); h.flush()
spans = []
h.block_status(size, 0, lambda name, at, entries, error: spans.extend(entries))
assert sum(spans[0::2]) == size, spans
one = []
h.block_status(size, 0, lambda name, at, entries, error: one.extend(entries), nbd.CMD_FLAG_REQ_ONE)
assert len(one) == 2, one
for what, number in [(lambda: h.pread(2, size - 1), errno.EINVAL), (lambda: h.pwrite(b"xx", size - 1), errno.ENOSPC),
                     (lambda: h.trim(1, size), errno.ENOSPC), (lambda: h.cache(1, size), errno.EINVAL)]:
    try:
        what(); assert False, number
    except nbd.Error as error:
        assert error.errno == errno.errorcode[number], error
"#;
    fs::write(path.join("script.py"), script).unwrap();
    ok(
        path,
        &format!(
            "PATH=/usr/bin:$PATH nbdsh --base-allocation -u {uri} -c \"exec(open('script.py').read())\""
        ),
    );

    let verify = "--bs=1k-64k --bsrange=1k-64k --size=6m --io_size=12m --iodepth=16 --verify=crc32c --verify_fatal=1 --verify_backlog=64 --randseed=7";
    ok(path, &format!("fio --name=v --ioengine=nbd --uri={uri} --rw=randrw --fsync=50 {verify}"));
    drop((server, overlay));
    let checked = ok(path, "qemu-img check a.qcow2");
    assert!(checked.contains("No errors were found"), "{checked}");
}

#[test]
#[ignore = "needs nbdcopy and nbdinfo"]
fn a_read_only_image_is_not_written() {
    let directory = with_base();
    let path = directory.path();
    let (_server, address) = serve(Arc::new(Image::open(&path.join("base.img"), Access::ReadOnly).unwrap()));
    assert!(ok(path, &format!("nbdinfo --json nbd://{address}")).contains("\"is_read_only\": true"));
    assert_ne!(run(path, &format!("nbdcopy base.img nbd://{address}")).1, 0);
    ok(path, &format!("nbdcopy nbd://{address} out.img && cmp base.img out.img"));
}

/// A server in a process of its own.
struct Process(Child, SocketAddr);

impl Process {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve_until_killed", "--ignored", "--nocapture"])
            .env(SERVE, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address =
            lines.find_map(|line| line.unwrap().split_once("ready ").map(|(_, at)| at.parse().unwrap()));
        let address = address.expect("the server is ready");
        // Else the server's last lines fail.
        std::thread::spawn(move || lines.count());
        Self(child, address)
    }
}

#[test]
#[ignore = "a part of the test of killed servers"]
fn serve_until_killed() {
    let Some(directory) = std::env::var_os(SERVE) else { return };
    let overlay = open(Path::new(&directory), "a.qcow2");
    let (_server, address) = serve(Arc::new(overlay));
    println!("ready {address}");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
#[ignore = "needs qemu-img"]
fn a_server_that_is_killed_again_and_again_loses_no_acknowledged_write() {
    const BLOCK: usize = 2048;
    let directory = with_base();
    let path = directory.path();
    Overlay::create(&path.join("a.qcow2"), Path::new("base.img"), LEN).unwrap();
    let blocks = usize::try_from(LEN).unwrap() / BLOCK;
    // The bytes that a block may be filled with: one, or both of a write under way. 0 for the base's content.
    let mut expected: Vec<Vec<u8>> = vec![vec![0]; blocks];
    let mut random = 1u64;
    let mut below = |end: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % end
    };
    let base = content(&Image::open(&path.join("base.img"), Access::ReadOnly).unwrap());
    let rounds = std::env::var(KILLS).map_or(20, |kills| kills.parse().unwrap());
    for round in 0..rounds {
        let Process(mut child, address) = Process::start(path);
        let mut client = Client::connect(address, LEN);
        client.request(READ, 0, 0, u32::try_from(LEN).unwrap(), &[]);
        assert_eq!(client.result().0, 0);
        let mut found = vec![0; usize::try_from(LEN).unwrap()];
        client.0.read_exact(&mut found).unwrap();
        for (index, (found, may)) in found.chunks(BLOCK).zip(&mut expected).enumerate() {
            let old: Vec<u8> =
                base.iter().copied().chain(std::iter::repeat(0)).skip(index * BLOCK).take(BLOCK).collect();
            let is = may
                .iter()
                .copied()
                .find(|byte| if *byte == 0 { found == old } else { found.iter().all(|is| is == byte) });
            // A write cut by the kill may be there in part.
            let is_mixed = may.len() > 1
                && found
                    .iter()
                    .zip(&old)
                    .all(|(is, old)| may.iter().any(|byte| is == byte || *byte == 0 && is == old));
            match is {
                Some(byte) => *may = vec![byte],
                None => assert!(is_mixed, "round {round}: block {index} lost a write: {may:?}"),
            }
        }
        // Some writes with an answer, flushes among them; then some without.
        let answered = below(60);
        let count = answered + 1 + below(12);
        let mut cookies = Vec::new();
        for number in 0..count {
            if below(12) == 0 && number < answered {
                client.request(FLUSH, 1, 0, 0, &[]);
                assert_eq!(client.result(), (0, 1));
            }
            let len = 1 + below(8);
            let at = below(blocks - len + 1);
            let byte = u8::try_from(1 + (round * 7 + number) % 255).unwrap();
            client.request(
                WRITE,
                number as u64,
                (at * BLOCK) as u64,
                u32::try_from(len * BLOCK).unwrap(),
                &vec![byte; len * BLOCK],
            );
            if number < answered {
                assert_eq!(client.result(), (0, number as u64));
                expected[at..at + len].fill(vec![byte]);
            } else {
                cookies.push(number);
                expected[at..at + len].iter_mut().for_each(|may| may.push(byte));
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // 3: clusters that count as in use and are not.
        let (checked, code) = run(path, "qemu-img check a.qcow2");
        assert!(matches!(code, 0 | 3), "round {round}: {checked}");
    }
    let Process(mut child, _) = Process::start(path);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let checked = ok(path, "qemu-img check a.qcow2");
    assert!(checked.contains("No errors were found"), "what the kills leaked is found: {checked}");
    assert!(!path.join("a.qcow2.log").exists());
}

const SERVE: &str = "PINETBOOT_DISK_SERVE";
/// The number of kills; 20 without this variable.
const KILLS: &str = "PINETBOOT_DISK_KILLS";
