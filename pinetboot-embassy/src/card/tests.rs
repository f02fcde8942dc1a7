//! The card in memory, with file systems that another library makes.

use core::net::{Ipv4Addr, SocketAddrV4};
use std::boxed::Box;
use std::cell::RefCell;
use std::format;
use std::io::{Cursor, Write as _};
use std::rc::Rc;
use std::string::String as Text;
use std::vec::Vec;

use embassy_futures::select::{Either, select};
use embassy_futures::{block_on, poll_once};
use embassy_time::Timer;
use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use pinetboot_core::{BootPath, File, OpenError, OpenRequest, Storage, conformance};
use proptest::prelude::*;

use super::shared::FILES;
use super::*;

mod formats;

#[test]
fn files_are_found_and_read() {
    let tree = [
        ("config.txt", 12),
        ("KERNEL.IMG", 3072),
        ("kernel_2712.img", 200_001),
        ("bcm2712-rpi-5-b.dtb", 80_000),
        ("a name of thirteen, and twice as many", 5),
        ("overlays/overlay_map.dtb", 3073),
        ("overlays/deep/er/still.txt", 1),
        ("empty", 0),
        ("bd989ae1/cmdline.txt", 7),
        ("dc-a6-32-01-36-c2/cmdline.txt", 8),
        ("cmdline.txt", 9),
    ];
    let image = image(&tree, 1);
    serve(&Slot::with(image), async |files| {
        for (name, len) in tree {
            assert!(read(files, name).await.unwrap() == content(name, len), "{name}");
        }
        assert_eq!(read(files, "Overlays/OVERLAY_MAP.DTB").await.unwrap().len(), 3073);
        // As for flash: a Pi with a directory gets files from there only, a Pi without one gets the shared files.
        assert_eq!(read(files, "bd989ae1/config.txt").await, Err(Some(OpenError::NotFound)));
        assert_eq!(read(files, "BD989AE1/cmdline.txt").await.unwrap().len(), 7);
        assert_eq!(read(files, "12345678//overlays/overlay_map.dtb").await.unwrap().len(), 3073);
        for name in
            ["kernel_2712", "kernel_2712.im", "kernel_2712.imgs", "overlays", "config.txt/x", "konfig.txt"]
        {
            assert_eq!(read(files, name).await, Err(Some(OpenError::NotFound)), "{name}");
        }
    });
}

#[test]
fn conforms() {
    let files: Vec<_> = conformance::FILES.iter().map(|(name, bytes)| (*name, Vec::from(*bytes))).collect();
    serve(&Slot::with(image_of(&files, 1)), async |files| conformance::storage(files).await);
}

#[test]
fn in_a_partition_and_in_large_directories() {
    let names: Vec<Text> = (0..700).map(|index| format!("overlays/overlay-number-{index}.dtbo")).collect();
    let tree: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 700)).collect();
    for per_cluster in [1, 8] {
        let mut partitioned = std::vec![0; 2048 * Block::LEN];
        partitioned[450] = 0x0c;
        partitioned[454..458].copy_from_slice(&2048_u32.to_le_bytes());
        partitioned[510..512].copy_from_slice(&[0x55, 0xaa]);
        partitioned.extend(image(&tree, per_cluster));
        serve(&Slot::with(partitioned), async |files| {
            for name in [&names[0], &names[350], &names[699]] {
                assert!(read(files, name).await.unwrap() == content(name, 700));
            }
            assert_eq!(read(files, "overlays/overlay-number-700.dtbo").await, Err(Some(OpenError::NotFound)));
        });
    }
}

#[test]
fn a_fragmented_file_is_whole() {
    let mut image = image(&[], 1);
    let mut halves: [Vec<u8>; 2] = Default::default();
    {
        let file_system = FileSystem::new(Cursor::new(&mut image[..]), FsOptions::new()).unwrap();
        let root = file_system.root_dir();
        let mut files = [root.create_file("one").unwrap(), root.create_file("other").unwrap()];
        for step in 0..300_usize {
            let bytes = content(&format!("{step}"), 100 + 997 * step % 1900);
            files[step % 2].write_all(&bytes).unwrap();
            halves[step % 2].extend(bytes);
        }
    }
    serve(&Slot::with(image), async |files| {
        assert!(read(files, "one").await.unwrap() == halves[0]);
        assert!(read(files, "other").await.unwrap() == halves[1]);
    });
}

