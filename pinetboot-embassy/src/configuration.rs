//! The board's configuration file, [`config::FILE_NAME`]: read once at the start, from the storage of the boot files.

use core::net::{Ipv4Addr, SocketAddrV4};

use embassy_time::{Duration, TimeoutError, with_timeout};
use pinetboot_core::{BootPath, File, OpenError, OpenRequest, Refusal, Storage};

use crate::config::{Config, FILE_NAME, MAX_LEN};
use crate::storage::Placed;

/// Memory for the file and one byte more, which shows that a file is too long.
pub type Text = [u8; MAX_LEN + 1];

/// The configuration, which the log names too; the defaults without a file. `None`: the file has an error or cannot be read.
pub(crate) async fn configuration<'a, S>(storage: &mut S, text: &'a mut Text) -> Option<Config<'a>>
where
    S: Storage<File: Placed>,
{
    match with_timeout(PATIENCE, read(storage, text)).await {
        Ok(Ok((text, place))) => match Config::parse(text) {
            Ok(config) => {
                info!("configured by {} {}", FILE_NAME, place);
                return Some(config);
            }
            Err(error) => error!("{} {}, {}. {}", FILE_NAME, place, error, UNTIL_THEN),
        },
        Ok(Err(OpenError::NotFound)) => {
            info!("configured as built in, for there is no {}", FILE_NAME);
            return Some(Config::default());
        }
        Ok(Err(_)) => error!("{} cannot be read. {}", FILE_NAME, UNTIL_THEN),
        Err(TimeoutError) => {
            error!(
                "{} is not read, the card takes more than {} s. {}",
                FILE_NAME,
                PATIENCE.as_secs(),
                UNTIL_THEN
            );
        }
    }
    None
}

/// As much of the file as fits, and its place.
async fn read<'a, S>(storage: &mut S, text: &'a mut Text) -> Result<(&'a [u8], &'static str), OpenError>
where
    S: Storage<File: Placed>,
{
    let path = BootPath::parse(FILE_NAME.as_bytes()).map_err(|_| OpenError::NotFound)?;
    let peer = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0); // no client asked
    let opened = storage.open(&OpenRequest::new(path, peer)).await;
    let mut file = opened.map_err(|refusal| refusal.error())?;
    let len = usize::try_from(file.len()).unwrap_or(usize::MAX).min(text.len());
    let text = text.get_mut(..len).unwrap_or_default();
    file.read_exact_at(0, text).await.map_err(|_| OpenError::Failed)?;
    Ok((text, file.place()))
}

/// Longer than a card takes to start, which is a second (SD Physical Layer Simplified Specification, section 4.2.3), after
/// it was looked for in vain once; and short enough for the watchdog, which is not fed yet.
const PATIENCE: Duration = Duration::from_secs(3);

const UNTIL_THEN: &str = "Until that is mended, DHCP is off";

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;

    use pinetboot_core::{NoUpload, block_on};

    use super::*;
    use crate::config::Dhcp;

    /// One file, or a refusal.
    struct One(Result<Vec<u8>, OpenError>);

    struct Opened(Vec<u8>);

    impl Storage for One {
        type File = Opened;
        type Upload = NoUpload;
        type Refusal = OpenError;

        async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Opened, OpenError> {
            assert!(request.path.components().eq([FILE_NAME]));
            self.0.clone().map(Opened)
        }
    }

    impl File for Opened {
        type Error = ();

        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), ()> {
            let from = self.0.get(offset as usize..).ok_or(())?;
            buf.copy_from_slice(from.get(..buf.len()).filter(|bytes| !bytes.contains(&0)).ok_or(())?);
            Ok(())
        }
    }

    impl Placed for Opened {
        fn place(&self) -> &'static str {
            "in a test"
        }
    }

    fn dhcp(file: Result<Vec<u8>, OpenError>) -> Option<Dhcp> {
        let mut text = [0; _];
        block_on(configuration(&mut One(file), &mut text)).map(|config| config.dhcp)
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_none() {
        assert_eq!(dhcp(Ok(b"dhcp = 'proxy'".into())), Some(Dhcp::Proxy));
        assert_eq!(dhcp(Err(OpenError::NotFound)), Some(Config::default().dhcp));
        assert_eq!(dhcp(Err(OpenError::Failed)), None);
        assert_eq!(dhcp(Ok(b"dhcp = 'proxy'\0".into())), None, "its card fails");
        assert_eq!(dhcp(Ok(b"dhcp = 'prxy'".into())), None);
    }

    #[test]
    fn one_byte_too_many_is_too_many() {
        let file = |len: usize| {
            Ok(String::from("dhcp = 'off'\n#")
                .into_bytes()
                .into_iter()
                .chain(core::iter::repeat(b'x'))
                .take(len)
                .collect())
        };
        assert_eq!(dhcp(file(MAX_LEN)), Some(Dhcp::Off));
        assert_eq!(dhcp(file(MAX_LEN + 1)), None);
        assert_eq!(dhcp(file(1 << 20)), None);
    }
}
