//! The formats of cards: FAT16 and FAT32 as another library makes them, exFAT as its specification says, in all three kinds of
//! partition tables.

use super::*;

const TREE: [(&str, usize); 9] = [
    ("config.txt", 12),
    ("kernel_2712.img", 200_001),
    ("a name of thirteen, and twice as many", 5),
    ("overlays/overlay_map.dtb", 3073),
    ("overlays/deep/er/still.txt", 1),
    ("empty", 0),
    ("bd989ae1/cmdline.txt", 7),
    ("cmdline.txt", 9),
    ("fifteen letters", 1500),
];

#[test]
fn every_format_in_every_kind_of_table() {
    let fat16 = formatted(&contents(&TREE), 9000 * Block::LEN, 2, FatType::Fat16);
    let fat16_of_2_gb = formatted(&contents(&TREE), 20_000 * 64 * Block::LEN, 64, FatType::Fat16);
    let formats = [
        ("FAT16", fat16),
        ("FAT16 with large clusters", fat16_of_2_gb),
        ("FAT32", image(&TREE, 1)),
        ("exFAT", exfat(&contents(&TREE), 1)),
        ("exFAT with large clusters", exfat(&contents(&TREE), 64)),
    ];
    for (format, volume) in formats {
        for (table, card) in [("none", volume.clone()), ("MBR", in_mbr(&volume)), ("GPT", in_gpt(&volume))] {
            serve(&Slot::with(card), async |files| {
                for (name, len) in TREE {
                    let bytes = read(files, name).await;
                    assert!(
                        bytes.as_deref() == Ok(&content(name, len)),
                        "{format}, {table}: {name} {bytes:?}"
                    );
                }
                assert_eq!(read(files, "Overlays/OVERLAY_MAP.DTB").await.unwrap().len(), 3073);
                for name in ["kernel_2712", "kernel_2712.imgs", "overlays", "config.txt/x", "overlays/none"] {
                    assert_eq!(read(files, name).await, Err(Some(OpenError::NotFound)), "{format}: {name}");
                }
            });
        }
    }
}

#[test]
fn a_directory_may_be_large() {
    let names: Vec<Text> = (0..400).map(|index| format!("overlays/overlay-number-{index}.dtbo")).collect();
    let tree: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 700)).collect();
    let fat16 = formatted(&contents(&tree), 9000 * Block::LEN, 2, FatType::Fat16);
    for card in [fat16, exfat(&contents(&tree), 1), exfat(&contents(&tree), 8)] {
        serve(&Slot::with(card), async |files| {
            for name in [&names[0], &names[200], &names[399]] {
                assert!(read(files, name).await.unwrap() == content(name, 700));
            }
            assert_eq!(read(files, "overlays/overlay-number-400.dtbo").await, Err(Some(OpenError::NotFound)));
        });
    }
}

#[test]
fn a_full_root_directory_of_fat16_ends() {
    let mut card = formatted(&contents(&[("file", 10)]), 9000 * Block::LEN, 2, FatType::Fat16);
    let half = |at: usize| usize::from(u16::from_le_bytes([card[at], card[at + 1]]));
    let (root, entries) = ((half(14) + 2 * half(22)) * Block::LEN, half(17));
    // Deleted entries up to the last, so that none says where the directory ends.
    for entry in card[root..][..entries * 32].chunks_mut(32).filter(|entry| entry[0] == 0) {
        entry[0] = 0xe5;
    }
    serve(&Slot::with(card), async |files| {
        assert_eq!(read(files, "none").await, Err(Some(OpenError::NotFound)));
    });
}

