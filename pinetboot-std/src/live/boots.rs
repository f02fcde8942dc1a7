//! The boots of each Pi, bounded: forged requests make room before a Pi that has fetched a file.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use pinetboot_core::pi::Prefix;

use super::timeline::{Phase, Timeline};
use crate::events::{Event, Fact, Root};

/// The boots of all Pis.
#[derive(Debug, Default)]
pub(super) struct Boots(HashMap<Prefix, PiBoots>);

/// The boots of a Pi.
#[derive(Debug, Clone, Default)]
pub(super) struct PiBoots {
    /// The boot under way, or the last one.
    pub(super) now: Option<Timeline>,
    /// The last one before that is good.
    pub(super) good: Option<Timeline>,
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
        self.0.get(&pi)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes in an event; returns the phase that it ends.
    pub(super) fn hear(&mut self, event: &Event) -> Ended {
        let key = event.boot?;
        if !self.0.contains_key(&key.pi) {
            self.make_room();
        }
        let boots = self.0.entry(key.pi).or_default();
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

    /// Drops an eighth at once: those without a file first, and of either the oldest.
    fn make_room(&mut self) {
        if self.0.len() < MOST {
            return;
        }
        let mut ranks: Vec<_> = self.0.values().map(PiBoots::rank).collect();
        let (_, &mut cut, _) = ranks.select_nth_unstable(MOST / 8);
        self.0.retain(|_, boots| boots.rank() > cut);
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
        self.now.get_or_insert_with(|| Timeline::new(number, at))
    }

    fn rank(&self) -> (bool, Duration) {
        let is_shown = self.good.is_some() || self.now.as_ref().is_some_and(|now| now.bytes > 0);
        (is_shown, self.now.as_ref().map_or(Duration::ZERO, |now| now.last))
    }
}

/// As many as the registry has.
const MOST: usize = 4096;
const MOST_BEFORE: usize = 4;
const LONGEST: usize = 200;
