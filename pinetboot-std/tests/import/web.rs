//! Images by HTTPS: a server with a certificate of an authority that the test makes, which is trusted by CURL_CA_BUNDLE alone.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use pinetboot::images::Images;

use super::images::run;
use super::layout::small_image;
use super::pinetboot;

/// A web server behind TLS, which socat ends.
struct Web {
    address: String,
    certificate: PathBuf,
    /// The requests, as `GET /name` or `GET /name from 123`.
    asked: Arc<Mutex<Vec<String>>>,
    socat: Child,
}

impl Web {
    /// Serves the files of a directory, and under some paths something else:
    ///
    /// * `/moved/NAME`: redirected to `/NAME`; `/insecure/NAME`: to http.
    /// * `/broken/NAME`: the first half, and what is asked for from there on; `/changed/NAME`: the same, of a file that changes.
    /// * `/cut/NAME`: always the first half.
    fn new(directory: &Path) -> Self {
        let files = directory.to_owned();
        let certificate = directory.join("authority.pem");
        let script = "cd \"$0\"; openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout authority.key \
                      -out authority.pem; openssl req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr; \
                      printf subjectAltName=IP:127.0.0.1 >server.ext; openssl x509 -req -in server.csr -CA authority.pem \
                      -CAkey authority.key -days 2 -extfile server.ext -out server.pem; cat server.key >>server.pem";
        run(Command::new("sh").args(["-ec", script]).arg(directory));
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        let behind = plain.local_addr().unwrap();
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (notes, versions) = (asked.clone(), AtomicUsize::new(0));
        thread::spawn(move || {
            for stream in plain.incoming() {
                // A client may leave at any time.
                let _left = answer(stream.unwrap(), &files, &notes, &versions);
            }
        });
        let listen = format!(
            "OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,verify=0,cert={}",
            directory.join("server.pem").display()
        );
        let socat = Command::new("socat")
            .args([listen, format!("TCP:{behind}")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::yield_now();
        }
        Self { address: format!("https://127.0.0.1:{port}"), certificate, asked, socat }
    }

    /// Imports `path`; returns the exit code and what was said.
    fn import(&self, path: &str, to: &Path, options: &[&str], trusts: bool) -> (Option<i32>, String) {
        let mut command = pinetboot();
        command.arg("import").arg(format!("{}/{path}", self.address)).arg("--to").arg(to).args(options);
        if trusts {
            command.env("CURL_CA_BUNDLE", &self.certificate);
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ended = self.socat.kill();
        let _collected = self.socat.wait();
    }
}

fn answer(
    mut stream: TcpStream,
    files: &Path,
    asked: &Mutex<Vec<String>>,
    versions: &AtomicUsize,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let (mut from, mut same) = (None, None);
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "range" => from = value.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().ok(),
            "if-range" => same = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
    let note = from.map_or(format!("{method} {path}"), |from| format!("{method} {path} from {from}"));
    asked.lock().unwrap().push(note);
    let (place, name) = path.rsplit_once('/').unwrap_or_default();
    if let Some(target) = match place {
        "/moved" => Some(format!("/{name}")),
        "/insecure" => Some(format!("http://127.0.0.1:9/{name}")),
        _ => None,
    } {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let Ok(content) = fs::read(files.join(name)) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let version = if place == "/changed" { versions.fetch_add(1, Ordering::Relaxed) } else { 0 };
    let tag = format!("\"Tag{version}\"");
    let from = from.filter(|_| place != "/cut" && same.is_none_or(|same| same == tag));
    let body = &content[from.unwrap_or(0)..];
    let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    )?;
    if let Some(from) = from {
        write!(stream, "Content-Range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len())?;
    }
    write!(stream, "\r\n")?;
    let is_cut = matches!(place, "/broken" | "/changed" | "/cut") && from.is_none();
    let sent = if is_cut { body.len() / 2 } else { body.len() };
    if method == "HEAD" { Ok(()) } else { stream.write_all(&body[..sent]) }
}

#[test]
#[ignore = "needs root, curl, openssl, socat, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn images_come_by_https_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let image = small_image();
    fs::copy(image.path(), dir.path().join("os.img")).unwrap();
    run(Command::new("sh").args(["-ec", "cd \"$0\"; sha256sum os.img >os.img.sha256; xz -0k os.img; cp os.img other.img; echo none >other.img.sha256"]).arg(dir.path()));
    let sum = fs::read_to_string(dir.path().join("os.img.sha256")).unwrap()[..64].to_owned();
    let web = Web::new(dir.path());
    let to = tempfile::tempdir().unwrap();
    let import = |path: &str, options: &[&str]| web.import(path, to.path(), options, true);
    let facts = |name: &str| Images::at(to.path()).find(name).unwrap().map(|image| image.facts.sha256);

    // An authority that this machine does not trust.
    let (code, said) = web.import("os.img", to.path(), &["--name", "alien", "--sha256", &sum], false);
    assert!(code == Some(1) && said.contains("certificate"), "{said}");
    // The sum that is published beside the image; a redirection.
    for (path, name) in [("os.img", "plain"), ("moved/os.img", "moved")] {
        let (code, said) = import(path, &["--name", name]);
        assert_eq!((code, facts(name)), (Some(0), Some(sum.clone())), "{said}");
    }
    let (code, said) = import("other.img", &["--name", "unpublished"]);
    assert!(code == Some(0) && said.contains("no SHA-256 is published beside it"), "{said}");
    let (code, said) = import("insecure/os.img", &["--name", "insecure", "--sha256", &sum]);
    assert!(code == Some(1) && said.to_lowercase().contains("protocol"), "{said}");

    // Broken off in its middle: resumed there, compressed or not.
    web.asked();
    let (code, said) = import("broken/os.img", &["--name", "broken", "--sha256", &sum]);
    assert_eq!((code, facts("broken")), (Some(0), Some(sum.clone())), "{said}");
    let half = fs::metadata(dir.path().join("os.img")).unwrap().len() / 2;
    let asked = web.asked();
    assert!(asked.contains(&format!("GET /broken/os.img from {half}")), "{asked:?}");
    let packed = run(Command::new("sha256sum").arg(dir.path().join("os.img.xz")));
    let (code, said) = import("broken/os.img.xz", &["--name", "packed", "--sha256", &packed[..64]]);
    assert_eq!((code, facts("packed").as_deref()), (Some(0), Some(&packed[..64])), "{said}");
    // Another file now, or a server that cannot resume: a half leaves nothing.
    for path in ["changed/os.img", "cut/os.img"] {
        let (code, said) = import(path, &["--name", "half", "--sha256", &sum]);
        assert!(code == Some(1) && said.contains("cannot download"), "{path}: {said}");
        assert_eq!(facts("half"), None);
    }
    assert_eq!(Images::at(to.path()).list().unwrap().len(), 5);
    let left: Vec<_> =
        fs::read_dir(to.path().join("images")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "{left:?}");
}
