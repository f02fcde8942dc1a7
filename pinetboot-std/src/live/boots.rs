//! The boots of each Pi, bounded: forged requests make room before a Pi that has fetched a file.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use pinetboot_core::pi::Prefix;

use super::timeline::{Phase, Timeline};
use crate::events::{Event, Fact, Root};

/// The boots of all Pis.
#[derive(Debug, Default)]
pub(super) struct Boots {
    pis: HashMap<Prefix, PiBoots>,
    /// Those that had fetched nothing when they came, oldest first.
    new: VecDeque<Prefix>,
}

/// The boots of a Pi.
#[derive(Debug, Clone, Default)]
pub(super) struct PiBoots {
    /// The boot under way, or the last one.
    pub(super) now: Option<Box<Timeline>>,
    /// The last one before that is good.
    pub(super) good: Option<Box<Timeline>>,
    /// Those before, oldest first, without their files.
    pub(super) before: VecDeque<Timeline>,
    /// The path that was mounted.
    pub(super) root: Option<String>,
    /// The base image of the layer that was made.
    pub(super) image: Option<String>,
}

/// A phase that ended, with its duration.
pub(super) type Ended = Option<(Phase, Duration)>;

impl Boots {
    pub(super) fn of(&self, pi: Prefix) -> Option<&PiBoots> {
        self.pis.get(&pi)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.pis.len()
    }

    /// Takes in an event; returns the phase that it ends.
    pub(super) fn hear(&mut self, event: &Event) -> Ended {
        let key = event.boot?;
        if !self.pis.contains_key(&key.pi) {
            self.make_room();
            self.new.push_back(key.pi);
        }
        let boots = self.pis.entry(key.pi).or_default();
        match &event.fact {
            Fact::Root(Root::Mounted { path, .. }) => boots.root = Some(path.chars().take(LONGEST).collect()),
            Fact::Root(Root::LayerMade { image, .. } | Root::LayerAdopted { image, .. }) => {
                boots.image = Some(image.chars().take(LONGEST).collect());
            }
            _ => {}
        }
        let now = boots.boot(key.number, event.at);
        now.hear(event.at, &event.fact)
    }

    /// Drops the oldest of the new Pis, if it still has no file; of Pis with files an eighth at once, the oldest.
    fn make_room(&mut self) {
        if self.new.len() >= MOST_NEW
            && let Some(oldest) = self.new.pop_front()
            && self.pis.get(&oldest).is_some_and(|boots| !boots.has_files())
        {
            self.pis.remove(&oldest);
        }
        if self.pis.len() < MOST {
            return;
        }
        let mut ranks: Vec<_> = self.pis.values().map(PiBoots::rank).collect();
        let (_, &mut cut, _) = ranks.select_nth_unstable(MOST / 8);
        self.pis.retain(|_, boots| boots.rank() > cut);
    }
}

impl PiBoots {
    /// The boot of this number, which begins now if it is another one.
    fn boot(&mut self, number: u32, at: Duration) -> &mut Timeline {
        if let Some(last) = self.now.take_if(|now| now.number != number) {
            if last.is_good() {
                self.good = Some(last.clone());
            }
            self.before.push_back(last.without_files());
            while self.before.len() > MOST_BEFORE {
                self.before.pop_front();
            }
        }
        self.now.get_or_insert_with(|| Box::new(Timeline::new(number, at)))
    }

    fn rank(&self) -> (bool, Duration) {
        (self.has_files(), self.now.as_ref().map_or(Duration::ZERO, |now| now.last))
    }

    fn has_files(&self) -> bool {
        self.good.is_some() || self.now.iter().map(Box::as_ref).chain(&self.before).any(|boot| boot.bytes > 0)
    }
}

/// As many as the registry has.
const MOST: usize = 4096;
/// Pis that have fetched no file yet: one forged DISCOVER is enough to be one.
const MOST_NEW: usize = 1024;
const MOST_BEFORE: usize = 4;
const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_an_earlier_boot_count() {
        let mut boots = PiBoots::default();
        boots.boot(1, Duration::ZERO).bytes = 1;
        assert!(!boots.boot(2, Duration::from_secs(60)).is_good());
        assert!(boots.good.is_none() && boots.has_files());
    }
}
