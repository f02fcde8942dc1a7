//! Layers that are moved, copied, restored from a backup, or carried in a file.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use pinetboot::config::{NfsMode, RootLimits};
use pinetboot::events::Root;
use pinetboot::images::Images;
use pinetboot::roots::{BaseImage, BaseImages, own_namespace};
use pinetboot_nfs::{
    Caller, CreateHow, Export, FileId, FileKind, FileSystem, Node, Place, SetAttributes, Stable,
};
use tempfile::TempDir;

use super::bounds::{Server, base_image};
use super::namespace::PINETBOOT;
use super::world::run;

const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
const PI: u32 = 0x5e9f_2a01;
const OTHER: u32 = 0x5e9f_2a02;
const NAME: &str = "5e9f2a01";

#[test]
#[ignore = "needs root and overlayfs"]
fn a_directory_that_is_moved_goes_on() {
    own_namespace().unwrap(); // of this thread
    let world = World::new();
    let (before, id) = world.change();
    fs::rename(world.dir(), world.at("moved")).unwrap();
    let server = serve(&world.at("moved"));
    let export = server.boot(HERE, PI).unwrap();
    assert_eq!(see(&export), before);
    assert!(export.tree.attributes(&id).is_ok(), "a running Pi has this handle");
    assert_eq!(adopted(&server), 0);
    assert!(roots(&["diff", NAME], &world.at("moved")).unwrap().contains("R /opt/ -> /etc/moved/"));
}

#[test]
#[ignore = "needs root, overlayfs and rsync"]
fn a_copy_with_attributes_is_adopted() {
    own_namespace().unwrap(); // of this thread
    for copy in [
        "cp -a pi copy",
        "rsync -aHX pi/ copy",
        "mkdir copy; tar -C pi --xattrs --xattrs-include='*' --exclude='*/work' -cf - . | tar -C copy --xattrs --xattrs-include='*' -xf -",
        // The state alone; the images are as they were.
        "mv pi copy; cp -a copy/state s; rm -r copy/state; mv s copy/state",
        // The same image, imported again: other times.
        "mv pi copy; cp -r copy/images i; rm -r copy/images; mv i copy/images",
        // An adoption that was killed.
        "cp -a pi copy; cd copy/state/pis/*/one; rm -rf work/index; setfattr -x trusted.overlay.origin upper/etc",
    ] {
        let world = World::new();
        let (before, _) = world.change();
        world.run(copy);
        let server = serve(&world.at("copy"));
        assert_eq!(see(&server.boot(HERE, PI).unwrap()), before, "{copy}");
        assert_eq!(adopted(&server), 1, "{copy}");
        drop(server);
        let server = serve(&world.at("copy"));
        assert_eq!(see(&server.boot(HERE, PI).unwrap()), before, "{copy}, again");
        assert_eq!(adopted(&server), 0, "{copy}, again");
    }
}

#[test]
#[ignore = "needs root and overlayfs"]
fn a_copy_that_would_show_other_files_is_refused() {
    own_namespace().unwrap(); // of this thread
    let world = World::new();
    let (before, _) = world.change();
    world.run("mkdir copy; tar -C pi -cf - . | tar -C copy -xf -");
    let why = refused(&world.at("copy"));
    assert!(why.contains("without its extended attributes") && why.contains("rsync -aHX"), "{why}");
    for action in [&["adopt", NAME][..], &["commit", NAME, "--name", "two"], &["export", NAME, "/dev/null"]] {
        let why = roots(action, &world.at("copy")).unwrap_err();
        assert!(why.contains("without its extended attributes"), "{action:?}: {why}");
    }
    let names = |dir: &str| {
        let entries = fs::read_dir(world.at("copy").join(dir)).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names("images"), ["one"], "nothing is left of the commit");

    // Another image of this name; its content happens to be the same.
    world.run("cp -a pi other; sed -i 's/aa/bb/' other/images/one/image.toml");
    let why = refused(&world.at("other"));
    assert!(why.contains("not the one on which the layer was made") && why.contains("roots adopt"), "{why}");
    roots(&["adopt", NAME], &world.at("other")).unwrap();
    let server = serve(&world.at("other"));
    assert_eq!(see(&server.boot(HERE, PI).unwrap()), before);
    drop(server);

    world.run("mv other/images/one other/images/two");
    let why = roots(&["diff", NAME], &world.at("other")).unwrap_err();
    assert!(why.contains("base image one is not there"), "{why}");
}

