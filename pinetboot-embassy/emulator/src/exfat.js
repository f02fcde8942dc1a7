// A volume of exFAT with the files of a tree (Microsoft's exFAT file system specification, revision 1.00).
//
// Every file and directory lies in clusters that follow each other, and is marked so ("NoFatChain"), as on a card that files were
// copied to once. The root directory, bitmap and up-case table have chains, as the specification asks.

import { closeSync, openSync, readFileSync, readdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Makes the volume in sectors `start` and following of an image. */
export function makeExfat(path, start, sectors, tree) {
    const tableLength = Math.ceil((sectors / CLUSTER + 2) / 128);
    const heap = TABLE + tableLength;
    const clusters = Math.floor((sectors - heap) / CLUSTER);
    const file = openSync(path, 'r+');
    const write = (sector, bytes) => writeSync(file, bytes, 0, bytes.length, (start + sector) * 512);
    let next = 2;
    const chains = [];
    const put = (bytes, { chained = false, length = bytes.length } = {}) => {
        const [first, count] = [next, Math.ceil(length / BYTES)];
        if (count > 0) write(heap + (first - 2) * CLUSTER, bytes);
        next += count;
        if (chained) chains.push([first, count]);
        return count > 0 ? first : 0;
    };

    const bitmapLength = Math.ceil(clusters / 8);
    const bitmapAt = put(Buffer.alloc(0), { chained: true, length: bitmapLength });
    const upCase = upCaseTable();
    const upCaseAt = put(upCase, { chained: true });
    const directory = (folder) =>
        readdirSync(folder, { withFileTypes: true }).map((entry) => {
            const place = join(folder, entry.name);
            const isDirectory = entry.isDirectory();
            let bytes = isDirectory ? Buffer.concat(directory(place)) : readFileSync(place);
            if (isDirectory) bytes = Buffer.concat([bytes, Buffer.alloc(BYTES - (bytes.length % BYTES))]);
            return entrySet(entry.name, isDirectory, put(bytes), bytes.length);
        });
    const bitmapEntry = Buffer.alloc(32);
    bitmapEntry[0] = 0x81;
    bitmapEntry.writeUInt32LE(bitmapAt, 20);
    bitmapEntry.writeUInt32LE(bitmapLength, 24);
    const upCaseEntry = Buffer.alloc(32);
    upCaseEntry[0] = 0x82;
    upCaseEntry.writeUInt32LE(upCase.reduce((sum, byte) => (((sum << 31) | (sum >>> 1)) + byte) >>> 0, 0), 4);
    upCaseEntry.writeUInt32LE(upCaseAt, 20);
    upCaseEntry.writeUInt32LE(upCase.length, 24);
    const root = put(Buffer.concat([bitmapEntry, upCaseEntry, ...directory(tree)]), { chained: true });

    const table = Buffer.alloc(next * 4);
    table.writeUInt32LE(0xfffffff8, 0);
    table.writeUInt32LE(0xffffffff, 4);
    for (const [first, count] of chains) {
        for (let index = 0; index < count; index++) {
            table.writeUInt32LE(index + 1 < count ? first + index + 1 : 0xffffffff, (first + index) * 4);
        }
    }
    write(TABLE, table);
    const bitmap = Buffer.alloc(Math.ceil((next - 2) / 8));
    for (let index = 0; index < next - 2; index++) bitmap[index >> 3] |= 1 << (index & 7);
    write(heap + (bitmapAt - 2) * CLUSTER, bitmap);

    const boot = Buffer.alloc(12 * 512);
    boot.write('\xeb\x76\x90EXFAT   ', 'latin1');
    boot.writeBigUInt64LE(BigInt(start), 64);
    boot.writeBigUInt64LE(BigInt(sectors), 72);
    [TABLE, tableLength, heap, clusters, root, 0x12345678].forEach((value, index) => boot.writeUInt32LE(value, 80 + 4 * index));
    boot.writeUInt16LE(0x100, 104);
    boot.set([9, Math.log2(CLUSTER), 1, 0x80, 0xff], 108);
    for (let sector = 0; sector < 9; sector++) boot.writeUInt16LE(0xaa55, sector * 512 + 510);
    const sum = boot.subarray(0, 11 * 512).reduce((sum, byte, at) => {
        return at === 106 || at === 107 || at === 112 ? sum : (((sum << 31) | (sum >>> 1)) + byte) >>> 0;
    }, 0);
    for (let at = 11 * 512; at < boot.length; at += 4) boot.writeUInt32LE(sum, at);
    write(0, boot);
    write(12, boot);
    closeSync(file);
}

/** The entries of a file (sections 7.4, 7.6 and 7.7). */
function entrySet(name, isDirectory, first, length) {
    const names = Math.ceil(name.length / 15);
    const set = Buffer.alloc((2 + names) * 32);
    set.set([0x85, 1 + names], 0);
    set.writeUInt16LE(isDirectory ? 0x10 : 0x20, 4);
    for (const at of [8, 12, 16]) set.writeUInt32LE(0x5b7e0000, at); // 2025-11-30
    set.set([0xc0, first ? 3 : 1, 0, name.length], 32);
    set.writeUInt16LE(sum16(Buffer.from(name.toUpperCase(), 'utf16le')), 36);
    set.writeUInt32LE(length, 40);
    set.writeUInt32LE(first, 52);
    set.writeUInt32LE(length, 56);
    for (let index = 0; index < names; index++) {
        set[(2 + index) * 32] = 0xc1;
        set.write(name.slice(index * 15, (index + 1) * 15), (2 + index) * 32 + 2, 'utf16le');
    }
    set.writeUInt16LE(sum16(Buffer.concat([set.subarray(0, 2), set.subarray(4)])), 2);
    return set;
}

function sum16(bytes) {
    return bytes.reduce((sum, byte) => (((sum << 15) | (sum >>> 1)) + byte) & 0xffff, 0);
}

/** The up-case table of ASCII alone, compressed (section 7.2.5.1): runs of characters that are their own upper case. */
function upCaseTable() {
    const capitals = Array.from({ length: 26 }, (_, index) => 0x41 + index);
    return Buffer.from(Uint16Array.of(0xffff, 0x61, ...capitals, 0xffff, 0x10000 - 0x7b).buffer);
}

const CLUSTER = 64; // sectors
const BYTES = CLUSTER * 512;
const TABLE = 24; // sectors of the two copies of the boot region
