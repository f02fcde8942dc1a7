//! Bytes on the heap, as a file to send and a file to receive.

use core::convert::Infallible;
use std::vec::Vec;

use crate::storage::{File, OutOfBounds, Upload};

impl File for Vec<u8> {
    type Error = OutOfBounds;

    fn len(&self) -> u64 {
        File::len(&self.as_slice())
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), OutOfBounds> {
        self.as_slice().read_exact_at(offset, buf).await
    }
}

/// The received bytes, appended. Bounded by nothing but memory: for servers that are trusted.
impl Upload for Vec<u8> {
    type Error = Infallible;

    fn expect(&mut self, _: u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