#[test]
#[ignore = "needs root and overlayfs"]
fn a_state_of_version_1_is_upgraded_and_a_newer_one_refused() {
    own_namespace().unwrap(); // of this thread
    let world = World::new();
    let (before, _) = world.change();
    let layer = world.dir().join("state/pis").join(NAME).join("one");
    let record = fs::read_to_string(layer.join("layer.toml")).unwrap();
    let export = record.lines().find(|line| line.starts_with("export")).unwrap();
    let root = world.dir().join("images/one/root");
    let old = format!(
        "{export}\nroot = \"{}\"\nboot = \"boot/firmware\"\nkernel-mounts-root = true\nfingerprint = \"00\"\n",
        root.display()
    );
    fs::write(layer.join("layer.toml"), old).unwrap();
    fs::remove_file(world.dir().join("state/version")).unwrap();
    world.run("setfattr -x trusted.pinetboot.layer pi/state/pis/*/one/upper; cp -a pi copy; mv pi moved");
    // No fingerprint of its content is known.
    assert!(refused(&world.at("copy")).contains("roots adopt"));
    let server = serve(&world.at("moved"));
    assert_eq!(see(&server.boot(HERE, PI).unwrap()), before);
    assert_eq!(fs::read_to_string(world.at("moved").join("state/version")).unwrap(), "2\n");
    let record = fs::read_to_string(world.at("moved/state/pis").join(NAME).join("one/layer.toml")).unwrap();
    assert!(
        record.contains("root = \"../images/one/root\"") && record.contains("image-sha256 = \"aa\""),
        "{record}"
    );
    drop(server);

    fs::write(world.at("moved").join("state/version"), "3\n").unwrap();
    let why = try_serve(&world.at("moved")).err().unwrap().to_string();
    assert!(why.contains("newer pinetboot"), "{why}");
    assert!(roots(&["list"], &world.at("moved")).unwrap_err().contains("newer pinetboot"));
}

#[test]
#[ignore = "needs root and overlayfs"]
fn a_layer_in_a_file_becomes_that_of_another_pi() {
    own_namespace().unwrap(); // of this thread
    let world = World::new();
    let (before, _) = world.change();
    let file = world.at("layer.tar");
    roots(&["export", NAME, file.to_str().unwrap()], &world.dir()).unwrap();
    // Any tar reads the file.
    world.run("tar -tf layer.tar | grep -qx upper/etc/mine");
    let why = roots(&["import", file.to_str().unwrap()], &world.dir()).unwrap_err();
    assert!(why.contains("has a layer on one already"), "{why}");
    let other = format!("{OTHER:08x}");
    roots(&["import", file.to_str().unwrap(), "--pi", &other], &world.dir()).unwrap();
    let server = serve(&world.dir());
    assert_eq!(see(&server.boot(THERE, OTHER).unwrap()), before);
    assert_eq!(see(&server.boot(HERE, PI).unwrap()), before);
    drop(server);
    // On a server that has the images, and nothing else yet.
    world.run("mkdir new; cp -a pi/images pi/current new");
    roots(&["import", file.to_str().unwrap()], &world.at("new")).unwrap();
    assert_eq!(see(&serve(&world.at("new")).boot(HERE, PI).unwrap()), before);
}

#[test]
#[ignore = "needs root and overlayfs"]
fn a_tree_that_was_not_imported_may_be_moved_too() {
    own_namespace().unwrap(); // of this thread
    let world = World::new();
    let tree = |name: &str| BaseImages::One(BaseImage::at(&world.at(name)).unwrap());
    let serve = |name: &str| {
        Server::try_start(NfsMode::Overlay, tree(name), &world.at("state"), RootLimits::default(), "", false)
            .unwrap()
    };
    fs::rename(world.dir().join("images/one/root"), world.at("tree")).unwrap();
    let server = serve("tree");
    let (before, id) = change(&server.boot(HERE, PI).unwrap());
    drop(server);
    fs::rename(world.at("tree"), world.at("moved")).unwrap();
    let server = serve("moved");
    let export = server.boot(HERE, PI).unwrap();
    assert_eq!(see(&export), before);
    assert!(export.tree.attributes(&id).is_ok());
    drop((export, server));
    world.run("mkdir both; mv moved state both");
    let base_images = BaseImages::One(BaseImage::at(&world.at("both/moved")).unwrap());
    let server = Server::try_start(
        NfsMode::Overlay,
        base_images,
        &world.at("both/state"),
        RootLimits::default(),
        "",
        false,
    )
    .unwrap();
    let export = server.boot(HERE, PI).unwrap();
    assert_eq!(see(&export), before);
    assert!(export.tree.attributes(&id).is_ok());
}

