//! An idle disk takes little memory: its server is a process of its own, whose pages are counted after reads, writes and flushes.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pinetboot_disk::{Access, Export, Exports, Limits, Overlay, Refused, Server};

/// The overlays of a directory.
struct Overlays(PathBuf);

impl Exports for Overlays {
    fn open(&self, _client: IpAddr, name: &str) -> Result<Export, Refused> {
        let file = self.0.join(name).with_extension("qcow2");
        Ok(Export::new(Arc::new(Overlay::open(&file, &self.0, Access::ReadWrite).map_err(|_| Refused)?)))
    }

    fn list(&self, _client: IpAddr) -> Vec<String> {
        Vec::new()
    }
}

/// A server in a process of its own; dropping it kills the process.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// KiB of memory that the process has for itself.
fn memory(process: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let words = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    words.trim().trim_end_matches(" kB").parse().unwrap()
}

fn connect(address: &str, name: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.read_exact(&mut [0; 18]).unwrap();
    let len = u32::try_from(name.len()).unwrap().to_be_bytes();
    // Fixed newstyle, no zeros; NBD_OPT_EXPORT_NAME.
    let option = [&3u32.to_be_bytes()[..], b"IHAVEOPT", &1u32.to_be_bytes(), &len, name.as_bytes()].concat();
    stream.write_all(&option).unwrap();
    stream.read_exact(&mut [0; 10]).unwrap();
    stream
}

fn request(stream: &mut TcpStream, command: u16, offset: u64, len: u32, payload: &[u8]) {
    let mut message = 0x2560_9513u32.to_be_bytes().to_vec();
    message.extend([0, command].into_iter().flat_map(u16::to_be_bytes));
    message.extend([command.into(), offset].into_iter().flat_map(u64::to_be_bytes)); // the cookie is the command
    message.extend(len.to_be_bytes());
    message.extend(payload);
    stream.write_all(&message).unwrap();
}

fn reply(stream: &mut TcpStream, data: usize) {
    let mut reply = vec![0; 16 + data];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..8], [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0]);
}

#[test]
#[ignore = "the server's part of the test below"]
fn serve() {
    let Some(directory) = env::var_os(DIRECTORY) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("\nready {}", listener.local_addr().unwrap());
    let limits = Limits { per_client: DISKS, ..Limits::default() };
    let server = Server::start(vec![listener], Arc::new(Overlays(directory.into())), limits, Arc::new(()));
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    drop(server);
}

#[test]
fn an_idle_disk_takes_64_kib() {
    let files = tempfile::tempdir().unwrap();
    fs::File::create(files.path().join("base.img")).unwrap().set_len(1 << 30).unwrap();
    for number in 0..DISKS {
        let disk = files.path().join(number.to_string()).with_extension("qcow2");
        Overlay::create(&disk, Path::new("base.img"), 16_000_000_000).unwrap();
    }
    let mut server = Command::new(env::current_exe().unwrap());
    server.args(["--ignored", "--exact", "--nocapture", "serve"]).env(DIRECTORY, files.path());
    let mut serving = Serving(server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    // Kept to the end: the process may say more.
    let mut said = BufReader::new(serving.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let ready = said.find_map(|line| line.strip_prefix("ready ").map(str::to_owned));
    let (address, process) = (ready.unwrap(), serving.0.id());
    let before = memory(process);

    let mut disks: Vec<_> = (0..DISKS).map(|number| connect(&address, &number.to_string())).collect();
    let data = vec![1; 256 << 10];
    for round in 0..20 {
        // Of all at once: as many of the server's threads run.
        for disk in &mut disks {
            request(disk, 0, round << 20, 128 << 10, &[]);
            request(disk, 1, round << 22, 4096, &data[..4096]);
            request(disk, 1, round << 22 | 1 << 20, 256 << 10, &data);
            request(disk, 3, 0, 0, &[]);
        }
        for disk in &mut disks {
            // Replies come in any order: the read's cookie is that of no other.
            for _ in 0..4 {
                let mut head = [0; 16];
                disk.read_exact(&mut head).unwrap();
                assert_eq!(head[..8], [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0]);
                if head[8..] == 0u64.to_be_bytes() {
                    disk.read_exact(&mut vec![0; 128 << 10]).unwrap();
                }
            }
        }
    }
    let until = Instant::now() + PATIENCE;
    let each = loop {
        let each = memory(process).saturating_sub(before) / DISKS as u64;
        if each <= MOST || Instant::now() > until {
            break each;
        }
        thread::sleep(Duration::from_millis(200));
    };
    println!("{each} KiB for an idle disk");
    assert!(each <= MOST, "{each} KiB");
    // And each goes on.
    for disk in &mut disks {
        request(disk, 0, 0, 4096, &[]);
        reply(disk, 4096);
    }
}

const DIRECTORY: &str = "PINETBOOT_TEST_DIRECTORY";
const DISKS: usize = 100;
/// KiB.
const MOST: u64 = 64;
/// A connection is idle after 5 s; its threads end one by one.
const PATIENCE: Duration = Duration::from_secs(60);
