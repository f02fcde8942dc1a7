//! config.txt and cmdline.txt of a tree: each board reads a config.txt to its end, with its includes, and a file that the
//! server changed needs no further change.
#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use pinetboot_core::pi::Model;

// The program's own files, without the program: they need no more than the core.
#[path = "../../pinetboot-std/src/render/cmdline.rs"]
mod cmdline;
#[path = "../../pinetboot-std/src/simulate/config_txt.rs"]
mod config_txt;
#[path = "../../pinetboot-std/src/simulate/filter.rs"]
mod filter;
#[path = "../../pinetboot-std/src/render/config_txt.rs"]
mod rendered;
#[allow(
    dead_code,
    unexpected_cfgs,
    reason = "the rendering uses a part of it, and the program has more features"
)]
#[path = "../../pinetboot-std/src/text.rs"]
mod text;

/// That of `render.rs`.
pub struct Root {
    source: String,
    in_memory: bool,
    arguments: Vec<String>,
}

fuzz_target!(|bytes: &[u8]| {
    for model in Model::ALL {
        let board = filter::Board { model: *model, serial: 0xbd98_9ae1 };
        let config = config_txt::ConfigTxt::parse(bytes, board);
        // The file includes itself.
        let mut includes = 0;
        let mut include = |_: &str| {
            includes += 1;
            Ok::<_, Infallible>(Some(bytes[..bytes.len().min(64)].to_vec()))
        };
        let with = config_txt::ConfigTxt::parse_with(bytes, board, &mut include);
        assert!(with.is_ok() && includes <= 16);
        for name in config.overlays.iter().chain(&config.initramfs).chain(&config.kernel) {
            assert!(!name.is_empty() && !name.contains('\n'));
        }
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Some(changed) = rendered::without_initramfs(text) {
        assert_eq!(changed.len(), text.len());
        assert_eq!(rendered::without_initramfs(&changed), None);
    }
    let root = Root { source: "10.0.0.1:/bd989ae1".into(), in_memory: false, arguments: Vec::new() };
    if let Some((line, change)) = cmdline::rewrite(text, &root) {
        assert!(line.ends_with('\n') && line.lines().count() == 1 && !change.is_empty());
        assert_eq!(cmdline::rewrite(&line, &root), None, "{line}");
    }
    let _any = cmdline::place(text, Some("10.0.0.1"));
    assert_eq!(cmdline::with_arguments(text, "quiet").lines().count(), 1);
});
