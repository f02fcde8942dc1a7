//! An accepted name stays beneath the tree, in every place where a Pi's files are looked for.
#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use pinetboot_core::BootPath;
use pinetboot_core::pi::{BootFile, Lookup, Model, Place};

fuzz_target!(|name: &[u8]| {
    let mut room = [0; 2 * BootPath::MAX_LEN];
    let strict = BootPath::parse(name);
    let path = BootPath::parse_text(name, &mut room);
    let requested = name.strip_suffix(b"\xff").unwrap_or(name);
    if std::str::from_utf8(requested).is_ok() {
        assert_eq!(path, strict);
    } else if let Ok(path) = path {
        assert!(strict.is_err());
        assert!(path.latin1().unwrap().eq(requested.iter().copied()));
    }
    let Ok(path) = path else { return };
    if strict.is_ok() {
        assert_eq!(path.as_requested().as_bytes(), requested);
    }

    let components: Vec<_> = path.components().collect();
    assert!(!components.is_empty());
    for component in &components {
        assert!(!["", ".", ".."].contains(component));
        assert!(!component.contains(['/', '\\', '\0']));
        assert!(!component.contains(|c: char| c.is_ascii_control()));
    }
    assert_eq!(path.file_name(), *components.last().unwrap());

    let clean = path.to_string();
    assert_eq!(clean, components.join("/"));
    assert_eq!(BootPath::parse(clean.as_bytes()), Ok(path));
    assert!(Path::new(&clean).components().all(|component| matches!(component, Component::Normal(_))));

    let lookup = Lookup::new(path);
    let file = lookup.file().to_string();
    let place = match lookup.place(Some) {
        Place::Own(prefix) => format!("{prefix}/{file}"),
        Place::Shared => file.clone(),
    };
    assert_eq!(place.to_lowercase(), clean.to_lowercase());
    for name in [file, place] {
        assert!(BootPath::parse(name.as_bytes()).is_ok());
    }
    assert_eq!(lookup.place(|_| None::<()>), Place::Shared);
    for &model in Model::ALL {
        let _ = BootFile::find(&lookup.file(), Some(model));
    }
    let _ = BootFile::find(&lookup.file(), None);

    match path.split_first() {
        Some((first, rest)) => {
            assert_eq!(first, components[0]);
            assert!(rest.components().eq(components[1..].iter().copied()));
        }
        None => assert_eq!(components.len(), 1),
    }
});
