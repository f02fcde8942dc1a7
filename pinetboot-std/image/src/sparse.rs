//! Sparse writing: pages of zeros become holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Writes `bytes` at `offset`, but skips pages of 4096 bytes, counted from `bytes`' start, that hold only zeros.
///
/// The file must read as zeros there: a new file, or one extended by [`File::set_len`]. The file's length is not changed by
/// skipped pages at the end.
///
/// # Errors
///
/// The system's.
pub fn write_sparse(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let zeros = run(rest, true);
        let data = run(&rest[zeros..], false);
        file.write_all_at(&rest[zeros..zeros + data], offset + (at + zeros) as u64)?;
        at += zeros + data;
    }
    Ok(())
}

/// Counts the bytes of the leading pages that are, or are not, all zeros.
fn run(bytes: &[u8], zeros: bool) -> usize {
    bytes.chunks(PAGE).take_while(|page| is_zero(page) == zeros).map(<[u8]>::len).sum()
}

fn is_zero(page: &[u8]) -> bool {
    let (words, rest) = page.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_become_holes_and_the_content_stays() {
        let mut content = vec![0; 1 << 20];
        content[5000] = 1;
        content[700_000..700_010].fill(2);
        let file = tempfile::tempfile().unwrap();
        file.set_len(content.len() as u64 + 100).unwrap();
        write_sparse(&file, &content, 100).unwrap();
        let mut read = vec![0; content.len()];
        file.read_exact_at(&mut read, 100).unwrap();
        assert!(read == content);
        assert!(
            file.metadata().unwrap().blocks() * 512 <= 64 << 10,
            "two pages and what the file system adds"
        );
    }
}
