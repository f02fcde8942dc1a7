//! Overlays whose process is killed, or whose machine loses its power, at every step.

use std::collections::HashMap;
use std::sync::Arc;

use super::header::Identity;
use super::simulated::{Content, Simulated};
use super::*;
use crate::boot::Boot;
use crate::conformance::Random;
use crate::memory::MemoryDisk;

const BOOT: [u8; 16] = [1; 16];
const LEN: usize = 40 * 1024;
/// Steps from cut to cut, unless the variable `PINETBOOT_ALL_CUTS` is set.
const STRIDE: usize = 13;
/// Tables of 64 clusters, so that there are several.
const CLUSTER_BITS: u32 = 9;

/// The bytes that each byte of the disk may have.
type Allowed = Vec<[u64; 4]>;

fn identity() -> Identity {
    let file = tempfile::tempfile().unwrap();
    Identity { id: 5, base: Fingerprint::of(&file).unwrap() }
}

fn fresh() -> Vec<u8> {
    empty("base.img", "raw", identity(), LEN as u64, CLUSTER_BITS).unwrap()
}

/// A file whose first block of refcounts is almost used up by clusters that are in use for nothing: the next block is near.
fn worn() -> Vec<u8> {
    let mut file = fresh();
    let header = Header::parse(&file).unwrap();
    let block =
        usize::try_from(header.refcounts_offset + header.refcounts_clusters * header.cluster()).unwrap();
    for cluster in file.len() / 512..236 {
        file[block + cluster * 2 + 1] = 1;
    }
    file
}

/// The base is shorter than the disk.
fn base() -> Vec<u8> {
    vec![255; LEN - 5000]
}

fn open(medium: &Simulated, boot: [u8; 16]) -> Result<Overlay, OpenError> {
    let header = Header::parse(&medium.state().current)?;
    let base = Arc::new(MemoryDisk::new(base()));
    Overlay::assemble(
        base,
        Arc::new(medium.clone()),
        Box::new(medium.clone()),
        header,
        Access::ReadWrite,
        Boot(boot),
    )
}

/// What no overlay may show: a cluster in use that counts as free, or with two uses. Returns the number of clusters that count as in use and
/// are not.
fn check_tables(file: &[u8]) -> Result<usize, String> {
    let header = Header::parse(file).map_err(|error| error.to_string())?;
    let (bits, cluster) = (header.cluster_bits, header.cluster());
    let word = |at: u64| {
        let at = usize::try_from(at).unwrap();
        file.get(at..)
            .and_then(|rest| rest.first_chunk())
            .map(|word| u64::from_be_bytes(*word))
            .ok_or(format!("{at}: beyond the end"))
    };
    let mut uses: HashMap<u64, usize> = HashMap::new();
    let mut use_of = |offset: u64, count: u64| {
        for at in 0..count {
            *uses.entry((offset >> bits) + at).or_default() += 1;
        }
    };
    use_of(0, 1);
    use_of(header.refcounts_offset, header.refcounts_clusters);
    use_of(header.l1_offset, (header.l1_entries * 8).div_ceil(cluster));
    let mut blocks = HashMap::new();
    for index in 0..header.refcounts_clusters * header.per_l2() {
        let block = word(header.refcounts_offset + index * 8)?;
        if block > 0 {
            use_of(block, 1);
            blocks.insert(index, block);
        }
    }
    for index in 0..header.l1_entries {
        let table = word(header.l1_offset + index * 8)? & 0x00ff_ffff_ffff_fe00;
        if table > 0 {
            use_of(table, 1);
            for at in 0..header.per_l2() {
                let data = word(table + at * 8)? & 0x00ff_ffff_ffff_fe00;
                if data > 0 {
                    use_of(data, 1);
                }
            }
        }
    }
    let mut in_use = 0;
    for (used, count) in uses {
        let refcount = match blocks.get(&(used / header.per_block())) {
            Some(block) => word(block + used % header.per_block() * 2).map(|word| word >> 48)?,
            None => 0,
        };
        if count != 1 || refcount != 1 {
            return Err(format!("cluster {used} has {count} uses and the refcount {refcount}"));
        }
        in_use += 1;
    }
    let mut counted = 0;
    for block in blocks.values() {
        for at in 0..header.per_block() {
            counted += usize::from(
                word(block + at / 4 * 8)?.to_be_bytes()[usize::try_from(at % 4 * 2 + 1).unwrap()],
            );
        }
    }
    Ok(counted - in_use)
}

enum Operation {
    Write(usize, usize, u8),
    Zero(usize, usize),
    Flush,
}

