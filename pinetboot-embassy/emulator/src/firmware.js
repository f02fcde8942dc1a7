// The content of flash: the firmware's ELF or UF2, other UF2s, and the boot ROM.

import { readFileSync } from 'node:fs';

/** @returns {{ flash: {address: number, bytes: Uint8Array}[], symbols: Map<string, number>, functions: object[] }} */
export function loadElf(path) {
    const file = readFileSync(path);
    if (file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 1 || file[5] !== 1) {
        throw new Error(`${path}: no 32-bit little-endian ELF file`);
    }
    return { flash: elfSegments(file), ...elfSymbols(file) };
}

/** The loaded parts, by the address where they are stored. */
function elfSegments(file) {
    const start = file.readUInt32LE(28);
    const count = file.readUInt16LE(44);
    const segments = [];
    for (let index = 0; index < count; index++) {
        const at = start + index * file.readUInt16LE(42);
        const [type, offset, , address, size] = [0, 4, 8, 12, 16].map((field) => file.readUInt32LE(at + field));
        if (type === PT_LOAD && size > 0) segments.push({ address, bytes: file.subarray(offset, offset + size) });
    }
    return segments;
}

function elfSymbols(file) {
    const start = file.readUInt32LE(32);
    const count = file.readUInt16LE(48);
    const section = (index) => {
        const at = start + index * file.readUInt16LE(46);
        const [type, , , offset, size, link] = [4, 8, 12, 16, 20, 24].map((field) => file.readUInt32LE(at + field));
        return { type, offset, size, link };
    };
    const symbols = new Map();
    const functions = [];
    for (let index = 0; index < count; index++) {
        const table = section(index);
        if (table.type !== SHT_SYMTAB) continue;
        const names = section(table.link);
        for (let at = table.offset; at < table.offset + table.size; at += 16) {
            const from = names.offset + file.readUInt32LE(at);
            const name = file.toString('latin1', from, file.indexOf(0, from));
            const address = file.readUInt32LE(at + 4);
            symbols.set(name, address);
            if ((file[at + 12] & 0xf) === STT_FUNC) {
                functions.push({ name, address: address & ~1, size: file.readUInt32LE(at + 8) });
            }
        }
    }
    functions.sort((a, b) => a.address - b.address);
    return { symbols, functions };
}

/** The blocks of a UF2 file, as `pinetboot pack` makes it. */
export function loadUf2(path) {
    const file = readFileSync(path);
    const blocks = [];
    for (let at = 0; at + 512 <= file.length; at += 512) {
        if (file.readUInt32LE(at) !== 0x0a324655 || file.readUInt32LE(at + 508) !== 0x0ab16f30) {
            throw new Error(`${path}: no UF2 block at byte ${at}`);
        }
        const size = file.readUInt32LE(at + 16);
        blocks.push({ address: file.readUInt32LE(at + 12), bytes: file.subarray(at + 32, at + 32 + size) });
    }
    return blocks;
}

/** The boot ROM's 16 KB, for the functions that firmware calls there. */
export function loadBootrom(path) {
    const file = readFileSync(path);
    if (file.length !== 16384 || file.toString('latin1', 0x10, 0x12) !== 'Mu') throw new Error(`${path}: no boot ROM`);
    return new Uint32Array(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
}

const PT_LOAD = 1;
const SHT_SYMTAB = 2;
const STT_FUNC = 2;
