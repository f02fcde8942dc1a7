//! Imports between files, and between the rooms of a crate (top-level modules), lead in one direction: without a circle.
//!
//! The sources are read as text, in the form that rustfmt gives them: a path that begins with `crate::` or `super::` counts,
//! in a `use` or elsewhere; comments and tests do not. A name that a module passes on by `pub use` counts as the file that
//! defines the name. A module and the modules beneath it are one house: paths between the two do not count.
//!
//! Not done: macros that put a path together. In pinetboot-core files alone are looked at: its loops (`tftp::Server`) stand on
//! the shared traits and events, and these name the protocols' types, so its rooms stand on each other by design.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use walkdir::WalkDir;

/// The modules of a crate, by path: `serve/dhcp`, and the crate's root as the empty path.
struct Modules(BTreeMap<String, Code>);

/// A file without its comments and tests.
struct Code {
    text: String,
    /// Its test modules in separate files.
    tests: Vec<String>,
    /// The names that the module passes on, and the paths that they come from.
    exports: BTreeMap<String, Vec<String>>,
}

/// For each place the places that it imports from, and a file that does so.
#[derive(Debug)]
struct Imports(BTreeMap<String, BTreeMap<String, String>>);

impl Modules {
    /// Reads the files of a crate's `src`.
    fn of_crate(src: &Path) -> Self {
        let mut files = BTreeMap::new();
        for entry in WalkDir::new(src) {
            let path = entry.unwrap().into_path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(src).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(path).unwrap());
            }
        }
        assert!(files.len() > 1, "{}: no files", src.display());
        Self::read(&files)
    }

    /// Reads files, by their path in `src`.
    fn read(files: &BTreeMap<String, String>) -> Self {
        let mut modules: BTreeMap<String, Code> = BTreeMap::new();
        for (path, text) in files.iter().filter(|(path, _)| path.as_str() != "main.rs") {
            modules.insert(module_of(path), Code::of(text));
        }
        let tests: Vec<String> = modules
            .iter()
            .flat_map(|(module, code)| code.tests.iter().map(|test| join(module, test)))
            .collect();
        modules.retain(|module, _| !tests.iter().any(|test| module == test || is_beneath(module, test)));
        Self(modules)
    }

    /// The imports of the files, one by one.
    fn files(&self) -> Imports {
        self.imports(|module| module)
    }

    /// The imports of the rooms: the top-level modules with all beneath them.
    fn rooms(&self) -> Imports {
        self.imports(room_of)
    }

    fn imports(&self, place: impl Fn(&str) -> &str) -> Imports {
        let places = self.0.keys().filter(|module| !module.is_empty());
        let mut imports: BTreeMap<String, BTreeMap<String, String>> =
            places.map(|module| (place(module).to_owned(), BTreeMap::new())).collect();
        for (module, code) in self.0.iter().filter(|(module, _)| !module.is_empty()) {
            for path in code.paths(module) {
                let target = self.resolve(&path);
                let is_one_house =
                    target == *module || is_beneath(&target, module) || is_beneath(module, &target);
                let (from, to) = (place(module), place(&target));
                if !target.is_empty() && !is_one_house && from != to {
                    imports.get_mut(from).unwrap().insert(to.to_owned(), format!("{module}.rs"));
                }
            }
        }
        Imports(imports)
    }

    /// The module that defines what a path from the crate's root names.
    fn resolve(&self, path: &[String]) -> String {
        let mut path = path.to_vec();
        'passed_on: loop {
            let mut module = String::new();
            for (at, name) in path.iter().enumerate() {
                let beneath = join(&module, name);
                if self.0.contains_key(&beneath) {
                    module = beneath;
                } else if let Some(from) = self.0.get(&module).and_then(|code| code.exports.get(name)) {
                    let mut from =
                        absolute(&module, from, |first| self.0.contains_key(&join(&module, first)));
                    if from == path[..=at] {
                        return module;
                    }
                    from.extend_from_slice(&path[at + 1..]);
                    path = from;
                    continue 'passed_on;
                } else {
                    return module;
                }
            }
            return module;
        }
    }
}

impl Code {
    fn of(source: &str) -> Self {
        let mut code = Self { text: String::new(), tests: Vec::new(), exports: BTreeMap::new() };
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
        for passed_on in code.text.split("\npub use ").chain(code.text.split("\npub(crate) use ")).skip(1) {
            for path in tree(passed_on) {
                code.exports.insert(path.last().unwrap().clone(), path);
            }
        }
        code
    }