#[test]
fn blocks_come_again_and_in_any_order() {
    let slot = Slot::with(image(&[("file", 20_000)], 1));
    let expected = content("file", 20_000);
    serve(&slot, async |files| {
        let mut file = open(files, "file").await.unwrap();
        for offset in [0, 1468, 0, 2936, 2936, 1468, 18_532, 0, 4404, 3072, 3071, 6143, 12_000] {
            let mut block = [0; 1468];
            file.read_exact_at(offset as u64, &mut block).await.unwrap();
            assert!(block == expected[offset..offset + 1468], "{offset}");
        }
    });
}

#[test]
fn as_many_files_at_once_as_places() {
    let names = ["a", "b", "c", "d", "e"];
    let tree: Vec<(&str, usize)> = names.iter().map(|name| (*name, 50_000)).collect();
    serve(&Slot::with(image(&tree, 2)), async |files| {
        for _ in 0..2 {
            let mut opened = Vec::new();
            for name in names {
                opened.push((name, open(files, name).await.unwrap()));
            }
            assert!(matches!(open(files, "a").await, Err(OpenError::Failed)));
            let mut last = std::vec![opened.pop().unwrap()];
            read_in_turn(&mut opened).await;
            // It has no memory before one of the others is closed.
            assert!(last[0].1.is_ready(0, 1));
            assert_eq!(last[0].1.read_exact_at(0, &mut [0]).await, Err(ReadError));
            opened.remove(1);
            last.append(&mut opened);
            read_in_turn(&mut last).await;
        }
    });
}

