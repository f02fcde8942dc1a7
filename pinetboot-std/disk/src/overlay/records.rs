//! The bytes of the log: mappings that are not in the file's tables yet, in the order in which they were made.
//!
//! The log holds for one overlay and one run of the machine: after a power cut, the data that its mappings name may be missing.

use super::mappings::Target;

/// The head of a log: the machine's boot identifier and the overlay's.
pub(super) fn head(boot: [u8; 16], overlay: u64) -> Vec<u8> {
    [&MAGIC[..], &boot, &overlay.to_be_bytes()].concat()
}

/// A mapping.
pub(super) fn record(cluster: u64, count: u64, target: Target) -> [u8; RECORD] {
    let target = match target {
        Target::Data(host) => host,
        _ => ZERO,
    };
    let mut out = [0; RECORD];
    for (place, word) in
        out.chunks_exact_mut(8).zip([cluster, count, target, check([cluster, count, target])])
    {
        place.copy_from_slice(&word.to_be_bytes());
    }
    out
}

/// The mappings of a log with this head; none of another. Ends at the first record that is not whole.
pub(super) fn parse(log: &[u8], head: &[u8]) -> Vec<(u64, u64, Target)> {
    let Some(records) = log.strip_prefix(head) else { return Vec::new() };
    let words = |bytes: &[u8; RECORD]| {
        let (words, _) = bytes.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_be_bytes(*word));
        Some([words.next()?, words.next()?, words.next()?, words.next()?])
    };
    let (records, _rest) = records.as_chunks::<RECORD>();
    records
        .iter()
        .map_while(|bytes| {
            let [cluster, count, target, sum] = words(bytes)?;
            let mapping = (cluster, count, if target == ZERO { Target::Zero } else { Target::Data(target) });
            (sum == check([cluster, count, target]) && count > 0 && cluster.checked_add(count).is_some())
                .then_some(mapping)
        })
        .collect()
}

/// A checksum against records that were written in part.
fn check(words: [u64; 3]) -> u64 {
    words.iter().fold(0x9e37_79b9_7f4a_7c15, |sum: u64, word| {
        (sum ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29)
    })
}

/// Bytes of a record.
pub(super) const RECORD: usize = 32;
const ZERO: u64 = u64::MAX;
const MAGIC: &[u8; 8] = b"PINBLOG1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_up_to_its_last_whole_record() {
        let head = head([7; 16], 9);
        let mappings = [(1, 2, Target::Data(3)), (4, 5, Target::Zero)];
        let records = mappings.map(|(cluster, count, target)| record(cluster, count, target));
        let log = [&head[..], &records[0], &records[1]].concat();
        assert_eq!(parse(&log, &head), mappings);
        assert_eq!(parse(&log[..log.len() - 1], &head), mappings[..1]);
        let mut damaged = log.clone();
        damaged[head.len() + 5] ^= 1;
        assert_eq!(parse(&damaged, &head), []);
        assert_eq!(parse(&log, &super::head([8; 16], 9)), [], "another run of the machine");
        assert_eq!(parse(&[], &head), []);
    }
}