    /// The paths that the file uses, from the crate's root.
    fn paths(&self, module: &str) -> Vec<Vec<String>> {
        let mut paths: Vec<_> = self.text.split("crate::").skip(1).flat_map(tree).collect();
        let mut rest = self.text.as_str();
        while let Some(at) = rest.find("super::") {
            let above = &rest[at..];
            let path = above.trim_start_matches("super::");
            let levels = (above.len() - path.len()) / "super::".len();
            let parent: Vec<&str> = module.split('/').rev().skip(levels).collect();
            let parent: Vec<String> = parent.into_iter().rev().map(str::to_owned).collect();
            paths.extend(tree(path).into_iter().map(|path| [parent.clone(), path].concat()));
            rest = path;
        }
        paths
    }
}

impl Imports {
    /// A circle, if the imports make one: each arrow with the file that makes it.
    fn circle(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        let circle = self.0.keys().find_map(|place| self.follow(place, &mut Vec::new(), &mut seen))?;
        let next = circle.iter().cycle().skip(1);
        let arrows =
            circle.iter().zip(next).map(|(from, to)| format!("{from} -> {to} ({})", self.0[*from][*to]));
        Some(arrows.collect::<Vec<_>>().join(", "))
    }

    fn follow<'a>(
        &'a self,
        place: &'a str,
        way: &mut Vec<&'a str>,
        seen: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(start) = way.iter().position(|passed| *passed == place) {
            return Some(way[start..].to_vec());
        }
        if !seen.insert(place) {
            return None;
        }
        way.push(place);
        let found = self.0.get(place)?.keys().find_map(|next| self.follow(next, way, seen));
        way.pop();
        found
    }
}

/// The paths that a use tree has, of a text that begins with one: `a/b` and `a/c/d` of `a::{b, c::d};`.
fn tree(text: &str) -> Vec<Vec<String>> {
    if let Some(group) = text.strip_prefix('{') {
        return parts(group).into_iter().flat_map(tree).collect();
    }
    let name: String = text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
    if name.is_empty() {
        return Vec::new();
    }
    let beneath = text[name.len()..].strip_prefix("::").map(tree).unwrap_or_default();
    if beneath.is_empty() || name == "self" {
        return vec![vec![name]];
    }
    let path = |rest: Vec<String>| match rest.first().is_some_and(|first| first == "self") {
        true => vec![name.clone()],
        false => [vec![name.clone()], rest].concat(),
    };
    beneath.into_iter().map(path).collect()
}

