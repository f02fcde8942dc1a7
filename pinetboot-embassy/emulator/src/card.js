// A card's image: a partition table and one FAT32 partition with clusters of 32 KB, as cards of 32 GB come from the shop, on
// 4 GB here. Made by mtools; the image is a sparse file, in which only written blocks take room.

import { execFileSync } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync, readdirSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Makes an image of a tree of files. */
export function makeCard(path, tree) {
    const table = Buffer.alloc(512);
    table.set([0, 0xff, 0xff, 0xff, FAT32_LBA, 0xff, 0xff, 0xff], 446);
    table.writeUInt32LE(START, 454);
    table.writeUInt32LE(SECTORS - START, 458);
    table.writeUInt16LE(0xaa55, 510);
    writeFileSync(path, table);
    truncateSync(path, SECTORS * SECTOR);
    const image = `${path}@@${START * SECTOR}`;
    // Without them mtools asks for heads and tracks.
    execFileSync('mformat', ['-i', image, '-F', '-c', `${CLUSTER}`, '-T', `${SECTORS - START}`, '-h', '255', '-s', '63', '-H', `${START}`, '::']);
    const files = readdirSync(tree).sort().map((name) => join(tree, name));
    execFileSync('mcopy', ['-i', image, '-s', '-Q', ...files, '::']);
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

const FAT32_LBA = 0x0c;
const SECTOR = 512;
const SECTORS = 4096 * 2048;
const START = 2048;
const CLUSTER = 64; // sectors
