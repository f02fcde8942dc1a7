// The content of flash: the firmware's ELF, or a UF2 dragged to the board; and the boot ROM.

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

/**
 * The flash after a UF2 file was dragged to the board's drive: as the boot ROM writes the file's blocks to a chip that was in use.
 *
 * The boot ROM erases a sector when a block's number is the first of its sixteen, whatever its address
 * (raspberrypi/pico-bootrom-rp2040 issues 9 and 19); what is not erased before it is written keeps its zeros.
 */
export function drag(path) {
    const file = readFileSync(path);
    const flash = new Uint8Array(FLASH_SIZE);
    for (let at = 0; at < file.length; at += 512) {
        const word = (offset) => file.readUInt32LE(at + offset);
        if (word(0) !== 0x0a324655 || word(4) !== 0x9e5d5157 || word(508) !== 0x0ab16f30) {
            throw new Error(`${path}: no UF2 block at byte ${at}`);
        }
        if (word(8) !== HAS_FAMILY || word(28) !== RP2040 || word(16) !== 256) continue; // as if it were not there
        const [number, count] = [word(20), word(24)];
        if (count !== file.length / 512 || number !== at / 512) throw new Error(`${path}: block ${number} of ${count}`);
        const address = word(12) - FLASH;
        if (number % 16 === 0) flash.fill(0xff, address & ~0xfff, (address & ~0xfff) + 0x1000);
        for (let byte = 0; byte < 256; byte++) flash[address + byte] &= file[at + 32 + byte];
    }
    return [{ address: FLASH, bytes: flash }];
}

/** The boot ROM's 16 KB, for the functions that firmware calls there. */
export function loadBootrom(path) {
    const file = readFileSync(path);
    if (file.length !== 16384 || file.toString('latin1', 0x10, 0x12) !== 'Mu') throw new Error(`${path}: no boot ROM`);
    return new Uint32Array(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
}

const FLASH = 0x10000000;
const FLASH_SIZE = 16 << 20;
const HAS_FAMILY = 0x2000;
const RP2040 = 0xe48bff56;
const PT_LOAD = 1;
const SHT_SYMTAB = 2;
const STT_FUNC = 2;