fn operations(random: &mut Random, count: usize) -> Vec<Operation> {
    (0..count)
        .map(|number| {
            let most = [300, 2000, 12_000][random.below(3)];
            let len = 1 + random.below(most);
            let at = random.below(LEN - len);
            match random.below(8) {
                0..=4 => Operation::Write(at, len, u8::try_from(number % 250 + 1).unwrap()),
                5 => Operation::Zero(at, len),
                _ => Operation::Flush,
            }
        })
        .collect()
}

fn only(byte: u8) -> [u64; 4] {
    let mut set = [0; 4];
    set[usize::from(byte / 64)] |= 1 << (byte % 64);
    set
}

/// Carries out operations until the cut. Returns the bytes allowed after a kill and after a power cut.
fn run(overlay: &Overlay, operations: &[Operation], kill: &mut Allowed, power: &mut Allowed) {
    for operation in operations {
        let (range, byte) = match *operation {
            Operation::Write(at, len, byte) => (at..at + len, byte),
            Operation::Zero(at, len) => (at..at + len, 0),
            Operation::Flush => {
                if overlay.flush().is_err() {
                    return;
                }
                power.clone_from(kill);
                continue;
            }
        };
        let (at, len) = (range.start as u64, range.len() as u64);
        let done = match operation {
            Operation::Zero(..) => overlay.write_zeroes(at, len, false),
            _ => overlay.write_at(&vec![byte; range.len()], at),
        };
        for at in range {
            let new = only(byte);
            for word in 0..4 {
                // Under way: the old or the new.
                kill[at][word] = if done.is_ok() { new[word] } else { kill[at][word] | new[word] };
                power[at][word] |= new[word];
            }
        }
        if done.is_err() {
            return;
        }
    }
}

fn verify(overlay: &Overlay, allowed: &Allowed) -> Result<(), String> {
    let mut content = vec![0; LEN];
    overlay.read_at(&mut content, 0).map_err(|error| error.to_string())?;
    for (at, (byte, allowed)) in content.iter().zip(allowed).enumerate() {
        if allowed[usize::from(byte / 64)] >> (byte % 64) & 1 == 0 {
            return Err(format!("byte {at} is {byte}"));
        }
    }
    Ok(())
}

/// The file after a power cut: of the writes after the last sync, any sectors.
fn after_power_cut(state: &Content, random: &mut Random) -> Vec<u8> {
    let mut file = state.synced.clone();
    let odds = 1 + random.below(4);
    for (at, bytes) in &state.unsynced {
        let mut done = 0;
        while done < bytes.len() {
            let len = (512 - (at + done) % 512).min(bytes.len() - done);
            if random.below(odds + 1) > 0 {
                Content::write(&mut file, at + done, &bytes[done..done + len]);
            }
            done += len;
        }
    }
    file
}

fn unchanged() -> Allowed {
    let mut content = base();
    content.resize(LEN, 0);
    content.into_iter().map(only).collect()
}

/// Cuts a run of operations at each step, and opens the overlay again.
fn cut_everywhere(seed: u64, is_kill: bool) {
    let mut random = Random(seed);
    let operations = operations(&mut random, 30);
    let every_step = std::env::var_os("PINETBOOT_ALL_CUTS").is_some();
    let mut steps = 3 + random.below(STRIDE);
    loop {
        let file = if seed.is_multiple_of(2) { fresh() } else { worn() };
        let medium = Simulated::new(file, Vec::new(), steps, usize::MAX);
        let (mut kill, mut power) = (unchanged(), unchanged());
        let opened = open(&medium, BOOT);
        if let Ok(overlay) = &opened {
            run(overlay, &operations, &mut kill, &mut power);
        }
        drop(opened);
        let is_whole = medium.state().left > 0;
        let (file, log) = {
            let state = medium.state();
            let file = if is_kill { state.current.clone() } else { after_power_cut(&state, &mut random) };
            (file, state.log.clone())
        };
        let context =
            |why: String| -> usize { panic!("seed {seed}, cut at step {steps}, kill {is_kill}: {why}") };
        check_tables(&file).unwrap_or_else(context);
        let medium = Simulated::new(file, log, usize::MAX, usize::MAX);
        let (boot, allowed) = if is_kill { (BOOT, &mut kill) } else { ([2; 16], &mut power) };
        let overlay = open(&medium, boot).unwrap();
        verify(&overlay, allowed).unwrap_or_else(|why| {
            context(why);
        });
        check_tables(&medium.state().current).unwrap_or_else(context);
        // And goes on.
        let mut after = allowed.clone();
        run(&overlay, &self::operations(&mut Random(seed + 1), 10), &mut after, &mut allowed.clone());
        verify(&overlay, &after).unwrap_or_else(|why| {
            context(why);
        });
        drop(overlay);
        let leaked = check_tables(&medium.state().current).unwrap_or_else(context);
        // A worn file has some that are not this crate's.
        assert!(
            leaked == 0 || seed % 2 == 1,
            "seed {seed}, cut at step {steps}, kill {is_kill}: {leaked} leaked"
        );
        if is_whole {
            return;
        }
        steps += if every_step { 1 } else { STRIDE };
    }
}

