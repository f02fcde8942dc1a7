//! Bounds-checked writing: every call says `None` rather than write past the end.

#[derive(Debug)]
pub(super) struct Writer<'b> {
    buf: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    pub(super) fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.buf.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    pub(super) fn u8(&mut self, value: u8) -> Option<()> {
        self.bytes(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn zeros(&mut self, count: usize) -> Option<()> {
        let end = self.len.checked_add(count)?;
        self.buf.get_mut(self.len..end)?.fill(0);
        self.len = end;
        Some(())
    }

    /// Writes over what was written at `at`.
    pub(super) fn overwrite(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        let end = at.checked_add(bytes.len()).filter(|end| *end <= self.len)?;
        self.buf.get_mut(at..end)?.copy_from_slice(bytes);
        Some(())
    }
}
