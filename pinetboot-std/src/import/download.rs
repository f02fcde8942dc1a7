//! Downloads, by the program curl: TLS, certificates and proxies are those of the system, and are updated with it.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::exit::{Exit, Failed};

/// A download under way. Its end is an error unless curl says that all was received.
#[derive(Debug)]
pub(super) struct Download {
    curl: Child,
    content: ChildStdout,
    url: String,
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
        let head = String::from_utf8_lossy(&head.stdout).to_ascii_lowercase();
        // Of the last answer, behind redirections.
        let len =
            head.lines().rev().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut curl = curl(&["--speed-limit", "1", "--speed-time", "60"], url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(no_curl)?;
        let content = curl.stdout.take().ok_or_else(|| io::Error::other("curl has no output"))?;
        Ok((Self { curl, content, url: url.to_owned() }, len))
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.content.read(buf)?;
        if len == 0 && !buf.is_empty() {
            let mut why = String::new();
            if let Some(stderr) = &mut self.curl.stderr {
                stderr.take(MOST_WORDS).read_to_string(&mut why)?;
            }
            if !self.curl.wait()?.success() {
                return Err(io::Error::other(format!("cannot download {}: {}", self.url, words(&why))));
            }
        }
        Ok(len)
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
/// If the server does not answer, or the file is longer than `most` bytes.
pub(super) fn fetch(url: &str, most: u64) -> Result<Option<String>, Failed> {
    let most = most.to_string();
    let output = curl(&["--max-time", "60", "--max-filesize", &most], url).output();
    let output = output.map_err(|error| Failed::new(Exit::Failure, no_curl(error)))?;
    match output.status.code() {
        Some(0) => Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned())),
        Some(HTTP_ERROR) => Ok(None),
        _ => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(Failed::new(Exit::Failure, format!("cannot download {url}: {}", words(&why))))
        }
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

/// curl(1), "HTTP page not retrieved [..] an error code being 400 or above".
const HTTP_ERROR: i32 = 22;
const MOST_SUMS: u64 = 1 << 20;
const MOST_WORDS: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

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