#[test]
fn a_kill_at_any_step_loses_no_ended_write() {
    for seed in 0..6 {
        cut_everywhere(seed, true);
    }
}

#[test]
fn a_power_cut_at_any_step_loses_no_flushed_write() {
    for seed in 100..106 {
        cut_everywhere(seed, false);
    }
}

#[test]
fn the_check_of_tables_finds_what_it_looks_for() {
    let medium = Simulated::new(fresh(), Vec::new(), usize::MAX, usize::MAX);
    let overlay = open(&medium, BOOT).unwrap();
    overlay.write_at(&[1; 2000], 0).unwrap();
    drop(overlay);
    let file = medium.state().current.clone();
    check_tables(&file).unwrap();
    let header = Header::parse(&file).unwrap();
    let at = usize::try_from(header.refcounts_offset + header.refcounts_clusters * header.cluster()).unwrap();
    let mut free = file.clone();
    free[at..at + 2].fill(0);
    assert!(check_tables(&free).unwrap_err().contains("the refcount 0"), "cluster 0 counts as free");
    let l1 = usize::try_from(header.l1_offset).unwrap();
    let mut twice = file;
    twice.copy_within(l1..l1 + 8, l1 + 8);
    assert!(check_tables(&twice).unwrap_err().contains("2 uses"));
}

#[test]
fn space_is_used_again() {
    let medium = Simulated::new(fresh(), Vec::new(), usize::MAX, usize::MAX);
    let overlay = open(&medium, BOOT).unwrap();
    let mut lengths = Vec::new();
    for round in 0..20u8 {
        overlay.write_at(&[round + 1; LEN], 0).unwrap();
        overlay.flush().unwrap();
        overlay.trim(0, LEN as u64).unwrap();
        overlay.flush().unwrap();
        lengths.push(medium.len().unwrap());
    }
    assert_eq!(lengths[5], lengths[19], "{lengths:?}");
    drop(overlay);
    assert_eq!(check_tables(&medium.state().current), Ok(0));
}

#[test]
fn clusters_that_a_kill_leaked_are_found_and_used_again() {
    let medium = Simulated::new(fresh(), Vec::new(), usize::MAX, usize::MAX);
    let (mut lengths, mut leaked) = (Vec::new(), 0);
    for round in 0..8u8 {
        let overlay = open(&medium, BOOT).unwrap();
        overlay.write_at(&[round + 1; LEN / 2], 0).unwrap();
        overlay.flush().unwrap();
        overlay.write_zeroes(0, LEN as u64 / 2, false).unwrap();
        // Killed: what it would do at its end is not done.
        medium.state().left = 0;
        drop(overlay);
        medium.state().left = usize::MAX;
        leaked += check_tables(&medium.state().current).unwrap();
        lengths.push(medium.len().unwrap());
    }
    assert!(leaked > 0, "there is nothing to find");
    assert_eq!(lengths[3], lengths[7], "{lengths:?}");
    let other = Simulated::new(medium.state().current.clone(), Vec::new(), usize::MAX, usize::MAX);
    drop(open(&other, BOOT).unwrap());
    assert!(Header::parse(&other.state().current).unwrap().was_closed());
    drop(open(&medium, BOOT).unwrap());
    assert_eq!(check_tables(&medium.state().current), Ok(0));
}

#[test]
fn clusters_of_an_unknown_extension_are_left_alone() {
    let mut file = worn();
    // Behind the fields of version 3: an extension of another kind, in the place of the base's format.
    file[104..108].copy_from_slice(&0x2385_2875u32.to_be_bytes());
    file[88] = 0;
    let medium = Simulated::new(file.clone(), Vec::new(), usize::MAX, usize::MAX);
    let leaked = check_tables(&file).unwrap();
    drop(open(&medium, BOOT).unwrap());
    assert_eq!(check_tables(&medium.state().current), Ok(leaked));
    // The same file with no other's extension.
    let mut file = worn();
    file[88] = 0;
    let medium = Simulated::new(file, Vec::new(), usize::MAX, usize::MAX);
    drop(open(&medium, BOOT).unwrap());
    assert_eq!(check_tables(&medium.state().current), Ok(0));
}

