//! A firmware image fetched by TFTP into NOR flash, and refused unless whole.
//!
//! The mark that makes the bootloader take the new image is the caller's, after this said `Ok`: a bad transfer, a flash that fails and a
//! power cut leave the old firmware in charge.

use core::fmt;

use embedded_storage_async::nor_flash::NorFlash;
use pinetboot_core::Net;
use pinetboot_core::adapter::embedded_storage_async_v0_4::{FlashError, FlashUpload};
use pinetboot_core::tftp::{Client, Options, Request, TransferError};

/// Fetches `name` into the `room` bytes of `flash` from `start` on, and returns the image's length in bytes.
///
/// # Errors
///
/// The image is not whole, or not in flash.
pub async fn fetch<N: Net, F: NorFlash>(
    client: &mut Client<N>,
    name: &str,
    flash: F,
    (start, room): (u32, u32),
) -> Result<u32, UpdateError<N::Error, F::Error>> {
    let mut slot = FlashUpload::<_, 256>::new(flash, start, room).map_err(UpdateError::Flash)?;
    // The server tells the length, and a file that does not fit is refused before anything is erased.
    let options = Options::default().with_block_size(1024).with_transfer_size(0);
    let report = client.get(&Request::octet(name.as_bytes(), options), &mut slot).await;
    // The report of a failed transfer is no error of the network: without `into_result` this would go on with half an image.
    let report = report.map_err(UpdateError::Net)?.into_result().map_err(UpdateError::Transfer)?;
    if report.bytes == 0 {
        return Err(UpdateError::Empty);
    }
    Ok(slot.received())
}

/// Why there is no new image.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpdateError<N, F> {
    /// The network failed.
    Net(N),
    /// The server has no such file, went silent, sent too much, or the flash failed while the file came.
    Transfer(TransferError),
    /// The place in flash is not one.
    Flash(FlashError<F>),
    /// The file is empty.
    Empty,
}

impl<N: fmt::Debug, F: fmt::Debug> fmt::Display for UpdateError<N, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(error) => write!(f, "the network fails: {error:?}"),
            Self::Transfer(error) => write!(f, "{error}"),
            Self::Flash(error) => write!(f, "{error}"),
            Self::Empty => f.write_str("the file is empty"),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{SocketAddr, SocketAddrV4};
    use std::vec::Vec;
    use std::{fs, thread, vec};

    use embedded_storage_async::nor_flash::{ErrorType, NorFlashErrorKind, ReadNorFlash};
    use pinetboot_core::adapter::std::{Directory, UdpPort};
    use pinetboot_core::block_on;
    use pinetboot_core::tftp::{Limits, Server};

    use super::*;

    /// Fails after so many writes.
    struct Flash(Vec<u8>, usize);

    impl ErrorType for &mut Flash {
        type Error = NorFlashErrorKind;
    }

    impl ReadNorFlash for &mut Flash {
        const READ_SIZE: usize = 1;

        async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
            bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
            Ok(())
        }

        fn capacity(&self) -> usize {
            self.0.len()
        }
    }

    impl NorFlash for &mut Flash {
        const WRITE_SIZE: usize = 256;
        const ERASE_SIZE: usize = 4096;

        async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
            self.0[from as usize..to as usize].fill(0xff);
            Ok(())
        }

        async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
            self.1 = self.1.checked_sub(1).ok_or(NorFlashErrorKind::Other)?;
            self.0[offset as usize..].iter_mut().zip(bytes).for_each(|(to, from)| *to &= from);
            Ok(())
        }
    }

    /// A server of one directory, until the test process ends.
    fn server(directory: std::path::PathBuf) -> SocketAddrV4 {
        let net = UdpPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let SocketAddr::V4(address) = net.local_addr().unwrap() else { panic!("bound to IPv4") };
        thread::spawn(move || {
            let mut places = [const { None }; 4];
            let files = Directory::open(directory).unwrap();
            block_on(Server::<_, _, _, 4>::new(net, files, (), Limits::default(), &mut places).run())
        });
        address
    }

    #[test]
    fn an_image_is_taken_whole_or_not_at_all() {
        let directory = std::env::temp_dir().join(std::format!("pinetboot-ota-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let image: Vec<u8> = (0..10_001_u32).map(|index| (index * 31) as u8).collect();
        fs::write(directory.join("image"), &image).unwrap();
        fs::write(directory.join("empty"), []).unwrap();
        let address = server(directory.clone());
        let fetch = |name: &str, flash: &mut Flash, place| {
            let net = UdpPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            block_on(fetch(&mut Client::new(net, (), address), name, flash, place))
        };
        let mut flash = Flash(vec![0x55; 8 * 4096], usize::MAX);
        let place = (4096, 3 * 4096);
        assert_eq!(fetch("image", &mut flash, place).unwrap(), 10_001);
        assert_eq!(flash.0[4096..][..10_001], image);
        assert!(flash.0[..4096].iter().chain(&flash.0[4 * 4096..]).all(|byte| *byte == 0x55));

        assert!(matches!(fetch("none", &mut flash, place), Err(UpdateError::Transfer(_))));
        assert!(matches!(fetch("empty", &mut flash, place), Err(UpdateError::Empty)));
        assert!(matches!(fetch("image", &mut flash, (4096, 2 * 4096)), Err(UpdateError::Transfer(_))));
        assert!(matches!(fetch("image", &mut flash, (1, 2 * 4096)), Err(UpdateError::Flash(_))));
        for writes in [0, 1, 39] {
            flash.1 = writes;
            let failed = fetch("image", &mut flash, place);
            assert!(matches!(failed, Err(UpdateError::Transfer(_))), "after {writes} writes: {failed:?}");
        }
        flash.1 = 40;
        assert_eq!(fetch("image", &mut flash, place).unwrap(), 10_001);
        fs::remove_dir_all(directory).unwrap();
    }
}
