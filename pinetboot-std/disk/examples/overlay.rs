//! Makes an overlay for a disk of at least `LEN` bytes: `cargo run --example overlay -- OVERLAY BASE [LEN]`.

use std::path::Path;

use pinetboot_disk::Overlay;

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [overlay, base, len @ ..] = &arguments[..] else { return Err("give an overlay and a base".into()) };
    let len = len.first().map_or(Ok(0), |len| len.parse())?;
    Ok(Overlay::create(Path::new(overlay), Path::new(base), len)?)
}
