//! The suite for storages: the file of each name, and its bytes.

use core::net::{Ipv4Addr, SocketAddrV4};

use crate::BootPath;
use crate::storage::{File, OpenError, OpenRequest, Refusal, Storage};

/// The files that the storage must have, and no others: the paths beneath its root, and what is in them.
///
/// Two Pis have an own directory, one of them written in capital letters.
pub const FILES: &[(&str, &[u8])] = &[
    ("config.txt", SHARED),
    ("kernel8.img", &KERNEL),
    ("empty", b""),
    ("overlays/overlay_map.dtb", b"a map"),
    ("7bf18f79/config.txt", b"of 7bf18f79"),
    ("7bf18f79/overlays/own.dtbo", b"an overlay of 7bf18f79"),
    ("DC-A6-32-01-36-C2/config.txt", b"of dc-a6-32-01-36-c2"),
    ("7bf18f7/config.txt", b"of no Pi: seven digits"),
];

/// Holds a storage that has [`FILES`] to the Pi's rules and to its traits.
///
/// # Panics
///
/// The storage breaks a promise of its trait, or a rule of the Pi.
pub async fn storage<S: Storage>(storage: &mut S) {
    for (name, bytes) in FILES {
        expect(storage, name, bytes).await;
    }
    own_or_shared(storage).await;
    missing(storage).await;
    reads(storage).await;
    versions(storage).await;
}

/// A Pi with an own directory gets files from that alone; the others share.
async fn own_or_shared<S: Storage>(storage: &mut S) {
    for name in ["7bf18f79/config.txt", "7BF18F79/config.txt", "7bf18f79//config.txt", "/7bf18f79/config.txt"]
    {
        expect(storage, name, b"of 7bf18f79").await;
    }
    for name in
        ["dc-a6-32-01-36-c2/config.txt", "DC-A6-32-01-36-C2/config.txt", "dc-A6-32-01-36-c2//config.txt"]
    {
        expect(storage, name, b"of dc-a6-32-01-36-c2").await;
    }
    expect(storage, "7bf18f79//overlays/own.dtbo", b"an overlay of 7bf18f79").await;
    for name in [
        "7bf18f79/kernel8.img",
        "7BF18F79//overlays/overlay_map.dtb",
        "7bf18f79/empty",
        "dc-a6-32-01-36-c2/kernel8.img",
    ] {
        refuse(storage, name).await;
    }
    for prefix in ["0badcafe/", "0BADCAFE//", "dc-a6-32-00-00-01/", "/", "//"] {
        for (file, bytes) in [("config.txt", SHARED), ("kernel8.img", &KERNEL), ("empty", b"")] {
            let mut name = [0; 64];
            expect(storage, join(&mut name, prefix, file), bytes).await;
        }
    }
    expect(storage, "0badcafe//overlays/overlay_map.dtb", b"a map").await;
    // No prefix of a Pi, but a directory like any other: nothing is shared there.
    refuse(storage, "7bf18f7/kernel8.img").await;
    refuse(storage, "pi5-kitchen/config.txt").await;
}

async fn missing<S: Storage>(storage: &mut S) {
    for name in [
        "missing",
        "config.tx",
        "config.txtx",
        "overlays/missing",
        "missing/config.txt",
        "config.txt/x",
        "0badcafe/missing",
        "7bf18f79/missing",
        // Directories.
        "overlays",
        "7bf18f79",
        "7bf18f79/overlays",
        "0badcafe/overlays",
        "0badcafe",
    ] {
        refuse(storage, name).await;
    }
}

