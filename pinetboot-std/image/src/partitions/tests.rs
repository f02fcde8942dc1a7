use super::gpt::{ESP, LINUX};
use super::*;

fn mbr(entries: &[(u8, u32, u32)]) -> Vec<u8> {
    let mut disk = vec![0; 512 * 64];
    record(&mut disk, 0, entries);
    disk[440..444].copy_from_slice(&0x4a3c_1b2du32.to_le_bytes());
    disk
}

/// Writes a master or an extended boot record.
fn record(disk: &mut [u8], sector: usize, entries: &[(u8, u32, u32)]) {
    let disk = &mut disk[sector * 512..][..512];
    for (slot, (kind, first, count)) in entries.iter().enumerate() {
        let entry = &mut disk[446 + slot * 16..][..16];
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&count.to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
}

fn read(disk: &[u8]) -> Result<Partitions, String> {
    Partitions::read(&disk).map_err(|error| error.to_string())
}

/// A disk of 64 sectors with a GPT at both ends: 4 entries of 128 bytes.
fn gpt(sector: usize) -> Vec<u8> {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut disk = vec![0; sector * 64];
    record(&mut disk, 0, &[(0xee, 1, 63)]);
    let mut table = vec![0; 4 * 128];
    for (slot, (kind, first, last)) in [(ESP, 8u64, 15u64), (LINUX, 16, 16)].into_iter().enumerate() {
        let entry = &mut table[slot * 128..][..128];
        entry[..16].copy_from_slice(&kind);
        entry[16..32].copy_from_slice(&[slot as u8; 16]);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        entry[56..60].copy_from_slice(b"r\0o\0");
    }
    for (own, place) in [(1usize, 2usize), (63, 62)] {
        disk[place * sector..][..512].copy_from_slice(&table);
        let header = &mut disk[own * sector..][..92];
        header[..8].copy_from_slice(b"EFI PART");
        header[12..16].copy_from_slice(&92u32.to_le_bytes());
        header[72..80].copy_from_slice(&(place as u64).to_le_bytes());
        header[80..84].copy_from_slice(&4u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc.checksum(&table).to_le_bytes());
        let sum = crc.checksum(header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
    }
    disk
}

#[test]
fn raspberry_pi_os() {
    let disk = mbr(&[(0x0c, 8, 16), (0x83, 24, 4_000_000)]);
    let found = read(&disk).unwrap();
    let [boot, root] = found.all() else { panic!("{found:?}") };
    assert_eq!((boot.number, boot.declared), (1, Some(Content::Fat)));
    assert_eq!(boot.extent, Extent { start: 4096, len: 8192 });
    assert_eq!((root.number, root.partuuid.as_str()), (2, "4a3c1b2d-02"));
    assert_eq!(root.extent, Extent { start: 24 * 512, len: 4_000_000 * 512 });
    assert_eq!(found.get(2), Some(root));
}

#[test]
fn logical_partitions_have_numbers_from_5() {
    let mut disk = mbr(&[(0x0e, 1, 1), (0x05, 8, 40)]);
    record(&mut disk, 8, &[(0x83, 1, 2), (0x05, 8, 8)]);
    record(&mut disk, 16, &[(0x0c, 2, 3)]);
    let found = read(&disk).unwrap();
    let places: Vec<_> =
        found.all().iter().map(|partition| (partition.number, partition.extent.start / 512)).collect();
    assert_eq!(places, [(1, 1), (5, 9), (6, 18)]);
    // A chain that leads back, and one without a mark.
    record(&mut disk, 16, &[(0x0c, 2, 3), (0x05, 8, 8)]);
    assert!(read(&disk).unwrap_err().contains("no chain"));
    disk[8 * 512 + 511] = 0;
    assert!(read(&disk).unwrap_err().contains("no chain"));
}

#[test]
fn a_gpt_is_read_with_both_sizes_of_sectors_and_from_either_end() {
    for sector in [512, 4096] {
        let whole = gpt(sector);
        let found = read(&whole).unwrap();
        let [boot, root] = found.all() else { panic!("{found:?}") };
        assert_eq!(boot.extent, Extent { start: 8 * sector as u64, len: 8 * sector as u64 });
        assert_eq!((root.number, root.declared, root.label.as_str()), (2, Some(Content::Ext), "ro"));
        assert_eq!(root.partuuid, "01010101-0101-0101-0101-010101010101");

        let mut no_first = whole.clone();
        no_first[sector..2 * sector].fill(0);
        assert_eq!(read(&no_first).unwrap(), found);
        for flip in [16, 20, 73, 80, 91] {
            let mut damaged = whole.clone();
            damaged[sector + flip] ^= 1;
            assert_eq!(read(&damaged).unwrap(), found, "header byte {flip}");
            damaged[63 * sector + flip] ^= 1;
            assert!(read(&damaged).unwrap_err().contains("both copies"), "header byte {flip}");
        }
        let mut damaged = whole.clone();
        damaged[2 * sector + 33] ^= 1;
        assert_eq!(read(&damaged).unwrap(), found, "an entry");
        let mut none = no_first;
        none.truncate(60 * sector);
        assert!(read(&none).unwrap_err().contains("missing at the start and at the end"));
    }
}

#[test]
fn what_a_partition_holds_is_told_by_its_signature() {
    for (at, magic, content) in [
        (0x438, &b"\x53\xef"[..], Content::Ext),
        (3, b"EXFAT   ", Content::ExFat),
        (0, b"LUKS\xba\xbe", Content::Luks),
        (512, b"LABELONE", Content::Lvm),
        (0, b"hsqs", Content::Squashfs),
        (1024, b"\x10\x20\xf5\xf2", Content::F2fs),
        (4096, b"\xfc\x4e\x2b\xa9", Content::Raid),
        (4086, b"SWAPSPACE2", Content::Swap),
        (0, b"", Content::Empty),
        (7, b"x", Content::Unknown),
    ] {
        let mut disk = mbr(&[(0x83, 1, 32)]);
        disk[512 + at..][..magic.len()].copy_from_slice(magic);
        assert_eq!(read(&disk).unwrap().all()[0].content, content, "{content}");
    }
    assert_eq!(read(&mbr(&[(0x83, 1000, 32)])).unwrap().all()[0].content, Content::Cut);
}

#[test]
fn a_file_of_another_kind_is_named() {
    let with = |at: usize, bytes: &[u8]| {
        let mut file = vec![0; 4096];
        file[at..][..bytes.len()].copy_from_slice(bytes);
        read(&file).unwrap_err()
    };
    assert!(with(0, b"7z\xbc\xaf\x27\x1c").contains("7z x"));
    assert!(with(0, b"\n <!DOCTYPE html>").contains("web page"));
    assert!(with(0, b"\x5d\x00\x00\x80").contains("unlzma"));
    assert!(with(0, b"QFI\xfb").contains("qemu-img convert"));
    assert!(with(0x438, b"\x53\xef").contains("without a partition table"));
    assert!(with(9, b"x").contains("no partition table"));
    assert!(read(&[0; 100]).unwrap_err().contains("no partition table"));
    assert!(read(b"").unwrap_err().contains("empty"));
    assert!(read(&mbr(&[])).is_err());
    assert!(read(&mbr(&[(0x83, 0, 10), (0x83, 10, 0)])).is_err(), "empty or at the table");
}

#[test]
fn guids_as_they_are_on_a_disk() {
    // Bytes that sgdisk writes for a partition of type 8300.
    assert_eq!(
        LINUX,
        [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4]
    );
}
