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
    /// * `/failing/NAME`: 503. `/chunked/NAME`: without a length.
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
        ended(&mut command)
    }

    /// Runs a command that asks for this server's list; returns the exit code and what was said.
    fn with_list(&self, list: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = pinetboot();
        command.args(arguments).arg("--list-url").arg(format!("{}/{list}", self.address));
        ended(command.env("CURL_CA_BUNDLE", &self.certificate))
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

fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
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
    if place == "/failing" {
        return write!(stream, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let Ok(content) = fs::read(files.join(name)) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    if place == "/chunked" {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        return stream.write_all(&content);
    }
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

#[test]
#[ignore = "needs root, curl, openssl, socat, mke2fs, mkfs.vfat, mtools, sfdisk"]
fn an_image_is_found_by_its_name_in_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let image = small_image();
    fs::copy(image.path(), dir.path().join("os.img")).unwrap();
    run(Command::new("sh").args(["-ec", "cd \"$0\"; xz -0k os.img"]).arg(dir.path()));
    let sum = |name: &str| run(Command::new("sha256sum").arg(dir.path().join(name)))[..64].to_owned();
    let (packed, unpacked, wrong) = (sum("os.img.xz"), sum("os.img"), "0".repeat(64));
    let web = Web::new(dir.path());
    let base = &web.address;
    let list = format!(
        r#"{{"imager": {{"devices": []}}, "os_list": [
            {{"name": "Raspberry Pi OS (other)", "subitems": [
                {{"name": "Raspberry Pi OS Lite (64-bit)", "url": "{base}/raspios_lite_arm64/os.img.xz", "release_date": "2026-04-14",
                  "image_download_sha256": "{packed}", "image_download_size": 4711, "devices": ["pi5-64bit"]}}]}},
            {{"name": "Only the image's", "url": "{base}/a/os.img.xz", "extract_sha256": "{unpacked}"}},
            {{"name": "Changed", "url": "{base}/b/os.img.xz", "image_download_sha256": "{wrong}"}},
            {{"name": "Changed within", "url": "{base}/c/os.img.xz", "extract_sha256": "{wrong}"}},
            {{"name": "More", "subitems_url": "{base}/more.json"}},
            {{"name": "Lost", "subitems_url": "{base}/none.json"}},
            {{"name": "Plain", "subitems_url": "http://127.0.0.1:9/more.json"}}]}}"#
    );
    fs::write(dir.path().join("list.json"), &list).unwrap();
    let more = format!(
        r#"{{"os_list": [{{"name": "Of Another List", "url": "{base}/d/os.img.xz", "image_download_sha256": "{packed}"}}]}}"#
    );
    fs::write(dir.path().join("more.json"), more).unwrap();
    fs::write(dir.path().join("cut.json"), &list[..list.len() / 2]).unwrap();
    fs::File::create(dir.path().join("long.json")).unwrap().set_len((16 << 20) + 1).unwrap();
    let to = tempfile::tempdir().unwrap();
    let import = |list: &str, name: &str| {
        web.with_list(
            list,
            &["import", name, "--name", &name.to_ascii_lowercase(), "--to", to.path().to_str().unwrap()],
        )
    };
    let facts = |name: &str| Images::at(to.path()).find(name).unwrap().map(|image| image.facts.sha256);

    for name in
        ["raspios-lite", "raspberry-pi-os-lite-64-bit", "RASPIOS-Lite", "only-the-image-s", "of-another-list"]
    {
        let (code, said) = import("list.json", name);
        let expected = if name == "RASPIOS-Lite" { Some(2) } else { Some(0) };
        assert_eq!(code, expected, "{name}: {said}");
        assert_eq!(facts(&name.to_ascii_lowercase()), Some(packed.clone()), "{name}");
        assert!(expected == Some(0) || said.contains("already exists"), "{said}");
        assert!(!said.contains("no SHA-256 is published"), "{name}: {said}");
    }
    for (list, name, code, expected) in [
        ("list.json", "changed", 1, "not 0000"),
        ("list.json", "changed-within", 1, "the SHA-256 of the unpacked image is"),
        ("list.json", "raspios-light", 1, "The nearest: raspios-lite, "),
        ("more.json", "of-an-other-list", 2, "The nearest: of-another-list. All names"),
        ("list.json", "other.img", 2, "other.img: no such file"),
        ("cut.json", "raspios-lite", 1, "not a list of Raspberry Pi Imager, or a damaged one"),
        ("os.img.xz", "raspios-lite", 1, "not a list of Raspberry Pi Imager, or a damaged one"),
        ("long.json", "raspios-lite", 1, "longer than 16.78 MB"),
        ("chunked/long.json", "raspios-lite", 1, "longer than 16.78 MB"),
        ("none.json", "raspios-lite", 1, "none.json: not found"),
        ("failing/list.json", "raspios-lite", 1, "503"),
    ] {
        let (found, said) =
            web.with_list(list, &["import", name, "--name", "no", "--to", to.path().to_str().unwrap()]);
        assert!(found == Some(code) && said.contains(expected), "{list} {name}: {found:?} {said}");
        assert_eq!(facts("no"), None);
    }
    let (code, said) = ended(
        pinetboot()
            .args(["import", "raspios-lite", "--list-url", "http://127.0.0.1:9/", "--to"])
            .arg(to.path()),
    );
    assert!(code == Some(2) && said.contains("http has no protection"), "{said}");
    let (code, said) = ended(pinetboot().args(["images", "available", "--list-url", "http://127.0.0.1:9/"]));
    assert!(code == Some(2) && said.contains("http has no protection"), "{said}");
    // Without a network.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for arguments in
        [&["images", "available"][..], &["import", "raspios-lite", "--to", to.path().to_str().unwrap()]]
    {
        let (code, said) =
            ended(pinetboot().args(arguments).args(["--list-url", &format!("https://{closed}/list.json")]));
        assert!(code == Some(1) && said.contains("cannot download") && said.contains("connect"), "{said}");
    }

    let (code, said) = web.with_list("list.json", &["images", "available"]);
    assert_eq!(code, Some(0), "{said}");
    let line = said.lines().find(|line| line.starts_with("raspios-lite ")).unwrap();
    assert!(line.contains("Raspberry Pi OS Lite (64-bit)  2026-04-14  4.71 kB"), "{line}");
    assert!(
        said.contains("of-another-list")
            && said.contains("left out:")
            && said.contains("none.json: not found"),
        "{said}"
    );
    assert!(said.contains("http://127.0.0.1:9/more.json: no https address"), "{said}");
    let output = pinetboot()
        .args(["images", "available", "--json", "--list-url", &format!("{base}/list.json")])
        .env("CURL_CA_BUNDLE", &web.certificate)
        .output()
        .unwrap();
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let lite = &read["images"][0];
    assert_eq!(
        (lite["name"].as_str(), lite["sha256"].as_str()),
        (Some("raspios-lite"), Some(packed.as_str()))
    );
    assert_eq!(lite["devices"][0], "pi5-64bit");
}
