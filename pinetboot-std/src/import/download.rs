//! Downloads, by the program curl: TLS, certificates and proxies are those of the system, and are updated with it.
//!
//! A download that breaks off is resumed where it ended, if the server says by ETag or date that the file is still the same
//! (RFC 9110, section 13.1.5).

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use indicatif::DecimalBytes;

use crate::exit::{Exit, Failed};

/// A download under way. Its end is an error unless curl says that all was received.
#[derive(Debug)]
pub(super) struct Download {
    curl: Child,
    content: ChildStdout,
    url: String,
    /// ETag or date of the file; `None`: the download is not resumed.
    version: Option<String>,
    /// In bytes.
    received: u64,
    resumed: u32,
}

/// Whether a text is an address that can be downloaded.
pub(super) fn is_url(text: &str) -> bool {
    ["https://", "http://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

impl Download {
    /// Starts a download; the second value is its length, if the server names one.
    pub(super) fn start(url: &str) -> io::Result<(Self, Option<u64>)> {
        let head = curl(&["--head"], url).output().map_err(no_curl)?;
        let head = String::from_utf8_lossy(&head.stdout);
        let len = header(&head, "content-length").and_then(|len| len.parse().ok());
        // > A client MUST NOT generate an If-Range header field containing an entity tag that is marked as weak.
        let version = header(&head, "etag").filter(|tag| !tag.starts_with("W/"));
        let version = version.or_else(|| header(&head, "last-modified")).map(str::to_owned);
        let (curl, content) = begin(curl(STALLED, url))?;
        Ok((Self { curl, content, url: url.to_owned(), version, received: 0, resumed: 0 }, len))
    }

    /// Waits for the end of curl; `Err`: its exit code and message.
    fn end(&mut self) -> io::Result<Result<(), (Option<i32>, String)>> {
        let mut why = String::new();
        if let Some(stderr) = &mut self.curl.stderr {
            stderr.take(MOST_WORDS).read_to_string(&mut why)?;
        }
        let status = self.curl.wait()?;
        Ok(if status.success() { Ok(()) } else { Err((status.code(), why)) })
    }

    /// Goes on where the download ended; `false` if it may not.
    fn resume(&mut self, code: Option<i32>) -> io::Result<bool> {
        let Some(version) = self.version.as_ref().filter(|_| self.resumed < MOST_RESUMED) else {
            return Ok(false);
        };
        if !code.is_some_and(|code| BROKEN_OFF.contains(&code)) || self.received == 0 {
            return Ok(false);
        }
        self.resumed += 1;
        thread::sleep(PAUSE);
        let (from, same) = (self.received.to_string(), format!("If-Range: {version}"));
        let options = [STALLED, &["--continue-at", &from, "--header", &same]].concat();
        (self.curl, self.content) = begin(curl(&options, &self.url))?;
        Ok(true)
    }
}

fn begin(mut curl: Command) -> io::Result<(Child, ChildStdout)> {
    let mut curl = curl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(no_curl)?;
    let content = curl.stdout.take().ok_or_else(|| io::Error::other("curl has no output"))?;
    Ok((curl, content))
}

/// The value of a header in the last answer, behind those of redirections.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let last = head.trim_end().rsplit("\r\n\r\n").next()?;
    last.lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let len = self.content.read(buf)?;
            self.received += len as u64;
            if len > 0 || buf.is_empty() {
                return Ok(len);
            }
            match self.end()? {
                Ok(()) => return Ok(0),
                Err((code, _)) if self.resume(code)? => {}
                Err((_, why)) => {
                    let why = format!("cannot download {}: {}", self.url, words(&why));
                    return Err(io::Error::other(why));
                }
            }
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let _ended = self.curl.kill();
        let _collected = self.curl.wait();
    }
}

