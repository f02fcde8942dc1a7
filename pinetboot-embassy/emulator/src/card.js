// A card's image: a partition table (MBR or GPT) and one partition. FAT32 with clusters of 32 KB, as cards of 32 GB come from the
// shop, on 4 GB here; FAT16 on 1 GB; exFAT, as larger cards come. FAT is made by mtools, exFAT by exfat.js; the image is a sparse
// file, in which only written blocks take room.

import { execFileSync } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync, readdirSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { makeExfat } from './exfat.js';

/**
 * Makes an image of a tree of files.
 * @param {{ format?: 'FAT16' | 'FAT32' | 'exFAT', table?: 'MBR' | 'GPT' }} kind
 */
export function makeCard(path, tree, { format = 'FAT32', table = 'MBR' } = {}) {
    const sectors = format === 'FAT16' ? SECTORS / 4 : SECTORS;
    writeFileSync(path, table === 'GPT' ? gpt(sectors) : mbr(TYPES[format], START, sectors - START));
    truncateSync(path, sectors * SECTOR);
    if (format === 'exFAT') return makeExfat(path, START, sectors - START, tree);
    const image = `${path}@@${START * SECTOR}`;
    const size = ['-c', `${CLUSTER}`, '-T', `${sectors - START}`];
    // Without them mtools asks for heads and tracks.
    const geometry = ['-h', '255', '-s', '63', '-H', `${START}`];
    execFileSync('mformat', ['-i', image, ...(format === 'FAT32' ? ['-F'] : []), ...size, ...geometry, '::']);
    const files = readdirSync(tree).sort().map((name) => join(tree, name));
    execFileSync('mcopy', ['-i', image, '-s', '-Q', ...files, '::']);
}

/** An MBR with one partition. */
function mbr(type, start, length) {
    const sector = Buffer.alloc(SECTOR);
    sector.set([0, 0xff, 0xff, 0xff, type, 0xff, 0xff, 0xff], 446);
    sector.writeUInt32LE(start, 454);
    sector.writeUInt32LE(length, 458);
    sector.writeUInt16LE(0xaa55, 510);
    return sector;
}

/** A protective MBR and a GPT with one partition of basic data (UEFI specification 2.10, section 5.3); the copy at the end is not made. */
function gpt(sectors) {
    const entries = Buffer.alloc(128 * 128);
    Buffer.from('a2a0d0ebe5b9334487c068b6b72699c7', 'hex').copy(entries);
    entries.fill(0x42, 16, 32); // any unique GUID
    entries.writeBigUInt64LE(BigInt(START), 32);
    entries.writeBigUInt64LE(BigInt(sectors - 34), 40);
    const header = Buffer.alloc(SECTOR);
    header.write('EFI PART\0\0\x01\0\x5c', 'latin1');
    const places = { 24: 1, 32: sectors - 1, 40: 34, 48: sectors - 34, 72: 2 };
    for (const [at, value] of Object.entries(places)) header.writeBigUInt64LE(BigInt(value), Number(at));
    header.writeUInt32LE(128, 80);
    header.writeUInt32LE(128, 84);
    header.writeUInt32LE(crc32(entries), 88);
    header.writeUInt32LE(crc32(header.subarray(0, 92)), 16);
    return Buffer.concat([mbr(0xee, 1, sectors - 1), header, entries]);
}

/** Reverses a file's clusters, so that the last comes first on the card; `shortName` is like 'KERNEL  IMG'. */
export function scatter(path, shortName) {
    const file = openSync(path, 'r+');
    const read = (sector, count) => {
        const bytes = Buffer.alloc(count * SECTOR);
        readSync(file, bytes, 0, bytes.length, sector * SECTOR);
        return bytes;
    };
    const write = (sector, bytes) => writeSync(file, bytes, 0, bytes.length, sector * SECTOR);
    const boot = read(START, 1);
    const [reserved, fatSize, root] = [boot.readUInt16LE(14), boot.readUInt32LE(36), boot.readUInt32LE(44)];
    const fats = [0, 1].map((index) => START + reserved + index * fatSize);
    const data = (cluster) => fats[1] + fatSize + (cluster - 2) * CLUSTER;

    const directory = read(data(root), CLUSTER);
    const entry = directory.indexOf(shortName, 0, 'latin1');
    const first = directory.readUInt16LE(entry + 26) | (directory.readUInt16LE(entry + 20) << 16);
    const fat = read(fats[0], fatSize);
    const chain = [first];
    while (chain.at(-1) < 0x0ffffff8) chain.push(fat.readUInt32LE(chain.at(-1) * 4) & 0x0fffffff);
    chain.pop();

    const contents = chain.map((cluster) => read(data(cluster), CLUSTER));
    const turned = chain.toReversed();
    turned.forEach((cluster, index) => {
        write(data(cluster), contents[index]);
        fat.writeUInt32LE(turned[index + 1] ?? 0x0fffffff, cluster * 4);
    });
    directory.writeUInt16LE(turned[0] & 0xffff, entry + 26);
    directory.writeUInt16LE(turned[0] >>> 16, entry + 20);
    write(data(root), directory);
    for (const at of fats) write(at, fat);
    closeSync(file);
    return turned.length;
}

/** Opens an image; blocks are read on demand. */
export function openCard(path) {
    const file = openSync(path, 'r+');
    const buffer = Buffer.alloc(512);
    return {
        length: fstatSync(file).size,
        read(offset, count) {
            readSync(file, buffer, 0, count, offset);
            return buffer.subarray(0, count);
        },
        write: (offset, bytes) => writeSync(file, bytes, 0, bytes.length, offset),
        close: () => closeSync(file),
    };
}

const TYPES = { FAT16: 0x0e, FAT32: 0x0c, exFAT: 0x07 };
const SECTOR = 512;
const SECTORS = 4096 * 2048;
const START = 2048;
const CLUSTER = 64; // sectors
