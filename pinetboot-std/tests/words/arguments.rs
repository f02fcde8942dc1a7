//! A file where a directory is expected, and a directory that is missing: each command names the path and the system's reason.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Command lines that end with a directory.
const LINES: [&str; 20] = [
    "images",
    "images list --dir",
    "images use one --dir",
    "images use --previous --dir",
    "images remove one --dir",
    "images rename one two --dir",
    "images verify --dir",
    "images list --dir IMAGES --state",
    "images remove two --dir IMAGES --state",
    "roots list --dir",
    "roots which --dir",
    "roots diff bd989ae1 --dir",
    "roots reset bd989ae1 --dir",
    "roots export bd989ae1 - --dir",
    "disks list --dir",
    "disks diff bd989ae1 --dir",
    "pack --output OUT",
    "serve --check --nfs-mode off",
    "serve --check --nfs",
    "serve --check --config IMAGES/no.toml",
];

#[test]
fn a_path_of_the_wrong_kind_is_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (file, images) = (dir.path().join("file"), dir.path().join("images"));
    fs::write(&file, "x").unwrap();
    make_images(&images);
    for line in LINES {
        for (path, reason) in [
            (file.clone(), "ot a directory"),
            (file.join("within"), "ot a directory"),
            (dir.path().join("none"), "No such file or directory"),
        ] {
            let line = format!("{line} {}", path.display()).replace("IMAGES", images.to_str().unwrap());
            // An option of a file, before a tree that is not read.
            let line = line.replace("OUT", dir.path().join("out").to_str().unwrap());
            let (code, said) = run(&line);
            let reason = if line.contains("no.toml") { "No such file or directory" } else { reason };
            let named = if line.contains("no.toml") { images.join("no.toml") } else { path };
            assert!(matches!(code, 2 | 4) && said.contains(reason), "{line}: {code}: {said}");
            assert!(said.contains(named.to_str().unwrap()), "{line}: {said}");
        }
    }
    assert!(images.join("images/two").exists(), "not removed without the state that tells its users");
}

#[test]
fn a_directory_within_the_images_is_told_from_them() {
    let dir = tempfile::tempdir().unwrap();
    make_images(dir.path());
    let above = format!("the directory of images is {}", dir.path().canonicalize().unwrap().display());
    for within in ["images", "images/one"] {
        let (code, said) = run(&format!("images list --dir {}", dir.path().join(within).display()));
        assert!(code == 4 && said.contains(&above), "{within}: {said}");
    }
    let empty = tempfile::tempdir().unwrap();
    let (_, said) = run(&format!("images {}", empty.path().display()));
    assert!(said.contains("holds no image. To import one"), "{said}");
}

#[test]
fn an_option_without_effect_is_refused() {
    for line in ["images use one", "images verify"] {
        for option in ["--state x", "--config x"] {
            let (code, said) = run(&format!("{line} {option}"));
            assert!(code == 2 && said.contains("unexpected argument"), "{line} {option}: {said}");
        }
    }
}

#[test]
fn images_without_layers_have_an_empty_list() {
    let dir = tempfile::tempdir().unwrap();
    make_images(dir.path());
    for action in ["list", "which"] {
        let (code, said) = run(&format!("roots {action} --json --dir {}", dir.path().display()));
        let read: serde_json::Value =
            serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        let lists = read.as_object().unwrap().values().filter_map(|value| value.as_array());
        assert!(code == 0 && lists.map(Vec::len).sum::<usize>() == 0, "{action}: {said}");
    }
    let (code, said) = run(&format!("roots diff bd989ae1 --dir {}", dir.path().display()));
    assert!(code == 2 && said.contains("Pi bd989ae1 has no layer"), "{code}: {said}");
}

/// Two images, and a layer on one of them whose record is damaged: it keeps the image all the same.
#[test]
fn an_image_under_a_damaged_layer_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    make_images(dir.path());
    let layer = dir.path().join("state/pis/bd989ae1/two");
    fs::create_dir_all(layer.join("upper")).unwrap();
    fs::write(layer.join("layer.toml"), "export = ").unwrap();
    let (code, said) = run(&format!("images remove two --dir {}", dir.path().display()));
    assert!(code != 0 && said.contains("1 Pi has a layer on it: bd989ae1"), "{said}");
    let (code, said) = run(&format!("images list --json --dir {}", dir.path().display()));
    assert!(code == 0 && said.contains("\"bd989ae1\""), "{said}");
}

fn make_images(dir: &Path) {
    for name in ["one", "two"] {
        let image = dir.join("images").join(name);
        fs::create_dir_all(image.join("root")).unwrap();
        fs::write(image.join("image.toml"), "release = 'raspios-trixie'\n").unwrap();
    }
    std::os::unix::fs::symlink("images/one", dir.join("current")).unwrap();
}

fn run(line: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pinetboot")).args(line.split(' ')).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
}
