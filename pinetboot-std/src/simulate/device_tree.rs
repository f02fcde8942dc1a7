//! A writer of flattened device trees, the counterpart of [`Fdt`](super::fdt::Fdt), for `pinetboot demo` and tests.

use super::fdt::{BEGIN_NODE, END, END_NODE, MAGIC, PROP};

/// A device tree under construction (Devicetree specification 0.4, chapter 5): properties of the root first, then its nodes.
#[derive(Debug, Default)]
pub(crate) struct DeviceTree {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl DeviceTree {
    pub(crate) fn new() -> Self {
        let mut tree = Self::default();
        tree.begin("");
        tree
    }

    /// A property of the root.
    pub(crate) fn property(mut self, name: &str, value: &[u8]) -> Self {
        self.put(name, value);
        self
    }

    /// A node beneath the root.
    pub(crate) fn node(mut self, name: &str, properties: &[(&str, &[u8])]) -> Self {
        self.begin(name);
        for (name, value) in properties {
            self.put(name, value);
        }
        self.word(END_NODE);
        self
    }

    /// The bytes of the device tree file.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.word(END_NODE);
        self.word(END);
        let structure = HEADER + RESERVATIONS;
        let strings = structure + self.structure.len();
        let total = strings + self.strings.len();
        let (structure_len, strings_len) = (self.structure.len(), self.strings.len());
        // Magic, length, three offsets, version, last compatible one, processor, two lengths.
        let header =
            [MAGIC as usize, total, structure, strings, HEADER, 17, 16, 0, strings_len, structure_len];
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| (*word as u32).to_be_bytes()).collect();
        bytes.extend([0; RESERVATIONS]);
        bytes.extend(self.structure);
        bytes.extend(self.strings);
        bytes
    }

    fn begin(&mut self, name: &str) {
        self.word(BEGIN_NODE);
        self.structure.extend(name.as_bytes());
        self.structure.push(0);
        self.align();
    }

    fn put(&mut self, name: &str, value: &[u8]) {
        self.word(PROP);
        self.word(value.len() as u32);
        self.word(self.strings.len() as u32);
        self.structure.extend(value);
        self.align();
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
    }

    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn align(&mut self) {
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }
}

/// Ten words.
const HEADER: usize = 40;
/// No memory is reserved: only the entry that ends the list.
const RESERVATIONS: usize = 16;