#[test]
fn a_search_for_leaks_spares_what_is_written_meanwhile() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let mut file = worn();
        file[88] = 0;
        let medium = Simulated::new(file, Vec::new(), usize::MAX, usize::MAX);
        let overlay = open_without_search(&medium);
        overlay.write_at(&[9; LEN], 0).unwrap();
        overlay.flush().unwrap();
        overlay.write().tables.begin_search().unwrap();
        let (mut kill, mut power) = (unchanged(), unchanged());
        kill.fill(only(9));
        loop {
            run(&overlay, &operations(&mut random, 2), &mut kill, &mut power);
            if overlay.write().tables.search(1) {
                break;
            }
        }
        verify(&overlay, &kill).unwrap();
        drop(overlay);
        assert_eq!(check_tables(&medium.state().current), Ok(0), "seed {seed}");
        verify(&open(&medium, BOOT).unwrap(), &kill).unwrap();
    }
}

/// An overlay whose search for leaks has not begun.
fn open_without_search(medium: &Simulated) -> Overlay {
    let overlay = open(medium, BOOT).unwrap();
    overlay.write().tables.leaks = Leaks::Unknown;
    overlay
}

#[test]
fn a_disk_grows_and_keeps_its_content() {
    let medium = Simulated::new(fresh(), Vec::new(), usize::MAX, usize::MAX);
    let mut overlay = open(&medium, BOOT).unwrap();
    overlay.write_at(&[7; 3000], 1000).unwrap();
    let mut len = LEN as u64;
    for _ in 0..8 {
        len = len * 3 / 512 * 512;
        overlay.resize(len).unwrap();
        check_tables(&medium.state().current).unwrap();
        overlay.write_at(&[9; 600], len - 600).unwrap();
    }
    drop(overlay);
    let overlay = open(&medium, BOOT).unwrap();
    assert_eq!(overlay.len(), len);
    for (at, byte) in
        [(999, 255), (1000, 7), (3999, 7), (4000, 255), (LEN as u64 - 1, 0), (len - 601, 0), (len - 1, 9)]
    {
        let mut found = [1];
        overlay.read_at(&mut found, at).unwrap();
        assert_eq!(found, [byte], "at {at}");
    }
    check_tables(&medium.state().current).unwrap();
}

#[test]
fn a_full_disk_is_an_error_and_no_damage() {
    let room = fresh().len() + 20 * 512;
    let medium = Simulated::new(fresh(), Vec::new(), usize::MAX, room);
    let overlay = open(&medium, BOOT).unwrap();
    let mut error = None;
    for at in 0..40 {
        if let Err(full) = overlay.write_at(&[3; 512], at * 512) {
            error.get_or_insert((at, full));
        }
    }
    let (first, error) = error.unwrap();
    assert_eq!(error, DiskError::NoSpace);
    let mut content = vec![0; LEN];
    overlay.read_at(&mut content, 0).unwrap();
    let first = usize::try_from(first).unwrap();
    assert!(content[..first * 512].iter().all(|byte| *byte == 3));
    assert!(content[first * 512..(first + 1) * 512].iter().all(|byte| *byte == 255));
    check_tables(&medium.state().current).unwrap();
}

#[test]
fn a_file_without_its_first_block_of_refcounts_is_damaged() {
    let mut file = fresh();
    let table = usize::try_from(Header::parse(&file).unwrap().refcounts_offset).unwrap();
    file[table..table + 8].fill(0);
    let disk = open(&Simulated::new(file, Vec::new(), usize::MAX, 1 << 20), BOOT).unwrap();
    assert!(matches!(disk.write_at(&[7; 512], 0), Err(DiskError::Damaged)));
}

#[test]
fn a_disk_is_another_after_a_restart_of_the_machine_and_the_same_after_one_of_the_process() {
    let medium = Simulated::new(fresh(), Vec::new(), usize::MAX, 1 << 20);
    let text = |boot| open(&medium, boot).unwrap().continuity().unwrap();
    assert_eq!(text(BOOT), text(BOOT));
    assert_ne!(text(BOOT), text([9; 16]));
    assert!(
        text(BOOT).ends_with("disk 0000000000000005"),
        "its identity, which another overlay of the name lacks: {}",
        text(BOOT)
    );
}
