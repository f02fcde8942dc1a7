// A card's image: a partition table and one FAT32 partition, as Raspberry Pi Imager and cameras leave cards. By mtools.

import { execFileSync } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync, readdirSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Makes an image of a tree of files. */
export function makeCard(path, tree, megabytes = 64) {
    const sectors = megabytes * 2048;
    const table = Buffer.alloc(512);
    table.set([0, 0xff, 0xff, 0xff, FAT32_LBA, 0xff, 0xff, 0xff], 446);
    table.writeUInt32LE(START, 454);
    table.writeUInt32LE(sectors - START, 458);
    table.writeUInt16LE(0xaa55, 510);
    writeFileSync(path, table);
    truncateSync(path, sectors * 512);
    const image = `${path}@@${START * 512}`;
    // Without them mtools wants to know about heads and tracks.
    execFileSync('mformat', ['-i', image, '-F', '-T', `${sectors - START}`, '-h', '255', '-s', '63', '-H', `${START}`, '::']);
    const files = readdirSync(tree).sort().map((name) => join(tree, name));
    execFileSync('mcopy', ['-i', image, '-s', '-Q', ...files, '::']);
}

/** Opens an image; blocks are read when they are asked for. */
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
const START = 2048;
