//! The rooms of the library, which are its top-level modules, take from each other in one direction: without a circle.
//!
//! The sources are read as text, in the form that rustfmt gives them: `crate::ROOM` in a `use` or a path counts, comments
//! and tests do not. Not done: macros that put a path together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use walkdir::WalkDir;

/// For each room the rooms that it takes from, and a file that does so.
#[derive(Debug)]
struct Rooms(BTreeMap<String, BTreeMap<String, String>>);

impl Rooms {
    /// Reads files, by their path in `src`.
    fn read(files: &BTreeMap<String, String>) -> Self {
        let code: BTreeMap<_, _> = files.iter().map(|(path, text)| (path.as_str(), Code::of(text))).collect();
        let tests: Vec<String> = code
            .iter()
            .flat_map(|(path, code)| code.tests.iter().map(|module| format!("{}/{module}", module_of(path))))
            .collect();
        let is_test = |path: &str| {
            let module = module_of(path);
            tests.iter().any(|test| module == test || module.starts_with(&format!("{test}/")))
        };
        let mut rooms: BTreeMap<String, BTreeMap<String, String>> =
            code.keys().map(|path| (room_of(path).to_owned(), BTreeMap::new())).collect();
        for roof in ["lib", "main"] {
            rooms.remove(roof);
        }
        let all: BTreeSet<String> = rooms.keys().cloned().collect();
        for (path, code) in code.iter().filter(|(path, _)| !is_test(path)) {
            let Some(takes) = rooms.get_mut(room_of(path)) else { continue };
            for name in code.names_at_the_root(path.split('/').count()) {
                assert!(all.contains(&name), "{path}: crate::{name} is no room");
                if name != room_of(path) {
                    takes.insert(name, (*path).to_owned());
                }
            }
        }
        Self(rooms)
    }

    /// A circle, if there is one: each arrow with the file that makes it.
    fn circle(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        let circle = self.0.keys().find_map(|room| self.follow(room, &mut Vec::new(), &mut seen))?;
        let next = circle.iter().cycle().skip(1);
        let arrows =
            circle.iter().zip(next).map(|(from, to)| format!("{from} -> {to} ({})", self.0[*from][*to]));
        Some(arrows.collect::<Vec<_>>().join(", "))
    }

    fn follow<'a>(
        &'a self,
        room: &'a str,
        way: &mut Vec<&'a str>,
        seen: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(start) = way.iter().position(|passed| *passed == room) {
            return Some(way[start..].to_vec());
        }
        if !seen.insert(room) {
            return None;
        }
        way.push(room);
        let found = self.0[room].keys().find_map(|next| self.follow(next, way, seen));
        way.pop();
        found
    }
}

/// A file without its comments and tests.
struct Code {
    text: String,
    /// Its test modules in separate files.
    tests: Vec<String>,
}

impl Code {
    fn of(source: &str) -> Self {
        let mut code = Self { text: String::new(), tests: Vec::new() };
        let mut lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        while let Some(line) = lines.next() {
            if line.trim() != "#[cfg(test)]" {
                code.text.push_str(line.split(" // ").next().unwrap_or_default());
                code.text.push('\n');
                continue;
            }
            // The item's last line is the first one that is indented like the attribute and closes something.
            let is_last = |item: &&str| indent(item) == indent(line) && item.ends_with([';', '}']);
            let last = lines.find(is_last).expect("an item after #[cfg(test)]");
            let module = last.trim().strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
            code.tests.extend(module.map(str::to_owned));
        }
        code
    }

    /// The names right beneath the crate's root that are used in a file so deep in `src`.
    fn names_at_the_root(&self, depth: usize) -> BTreeSet<String> {
        let text = self.text.replace(&"super::".repeat(depth), "crate::");
        let paths = text.split("crate::").skip(1);
        paths.flat_map(|rest| rest.strip_prefix('{').map_or_else(|| vec![word(rest)], group)).collect()
    }
}

/// The first words of a group's parts: `a` and `d` of `a::{b, c}, d}`.
fn group(rest: &str) -> Vec<String> {
    let mut depth = 0;
    let mut outer = String::new();
    for char in rest.chars() {
        match char {
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            '{' => depth += 1,
            _ if depth == 0 => outer.push(char),
            _ => {}
        }
    }
    outer.split(',').map(|part| word(part.trim())).filter(|word| !word.is_empty()).collect()
}

fn word(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// `serve/dhcp` of `serve/dhcp.rs`.
fn module_of(path: &str) -> &str {
    path.strip_suffix(".rs").unwrap_or(path)
}

/// `serve` of `serve/dhcp.rs` and of `serve.rs`.
fn room_of(path: &str) -> &str {
    module_of(path).split('/').next().unwrap_or_default()
}

fn made_up(files: &[(&str, &str)]) -> Rooms {
    Rooms::read(&files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect())
}

#[test]
fn the_rooms_of_the_library_have_no_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(&src) {
        let path = entry.unwrap().into_path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read_to_string(path).unwrap());
        }
    }
    let rooms = Rooms::read(&files);
    for (from, to) in [("cli", "serve"), ("serve", "storage"), ("storage", "roots")] {
        assert!(rooms.0[from].contains_key(to), "{from} takes from {to}, but that was not seen: {rooms:?}");
    }
    assert_eq!(rooms.circle(), None);
}

#[test]
fn a_circle_is_found_and_named() {
    let two = made_up(&[
        ("lib.rs", "pub mod log;\npub mod bus;"),
        ("log.rs", "fn tell() {\n    crate::bus::emit();\n}"),
        ("bus/clock.rs", "use crate::log::Log;"),
    ]);
    assert_eq!(two.circle().unwrap(), "bus -> log (bus/clock.rs), log -> bus (log.rs)");
    let three = made_up(&[
        ("a.rs", "use crate::{\n    b::{self, c::D},\n    e,\n};"),
        ("b.rs", ""),
        ("e.rs", "use super::f;"),
        ("f/deep.rs", "pub(crate) use super::super::a::X;"),
    ]);
    assert_eq!(three.circle().unwrap(), "a -> e (a.rs), e -> f (e.rs), f -> a (f/deep.rs)");
}

#[test]
fn comments_and_tests_make_no_circle() {
    let rooms = made_up(&[
        ("a.rs", "use crate::b::B;"),
        (
            "b.rs",
            "//! See [`a`](crate::a).\nfn f() {} // as crate::a does\n\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\n\
             use crate::a::{\n    A,\n};\n\n#[cfg(test)]\nmod more {\n    use crate::a::A;\n}\n",
        ),
        ("b/tests.rs", "use crate::a::A;"),
        ("b/tests/deep.rs", "use crate::a::A;"),
    ]);
    assert_eq!(rooms.circle(), None);
    assert!(rooms.0["a"].contains_key("b") && rooms.0["b"].is_empty(), "{rooms:?}");
}

#[test]
#[should_panic(expected = "crate::Thing is no room")]
fn a_name_that_the_root_passes_on_hides_no_room() {
    made_up(&[("lib.rs", "pub use a::Thing;"), ("a.rs", ""), ("b.rs", "use crate::Thing;")]);
}
