//! Sorted orders of a table's slots: weight-balanced trees whose links stand in the slots.
//!
//! Each operation visits O(log n) slots whatever a client sends: the trees need neither a heap nor a secret, as hash tables do
//! against chosen keys. A node has the size of its tree, which balances the tree and counts the slots before a key. The
//! parameters 3 and 2 are proven in Hirai and Yamamoto, "Balancing weight-balanced trees", JFP 21 (2011).

use core::cmp::Ordering;

use super::slot::{LeaseSlot, NONE, Node, Order, Place};

impl Order {
    /// Inserts a slot into the tree of `root`; returns the new root.
    #[must_use]
    pub(super) fn insert(self, slots: &mut [LeaseSlot], root: Place, place: Place) -> Place {
        if root == NONE {
            self.set(slots, place, NONE, NONE);
            return place;
        }
        let Node { left, right, .. } = self.node(slots, root);
        if self.compare(slots, place, root).is_lt() {
            let left = self.insert(slots, left, place);
            self.balance(slots, root, left, right)
        } else {
            let right = self.insert(slots, right, place);
            self.balance(slots, root, left, right)
        }
    }

    /// Removes a slot, unchanged since its insertion, from the tree of `root`; returns the new root.
    #[must_use]
    pub(super) fn remove(self, slots: &mut [LeaseSlot], root: Place, place: Place) -> Place {
        if root == NONE {
            return NONE;
        }
        let Node { left, right, .. } = self.node(slots, root);
        if root == place {
            self.put(slots, place, Node::EMPTY);
            return match (left, right) {
                (NONE, only) | (only, NONE) => only,
                _ => {
                    let (first, right) = self.take_first(slots, right);
                    self.balance(slots, first, left, right)
                }
            };
        }
        if self.compare(slots, place, root).is_lt() {
            let left = self.remove(slots, left, place);
            self.balance(slots, root, left, right)
        } else {
            let right = self.remove(slots, right, place);
            self.balance(slots, root, left, right)
        }
    }

    /// The slot that `key` is equal to; `key` compares a slot with the wanted one.
    pub(super) fn find(
        self,
        slots: &[LeaseSlot],
        mut root: Place,
        key: impl Fn(&LeaseSlot) -> Ordering,
    ) -> Option<Place> {
        loop {
            let slot = slot(slots, root)?;
            let node = slot.node(self);
            root = match key(slot) {
                Ordering::Equal => return Some(root),
                Ordering::Less => node.right,
                Ordering::Greater => node.left,
            }
        }
    }

    /// The first slot that does not stand before the wanted one, and the number of slots that do.
    pub(super) fn first_from(
        self,
        slots: &[LeaseSlot],
        mut root: Place,
        key: impl Fn(&LeaseSlot) -> Ordering,
    ) -> (Option<Place>, u16) {
        let (mut first, mut before) = (None, 0);
        while let Some(slot) = slot(slots, root) {
            let node = slot.node(self);
            root = if key(slot).is_lt() {
                before += 1 + self.node(slots, node.left).size;
                node.right
            } else {
                first = Some(root);
                node.left
            };
        }
        (first, before)
    }

    pub(super) fn node(self, slots: &[LeaseSlot], place: Place) -> Node {
        slot(slots, place).map_or(Node::EMPTY, |slot| slot.node(self))
    }

    /// Removes the first slot of a tree that is not empty; returns the slot and the rest.
    fn take_first(self, slots: &mut [LeaseSlot], root: Place) -> (Place, Place) {
        let Node { left, right, .. } = self.node(slots, root);
        if left == NONE {
            return (root, right);
        }
        let (first, left) = self.take_first(slots, left);
        (first, self.balance(slots, root, left, right))
    }

    /// Joins two trees, of which at most one has changed by one slot, below `root`.
    fn balance(self, slots: &mut [LeaseSlot], root: Place, left: Place, right: Place) -> Place {
        let weight = |slots: &[LeaseSlot], place| u32::from(self.node(slots, place).size) + 1;
        if weight(slots, right) > 3 * weight(slots, left) {
            let Node { left: middle, right: far, .. } = self.node(slots, right);
            if weight(slots, middle) < 2 * weight(slots, far) {
                self.set(slots, root, left, middle);
                return self.set(slots, right, root, far);
            }
            let inner = self.node(slots, middle);
            self.set(slots, root, left, inner.left);
            self.set(slots, right, inner.right, far);
            return self.set(slots, middle, root, right);
        }
        if weight(slots, left) > 3 * weight(slots, right) {
            let Node { left: far, right: middle, .. } = self.node(slots, left);
            if weight(slots, middle) < 2 * weight(slots, far) {
                self.set(slots, root, middle, right);
                return self.set(slots, left, far, root);
            }
            let inner = self.node(slots, middle);
            self.set(slots, left, far, inner.left);
            self.set(slots, root, inner.right, right);
            return self.set(slots, middle, left, root);
        }
        self.set(slots, root, left, right)
    }

    fn set(self, slots: &mut [LeaseSlot], place: Place, left: Place, right: Place) -> Place {
        let size = self.node(slots, left).size + self.node(slots, right).size + 1;
        self.put(slots, place, Node { left, right, size });
        place
    }

    fn put(self, slots: &mut [LeaseSlot], place: Place, node: Node) {
        if let Some(slot) = slots.get_mut(usize::from(place)) {
            *slot.node_mut(self) = node;
        }
    }

    fn compare(self, slots: &[LeaseSlot], a: Place, b: Place) -> Ordering {
        match (slot(slots, a), slot(slots, b)) {
            (Some(a), Some(b)) => a.compare(b, self),
            _ => Ordering::Equal,
        }
    }
}

/// A slot; each access counts as a step in tests.
pub(super) fn slot(slots: &[LeaseSlot], place: Place) -> Option<&LeaseSlot> {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
    slots.get(usize::from(place))
}

#[cfg(test)]
std::thread_local! {
    /// Accesses to slots: what a look-up costs.
    pub(super) static STEPS: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}
