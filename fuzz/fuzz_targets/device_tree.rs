//! Any bytes are a device tree that is read to its end, and a map of overlays that leads to a name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinetboot_core::pi::Model;

// The program's own files, without the program: they need no more than the core.
#[expect(dead_code, reason = "numbers for a tree that tests make")]
#[path = "../../pinetboot-std/src/simulate/fdt.rs"]
mod fdt;
#[path = "../../pinetboot-std/src/simulate/overlay_map.rs"]
mod overlay_map;

use overlay_map::{Mapped, look_up};

fuzz_target!(|bytes: &[u8]| {
    if let Some(tree) = fdt::Fdt::parse(bytes) {
        let _ = tree.root_property("compatible").and_then(fdt::text);
        if let Some(node) = tree.node("a") {
            let most = bytes.len() / 12; // a property's three words
            assert!(node.count() <= most);
        }
    }
    for model in Model::ALL {
        for name in ["a", "vc4-kms-v3d", ""] {
            match look_up(Some(bytes), name, model.profile()) {
                Mapped::Load(name) => assert!(name.len() <= bytes.len().max("vc4-kms-v3d".len())),
                Mapped::Not(why) => assert!(!why.is_empty()),
            }
        }
    }
});
