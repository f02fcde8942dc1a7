//! Device trees.

/// A flattened device tree (Devicetree Specification 0.4, chapter 5): properties of the root, and nodes with one property each.
pub(crate) fn device_tree(properties: &[(&str, &[u8])], nodes: &[(&str, &str)]) -> Vec<u8> {
    let (mut structure, mut strings) = (Vec::new(), Vec::new());
    let word = |bytes: &mut Vec<u8>, word: u32| bytes.extend(word.to_be_bytes());
    let align = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut property = |structure: &mut Vec<u8>, name: &str, value: &[u8]| {
        word(structure, 3);
        word(structure, u32::try_from(value.len()).unwrap());
        word(structure, u32::try_from(strings.len()).unwrap());
        structure.extend(value);
        align(structure);
        strings.extend(name.bytes().chain([0]));
    };
    word(&mut structure, 1);
    word(&mut structure, 0);
    for (name, value) in properties {
        property(&mut structure, name, value);
    }
    for (name, inside) in nodes {
        word(&mut structure, 1);
        structure.extend(name.bytes().chain([0]));
        align(&mut structure);
        property(&mut structure, inside, b"/x\0");
        word(&mut structure, 2);
    }
    word(&mut structure, 2);
    word(&mut structure, 9);
    let begin = 56;
    let end = begin + structure.len();
    let mut file = Vec::new();
    let header =
        [0xd00d_feed, end + strings.len(), begin, end, 40, 17, 16, 0, strings.len(), structure.len()];
    for number in header {
        word(&mut file, u32::try_from(number).unwrap());
    }
    file.extend([0; 16]);
    file.extend(structure);
    file.extend(strings);
    file
}