#[test]
fn exfat_tells_of_a_file_that_was_replaced() {
    let card = |len| exfat(&contents(&[("file", len)]), 1);
    for (put, goes_on) in [(card(100_000), true), (card(100_001), false)] {
        let slot = Slot::with(card(100_000));
        serve(&slot, async |files| {
            let mut block = [0; 1000];
            let mut file = open(files, "file").await.unwrap();
            file.read_exact_at(0, &mut block).await.unwrap();
            slot.pull();
            slot.put(put.clone());
            assert_eq!(file.read_exact_at(50_000, &mut block).await.is_ok(), goes_on);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bytes in the boot sector, the tables, the partition tables and the directories: the reader ends, without a panic.
    #[test]
    fn no_damage_is_too_strange_either(
        which in 0..3_usize,
        changes in prop::collection::vec((0..4_usize, 0..1024_usize, any::<u8>()), 1..40),
        boot in prop::collection::vec((11..112_usize, any::<u8>()), 0..3),
    ) {
        std::thread_local! {
            static CARDS: [Vec<u8>; 3] = {
                let files = contents(&[("kernel_2712.img", 30_000), ("overlays/a long name of a map.dtb", 9_000)]);
                let exfat = exfat(&files, 1);
                [formatted(&files, 9000 * Block::LEN, 2, FatType::Fat16), in_gpt(&exfat), exfat]
            };
        }
        let mut card = CARDS.with(|cards| cards[which].clone());
        // For FAT16: boot sector, table, root directory and data. Else: the tables at a card's start, the table of exFAT, the last
        // directories and the root.
        let places = match which {
            0 => {
                let table_len = usize::from(u16::from_le_bytes([card[22], card[23]])) * Block::LEN;
                let table = usize::from(u16::from_le_bytes([card[14], card[15]])) * Block::LEN;
                [0, table, table + 2 * table_len, table + 2 * table_len + 512 * 32]
            }
            1 => [512, 1024, (2048 + 24) * Block::LEN, 2048 * Block::LEN],
            _ => {
                let root = u32::from_le_bytes([card[96], card[97], card[98], card[99]]) as usize;
                let heap = u32::from_le_bytes([card[88], card[89], card[90], card[91]]) as usize;
                let root = (heap + root - 2) * Block::LEN;
                [24 * Block::LEN, root, root - 512, root - 1024]
            }
        };
        for (place, offset, byte) in changes {
            card[places[place] + offset] = byte;
        }
        let start = if which == 1 { 2048 * Block::LEN } else { 0 };
        for (offset, byte) in boot {
            card[start + offset] = byte;
        }
        serve(&Slot::with(card), async |files| {
            for name in ["kernel_2712.img", "overlays/a long name of a map.dtb", "nothing"] {
                let _any = read(files, name).await;
            }
        });
    }
}

fn contents<'n>(tree: &[(&'n str, usize)]) -> Vec<(&'n str, Vec<u8>)> {
    tree.iter().map(|(name, len)| (*name, content(name, *len))).collect()
}

fn in_mbr(volume: &[u8]) -> Vec<u8> {
    let mut card = std::vec![0; 2048 * Block::LEN];
    // A Linux partition with nothing in it comes first.
    card[450] = 0x83;
    card[454..458].copy_from_slice(&100_u32.to_le_bytes());
    card[466] = 0x07;
    card[470..474].copy_from_slice(&2048_u32.to_le_bytes());
    card[510..512].copy_from_slice(&[0x55, 0xaa]);
    card.extend(volume);
    card
}

fn in_gpt(volume: &[u8]) -> Vec<u8> {
    let mut card = std::vec![0; 2048 * Block::LEN];
    card[450] = 0xee;
    card[454..458].copy_from_slice(&1_u32.to_le_bytes());
    card[510..512].copy_from_slice(&[0x55, 0xaa]);
    card[512..520].copy_from_slice(b"EFI PART");
    card[512 + 72] = 2; // the first block of the entries
    card[512 + 80] = 128;
    card[512 + 84] = 128;
    for (entry, start) in [(1, 100_u64), (4, 2048)] {
        let entry = &mut card[1024 + entry * 128..][..128];
        entry[..16].fill(0xa0); // any type
        entry[32..40].copy_from_slice(&start.to_le_bytes());
    }
    card.extend(volume);
    card
}

