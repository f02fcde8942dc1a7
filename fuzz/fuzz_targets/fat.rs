//! Any bytes are a FAT file system that is walked to its end, or refused; never for longer than its size allows.
#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use pinetboot_image::fat::{Fat, Visit};
use pinetboot_image::{ImageError, Part};

fuzz_target!(|bytes: &[u8]| {
    let Ok(fat) = Fat::open(Part::new(bytes, 0, bytes.len() as u64)) else { return };
    let _ = fat.walk(&mut Reader);
    let _ = fat.read("overlays/../config.txt", 4096);
    let _ = fat.list("overlays");
});

struct Reader;

impl Visit for Reader {
    type Error = ImageError;

    fn directory(&mut self, path: &[String]) -> Result<(), ImageError> {
        assert!(path.iter().all(|name| !name.is_empty() && !name.contains('/') && name != ".."));
        Ok(())
    }

    fn file(
        &mut self,
        path: &[String],
        len: u64,
        _: Option<i64>,
        content: &mut dyn Read,
    ) -> Result<(), ImageError> {
        self.directory(path)?;
        io::copy(&mut content.take(len), &mut io::sink())?;
        Ok(())
    }
}
