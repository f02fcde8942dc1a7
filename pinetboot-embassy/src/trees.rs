//! Pis whose boot files are in a directory with another name: `[pi.bd989ae1] tree = "kitchen"`.

use core::fmt::Write;
use core::net::SocketAddrV4;

use heapless::String;
use pinetboot_core::pi::Lookup;
use pinetboot_core::{BootPath, OpenError, OpenRequest, Storage};

use crate::config::Config;

/// A storage in which the configuration replaces the directory names of Pis.
pub(crate) struct Trees<'a, S> {
    storage: S,
    config: &'a Config<'a>,
}

impl<'a, S> Trees<'a, S> {
    pub(crate) const fn new(storage: S, config: &'a Config<'a>) -> Self {
        Self { storage, config }
    }
}

impl<S: Storage> Storage for Trees<'_, S> {
    type File = S::File;
    type Upload = S::Upload;
    type Refusal = S::Refusal;

    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<S::Upload, S::Refusal> {
        self.storage.create(request).await
    }

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<S::File, S::Refusal> {
        let lookup = Lookup::new(request.path);
        let Some(tree) = lookup.prefix().and_then(|pi| self.config.tree(pi)) else {
            return self.storage.open(request).await;
        };
        let mut name = String::<LONGEST>::new();
        write!(name, "{tree}/{}", lookup.file()).map_err(|_| OpenError::NotFound)?;
        let path = BootPath::parse(name.as_bytes()).map_err(|_| OpenError::NotFound)?;
        self.storage.open(&request.with_path(path)).await
    }

    fn resumed(&mut self) -> Option<SocketAddrV4> {
        self.storage.resumed()
    }
}

/// Names in an archive have 255 bytes at most.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use core::convert::Infallible;
    use std::borrow::ToOwned;
    use std::string::ToString;
    use std::vec::Vec;

    use pinetboot_core::{File, NoUpload, block_on};

    use super::*;

    /// Has every file: its own name.
    struct Names;

    struct Opened(std::string::String);

    impl Storage for Names {
        type File = Opened;
        type Upload = NoUpload;
        type Refusal = OpenError;

        async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Opened, OpenError> {
            Ok(Opened(request.path.to_string()))
        }

        fn resumed(&mut self) -> Option<SocketAddrV4> {
            Some(PEER)
        }
    }

    const PEER: SocketAddrV4 = SocketAddrV4::new(core::net::Ipv4Addr::new(10, 55, 0, 100), 2000);

    impl File for Opened {
        type Error = Infallible;

        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        async fn read_exact_at(&mut self, _: u64, _: &mut [u8]) -> Result<(), Infallible> {
            Ok(())
        }
    }

    fn opened(names: &[&str]) -> Vec<Result<std::string::String, OpenError>> {
        let config =
            Config::parse(b"[pi.bd989ae1]\ntree = 'kitchen'\n[pi.2c-cf-67-01-02-03]\ntree = '/a//b'");
        let config = config.unwrap();
        let mut trees = Trees::new(Names, &config);
        let open = |name: &&str| {
            let path = BootPath::parse(name.as_bytes()).unwrap();
            let peer = "10.55.0.100:2000".parse().unwrap();
            let request = OpenRequest::new(path, peer);
            block_on(trees.open(&request)).map(|file| file.0)
        };
        names.iter().map(open).collect()
    }

    #[test]
    fn a_pi_finds_its_tree_and_others_find_what_they_ask_for() {
        assert_eq!(
            opened(&[
                "bd989ae1/config.txt",
                "BD989AE1//overlays/x.dtbo",
                "2c-cf-67-01-02-03/config.txt",
                "7bf18f79/config.txt",
                "config.txt",
                "bd989ae1",
            ]),
            [
                "kitchen/config.txt",
                "kitchen/overlays/x.dtbo",
                "a/b/config.txt",
                "7bf18f79/config.txt",
                "config.txt",
                "bd989ae1",
            ]
            .map(|name| Ok(name.to_owned()))
        );
    }

    #[test]
    fn clients_that_waited_are_named() {
        let config = Config::parse(b"").unwrap();
        assert_eq!(Trees::new(Names, &config).resumed(), Some(PEER));
    }

    #[test]
    fn a_name_may_be_too_long_but_not_for_the_others() {
        let long = "x".repeat(LONGEST - "kitchen/".len());
        let (fits, too_long) = (std::format!("bd989ae1/{long}"), std::format!("bd989ae1/{long}x"));
        let opened = opened(&[&fits, &too_long, &std::format!("00000001/{long}x")]);
        assert_eq!(opened.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    }
}
