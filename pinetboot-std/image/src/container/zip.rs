//! Zip files with one image, which may be compressed once more.

use std::io::{self, BufRead, BufReader, Seek};

use zip::ZipArchive;

use super::{BLOCK, Container, PIECE, image_among, pump};

/// Unpacks the only image of a zip file.
pub(super) fn unpack(
    file: impl BufRead + Seek,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut archive = ZipArchive::new(file).map_err(in_words)?;
    let mut names = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(in_words)?;
        names.push(entry.name().map(|name| name.into_owned()).unwrap_or_default());
    }
    let index = image_among(names.iter().map(String::as_str), "zip file")?;
    let mut image = BufReader::with_capacity(PIECE, archive.by_index(index).map_err(in_words)?);
    let start = image.fill_buf()?;
    let inner = Container::of(start.get(..BLOCK).unwrap_or(start));
    match inner {
        Container::Raw => pump(image, sink),
        Container::Zip => Err(io::Error::other("the image in the zip file is a zip file: unpack it first")),
        inner => inner.unpack_stream(image, sink),
    }
}

fn in_words(error: zip::result::ZipError) -> io::Error {
    match error {
        zip::result::ZipError::InvalidArchive(why) => io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the zip file is damaged or cut off ({why}). Download it again"),
        ),
        zip::result::ZipError::UnsupportedArchive(why) => io::Error::other(format!(
            "the zip file cannot be read: {why}. Unpack it first: unzip FILE, or 7z x FILE"
        )),
        zip::result::ZipError::CompressionMethodNotSupported(method) => io::Error::other(format!(
            "the zip file uses compression method {method}, which cannot be read. Unpack it first: 7z x FILE"
        )),
        error => error.into(),
    }
}