/// The parts of a group, up to the brace that closes it.
fn parts(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, char) in group.char_indices() {
        match char {
            '}' if depth == 0 => {
                parts.push(group[start..at].trim());
                break;
            }
            '}' => depth -= 1,
            '{' => depth += 1,
            ',' if depth == 0 => {
                parts.push(group[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// A path of a `use` in a module, from the crate's root.
fn absolute(module: &str, path: &[String], is_child: impl Fn(&str) -> bool) -> Vec<String> {
    let module = || module.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    match path[0].as_str() {
        "crate" => path[1..].to_vec(),
        "self" => [&module(), &path[1..]].concat(),
        "super" => {
            let levels = path.iter().take_while(|name| *name == "super").count();
            let module = module();
            [&module[..module.len().saturating_sub(levels)], &path[levels..]].concat()
        }
        first if is_child(first) => [&module(), path].concat(),
        _ => path.to_vec(), // of another crate
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// `serve/dhcp` of `serve/dhcp.rs`; nothing of `lib.rs`.
fn module_of(path: &str) -> String {
    let module = path.strip_suffix(".rs").unwrap_or(path);
    if module == "lib" { String::new() } else { module.to_owned() }
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}/{name}") }
}

fn is_beneath(module: &str, above: &str) -> bool {
    module.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// `serve` of `serve/dhcp` and of `serve`.
fn room_of(module: &str) -> &str {
    module.split('/').next().unwrap_or_default()
}

fn made_up(files: &[(&str, &str)]) -> Modules {
    Modules::read(&files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect())
}

#[test]
fn no_crate_has_a_circle_of_files() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let crates = [
        "pinetboot-core",
        "pinetboot-core/config",
        "pinetboot-std",
        "pinetboot-std/nfs",
        "pinetboot-std/disk",
        "pinetboot-std/image",
        "pinetboot-std/init",
    ];
    let firmware = ["", "boards/esp", "boards/mps2", "boards/rp", "consumers"]
        .map(|part| format!("pinetboot-embassy/{part}"));
    for name in crates.map(str::to_owned).into_iter().chain(firmware) {
        let files = Modules::of_crate(&top.join(&name).join("src")).files();
        assert_eq!(files.circle(), None, "in {name}");
        for (from, to) in KNOWN.iter().filter(|(of, ..)| *of == name).map(|(_, from, to)| (*from, *to)) {
            assert!(files.0[from].contains_key(to), "{name}: {from} imports {to}, and this was not seen");
        }
    }
}

#[test]
fn no_crate_but_the_core_has_a_circle_of_rooms() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in [
        "pinetboot-core/config",
        "pinetboot-std",
        "pinetboot-std/nfs",
        "pinetboot-std/disk",
        "pinetboot-std/image",
        "pinetboot-std/init",
        "pinetboot-embassy",
    ] {
        let rooms = Modules::of_crate(&top.join(name).join("src")).rooms();
        assert_eq!(rooms.circle(), None, "in {name}");
    }
}

#[test]
fn a_circle_is_found_and_named() {
    let two = made_up(&[
        ("lib.rs", "pub mod log;\npub mod bus;"),
        ("log.rs", "fn tell() {\n    crate::bus::emit();\n}"),
        ("bus/clock.rs", "use crate::log::Log;"),
        ("bus.rs", "mod clock;"),
    ]);
    assert_eq!(two.rooms().circle().unwrap(), "bus -> log (bus/clock.rs), log -> bus (log.rs)");
    assert_eq!(two.files().circle(), None, "log takes from bus.rs, and bus/clock.rs from log");
    let three = made_up(&[
        ("a.rs", "use crate::{\n    b::{self, c::D},\n    e,\n};"),
        ("b.rs", ""),
        ("e.rs", "use super::f::deep;"),
        ("f.rs", ""),
        ("f/deep.rs", "pub(crate) use super::super::a::X;"),
    ]);
    assert_eq!(three.files().circle().unwrap(), "a -> e (a.rs), e -> f/deep (e.rs), f/deep -> a (f/deep.rs)");
}

#[test]
fn a_name_that_a_module_passes_on_hides_no_file() {
    let through_the_root = made_up(&[
        ("lib.rs", "mod a;\nmod b;\n\npub use a::{Other, Thing};"),
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::Thing;"),
    ]);
    assert_eq!(through_the_root.rooms().circle().unwrap(), "a -> b (a.rs), b -> a (b.rs)");
    let through_the_parent = made_up(&[
        ("p.rs", "mod x;\nmod y;\n\npub use x::X;\npub use y::Y;"),
        ("p/x.rs", "use super::Y;"),
        ("p/y.rs", "use super::X;"),
    ]);
    assert_eq!(through_the_parent.files().circle().unwrap(), "p/x -> p/y (p/x.rs), p/y -> p/x (p/y.rs)");
}

#[test]
fn comments_and_tests_make_no_circle() {
    let modules = made_up(&[
        ("a.rs", "use crate::b::B;"),
        (
            "b.rs",
            "//! See [`a`](crate::a).\nfn f() {} // as crate::a does\n\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\n\
             use crate::a::{\n    A,\n};\n\n#[cfg(test)]\nmod more {\n    use crate::a::A;\n}\n",
        ),
        ("b/tests.rs", "use crate::a::A;"),
        ("b/tests/deep.rs", "use crate::a::A;"),
    ]);
    let rooms = modules.rooms();
    assert_eq!(rooms.circle(), None);
    assert!(rooms.0["a"].contains_key("b") && rooms.0["b"].is_empty(), "{rooms:?}");
}

/// Imports that surely are: a crate, a file of it, and a file that it imports.
const KNOWN: [(&str, &str, &str); 5] = [
    ("pinetboot-core", "tftp/server", "tftp/session"),
    ("pinetboot-core", "observe", "event"),
    ("pinetboot-std", "cli", "serve"),
    ("pinetboot-std", "serve", "storage/pieces"),
    ("pinetboot-std/nfs", "nfs3", "file_system"),
];