/// Bytes come from where they are asked for, up to the last, in any order.
async fn reads<S: Storage>(storage: &mut S) {
    let mut file = opened(storage, "kernel8.img").await;
    let len = KERNEL.len();
    for size in [1, 8, 511, 512, 1024, ROOM] {
        for start in (0..len).step_by(size.max(97)) {
            read(&mut file, start, size.min(len - start)).await;
        }
    }
    for start in [len - 1, 0, len - 512, 1, len - ROOM, 0] {
        read(&mut file, start, (len - start).min(ROOM)).await;
    }
    read(&mut file, len, 0).await;

    let mut empty = opened(storage, "empty").await;
    assert!(empty.is_empty(), "an empty file has {} bytes", empty.len());
    assert!(empty.read_exact_at(0, &mut []).await.is_ok(), "nothing is read of an empty file");
}

/// A file stays what it was, whatever else is opened, read and closed.
async fn versions<S: Storage>(storage: &mut S) {
    let mut first = opened(storage, "kernel8.img").await;
    read(&mut first, 0, 512).await;
    let mut second = opened(storage, "0badcafe/kernel8.img").await;
    read(&mut second, 512, 512).await;
    read(&mut first, 512, 512).await;
    drop(second);
    expect(storage, "config.txt", SHARED).await;
    refuse(storage, "missing").await;
    assert_eq!(first.len(), KERNEL.len() as u64, "the length of a file that is open");
    read(&mut first, KERNEL.len() - 512, 512).await;
    read(&mut first, 0, 512).await;
}

async fn expect<S: Storage>(storage: &mut S, name: &str, bytes: &[u8]) {
    let mut file = opened(storage, name).await;
    assert_eq!(file.len(), bytes.len() as u64, "the length of {name}");
    assert_eq!(file.is_empty(), bytes.is_empty(), "whether {name} is empty");
    let mut buffer = [0; ROOM];
    for (index, expected) in bytes.chunks(ROOM).enumerate() {
        let (part, _) = buffer.split_at_mut(expected.len());
        let read = file.read_exact_at((index * ROOM) as u64, part).await;
        assert!(read.is_ok(), "{name} cannot be read: {read:?}");
        assert!(part == expected, "{name} has other bytes");
    }
}

async fn refuse<S: Storage>(storage: &mut S, name: &str) {
    match open(storage, name).await {
        Ok(file) => panic!("{name} exists, with {} bytes", file.len()),
        Err(refusal) => {
            assert_eq!(refusal.error(), OpenError::NotFound, "{name}: {refusal:?}");
        }
    }
}

async fn opened<S: Storage>(storage: &mut S, name: &str) -> S::File {
    match open(storage, name).await {
        Ok(file) => file,
        Err(refusal) => panic!("{name} is not to be had: {refusal:?}"),
    }
}

async fn open<S: Storage>(storage: &mut S, name: &str) -> Result<S::File, S::Refusal> {
    let path = BootPath::parse(name.as_bytes()).expect("a name");
    let peer = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 49152);
    storage.open(&OpenRequest::new(path, peer)).await
}

/// Reads so many bytes of the kernel from `start` on.
async fn read<F: File>(file: &mut F, start: usize, len: usize) {
    let mut buffer = [0; ROOM];
    let (part, _) = buffer.split_at_mut(len);
    let read = file.read_exact_at(start as u64, part).await;
    assert!(read.is_ok(), "{len} bytes from {start} on cannot be read: {read:?}");
    assert!(part == KERNEL.split_at(start).1.split_at(len).0, "{len} bytes from {start} on are others");
}

fn join<'b>(buffer: &'b mut [u8; 64], prefix: &str, file: &str) -> &'b str {
    let len = prefix.len() + file.len();
    let (name, _) = buffer.split_at_mut(len);
    let (first, second) = name.split_at_mut(prefix.len());
    first.copy_from_slice(prefix.as_bytes());
    second.copy_from_slice(file.as_bytes());
    core::str::from_utf8(name).expect("letters")
}

const SHARED: &[u8] = b"of all";

/// Some blocks, and not a whole number of them by any usual size.
const KERNEL: [u8; 9001] = {
    let mut bytes = [0; 9001];
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = (index * 7 + index / 251) as u8;
        index += 1;
    }
    bytes
};

/// As much as a block on Ethernet.
const ROOM: usize = 1468;
