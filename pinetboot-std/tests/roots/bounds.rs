//! What Pis, and names that no Pi has, may take of the server: layers, mounts, descriptors, files and disk space.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use pinetboot::bus::Bus;
use pinetboot::config::{NfsMode, NfsSync, RootLimits, Settings};
use pinetboot::events::{Event, Fact, Finished, Listener, Root, Shortage, Tftp};
use pinetboot::roots::{BaseImage, BaseImages, RootExports, Roots, State, own_namespace};
use pinetboot::space::Reserve;
use pinetboot_core::tftp::{Direction, Options, Outcome};
use pinetboot_nfs::{
    Absent, Caller, CreateHow, Export, Exports, FileId, FsError, MountError, SetAttributes, Stable,
};
use walkdir::WalkDir;

use super::namespace::SOON;
use super::world::run;

/// A server's roots in this process.
pub(crate) struct Server {
    dir: PathBuf,
    pub(crate) exports: RootExports,
    pub(crate) bus: Bus,
    pub(crate) told: Told,
}

#[derive(Clone, Default)]
pub(crate) struct Told(pub(crate) Arc<Mutex<Vec<Root>>>);

impl Listener for Told {
    fn listen(&self, event: &Event) {
        if let Fact::Root(root) = &event.fact {
            self.0.lock().unwrap().push(root.clone());
        }
    }
}

impl Told {
    fn shortages(&self) -> Vec<Shortage> {
        let told = self.0.lock().unwrap();
        told.iter()
            .filter_map(|fact| if let Root::NoSpace { why, .. } = fact { Some(*why) } else { None })
            .collect()
    }
}