/// Fetches a small file; `None` if the server has none.
///
/// # Errors
///
/// If the server does not answer or fails, or the file is longer than `most` bytes.
pub(super) fn fetch(url: &str, most: u64) -> Result<Option<String>, Failed> {
    let failed =
        |why: &dyn std::fmt::Display| Failed::new(Exit::Failure, format!("cannot download {url}: {why}"));
    let (mut child, content) =
        begin(curl(&["--max-time", "60"], url)).map_err(|error| Failed::new(Exit::Failure, error))?;
    let mut bytes = Vec::new();
    // Not `--max-filesize`: before curl 8.4 it has no effect without a Content-Length.
    let read = content.take(most + 1).read_to_end(&mut bytes);
    if bytes.len() as u64 > most {
        let _ended = child.kill();
        let _collected = child.wait();
        return Err(failed(&format_args!("it is longer than {}", DecimalBytes(most))));
    }
    // Its messages are short: the pipe holds them until here.
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    let why = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => {
            read.map_err(|error| failed(&error))?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        // The status in curl's message: "The requested URL returned error: 404". Object stores say 403 for a file that is not there.
        Some(HTTP_ERROR) if ["403", "404", "410"].iter().any(|status| why.contains(status)) => Ok(None),
        _ => Err(failed(&words(&why))),
    }
}

/// The SHA-256 that is published beside a file: in `FILE.sha256` or in SHA256SUMS of its directory.
pub(super) fn published_sha256(url: &str) -> Result<Option<String>, Failed> {
    let (directory, name) = url.rsplit_once('/').unwrap_or(("", url));
    for sums in [format!("{url}.sha256"), format!("{directory}/SHA256SUMS")] {
        let text = fetch(&sums, MOST_SUMS)?.unwrap_or_default();
        if let Some(sum) = sum_of(&text, name) {
            return Ok(Some(sum));
        }
    }
    Ok(None)
}

/// The sum of a file in a text by sha256sum(1).
fn sum_of(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let sum = words.next().filter(|sum| is_sha256(sum))?;
        let file = words.next().map(|file| file.trim_start_matches('*'));
        let is_ours = file.is_none_or(|file| file.rsplit('/').next() == Some(name));
        is_ours.then(|| sum.to_ascii_lowercase())
    })
}

/// Whether a text is a SHA-256 in hexadecimal digits.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn curl(options: &[&str], url: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--silent", "--show-error", "--connect-timeout", "30"]);
    // A redirection from https leads to https only.
    let redirected = if url.to_ascii_lowercase().starts_with("https:") { "=https" } else { "=https,http" };
    curl.args(["--proto", "=https,http", "--proto-redir", redirected]);
    curl.args(options).args(["--url", url]).stdin(Stdio::null());
    curl
}

fn no_curl(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound {
        return io::Error::other(
            "a download takes the program curl, which is not installed, as in a container. Pipe the image in: \
             'curl --location URL | pinetboot import - --name NAME ..', in a container with its standard input open (-i)",
        );
    }
    error
}

/// curl's message, in one line.
fn words(text: &str) -> String {
    let text = text.trim().trim_start_matches("curl: ");
    crate::text::shown(text).to_string()
}

/// Less than a byte a second in a minute: the download has stalled.
const STALLED: &[&str] = &["--speed-limit", "1", "--speed-time", "60"];
/// Exit codes of curl(1): no connection, a part of the file, a time-out, no answer, failed to send or to receive.
const BROKEN_OFF: &[i32] = &[7, 18, 28, 52, 55, 56];
const MOST_RESUMED: u32 = 16;
/// Before the download is resumed.
const PAUSE: Duration = Duration::from_millis(500);
/// curl(1), "HTTP page not retrieved [..] an error code being 400 or above".
const HTTP_ERROR: i32 = 22;
const MOST_SUMS: u64 = 1 << 20;
const MOST_WORDS: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_those_of_the_last_answer() {
        let head = "HTTP/1.1 302 Found\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n\
                    HTTP/2 200\r\ncontent-length: 70\r\nEtag: \"Bc\"\r\n\r\n";
        assert_eq!(header(head, "content-length"), Some("70"));
        assert_eq!(header(head, "etag"), Some("\"Bc\""));
        assert_eq!(header(head, "last-modified"), None);
    }

    #[test]
    fn sums_are_found_by_the_files_name() {
        let (a, b) = ("a".repeat(64), "B".repeat(64));
        let text = format!("# sums\n{a} *other.img.xz\n{b}  dir/os.img.xz\n");
        assert_eq!(sum_of(&text, "os.img.xz"), Some("b".repeat(64)));
        assert_eq!(sum_of(&text, "none.img"), None);
        assert_eq!(sum_of(&a, "os.img.xz"), Some(a.clone()), "a sum alone");
        assert_eq!(sum_of("<html>", "os.img.xz"), None);
    }
}
