//! Two storages in order.

use core::fmt;
use core::net::SocketAddrV4;

use super::{File, OpenError, OpenRequest, Refusal, Storage};

/// Two storages: the second is asked for the files that the first does not have. Uploads go to the first.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a pair")]
pub struct Then<A, B>(pub A, pub B);

impl<A: Storage, B: Storage> Storage for Then<A, B> {
    type File = OneOf<A::File, B::File>;
    type Upload = A::Upload;
    type Refusal = OneOf<A::Refusal, B::Refusal>;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Self::File, Self::Refusal> {
        match self.0.open(request).await {
            Err(refusal) if refusal.error() == OpenError::NotFound => {
                self.1.open(request).await.map(OneOf::Second).map_err(OneOf::Second)
            }
            first => first.map(OneOf::First).map_err(OneOf::First),
        }
    }

    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<Self::Upload, Self::Refusal> {
        self.0.create(request).await.map_err(OneOf::First)
    }

    fn resumed(&mut self) -> Option<SocketAddrV4> {
        self.0.resumed().or_else(|| self.1.resumed())
    }
}

/// A file, a refusal or an error of one of two storages. Its text is that of the inner value.
#[derive(Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "of two storages")]
pub enum OneOf<A, B> {
    /// Of the first.
    First(A),
    /// Of the second.
    Second(B),
}

impl<A: File, B: File> File for OneOf<A, B> {
    type Error = OneOf<A::Error, B::Error>;

    fn len(&self) -> u64 {
        match self {
            Self::First(file) => file.len(),
            Self::Second(file) => file.len(),
        }
    }

    fn is_ready(&mut self, offset: u64, len: u16) -> bool {
        match self {
            Self::First(file) => file.is_ready(offset, len),
            Self::Second(file) => file.is_ready(offset, len),
        }
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        match self {
            Self::First(file) => file.read_exact_at(offset, buf).await.map_err(OneOf::First),
            Self::Second(file) => file.read_exact_at(offset, buf).await.map_err(OneOf::Second),
        }
    }
}

impl<A: Refusal, B: Refusal> Refusal for OneOf<A, B> {
    fn error(&self) -> OpenError {
        match self {
            Self::First(refusal) => refusal.error(),
            Self::Second(refusal) => refusal.error(),
        }
    }

    fn place(&self) -> Option<&str> {
        match self {
            Self::First(refusal) => refusal.place(),
            Self::Second(refusal) => refusal.place(),
        }
    }

    fn reason(&self) -> Option<&dyn fmt::Display> {
        match self {
            Self::First(refusal) => refusal.reason(),
            Self::Second(refusal) => refusal.reason(),
        }
    }
}

impl<A: fmt::Debug, B: fmt::Debug> fmt::Debug for OneOf<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(first) => first.fmt(f),
            Self::Second(second) => second.fmt(f),
        }
    }
}

impl<A: From<OpenError>, B> From<OpenError> for OneOf<A, B> {
    fn from(error: OpenError) -> Self {
        Self::First(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BootPath, NoUpload, block_on};

    /// Has one file, or a reason for not having it.
    #[derive(Clone, Copy)]
    struct One(Result<&'static [u8], OpenError>);

    impl Storage for One {
        type File = &'static [u8];
        type Upload = NoUpload;
        type Refusal = OpenError;

        async fn open(&mut self, _: &OpenRequest<'_>) -> Result<&'static [u8], OpenError> {
            self.0
        }
    }

    fn opened(first: One, second: One) -> Result<u64, OpenError> {
        let path = BootPath::parse(b"config.txt").unwrap();
        let request = OpenRequest::new(path, "10.0.0.1:2000".parse().unwrap());
        block_on(Then(first, second).open(&request)).map(|file| file.len()).map_err(|refusal| refusal.error())
    }

    #[test]
    fn the_second_is_asked_for_what_the_first_has_not() {
        let (one, two) = (One(Ok(b"1")), One(Ok(b"22")));
        let refuses = |error| One(Err(error));
        assert_eq!(opened(one, two), Ok(1));
        assert_eq!(opened(refuses(OpenError::NotFound), two), Ok(2));
        assert_eq!(opened(refuses(OpenError::Denied), two), Err(OpenError::Denied), "it has the file");
        assert_eq!(opened(refuses(OpenError::NotFound), refuses(OpenError::Failed)), Err(OpenError::Failed));
    }
}