/// Makes a base image in a directory.
pub(crate) fn base_image(dir: &Path) {
    for (name, content) in [
        ("boot/firmware/config.txt", "arm_64bit=1\n"),
        ("boot/firmware/kernel8.img", "kernel"),
        ("etc/hostname", "raspberrypi\n"),
        ("etc/hosts", "127.0.0.1 localhost\n"),
        ("opt/large", &"x".repeat(300_000)),
    ] {
        let path = dir.join("root").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::create_dir_all(dir.join("root/etc/ssh")).unwrap();
}

impl Server {
    /// Starts to serve the root in a directory, with the state beside it. `settings` is a configuration file.
    fn start(dir: &Path, limits: RootLimits, settings: &str) -> Self {
        Self::start_in(NfsMode::Overlay, dir, limits, settings)
    }

    fn start_in(mode: NfsMode, dir: &Path, limits: RootLimits, settings: &str) -> Self {
        let base_images = BaseImages::One(BaseImage::at(&dir.join("root")).unwrap());
        Self::try_start(mode, base_images, &dir.join("state"), limits, settings, false).unwrap()
    }

    /// Starts to serve base images, with the state in a directory, and file numbers of 32 bits or of 64.
    pub(crate) fn try_start(
        mode: NfsMode,
        base_images: BaseImages,
        state: &Path,
        limits: RootLimits,
        settings: &str,
        short: bool,
    ) -> std::io::Result<Self> {
        let told = Told::default();
        let bus = Bus::new(vec![Box::new(told.clone())]);
        let settings: Settings = toml::from_str(&format!("tree = '/x'\n{settings}")).unwrap();
        bus.set_inventory(Arc::new(settings.resolve().unwrap().inventory));
        let roots = Roots::new(mode, base_images, State::at(state), limits, bus.clone())?;
        let exports =
            RootExports::new(Arc::new(roots.with_short_numbers(short)), bus.clone(), NfsSync::On).unwrap();
        Ok(Self { dir: state.parent().unwrap().to_owned(), exports, bus, told })
    }

    /// What a host does that makes up a name: fetches a kernel under the name, and mounts.
    pub(crate) fn boot(&self, address: Ipv4Addr, serial: u32) -> Result<Arc<Export>, MountError> {
        self.fetch(address, serial);
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match self.exports.mount(Path::new(&format!("/{serial:08x}")), address) {
                // A program that another test starts has the lock of a server that ended, until its execve(2).
                Err(error) if error.to_string().contains("another process") && Instant::now() < until => {
                    std::thread::yield_now();
                }
                mounted => return mounted,
            }
        }
    }

    /// A host fetches a kernel under this name.
    pub(crate) fn fetch(&self, address: Ipv4Addr, serial: u32) {
        let (peer, file) = (SocketAddrV4::new(address, 2000), format!("{serial:08x}/kernel8.img"));
        let (direction, options) = (Direction::Read, Options::default());
        self.bus.emit(address, Tftp::Requested { peer, direction, file: file.clone(), options });
        let finished = Finished {
            peer,
            mac: None,
            looked: true,
            direction,
            file,
            outcome: Outcome::Complete { bytes: 6 },
            message: None,
            seconds: 0.0,
            bytes: 6,
            resent: 0,
            probe: false,
            lacks_last_ack: false,
        };
        self.bus.emit(address, Tftp::Finished(finished));
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Mounts, descriptors and files of the layers.
    fn counts(&self) -> [usize; 3] {
        let place = self.state().join("pis").display().to_string();
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap().matches(&place).count();
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let descriptors = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        let descriptors = descriptors.filter(|path| path.starts_with(&place)).count();
        let files = WalkDir::new(&place).same_file_system(true).min_depth(1).into_iter().count();
        [mounts, descriptors, files]
    }

    fn layers(&self) -> usize {
        State::at(&self.state()).layers().len()
    }
}

/// Looks a path up.
fn find(export: &Export, path: &str) -> Result<FileId, FsError> {
    let mut id = export.tree.root();
    for name in path.split('/') {
        id = export.tree.lookup(&Caller::ROOT, &id, name.as_bytes())?.id;
    }
    Ok(id)
}

fn create(export: &Export, name: &str) -> Result<FileId, FsError> {
    let how = CreateHow::Guarded(SetAttributes::default());
    export.tree.create(&Caller::ROOT, &export.tree.root(), name.as_bytes(), &how).map(|found| found.id)
}

fn write(export: &Export, id: &FileId, offset: u64, len: usize) -> Result<(), FsError> {
    export.tree.write(&Caller::ROOT, id, offset, &vec![7; len], Stable::Unstable)
}

fn remove(export: &Export, name: &str) -> Result<(), FsError> {
    export.tree.remove(&Caller::ROOT, &export.tree.root(), name.as_bytes())
}

const PI: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERIAL: u32 = 0x0bad_caf1;
/// Descriptors of the directory of all layers, whose file system is synced.
const OF_SYNCS: usize = 1;

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn made_up_pis_are_bounded_and_leave_nothing() {
    own_namespace().unwrap(); // of this thread
    let dir = tempfile::tempdir().unwrap();
    base_image(dir.path());
    let limits = RootLimits { max_pis: 40, ..RootLimits::default() };
    let server = Server::start(dir.path(), limits, "[pi.0badcaf1]\n[pi.0badcaf2]\naddress = '10.0.0.2'");
    assert_eq!(server.counts(), [0, 0, 0]);

    // One address with many names, then one name from each of many addresses.
    let of_one: Vec<_> = (0..100).map(|number| server.boot(PI, 0x1000_0000 + number)).collect();
    let given = of_one.iter().filter(|export| export.is_ok()).count();
    assert_eq!(given, 16);
    let why = of_one.into_iter().filter_map(Result::err).next().unwrap().to_string();
    assert!(why.contains("10.0.0.1 got 16 new layers") && why.contains("[pi.10000010]"), "{why}");
    let address = |number: u32| Ipv4Addr::from(0x0a01_0000 + number);
    let of_many: Vec<_> = (0..400).map(|number| server.boot(address(number), 0x2000_0000 + number)).collect();
    assert_eq!(of_many.iter().filter(|export| export.is_ok()).count(), 40 - 16);
    let why = of_many.iter().filter_map(|export| export.as_ref().err()).next().unwrap().to_string();
    assert!(why.contains("40 Pis have layers, the limit") && why.contains("--max-pis"), "{why}");
    let [mounts, descriptors, files] = server.counts();
    assert_eq!(mounts, 40);
    assert!(descriptors <= 3 * 40 + OF_SYNCS && files <= 40 * 40, "{descriptors} {files}");

    // Listed Pis have roots all the same.
    let listed = server.boot(PI, 0x0bad_caf1).unwrap().id;
    server.boot(Ipv4Addr::new(10, 0, 0, 2), 0x0bad_caf2).unwrap();
    let made_up = of_many.into_iter().find_map(Result::ok).unwrap().id;
    server.exports.rest_after(Duration::ZERO);
    let [mounts, descriptors, files] = server.counts();
    assert_eq!((mounts, descriptors, server.layers()), (0, OF_SYNCS, 2), "{files} files");
    assert_eq!(fs::read_dir(server.state().join("pis")).unwrap().count(), 2);
    assert_eq!(server.exports.find(made_up).unwrap_err(), Absent::Unknown);
    woken(&server, listed);
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn a_pi_that_writes_keeps_its_layer_and_its_keys() {
    own_namespace().unwrap(); // of this thread
    let dir = tempfile::tempdir().unwrap();
    base_image(dir.path());
    let server = Server::start(dir.path(), RootLimits::default(), "");
    let export = server.boot(PI, SERIAL).unwrap();
    let other = server.boot(Ipv4Addr::new(10, 0, 0, 2), 2).unwrap();
    // Reading changes nothing.
    for export in [&export, &other] {
        let id = find(export, "opt/large").unwrap();
        assert!(export.tree.read(&Caller::ROOT, &id, 0, &mut [0; 10]).unwrap() > 0);
        assert!(find(export, "etc/ssh/ssh_host_ed25519_key").is_ok());
    }
    create(&export, "mine").unwrap();
    let key = || fs::read(server.state().join("pis/0badcaf1/identity/ssh_host_ed25519_key.pub")).unwrap();
    let before = key();
    let (id, other_id) = (export.id, other.id);
    drop((export, other));
    for _ in 0..3 {
        server.exports.rest_after(Duration::ZERO);
        assert_eq!(server.counts()[..2], [0, OF_SYNCS]);
        assert_eq!(server.layers(), 1);
        let export = woken(&server, id);
        assert!(find(&export, "mine").is_ok());
    }
    assert_eq!(server.exports.find(other_id).unwrap_err(), Absent::Unknown);
    // The keys outlive a reset, and the layer after it.
    server.exports.rest_after(Duration::ZERO);
    let layer = State::at(&server.state()).layers().pop().unwrap();
    fs::remove_dir_all(layer.place).unwrap();
    server.boot(PI, SERIAL).unwrap();
    server.exports.rest_after(Duration::ZERO);
    assert_eq!((server.layers(), key()), (1, before));
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn the_remains_of_a_killed_server_are_removed() {
    own_namespace().unwrap(); // of this thread
    let dir = tempfile::tempdir().unwrap();
    base_image(dir.path());
    let server = Server::start(dir.path(), RootLimits::default(), "");
    let export = server.boot(PI, SERIAL).unwrap();
    create(&export, "mine").unwrap();
    let pi = server.state().join("pis/0badcaf1");
    for name in ["pis/0badcaf1/.gone-0/upper", "pis/0badcaf1/.new-root/upper", ".try-abcdef/upper"] {
        fs::create_dir_all(server.state().join(name)).unwrap();
    }
    for other in ["pis/0badcaf1/.gone-x", "pis/0badcaf1/.other", ".try-abcdefg", "pis/other/.gone-0"] {
        fs::create_dir_all(server.state().join(other)).unwrap();
    }
    // A layer whose server was killed before the layer had an identity.
    fs::create_dir_all(server.state().join("pis/0badcaf3")).unwrap();
    let layer = State::at(&server.state()).layers().pop().unwrap();
    let half_made = server.state().join("pis/0badcaf3").join(&layer.image);
    fs::create_dir(&half_made).unwrap();
    fs::copy(layer.place.join("layer.toml"), half_made.join("layer.toml")).unwrap();
    fs::write(half_made.join("new"), "").unwrap();
    // While a process uses them, they stay.
    let locked = fs::File::open(pi.join(".new-root")).unwrap();
    locked.try_lock().unwrap();
    assert_eq!(State::at(&server.state()).remove_leftovers(), 3);
    drop(locked);
    assert_eq!(State::at(&server.state()).remove_leftovers(), 1);
    assert_eq!(State::at(&server.state()).remove_leftovers(), 0);
    assert!(!half_made.exists() && find(&export, "mine").is_ok());
    assert!([".gone-x", ".other"].iter().all(|name| pi.join(name).exists()));
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn the_reserve_of_the_disk_is_the_servers() {
    own_namespace().unwrap(); // of this thread
    let dir = tempfile::tempdir().unwrap();
    base_image(dir.path());
    let reserve = Reserve::new(Some("1EiB".parse().unwrap()));
    let server = Server::start(dir.path(), RootLimits { reserve, ..RootLimits::default() }, "");
    // The server's own state fits.
    let export = server.boot(PI, SERIAL).unwrap();
    let tree = &export.tree;
    assert_eq!(tree.usage().unwrap().available_bytes, 0);
    assert_eq!(create(&export, "new").unwrap_err(), FsError::NoSpace);
    let root = tree.root();
    let with = SetAttributes::default();
    assert_eq!(tree.make_directory(&Caller::ROOT, &root, b"d", &with).unwrap_err(), FsError::NoSpace);
    assert_eq!(tree.make_symlink(&Caller::ROOT, &root, b"l", b"x", &with).unwrap_err(), FsError::NoSpace);
    // The first write to a file of the base image copies the file.
    let large = find(&export, "opt/large").unwrap();
    assert_eq!(write(&export, &large, 0, 1).unwrap_err(), FsError::NoSpace);
    let mode = SetAttributes { mode: Some(0o600), ..with };
    assert_eq!(tree.set_attributes(&Caller::ROOT, &large, &mode).unwrap_err(), FsError::NoSpace);
    // A file of the layer is overwritten, and not made longer.
    let own = find(&export, "etc/hostname").unwrap();
    write(&export, &own, 0, 5).unwrap();
    assert_eq!(write(&export, &own, 5000, 5).unwrap_err(), FsError::NoSpace);
    tree.set_attributes(&Caller::ROOT, &own, &mode).unwrap();
    // Removing goes on.
    tree.remove(&Caller::ROOT, &find(&export, "etc").unwrap(), b"hosts").unwrap();
    assert_eq!(server.told.shortages(), [Shortage::Reserve], "one line");
}

#[test]
#[ignore = "needs root"]
fn the_reserve_of_the_disk_of_a_writable_tree_is_the_servers() {
    let dir = tempfile::tempdir().unwrap();
    base_image(dir.path());
    let reserve = Reserve::new(Some("1EiB".parse().unwrap()));
    let limits = RootLimits { reserve, ..RootLimits::default() };
    let server = Server::start_in(NfsMode::Rw, dir.path(), limits, "");
    let export = server.boot(PI, SERIAL).unwrap();
    assert_eq!(export.tree.usage().unwrap().available_bytes, 0);
    assert_eq!(create(&export, "new").unwrap_err(), FsError::NoSpace);
    // A file is overwritten, and not made longer.
    let large = find(&export, "opt/large").unwrap();
    write(&export, &large, 0, 5).unwrap();
    assert_eq!(write(&export, &large, 400_000, 5).unwrap_err(), FsError::NoSpace);
    remove(&export, "opt").unwrap_err();
    export.tree.remove(&Caller::ROOT, &find(&export, "etc").unwrap(), b"hosts").unwrap();
    assert_eq!(server.told.shortages(), [Shortage::Reserve], "one line");
    server.exports.maintain();
    let is_told = || {
        let told = server.told.0.lock().unwrap();
        let mut places = told
            .iter()
            .filter_map(|fact| if let Root::DiskFilling { place, .. } = fact { Some(place) } else { None });
        places.any(|place| Path::new(place).starts_with(dir.path()))
    };
    while !is_told() {
        std::thread::yield_now();
    }
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn a_layer_stays_within_its_limit() {
    own_namespace().unwrap(); // of this thread
    let dir = tempfile::tempdir().unwrap();
    base_image(dir.path());
    let limits = RootLimits { max_root_size: Some("1MB".parse().unwrap()), ..RootLimits::default() };
    let server = Server::start(dir.path(), limits, "[pi.0badcaf2]\nmax-root-size = '4MB'");
    let export = server.boot(PI, SERIAL).unwrap();
    let other = server.boot(Ipv4Addr::new(10, 0, 0, 2), 0x0bad_caf2).unwrap();
    let fill = |export: &Export| {
        let id = create(export, "mine").unwrap();
        let written =
            (0..10_000u64).take_while(|block| write(export, &id, block * 4096, 4096).is_ok()).count();
        (id, written * 4096)
    };
    let (id, written) = fill(&export);
    assert!((700_000..1_000_000).contains(&written), "{written}");
    let used = pinetboot::space::used_by(&State::at(&server.state()).layers()[0].upper());
    assert!(used <= 1_000_000, "{used}");
    let (_, written_by_other) = fill(&other);
    assert!((3_700_000..4_000_000).contains(&written_by_other), "{written_by_other}");
    let shortages = server.told.shortages();
    assert!(
        shortages.iter().all(|why| matches!(why, Shortage::Limit { .. } | Shortage::Near { .. })),
        "{shortages:?}"
    );
    assert!((2..=4).contains(&shortages.len()), "{shortages:?}");
    // Files that are there are overwritten, and a file of the base image is not copied.
    write(&export, &id, 0, 4096).unwrap();
    assert_eq!(write(&export, &find(&export, "opt/large").unwrap(), 0, 1).unwrap_err(), FsError::NoSpace);
    let usage = export.tree.usage().unwrap();
    assert_eq!(usage.bytes, 1_000_000);
    assert!(usage.available_bytes < 20_000, "{usage:?}");
    // Removed files make room.
    remove(&export, "mine").unwrap();
    while create(&export, "next").is_err() {
        std::thread::yield_now();
    }
    // The limit counts what is there when the layer is served again, as after a restart.
    let id = export.id;
    drop(export);
    server.exports.rest_after(Duration::ZERO);
    let export = woken(&server, id);
    let (_, more) = fill(&export);
    let used = pinetboot::space::used_by(&State::at(&server.state()).layers()[0].upper());
    assert!(more > 500_000 && used <= 1_000_000, "{more} {used}");
    // The limit is in the list.
    let mut list = Command::new(super::namespace::PINETBOOT);
    let (_, list) = run(list.args(["roots", "list", "--dir"]).arg(server.state()));
    assert!(list.contains("LIMIT"), "{list}");
}

#[test]
#[ignore = "needs root, overlayfs and libnfs-utils"]
fn a_pi_that_fills_the_disk_stops_at_the_reserve() {
    own_namespace().unwrap(); // of this thread
    let dir = tempfile::tempdir().unwrap();
    let (image, disk) = (dir.path().join("disk.img"), dir.path().join("disk"));
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    fs::create_dir(&disk).unwrap();
    for command in [
        Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image),
        Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&disk),
    ] {
        let (fine, said) = run(command);
        assert!(fine, "{said}");
    }
    base_image(&disk);
    let server = Server::start(&disk, RootLimits::default(), "");
    let export = server.boot(PI, SERIAL).unwrap();
    let id = create(&export, "mine").unwrap();
    let blocks =
        (0..100_000u64).take_while(|block| write(&export, &id, block << 16, 1 << 16).is_ok()).count();
    assert!(blocks > 500, "{blocks}");
    export.tree.commit(&id, 0, 0).unwrap();
    let free = pinetboot::space::Space::of(&disk, Reserve::default()).unwrap().measure().unwrap();
    assert!(free.available > free.total / 25, "{free:?}");
    // New Pis, their keys and records.
    for number in 1..=10 {
        let address = Ipv4Addr::new(10, 0, 1, number);
        let other = server.boot(address, number.into()).unwrap();
        let id = find(&other, "opt/large").unwrap();
        assert_eq!(write(&other, &id, 0, 1 << 16).unwrap_err(), FsError::NoSpace);
    }
    // The warning names the layer.
    server.exports.maintain();
    let warned = || {
        let told = server.told.0.lock().unwrap();
        told.iter().find_map(|fact| match fact {
            Root::DiskFilling { percent, largest, .. } => Some((*percent, largest[0].name.clone())),
            _ => None,
        })
    };
    let (percent, name) = loop {
        match warned() {
            Some(warned) => break warned,
            None => std::thread::yield_now(),
        }
    };
    assert!((99..=100).contains(&percent) && name == "0badcaf1", "{percent} {name}");
    remove(&export, "mine").unwrap();
    create(&export, "again").unwrap();
    drop((export, server));
    // A child of another test has this one's open files until it runs its program.
    let until = Instant::now() + SOON;
    while let Err(error) = umount2(&disk, MntFlags::empty()) {
        assert!(error == Errno::EBUSY && Instant::now() < until, "{error}");
        std::thread::yield_now();
    }
}

/// The export of a Pi that calls again.
fn woken(server: &Server, id: u32) -> Arc<Export> {
    loop {
        match server.exports.find(id) {
            Ok(export) => return export,
            Err(Absent::NotYet) => {
                let told = server.told.0.lock().unwrap();
                let failed = told.iter().find(|fact| matches!(fact, Root::LayerFailed { .. }));
                assert_eq!(failed, None);
            }
            Err(Absent::Unknown) => panic!("the layer is gone"),
        }
    }
}
