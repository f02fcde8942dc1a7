//! `pinetboot disks`, cut off before each of its changes to files: each disk and each snapshot is what it was, or what it was to become, and
//! the next command goes on from there.
#![cfg(feature = "disk")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "disks/cut.rs"]
mod cut;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use pinetboot_disk::{Access, Disk, Overlay};
use serde_json::Value;
use tempfile::TempDir;

use cut::run_up_to;

/// A state directory with one disk: it began as the image (0), was kept as `old` (1), and was written to since (2).
struct World(TempDir);

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(world.directory()).unwrap();
        // A partition of Linux, up to the end.
        let mut image = vec![0; 1 << 20];
        image[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 0xf8, 7, 0, 0]);
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        fs::write(world.image(), image).unwrap();
        Overlay::create(&world.disk(), &world.image(), 1 << 20).unwrap();
        world.write(1);
        assert!(world.disks(&["snapshot", PI, "old"]).output().unwrap().status.success());
        world.write(2);
        world
    }

    fn image(&self) -> PathBuf {
        self.0.path().join("card.img")
    }

    fn directory(&self) -> PathBuf {
        self.0.path().join("disks").join(PI)
    }

    fn disk(&self) -> PathBuf {
        self.directory().join("card.qcow2")
    }

    fn snapshot(&self, name: &str) -> PathBuf {
        self.directory().join(format!("card@{name}.qcow2"))
    }

    fn copy(&self) -> PathBuf {
        self.0.path().join("copy.img")
    }

    fn disks(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinetboot"));
        command.args(["-q", "disks"]).args(arguments).arg("--dir").arg(self.0.path());
        command
    }

    fn open(&self, file: &Path, access: Access) -> Overlay {
        Overlay::open(file, self.0.path(), access).unwrap()
    }

    /// Writes this to the disk, as its Pi does.
    fn write(&self, byte: u8) {
        let disk = self.open(&self.disk(), Access::ReadWrite);
        disk.write_at(&[byte; 512], PLACE).unwrap();
    }

    /// What was written to a disk last, and its length.
    fn read(&self, file: &Path) -> (u8, u64) {
        let disk = self.open(file, Access::ReadOnly);
        let mut found = [0; 512];
        disk.read_at(&mut found, PLACE).unwrap();
        assert_eq!(found, [found[0]; 512]);
        (found[0], disk.len())
    }

    /// The names of the snapshots, by `disks list`, which locks the disks as a server does.
    fn snapshots(&self) -> Vec<String> {
        let listed = self.disks(&["list", "--json"]).output().unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let list: Value = serde_json::from_slice(&listed.stdout).unwrap();
        let names =
            list["disks"].as_array().unwrap().iter().flat_map(|row| row["snapshots"].as_array().unwrap());
        names.map(|name| name.as_str().unwrap().to_owned()).collect()
    }
}

/// Cuts a command off at each step. `check` is told what the disk was then: `None`, if there is none.
fn cut_at_each_step(command: &[&str], check: impl Fn(&World, Option<(u8, u64)>)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut step = 0;
    loop {
        let world = World::new();
        let copy = world.copy();
        let words: Vec<_> =
            command.iter().map(|word| if *word == COPY { copy.to_str().unwrap() } else { word }).collect();
        let ended = run_up_to(step, &world.disks(&words));
        world.snapshots(); // what a command has left is gone
        let was = world.disk().exists().then(|| world.read(&world.disk()));
        check(&world, was);
        // The Pi goes on; no snapshot changes with its disk.
        if world.disk().exists() {
            world.write(9);
        }
        for name in world.snapshots() {
            let kept = world.read(&world.snapshot(&name)).0;
            assert_eq!(kept, if name == "old" { 1 } else { 2 }, "step {step}: snapshot {name}");
        }
        for file in fs::read_dir(world.directory()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with(".tmp") && !name.ends_with(".new"), "step {step} leaves {name}");
        }
        if let Some(status) = ended {
            assert!(status.success() && step > 0, "{status:?} after {step} steps");
            println!("{command:?}: cut at {step} steps");
            return;
        }
        step += 1;
    }
}

#[test]
fn a_snapshot_that_is_cut_off_is_none() {
    cut_at_each_step(&["snapshot", PI, "kept"], |world, was| {
        assert_eq!(was, Some((2, 1 << 20)));
        // The name is free, or the snapshot is there.
        let is_kept = world.snapshots().contains(&"kept".to_owned());
        assert_eq!(world.disks(&["snapshot", PI, "kept"]).output().unwrap().status.success(), !is_kept);
        assert_eq!(world.snapshots(), ["kept", "old"]);
    });
}

#[test]
fn a_return_to_a_snapshot_that_is_cut_off_leaves_the_old_disk_or_the_new() {
    cut_at_each_step(&["rollback", PI, "old"], |world, was| {
        assert!(matches!(was, Some((1 | 2, 0x10_0000))), "{was:?}");
        assert_eq!(world.snapshots(), ["old"]);
        assert!(world.disks(&["rollback", PI, "old"]).output().unwrap().status.success());
        assert_eq!(world.read(&world.disk()), (1, 1 << 20));
    });
}

#[test]
fn a_reset_that_is_cut_off_leaves_the_whole_disk_or_none_and_its_snapshots_in_reach() {
    cut_at_each_step(&["reset", PI], |world, was| {
        assert!(matches!(was, None | Some((2, 0x10_0000))), "{was:?}");
        assert_eq!(world.snapshots(), ["old"]);
        if was.is_none() {
            assert!(world.disks(&["rollback", PI, "old"]).output().unwrap().status.success());
            assert_eq!(world.read(&world.disk()), (1, 1 << 20));
        }
    });
    cut_at_each_step(&["reset", PI, "--snapshots"], |world, was| {
        assert!(matches!(was, None | Some((2, 0x10_0000))), "{was:?}");
        if !world.snapshots().is_empty() {
            assert!(world.disks(&["reset", PI, "--snapshots"]).output().unwrap().status.success());
            assert!(world.snapshots().is_empty() && !world.disk().exists());
            Overlay::create(&world.disk(), &world.image(), 1 << 20).unwrap();
        }
    });
}

#[test]
fn a_longer_disk_that_is_cut_off_has_the_old_length_or_the_new() {
    // So long that its tables have to move.
    cut_at_each_step(&["resize", PI, "4G"], |world, was| {
        assert!(matches!(was, Some((2, 0x10_0000 | 4_000_000_000))), "{was:?}");
        assert!(world.disks(&["resize", PI, "4G"]).output().unwrap().status.success());
        assert_eq!(world.read(&world.disk()), (2, 4_000_000_000));
    });
}

#[test]
fn a_copy_that_is_cut_off_has_not_the_name_of_a_whole_one() {
    for command in ["commit", "export"] {
        cut_at_each_step(&[command, PI, COPY], |world, was| {
            assert_eq!(was, Some((2, 1 << 20)));
            if !world.copy().exists() {
                let again = world.disks(&[command, PI, world.copy().to_str().unwrap()]).output().unwrap();
                assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
            }
            let copied = fs::read(world.copy()).unwrap();
            assert!(copied.len() == 1 << 20 && copied[PLACE as usize..][..512] == [2; 512]);
        });
    }
}

/// One test at a time: a child has all open files, and so the lock of another test's disk, until it runs its program.
static ALONE: Mutex<()> = Mutex::new(());

const PI: &str = "bd989ae1";
/// In the partition.
const PLACE: u64 = 8192;
/// Stands for the path of a copy.
const COPY: &str = "COPY";
