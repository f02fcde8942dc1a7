// The smallest device tree that names a machine (Devicetree specification 0.4, chapter 5).

export function deviceTree(compatible) {
    const padded = (text) => {
        const bytes = Buffer.from(`${text}\0`);
        return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
    };
    const words = (...values) => {
        const bytes = Buffer.alloc(values.length * 4);
        values.forEach((value, index) => bytes.writeUInt32BE(value, index * 4));
        return bytes;
    };
    const structure = Buffer.concat([
        words(BEGIN_NODE, 0), // the root's name is empty
        words(PROPERTY, compatible.length + 1, 0),
        padded(compatible),
        words(END_NODE, END),
    ]);
    const strings = Buffer.from('compatible\0');
    const start = 40 + 16; // the header, and the end of the memory reservations
    const total = start + structure.length + strings.length;
    const header = words(0xd00dfeed, total, start, start + structure.length, 40, 17, 16, 0, strings.length, structure.length);
    return Buffer.concat([header, Buffer.alloc(16), structure, strings]);
}

const BEGIN_NODE = 1;
const END_NODE = 2;
const PROPERTY = 3;
const END = 9;
