//! The file `status.txt` among the boot files: a report, written when the file is opened.

use core::cell::{Cell, RefCell};
use core::fmt::{self, Write};
use core::net::SocketAddrV4;

use heapless::String;
use pinetboot_core::{File, OneOf, OpenRequest, OutOfBounds, Storage};

/// The memory of the report: one for all that read it, so that a transfer takes no more memory than another.
#[derive(Debug, Default)]
pub(crate) struct StatusMemory {
    text: RefCell<String<LONGEST>>,
    readers: Cell<u8>,
}

/// A storage that has the report, and the files of another.
pub(crate) struct WithStatus<'a, S, W> {
    pub(crate) storage: S,
    pub(crate) memory: &'a StatusMemory,
    /// Writes the report.
    pub(crate) write: W,
}

impl<'a, S: Storage, W: Fn(&mut dyn Write) -> fmt::Result> Storage for WithStatus<'a, S, W> {
    type File = OneOf<StatusFile<'a>, S::File>;
    type Upload = S::Upload;
    type Refusal = S::Refusal;

    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<S::Upload, S::Refusal> {
        self.storage.create(request).await
    }

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Self::File, S::Refusal> {
        if request.path.components().eq([FILE_NAME]) {
            return Ok(OneOf::First(self.memory.open(&self.write)));
        }
        self.storage.open(request).await.map(OneOf::Second)
    }

    fn resumed(&mut self) -> Option<SocketAddrV4> {
        self.storage.resumed()
    }
}

impl StatusMemory {
    pub(crate) const fn new() -> Self {
        Self { text: RefCell::new(String::new()), readers: Cell::new(0) }
    }

    /// The report of now; while others read one, that one.
    fn open(&self, write: impl Fn(&mut dyn Write) -> fmt::Result) -> StatusFile<'_> {
        let mut text = self.text.borrow_mut();
        if self.readers.get() == 0 {
            text.clear();
            let _cut = write(&mut *text);
        }
        self.readers.set(self.readers.get().saturating_add(1));
        StatusFile { memory: self, len: text.len() }
    }
}

/// A report that is being read.
pub(crate) struct StatusFile<'a> {
    memory: &'a StatusMemory,
    len: usize,
}

impl File for StatusFile<'_> {
    type Error = OutOfBounds;

    fn len(&self) -> u64 {
        self.len as u64
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), OutOfBounds> {
        let text = self.memory.text.borrow();
        let start = usize::try_from(offset).map_err(|_| OutOfBounds)?;
        let end = start.checked_add(buf.len()).ok_or(OutOfBounds)?;
        buf.copy_from_slice(text.as_bytes().get(start..end).ok_or(OutOfBounds)?);
        Ok(())
    }
}

impl Drop for StatusFile<'_> {
    fn drop(&mut self) {
        self.memory.readers.set(self.memory.readers.get().saturating_sub(1));
    }
}

const FILE_NAME: &str = "status.txt";

/// Room for the report with four Pis and a panic, in bytes.
const LONGEST: usize = 896;

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use pinetboot_core::{BootPath, NoUpload, OpenError, block_on};

    use super::*;

    /// Has no file.
    struct Nothing;

    impl Storage for Nothing {
        type File = &'static [u8];
        type Upload = NoUpload;
        type Refusal = OpenError;

        async fn open(&mut self, _: &OpenRequest<'_>) -> Result<&'static [u8], OpenError> {
            Err(OpenError::NotFound)
        }

        fn resumed(&mut self) -> Option<SocketAddrV4> {
            Some(PEER)
        }
    }

    const PEER: SocketAddrV4 = SocketAddrV4::new(core::net::Ipv4Addr::new(10, 55, 0, 130), 2000);

    #[test]
    fn a_reader_gets_one_report_and_the_next_reader_a_new_one() {
        let (memory, count) = (StatusMemory::new(), Cell::new(0));
        let write = |out: &mut dyn Write| {
            count.set(count.get() + 1);
            write!(out, "report {}", count.get())
        };
        let mut storage = WithStatus { storage: Nothing, memory: &memory, write };
        let mut open = |name: &[u8]| {
            let path = BootPath::parse(name).unwrap();
            block_on(storage.open(&OpenRequest::new(path, PEER)))
        };
        let read = |file: &mut OneOf<StatusFile<'_>, &[u8]>| {
            let mut text = std::vec![0; file.len() as usize];
            block_on(file.read_exact_at(0, &mut text)).map(|()| text).map_err(drop)
        };
        let mut first = open(b"status.txt").unwrap();
        let mut second = open(b"/status.txt").unwrap();
        let both: Vec<_> = [&mut first, &mut second].map(|file| read(file).unwrap()).into();
        assert_eq!(both, [b"report 1", b"report 1"]);
        drop((first, second));
        assert_eq!(read(&mut open(b"status.txt").unwrap()).unwrap(), b"report 2");
        for other in [&b"bd989ae1/status.txt"[..], b"config.txt"] {
            assert_eq!(open(other).err(), Some(OpenError::NotFound));
        }
        assert_eq!(storage.resumed(), Some(PEER));
    }

    #[test]
    fn a_report_that_is_too_long_is_cut() {
        let memory = StatusMemory::new();
        let file = memory.open(|out| {
            loop {
                out.write_str("a line of text\n")?;
            }
        });
        assert!(file.len() > 800 && file.len() <= LONGEST as u64);
    }
}
