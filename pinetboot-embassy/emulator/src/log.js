// The firmware's log: defmt's frames out of the RTT buffer in its RAM, as a debug probe reads them. The texts are not on
// the chip: the ELF file has them as the names of symbols.

export class Log {
    /** @param {{ symbols: Map<string, number> }} program the firmware */
    constructor(board, { symbols }) {
        this.board = board;
        this.channel = symbols.get('_SEGGER_RTT') + 24; // after an identifier and two counts
        this.texts = new Map();
        for (const [name, index] of symbols) {
            if (name.startsWith('{"package"')) this.texts.set(index, JSON.parse(name));
        }
    }

    /** All lines since the last time, each like 'warn card: gone'. The chip keeps 1 KB, and then forgets the oldest. */
    lines() {
        return split(this.bytes()).map((frame) => {
            const reader = { bytes: unzip(frame), at: 0 };
            const { tag, data } = this.text(this.index(reader));
            return `${tag.replace('defmt_', '')} ${this.fill(data, reader)}`;
        });
    }

    bytes() {
        const { chip } = this.board;
        const [buffer, size, write, read] = [4, 8, 12, 16].map((field) => chip.readUint32(this.channel + field));
        const bytes = Array.from({ length: (write - read + size) % size }, (_, index) => chip.readUint8(buffer + ((read + index) % size)));
        chip.writeUint32(this.channel + 16, write);
        return bytes;
    }

    index(reader) {
        return integer(reader, 2);
    }

    text(index) {
        const text = this.texts.get(index);
        if (!text) throw new Error(`no text has the index ${index}`);
        return text;
    }

    /** A value with the text that it is formatted by; of an enum's variants one. */
    formatted(index, reader) {
        const { tag, data } = this.text(index);
        const isEnum = tag === 'defmt_derived' && data.includes('|');
        return this.fill(isEnum ? data.split('|')[integer(reader, 1)] : data, reader);
    }

    /** A text with its values in their places. */
    fill(text, reader) {
        return text.replaceAll(/\{\{|\}\}|\{(?:=([^:}]*))?[^}]*\}/g, (part, type = '?') => {
            return part === '{{' || part === '}}' ? part[0] : this.value(type, reader);
        });
    }

    value(type, reader) {
        if (type in INTEGERS) return integer(reader, INTEGERS[type]);
        switch (type) {
            case '?':
                return this.formatted(this.index(reader), reader);
            case '__internal_FormatSequence': {
                let whole = '';
                for (let index; (index = this.index(reader)) !== 0; ) whole += this.formatted(index, reader);
                return whole;
            }
            case 'bool':
                return integer(reader, 1) === 1;
            case 'str':
            case '[u8]':
                return String.fromCharCode(...take(reader, integer(reader, 4)));
        }
        const array = /^\[(u8|\?); ?(\d+)\]$/.exec(type);
        if (!array) throw new Error(`a value of the type ${type}`);
        if (array[1] === '?') this.index(reader); // the firmware logs no other slices than bytes
        return take(reader, Number(array[2])).map((byte) => byte.toString(16).padStart(2, '0')).join(':');
    }
}

const INTEGERS = { u8: 1, u16: 2, u32: 4, u64: 8, usize: 4 };

function integer(reader, length) {
    return take(reader, length).reduceRight((sum, byte) => sum * 256 + byte, 0);
}

function take(reader, length) {
    reader.at += length;
    return [...reader.bytes.slice(reader.at - length, reader.at)];
}

/** The frames, which zeros separate. */
function split(bytes) {
    const frames = [[]];
    for (const byte of bytes) {
        if (byte !== 0) frames.at(-1).push(byte);
        else frames.push([]);
    }
    return frames.filter((frame) => frame.length > 0);
}

/** Decodes rzcobs, from its end: bytes without zeros become the original bytes. */
function unzip(frame) {
    const rest = frame.toReversed();
    const out = [];
    for (let at = 0; at < rest.length; ) {
        const code = rest[at++];
        if (code < 0x80) {
            for (let bit = 6; bit >= 0; bit--) out.push((code >> bit) & 1 ? 0 : rest[at++]);
        } else {
            const plain = code === 0xff ? 134 : (code & 0x7f) + 7;
            if (code !== 0xff) out.push(0);
            for (let count = 0; count < plain; count++) out.push(rest[at++]);
        }
    }
    return out.reverse();
}