/// A block of each, then the next block of each.
async fn read_in_turn(opened: &mut [(&str, CardFile<'_>)]) {
    for block in 0..48_usize {
        for (name, file) in opened.iter_mut() {
            let mut bytes = [0; 1024];
            file.read_exact_at(block as u64 * 1024, &mut bytes).await.unwrap();
            assert!(bytes == content(name, 50_000)[block * 1024..][..1024]);
        }
    }
}

#[test]
fn an_opening_that_was_given_up_is_not_taken_for_the_next() {
    let tree = [("first", 1000), ("second", 2000), ("third", 3000)];
    serve(&Slot::with(image(&tree, 1)), async |files| {
        for _ in 0..2 * FILES {
            for name in ["first", "second"] {
                let given_up = open(files, name);
                assert!(poll_once(given_up).is_pending());
            }
            assert!(read(files, "third").await.unwrap() == content("third", 3000));
        }
    });
}

/// With a slow card the other transfers go on: the file says "later", and the network's bell rings when the bytes are there.
#[test]
fn a_client_is_named_when_its_bytes_are_there() {
    let slot = Slot::with(image(&[("file", 20_000)], 1));
    let expected = content("file", 20_000);
    serve(&slot, async |files| {
        let mut file = open(files, "file").await.unwrap();
        for offset in [0_usize, 1468, 2936, 0, 18_532] {
            let mut block = [0; 1468];
            while !file.is_ready(offset as u64, 1468) {
                files.card.bell.wait().await;
                assert_eq!(files.resumed(), Some(PEER));
                assert_eq!(files.resumed(), None);
            }
            {
                let read = core::pin::pin!(file.read_exact_at(offset as u64, &mut block));
                assert!(poll_once(read).is_ready(), "waits for what is ready");
            }
            assert!(block == expected[offset..offset + 1468]);
        }
        assert!(!file.is_ready(4096, 1), "a part that was not read yet");
        slot.pull();
        while !file.is_ready(10_000, 1) {
            files.card.bell.wait().await; // a card that fails is an answer, too
        }
        assert_eq!(file.read_exact_at(10_000, &mut [0]).await, Err(ReadError));
    });
}

#[test]
fn a_card_pulled_out_ends_a_transfer_and_the_next_one_is_served() {
    let image = image(&[("file", 100_000)], 1);
    let slot = Slot::with(image.clone());
    serve(&slot, async |files| {
        let mut file = open(files, "file").await.unwrap();
        let mut block = [0; 1024];
        file.read_exact_at(0, &mut block).await.unwrap();
        slot.pull();
        // Blocks that were read ahead may still be served.
        assert_eq!(file.read_exact_at(50_000, &mut block).await, Err(ReadError));
        assert!(open(files, "file").await.is_err());
        slot.put(image.clone());
        // The reader checks for the card at intervals.
        while open(files, "file").await.is_err() {
            Timer::after_millis(50).await;
        }
        assert!(read(files, "file").await.unwrap() == content("file", 100_000));
    });
}

#[test]
fn a_disturbance_is_survived() {
    let slot = Slot::with(image(&[("file", 100_000)], 1));
    serve(&slot, async |files| {
        let mut file = open(files, "file").await.unwrap();
        let expected = content("file", 100_000);
        let mut block = [0; 1000];
        for offset in (0..100_000).step_by(1000) {
            slot.disturb();
            file.read_exact_at(offset as u64, &mut block).await.unwrap();
            assert!(block == expected[offset..offset + 1000]);
        }
    });
}

#[test]
fn a_file_that_was_replaced_is_not_read_on() {
    let mut replaced = image(&[("file", 100_000)], 1);
    let same = replaced.clone();
    {
        let file_system = FileSystem::new(Cursor::new(&mut replaced[..]), FsOptions::new()).unwrap();
        let mut file = file_system.root_dir().create_file("file").unwrap();
        file.write_all(&[1; 100_001]).unwrap();
    }
    for (put, goes_on) in [(same, true), (replaced, false), (image(&[("file", 100_000)], 2), false)] {
        let slot = Slot::with(image(&[("file", 100_000)], 1));
        serve(&slot, async |files| {
            let mut block = [0; 1000];
            let mut other = open(files, "file").await.unwrap();
            let mut file = open(files, "file").await.unwrap();
            file.read_exact_at(0, &mut block).await.unwrap();
            slot.pull();
            slot.put(put.clone());
            assert_eq!(file.read_exact_at(50_000, &mut block).await.is_ok(), goes_on);
            assert_eq!(other.read_exact_at(60_000, &mut block).await.is_ok(), goes_on);
        });
    }
}

#[test]
fn a_missing_card_is_not_waited_for() {
    let slot = Slot::default();
    serve(&slot, async |files| {
        assert_eq!(read(files, "file").await, Err(Some(OpenError::NotFound)));
        let asked = slot.0.borrow().begun;
        for _ in 0..100 {
            assert_eq!(read(files, "file").await, Err(Some(OpenError::NotFound)));
        }
        assert_eq!(slot.0.borrow().begun, asked);
    });
}

#[test]
fn a_card_that_cannot_be_read_is_not_taken_for_none() {
    for rubbish in [std::vec![0; 1 << 20], std::vec![0xff; 1 << 20], Vec::new(), std::vec![0; Block::LEN]] {
        serve(&Slot::with(rubbish), async |files| {
            for _ in 0..2 {
                assert_eq!(read(files, "file").await, Err(Some(OpenError::Failed)));
                assert_eq!(files.card.state(), crate::CardState::Unreadable);
            }
        });
    }
    let slot = Slot::with(image(&[("file", 1000)], 1));
    slot.garble_above(0);
    serve(&slot, async |files| {
        assert_eq!(read(files, "file").await, Err(Some(OpenError::Failed)), "it answers, but always wrongly");
    });
}

#[test]
fn wires_that_are_too_long_are_read_more_slowly() {
    for fastest in [1, 2, 3] {
        let slot = Slot::with(image(&[("file", 1_500_000)], 8));
        slot.garble_above(8 >> fastest);
        serve(&slot, async |files| {
            let mut file = open(files, "file").await.unwrap();
            let expected = content("file", 1_500_000);
            let mut block = [0; 1000];
            for offset in (0..1_500_000).step_by(1000) {
                file.read_exact_at(offset as u64, &mut block).await.unwrap();
                assert!(block == expected[offset..offset + 1000]);
            }
            assert_ne!(files.card.state(), crate::CardState::Unreadable);
            let errors = slot.0.borrow().errors;
            assert!(
                errors >= fastest && errors <= fastest + 8,
                "full speed is tried again, and rarely: {errors}"
            );
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bytes in the boot sector, the table and the directories: the reader ends, without a panic.
    #[test]
    fn no_damage_is_too_strange(
        changes in prop::collection::vec((0..3_usize, 0..2048_usize, any::<u8>()), 1..40),
        boot in prop::collection::vec((11..72_usize, any::<u8>()), 0..3),
    ) {
        std::thread_local! {
            static IMAGE: Vec<u8> = image(&[("kernel_2712.img", 30_000), ("overlays/a long name of a map.dtb", 9_000)], 1);
        }
        let mut image = IMAGE.with(Clone::clone);
        let table = usize::from(u16::from_le_bytes([image[14], image[15]])) * Block::LEN;
        let tables = u32::from_le_bytes([image[36], image[37], image[38], image[39]]) as usize * 2 * Block::LEN;
        // The table's beginning, the root directory, and the clusters after the root; the other directory is among them.
        let places = [table, table + tables, table + tables + 512];
        for (place, offset, byte) in changes {
            image[places[place] + offset] = byte;
        }
        for (offset, byte) in boot {
            image[offset] = byte;
        }
        serve(&Slot::with(image), async |files| {
            for name in ["kernel_2712.img", "overlays/a long name of a map.dtb", "nothing"] {
                let _any = read(files, name).await;
            }
        });
    }
}

/// Runs both sides, until the server's side has done this.
fn serve<F: for<'a> AsyncFnOnce(&'a mut Files<'static>)>(slot: &Slot, test: F) {
    let chunks: &'static Chunks = Box::leak(Box::default());
    let card: &'static Card = Box::leak(Box::new(Card::new(chunks, Box::leak(Box::default()))));
    let mut reader = CardReader::new(card, slot.clone());
    let mut files = Files::new(card);
    let ended = block_on(select(reader.run(), test(&mut files)));
    assert!(matches!(ended, Either::Second(())));
}

async fn open(files: &mut Files<'static>, name: &str) -> Result<CardFile<'static>, OpenError> {
    let path = BootPath::parse(name.as_bytes()).unwrap();
    files.open(&OpenRequest::new(path, PEER)).await
}

const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 55, 0, 100), 1024);

/// All of a file, in blocks as a Pi asks for them; `Err(None)` if it ends in the middle.
async fn read(files: &mut Files<'static>, name: &str) -> Result<Vec<u8>, Option<OpenError>> {
    let mut file = open(files, name).await.map_err(Some)?;
    // A damaged card may report any length.
    let mut bytes = std::vec![0; (file.len() as usize).min(300_000)];
    for (index, block) in bytes.chunks_mut(1468).enumerate() {
        file.read_exact_at(index as u64 * 1468, block).await.map_err(|ReadError| None)?;
    }
    Ok(bytes)
}

/// A file system with files of these lengths, with this many blocks in a cluster.
fn image(tree: &[(&str, usize)], per_cluster: usize) -> Vec<u8> {
    let files: Vec<_> = tree.iter().map(|(name, len)| (*name, content(name, *len))).collect();
    image_of(&files, per_cluster)
}

/// A file system with these files.
fn image_of(files: &[(&str, Vec<u8>)], per_cluster: usize) -> Vec<u8> {
    formatted(files, 67_000 * per_cluster * Block::LEN, per_cluster, FatType::Fat32)
}

/// A file system of this size and type with these files.
fn formatted(files: &[(&str, Vec<u8>)], len: usize, per_cluster: usize, fat_type: FatType) -> Vec<u8> {
    let mut image = std::vec![0; len];
    let options = FormatVolumeOptions::new().fat_type(fat_type).volume_id(per_cluster as u32);
    let options = options.bytes_per_cluster((per_cluster * Block::LEN) as u32);
    fatfs::format_volume(Cursor::new(&mut image[..]), options).unwrap();
    {
        let file_system = FileSystem::new(Cursor::new(&mut image[..]), FsOptions::new()).unwrap();
        let root = file_system.root_dir();
        for (name, bytes) in files {
            for (at, _) in name.match_indices('/') {
                root.create_dir(&name[..at]).unwrap();
            }
            root.create_file(name).unwrap().write_all(bytes).unwrap();
        }
    }
    image
}

fn content(name: &str, len: usize) -> Vec<u8> {
    let mut state =
        name.bytes().fold(0x9e37_79b9_u32, |state, byte| state.rotate_left(5) ^ u32::from(byte)) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The slot of a card.
#[derive(Clone, Default)]
struct Slot(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    image: Option<Vec<u8>>,
    /// Whether the reader has begun with the card since its insertion.
    ready: bool,
    begun: usize,
    disturbed: bool,
    /// The speed, of 8, the greatest at which reads succeed, and the number of those that did not.
    speed: u8,
    fastest: Option<u8>,
    errors: usize,
}

impl Slot {
    fn with(image: Vec<u8>) -> Self {
        let slot = Self::default();
        slot.put(image);
        slot
    }

    fn put(&self, image: Vec<u8>) {
        *self.0.borrow_mut() = State { image: Some(image), ..State::default() };
    }

    fn pull(&self) {
        self.0.borrow_mut().image = None;
    }

    /// Reads fail while the speed is above this.
    fn garble_above(&self, fastest: u8) {
        self.0.borrow_mut().fastest = Some(fastest);
    }

    /// The next read fails, and all after it until the card is begun with anew.
    fn disturb(&self) {
        self.0.borrow_mut().disturbed = true;
    }
}

#[derive(Debug)]
struct NoCard;

impl core::fmt::Display for NoCard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no card")
    }
}

impl core::error::Error for NoCard {}

impl BlockDevice for Slot {
    type Error = NoCard;

    fn read(&self, blocks: &mut [Block], from: BlockIdx) -> Result<(), NoCard> {
        let State { image, ready, disturbed, speed, fastest, errors, .. } = &mut *self.0.borrow_mut();
        *ready &= !core::mem::take(disturbed);
        if image.is_some() && fastest.is_some_and(|fastest| *speed > fastest) {
            *errors += 1;
            return Err(NoCard);
        }
        let image = image.as_ref().filter(|_| *ready).ok_or(NoCard)?;
        for (index, block) in blocks.iter_mut().enumerate() {
            let at = (from.0 as usize + index) * Block::LEN;
            block.contents.copy_from_slice(image.get(at..at + Block::LEN).ok_or(NoCard)?);
        }
        Ok(())
    }

    fn write(&self, _: &[Block], _: BlockIdx) -> Result<(), NoCard> {
        panic!("nothing is ever written")
    }

    fn num_blocks(&self) -> Result<BlockCount, NoCard> {
        let state = self.0.borrow();
        let image = state.image.as_ref().filter(|_| state.ready).ok_or(NoCard)?;
        Ok(BlockCount((image.len() / Block::LEN) as u32))
    }
}

impl Removable for Slot {
    fn begin(&self) {
        let mut state = self.0.borrow_mut();
        state.begun += 1;
        state.ready = state.image.is_some();
        state.disturbed = false;
    }

    fn hurry(&self, halvings: u8) {
        self.0.borrow_mut().speed = 8 >> halvings;
    }

    fn answers(&self) -> bool {
        self.0.borrow().image.is_some()
    }
}