/// Images with one image, in the directory `pi`.
struct World(TempDir);

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        let image = world.dir().join("images/one");
        base_image(&image);
        for name in ["usr/old/a", "usr/old/b", "opt/sub/file"] {
            let path = image.join("root").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let facts = "sha256 = 'aa'\nboot = 'boot/firmware'\nhas-root = true\nkernel-mounts-root = true\n";
        fs::write(image.join("image.toml"), facts).unwrap();
        std::os::unix::fs::symlink("images/one", world.dir().join("current")).unwrap();
        world
    }

    fn dir(&self) -> PathBuf {
        self.at("pi")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A Pi makes changes of all kinds: what it sees then, and the handle of one of its directories.
    fn change(&self) -> (Vec<String>, FileId) {
        change(&serve(&self.dir()).boot(HERE, PI).unwrap())
    }

    fn run(&self, script: &str) {
        let (fine, said) = run(Command::new("bash").args(["-ec", script]).current_dir(self.0.path()));
        assert!(fine, "{script}: {said}");
    }
}

fn try_serve(dir: &Path) -> std::io::Result<Server> {
    let images = BaseImages::Images(Images::open(dir).unwrap().unwrap());
    Server::try_start(NfsMode::Overlay, images, &dir.join("state"), RootLimits::default(), "", false)
}

fn serve(dir: &Path) -> Server {
    try_serve(dir).unwrap()
}

fn refused(dir: &Path) -> String {
    serve(dir).boot(HERE, PI).unwrap_err().to_string()
}

fn adopted(server: &Server) -> usize {
    let told = server.told.0.lock().unwrap();
    told.iter().filter(|fact| matches!(fact, Root::LayerAdopted { .. })).count()
}

/// Runs `pinetboot roots`, outside of this thread's mounts.
fn roots(arguments: &[&str], dir: &Path) -> Result<String, String> {
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--target", &std::process::id().to_string(), PINETBOOT, "roots"]);
    let (fine, said) = run(command.args(arguments).arg("--dir").arg(dir));
    if fine { Ok(said) } else { Err(said) }
}

fn change(export: &Arc<Export>) -> (Vec<String>, FileId) {
    let (tree, root) = (&export.tree, Caller::ROOT);
    let find = |path: &str| {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.fold(tree.root(), |at, name| tree.lookup(&root, &at, name.as_bytes()).unwrap().id)
    };
    let with = SetAttributes { mode: Some(0o750), ..SetAttributes::default() };
    let make = |dir: &str, name: &str| {
        let id = tree.create(&root, &find(dir), name.as_bytes(), &CreateHow::Guarded(with)).unwrap().id;
        tree.write(&root, &id, 0, name.as_bytes(), Stable::FileSync).unwrap();
        id
    };
    let mine = make("etc", "mine");
    tree.link(&root, &mine, &find("etc"), b"linked").unwrap();
    for name in [b"a", b"b"] {
        tree.remove(&root, &find("usr/old"), name).unwrap();
    }
    tree.remove_directory(&root, &find("usr"), b"old").unwrap();
    tree.make_directory(&root, &find("usr"), b"old", &with).unwrap();
    make("usr/old", "new");
    tree.rename(&root, (&find(""), b"opt"), (&find("etc"), b"moved")).unwrap();
    tree.remove(&root, &find("etc"), b"hosts").unwrap();
    tree.make_node(&root, &find("etc"), b"fifo", Node::Fifo, &with).unwrap();
    tree.make_symlink(&root, &find("etc"), b"link", b"../usr", &with).unwrap();
    tree.write(&root, &find("boot/firmware/config.txt"), 0, b"changed", Stable::FileSync).unwrap();
    (see(export), find("etc/moved"))
}

/// Everything that a Pi sees: paths, modes, kinds, names of one file, and content. Not the number of links: overlayfs counts its index after a remount.
fn see(export: &Export) -> Vec<String> {
    let mut ids = HashMap::new();
    fn walk(
        tree: &dyn FileSystem,
        dir: &FileId,
        path: &Path,
        ids: &mut HashMap<FileId, PathBuf>,
        all: &mut Vec<String>,
    ) {
        let mut names = Vec::new();
        tree.list(&Caller::ROOT, dir, Place::default(), false, &mut |entry| {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            true
        })
        .unwrap();
        names.retain(|name| name != "." && name != "..");
        names.sort();
        for name in names {
            let found = tree.lookup(&Caller::ROOT, dir, name.as_bytes()).unwrap();
            let (seen, path) = (found.attributes, path.join(&name));
            let mut content = vec![0; 100];
            let len = match seen.kind {
                FileKind::Regular => tree.read(&Caller::ROOT, &found.id, 0, &mut content).unwrap(),
                _ => 0,
            };
            let first = ids.entry(found.id).or_insert_with(|| path.clone()).display();
            let (kind, content) = (seen.kind, content[..len].escape_ascii());
            all.push(format!("{} ({first}) {kind:?} {:o} {content}", path.display(), seen.mode));
            if kind == FileKind::Directory {
                walk(tree, &found.id, &path, ids, all);
            }
        }
    }
    let mut all = Vec::new();
    walk(&*export.tree, &export.tree.root(), Path::new("/"), &mut ids, &mut all);
    assert!(!all.is_empty());
    all
}
