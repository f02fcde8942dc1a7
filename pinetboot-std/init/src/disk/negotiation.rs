//! The client's side of NBD's negotiation: fixed newstyle, GO (`doc/proto.md` of the project NetworkBlockDevice/nbd).
//!
//! Structured replies are not asked for: the kernel does not read them (Linux, drivers/block/nbd.c).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Export, NoSession, Session};
use crate::settings::DiskAddress;

impl Session {
    /// Connects, and negotiates up to the transmission phase.
    pub(crate) fn open(address: &DiskAddress) -> Result<Self, NoSession> {
        let mut stream = TcpStream::connect_timeout(&address.server.into(), LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let until = Instant::now() + LIMIT;
        let export = negotiate(&mut stream, &address.export, || Instant::now() < until)?;
        // The kernel inherits them, and would take a quiet disk for a broken one.
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        Ok(Self { stream, export })
    }
}

fn negotiate(
    stream: &mut (impl Read + Write),
    name: &str,
    goes_on: impl Fn() -> bool,
) -> Result<Export, NoSession> {
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting)?;
    if greeting[..8] != GREETING || greeting[8..16] != OPTION {
        return Err(NoSession::Foreign("another greeting"));
    }
    if greeting[17] & FIXED == 0 {
        return Err(NoSession::Foreign("not fixed newstyle"));
    }
    stream.write_all(&u32::from(FIXED | greeting[17] & NO_ZEROES).to_be_bytes())?;
    stream.write_all(&go(name))?;

    let (mut export, mut description) = (None, None);
    while goes_on() {
        let mut head = [0; 20];
        stream.read_exact(&mut head)?;
        let field = |at: usize| head.get(at..).and_then(|rest| rest.first_chunk().copied());
        let (Some(kind), Some(len)) = (field(12).map(u32::from_be_bytes), field(16).map(u32::from_be_bytes))
        else {
            return Err(NoSession::Foreign("a short reply"));
        };
        if head[..8] != OPTION_REPLY || head[8..12] != GO.to_be_bytes() || len > MOST_REPLY {
            return Err(NoSession::Foreign("another reply than one to GO"));
        }
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data)?;
        match (kind, data.as_slice()) {
            (ACK, _) => {
                let (len, flags) = export.ok_or(NoSession::Foreign("no length of the export"))?;
                return Ok(Export { len, flags, description });
            }
            (INFO, [0, 0, about @ ..]) => {
                export = about
                    .first_chunk()
                    .zip(about.get(8..).and_then(<[u8]>::first_chunk))
                    .map(|(len, flags)| (u64::from_be_bytes(*len), u16::from_be_bytes(*flags)))
            }
            (INFO, [0, DESCRIPTION, text @ ..]) => {
                description = Some(String::from_utf8_lossy(text).into_owned())
            }
            (INFO, _) => {}
            (ERROR.., text) => {
                let text = String::from_utf8_lossy(text).replace(|c: char| c.is_control(), "?");
                return Err(NoSession::Refused(if text.is_empty() {
                    format!("error {kind:#x}")
                } else {
                    text
                }));
            }
            _ => return Err(NoSession::Foreign("an unknown reply to GO")),
        }
    }
    Err(NoSession::Unreachable(std::io::ErrorKind::TimedOut.into()))
}

/// NBD_OPT_GO with a request for the description.
fn go(name: &str) -> Vec<u8> {
    let mut data = u32::try_from(name.len()).unwrap_or_default().to_be_bytes().to_vec();
    data.extend(name.as_bytes());
    data.extend([0, 1, 0, DESCRIPTION]);
    let len = u32::try_from(data.len()).unwrap_or_default();
    [&OPTION[..], &GO.to_be_bytes(), &len.to_be_bytes(), &data].concat()
}

const GREETING: [u8; 8] = *b"NBDMAGIC";
const OPTION: [u8; 8] = *b"IHAVEOPT";
const OPTION_REPLY: [u8; 8] = 0x0003_e889_0455_65a9_u64.to_be_bytes();
const FIXED: u8 = 1;
const NO_ZEROES: u8 = 2;
const GO: u32 = 7;
const ACK: u32 = 1;
const INFO: u32 = 3;
/// Errors have bit 31.
const ERROR: u32 = 1 << 31;
/// NBD_INFO_DESCRIPTION
const DESCRIPTION: u8 = 2;
/// Bytes of a reply: the protocol's texts have 4096 at most.
const MOST_REPLY: u32 = 8192;
const LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A server that says these bytes, whatever it hears.
    struct Says(io::Cursor<Vec<u8>>);

    impl Read for Says {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }

    impl Write for Says {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn hear(replies: &[(u32, &[u8])]) -> Result<Export, NoSession> {
        let mut bytes = [&GREETING[..], &OPTION, &[0, 3]].concat();
        for (kind, data) in replies {
            let len = u32::try_from(data.len()).unwrap_or_default();
            bytes.extend(
                [&OPTION_REPLY[..], &GO.to_be_bytes(), &kind.to_be_bytes(), &len.to_be_bytes(), data]
                    .concat(),
            );
        }
        negotiate(&mut Says(io::Cursor::new(bytes)), "disk", || true)
    }

    const EXPORT: &[u8] = &[0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 0x2d];

    #[test]
    fn an_export_is_its_length_flags_and_description() {
        let export = hear(&[(INFO, EXPORT), (INFO, b"\0\x02boot 1"), (INFO, b"\0\x03"), (ACK, b"")]);
        let expected = Export { len: 1 << 30, flags: 0x12d, description: Some("boot 1".into()) };
        assert_eq!(export.ok(), Some(expected));
    }

    #[test]
    fn a_server_that_refuses_or_lies_gives_no_disk() {
        assert!(
            matches!(hear(&[(1 << 31 | 6, b"no\nsuch disk")]), Err(NoSession::Refused(why)) if why == "no?such disk")
        );
        assert!(matches!(hear(&[(ACK, b"")]), Err(NoSession::Foreign(_))));
        assert!(matches!(hear(&[(INFO, &[0, 0, 1])]), Err(NoSession::Unreachable(_))));
        assert!(matches!(hear(&[(INFO, &[0; 9000])]), Err(NoSession::Foreign(_))));
        assert!(matches!(hear(&[]), Err(NoSession::Unreachable(_))));
        let mut http = Says(io::Cursor::new(b"HTTP/1.1 400 Bad Request".to_vec()));
        assert!(matches!(negotiate(&mut http, "", || true), Err(NoSession::Foreign(_))));
    }
}
