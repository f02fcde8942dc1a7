//! A reader of flattened device trees: the properties of the root and of its child nodes.
//!
//! Devicetree specification 0.4, chapter 5. Not done: deeper nodes, the memory reservation block.

/// A device tree in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fdt<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Fdt<'a> {
    /// Parses the header; `None` without a device tree's header. A fault further inside ends the iteration there.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if word(bytes, 0)? != MAGIC {
            return None;
        }
        let at = |offset| bytes.get(word(bytes, offset)? as usize..);
        Some(Self { structure: at(OFF_DT_STRUCT)?, strings: at(OFF_DT_STRINGS)? })
    }

    /// A property of the root.
    pub(crate) fn root_property(&self, name: &str) -> Option<&'a [u8]> {
        self.items().find_map(|item| match item {
            Item::Property { node: None, name: found, value } if found == name => Some(value),
            _ => None,
        })
    }

    /// The properties of a child of the root; `None` without this child.
    pub(crate) fn node(&self, name: &'a str) -> Option<impl Iterator<Item = (&'a str, &'a [u8])>> {
        self.items().find(|item| matches!(item, Item::Node(found) if *found == name))?;
        Some(self.items().filter_map(move |item| match item {
            Item::Property { node: Some(node), name: found, value } if node == name => Some((found, value)),
            _ => None,
        }))
    }

    fn items(&self) -> Items<'a> {
        Items { rest: self.structure, strings: self.strings, depth: 0, node: None }
    }
}

/// The items of the structure block, in order, down to the second level.
struct Items<'a> {
    rest: &'a [u8],
    strings: &'a [u8],
    /// 1 inside the root.
    depth: u32,
    node: Option<&'a str>,
}

enum Item<'a> {
    Node(&'a str),
    Property { node: Option<&'a str>, name: &'a str, value: &'a [u8] },
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            match self.word()? {
                BEGIN_NODE => {
                    let name = text(self.rest)?;
                    self.skip(name.len() + 1)?;
                    self.depth += 1;
                    if self.depth == 2 {
                        self.node = Some(name);
                        return Some(Item::Node(name));
                    }
                }
                END_NODE => {
                    self.depth = self.depth.checked_sub(1)?;
                    if self.depth < 2 {
                        self.node = None;
                    }
                }
                PROP => {
                    let len = self.word()? as usize;
                    let name = text(self.strings.get(self.word()? as usize..)?)?;
                    let value = self.rest.get(..len)?;
                    self.skip(len)?;
                    if self.depth <= 2 {
                        return Some(Item::Property { node: self.node, name, value });
                    }
                }
                NOP => {}
                _ => return None,
            }
        }
    }
}

impl Items<'_> {
    fn word(&mut self) -> Option<u32> {
        let value = word(self.rest, 0)?;
        self.skip(4)?;
        Some(value)
    }

    /// Skips to a multiple of four bytes.
    fn skip(&mut self, len: usize) -> Option<()> {
        self.rest = self.rest.get(len.checked_next_multiple_of(4)?..)?;
        Some(())
    }
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The text up to the first NUL: "printable text" (Devicetree Specification 0.4, section 2.2.4).
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()?;
    (!text.contains(char::is_control)).then_some(text)
}

pub(super) const MAGIC: u32 = 0xd00d_feed;
const OFF_DT_STRUCT: usize = 8;
const OFF_DT_STRINGS: usize = 12;

pub(super) const BEGIN_NODE: u32 = 1;
pub(super) const END_NODE: u32 = 2;
pub(super) const PROP: u32 = 3;
const NOP: u32 = 4;
pub(super) const END: u32 = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::DeviceTree;

    #[test]
    fn reads_two_levels() {
        let tree = DeviceTree::new()
            .property("compatible", b"raspberrypi,5-model-b\0brcm,bcm2712\0")
            .node("vc4-kms-v3d", &[("bcm2835", b""), ("bcm2712", b"vc4-kms-v3d-pi5\0")])
            .node("empty", &[])
            .finish();
        let fdt = Fdt::parse(&tree).unwrap();
        assert_eq!(fdt.root_property("compatible").unwrap().len(), 35);
        assert_eq!(fdt.root_property("bcm2835"), None);
        let properties: Vec<_> = fdt.node("vc4-kms-v3d").unwrap().collect();
        assert_eq!(properties, [("bcm2835", &b""[..]), ("bcm2712", b"vc4-kms-v3d-pi5\0")]);
        assert_eq!(fdt.node("empty").unwrap().count(), 0);
        assert!(fdt.node("other").is_none());
    }

    #[test]
    fn what_is_cut_or_wrong_ends_there() {
        assert!(Fdt::parse(b"").is_none());
        assert!(Fdt::parse(b"<html>not a device tree</html>").is_none());
        let tree = DeviceTree::new().node("a", &[("x", b"value\0")]).finish();
        for len in 0..tree.len() {
            if let Some(fdt) = Fdt::parse(&tree[..len]) {
                let _looked = (fdt.root_property("x"), fdt.node("a").map(Iterator::count));
            }
        }
        let mut lying = tree.clone();
        for at in 16..lying.len() {
            lying[at] = 0xff;
            let _looked = Fdt::parse(&lying).map(|fdt| fdt.node("a").map(Iterator::count));
            lying[at] = tree[at];
        }
    }
}