/// A volume with these files, after the exFAT specification: every other file in clusters that follow each other, without a
/// chain, and the others in a chain that runs backwards.
fn exfat(files: &[(&str, Vec<u8>)], per_cluster: usize) -> Vec<u8> {
    let clusters = 2000_usize
        .max(files.iter().map(|(_, bytes)| bytes.len() / (per_cluster * 512) + 2).sum::<usize>() + 40);
    let table_len = (clusters + 2).div_ceil(128);
    let heap = 24 + table_len;
    let total = heap + clusters * per_cluster;
    let image = std::vec![0; total * Block::LEN];
    let mut volume = Exfat { image, heap, cluster: per_cluster * Block::LEN, next: 2, sets: 0 };
    let directory = volume.directory(files, "");
    let root = volume.put(&directory, false);
    let Exfat { mut image, .. } = volume;
    image[..11].copy_from_slice(b"\xeb\x76\x90EXFAT   ");
    image[72..80].copy_from_slice(&(total as u64).to_le_bytes());
    let words =
        [(80, 24), (84, table_len), (88, heap), (92, clusters), (96, root as usize), (100, 0x1234_5678)];
    for (at, value) in words {
        image[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
    }
    image[104..106].copy_from_slice(&[0, 1]); // revision 1.00
    image[108..112].copy_from_slice(&[9, per_cluster.ilog2() as u8, 1, 0x80]);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

struct Exfat {
    image: Vec<u8>,
    heap: usize,
    cluster: usize,
    next: u32,
    sets: usize,
}

impl Exfat {
    /// The entries of a directory; what is in it is put into clusters.
    fn directory(&mut self, files: &[(&str, Vec<u8>)], path: &str) -> Vec<u8> {
        // Allocation bitmap, up-case table and volume label, as in a root directory; their content is never read.
        let mut entries = std::vec![0; 3 * 32];
        for (index, kind) in [0x81, 0x82, 0x83].into_iter().enumerate() {
            entries[index * 32] = kind;
        }
        let mut done: Vec<&str> = Vec::new();
        for (name, bytes) in files {
            let Some(rest) = name.strip_prefix(path) else { continue };
            let (part, inner) = rest.split_once('/').map_or((rest, false), |(part, _)| (part, true));
            if done.contains(&part) {
                continue;
            }
            done.push(part);
            let directory;
            let bytes = if inner {
                directory = self.directory(files, &format!("{path}{part}/"));
                &directory
            } else {
                bytes
            };
            self.sets += 1;
            let contiguous = self.sets.is_multiple_of(2);
            let first = self.put(bytes, contiguous);
            entries.extend(Self::set(part, inner, bytes.len(), first, contiguous));
        }
        entries
    }

    fn set(name: &str, is_directory: bool, len: usize, first: u32, contiguous: bool) -> Vec<u8> {
        let units: Vec<u16> = name.encode_utf16().collect();
        let names = units.len().div_ceil(15);
        let mut set = std::vec![0; (2 + names) * 32];
        set[0] = 0x85;
        set[1] = 1 + names as u8;
        set[4] = if is_directory { 0x10 } else { 0x20 };
        set[32] = 0xc0;
        set[33] = if contiguous { 3 } else { 1 };
        set[35] = units.len() as u8;
        set[40..48].copy_from_slice(&(len as u64).to_le_bytes());
        set[52..56].copy_from_slice(&first.to_le_bytes());
        set[56..64].copy_from_slice(&(len as u64).to_le_bytes());
        for (index, chunk) in units.chunks(15).enumerate() {
            let at = (2 + index) * 32;
            set[at] = 0xc1;
            for (place, unit) in chunk.iter().enumerate() {
                set[at + 2 + 2 * place..][..2].copy_from_slice(&unit.to_le_bytes());
            }
        }
        let mut sum = 0_u16;
        for (at, byte) in set.iter().enumerate().filter(|(at, _)| !(2..4).contains(at)) {
            let _ = at;
            sum = (if sum & 1 == 1 { 0x8000 } else { 0_u16 })
                .wrapping_add(sum >> 1)
                .wrapping_add((*byte).into());
        }
        set[2..4].copy_from_slice(&sum.to_le_bytes());
        set
    }

    /// Puts bytes into clusters: the first one's number.
    fn put(&mut self, bytes: &[u8], contiguous: bool) -> u32 {
        let count = bytes.len().div_ceil(self.cluster) as u32;
        let mut numbers: Vec<u32> = (self.next..self.next + count).collect();
        self.next += count;
        if !contiguous {
            numbers.reverse();
        }
        for (index, (number, chunk)) in numbers.iter().zip(bytes.chunks(self.cluster)).enumerate() {
            let at = self.heap * Block::LEN + (*number as usize - 2) * self.cluster;
            self.image[at..at + chunk.len()].copy_from_slice(chunk);
            if !contiguous {
                let next = numbers.get(index + 1).copied().unwrap_or(u32::MAX);
                let at = 24 * Block::LEN + *number as usize * 4;
                self.image[at..at + 4].copy_from_slice(&next.to_le_bytes());
            }
        }
        numbers.first().copied().unwrap_or(0)
    }
}
