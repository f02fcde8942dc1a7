//! Mappings that are not in the file's tables yet: runs of clusters, and where their content is.

use std::collections::BTreeMap;

/// Where the content of a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// In the base.
    Base,
    /// Nowhere: the cluster reads as zeros.
    Zero,
    /// In the cluster of this number of the overlay's file; the next cluster of a run in the next.
    Data(u64),
}

/// Clusters of the overlay's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) count: u64,
}

/// Runs that do not overlap, by their first cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Mappings(BTreeMap<u64, (u64, Target)>);

impl Target {
    /// The target of the cluster `by` clusters further on in a run.
    pub(super) const fn plus(self, by: u64) -> Self {
        match self {
            Self::Data(host) => Self::Data(host.saturating_add(by)),
            other => other,
        }
    }
}

impl Mappings {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn runs(&self) -> usize {
        self.0.len()
    }

    /// The target of `cluster`, if mapped here, and the number of clusters, `most` at most, of which that holds.
    pub(super) fn get(&self, cluster: u64, most: u64) -> (Option<Target>, u64) {
        if let Some((&first, &(count, target))) = self.0.range(..=cluster).next_back()
            && cluster - first < count
        {
            return (Some(target.plus(cluster - first)), (count - (cluster - first)).min(most));
        }
        let next = self.0.range(cluster..).next().map_or(u64::MAX, |(&next, _)| next);
        (None, (next - cluster).min(most))
    }

    /// Maps a run; the clusters of the file that were mapped there go to `replaced`.
    pub(super) fn set(&mut self, cluster: u64, count: u64, target: Target, replaced: &mut Vec<Run>) {
        let end = cluster.saturating_add(count);
        let before = self.0.range(..cluster).next_back().map(|(&first, &(count, _))| (first, count));
        let from =
            before.filter(|(first, count)| first + count > cluster).map_or(cluster, |(first, _)| first);
        let overlapping: Vec<u64> = self.0.range(from..end).map(|(&first, _)| first).collect();
        for first in overlapping {
            let Some((len, old)) = self.0.remove(&first) else { continue };
            let old_end = first + len;
            if first < cluster {
                self.0.insert(first, (cluster - first, old));
            }
            if old_end > end {
                self.0.insert(end, (old_end - end, old.plus(end - first)));
            }
            let (cut, cut_end) = (first.max(cluster), old_end.min(end));
            if let Target::Data(host) = old.plus(cut - first) {
                replaced.push(Run { first: host, count: cut_end - cut });
            }
        }
        // Sequential writes become one run.
        if let Some((&first, (len, old))) = self.0.range_mut(..cluster).next_back()
            && first + *len == cluster
            && old.plus(*len) == target
        {
            *len += count;
        } else {
            self.0.insert(cluster, (count, target));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64, Target)> + '_ {
        self.0.iter().map(|(&first, &(count, target))| (first, count, target))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_what_single_clusters_would_be(
            sets in prop::collection::vec((0u64..60, 1u64..20, prop::option::of(0u64..3)), 0..60)
        ) {
            let (mut runs, mut singles, mut host) = (Mappings::default(), BTreeMap::new(), 1000);
            for (cluster, count, kind) in sets {
                let target = if kind.is_none() { Target::Zero } else { Target::Data(host) };
                let mut replaced = Vec::new();
                runs.set(cluster, count, target, &mut replaced);
                let mut expected: Vec<u64> = Vec::new();
                for at in 0..count {
                    if let Some(Target::Data(old)) = singles.insert(cluster + at, target.plus(at)) {
                        expected.push(old);
                    }
                }
                let mut replaced: Vec<u64> =
                    replaced.iter().flat_map(|run| run.first..run.first + run.count).collect();
                replaced.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(replaced, expected);
                // Sometimes the next clusters of the file, as in sequential writes, sometimes others.
                host += if kind == Some(0) { count } else { count + 7 };
            }
            for cluster in 0..90 {
                let (target, count) = runs.get(cluster, 15);
                prop_assert!((1..=15).contains(&count));
                for at in 0..count {
                    let single = singles.get(&(cluster + at)).copied();
                    prop_assert_eq!(single, target.map(|target| target.plus(at)));
                }
            }
        }
    }
}
