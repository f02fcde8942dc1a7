// The firmware, unmodified, with a microSD card: files that are not in flash come from the card.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Transfer, finish } from '../src/pi.js';
import { card, chance, missingForCard, pack, plugIn } from './rig.js';

const FLASH = { 'config.txt': 'arm_64bit=1\n', 'kernel_2712.img': 200_000 };

test('a large file comes from the card, beside one from flash', { skip: missingForCard }, (t) => {
    const archive = pack(t, FLASH);
    const sd = card(t, { 'config.txt': 'not this one\n', 'initramfs_2712': 700_000, 'overlays/overlay_map.dtb': 5_971 });
    const { pi, server } = plugIn({ archive, card: sd });
    const both = [
        [archive, 'kernel_2712.img'],
        [sd, 'initramfs_2712'],
    ];
    const transfers = both.map(([, name]) => new Transfer(pi, server, `bd989ae1/${name}`, { blksize: 1468 }));
    finish(transfers);
    transfers.forEach((got, index) => {
        const [place, name] = both[index];
        assert.equal(got.outcome, 'complete', name);
        assert.ok(got.bytes.equals(place.read(name)), name);
        assert.equal(got.duplicates, 0, name);
    });
    assert.ok(pi.fetch(server, 'config.txt').bytes.equals(archive.read('config.txt')), 'flash comes first');
    assert.equal(pi.probe(server, 'overlays/overlay_map.dtb'), 5_971);
    assert.ok(pi.fetch(server, 'overlays/overlay_map.dtb').bytes.equals(sd.read('overlays/overlay_map.dtb')));
    assert.equal(pi.fetch(server, 'armstub8-2712.bin').outcome.code, 1);
});

test('a card that pauses for 0.1 s does not stop the transfers from flash', { skip: missingForCard }, (t) => {
    const archive = pack(t, FLASH);
    const files = card(t, { 'initramfs_2712': 300_000 });
    const { sd, pi, server } = plugIn({ archive, card: files });
    let pauses = 0;
    const draw = chance(5);
    sd.pauses = () => (draw(0.01) && ++pauses > 0 ? 100e6 : 0);
    const slow = new Transfer(pi, server, 'initramfs_2712', { blksize: 1468 });
    const fast = new Transfer(pi, server, 'kernel_2712.img', { blksize: 1468 });
    finish([slow, fast]);
    for (const [got, place, name] of [[slow, files, 'initramfs_2712'], [fast, archive, 'kernel_2712.img']]) {
        assert.equal(got.outcome, 'complete', name);
        assert.ok(got.bytes.equals(place.read(name)), name);
        assert.equal(got.duplicates, 0, name);
    }
    assert.ok(pauses > 2, `${pauses} pauses`);
    const [worst, waits] = [fast, slow].map(({ turnarounds }) => Math.max(...turnarounds));
    assert.ok(waits > 50e6, `the card's transfer never waited: ${waits} ns`);
    assert.ok(worst < 5e6, `flash waited ${worst / 1e6} ms`);
});

test('a file may lie on the card in pieces', { skip: missingForCard }, (t) => {
    const sd = card(t, { 'initrd.img': 300_000 }, { scattered: ['INITRD  IMG'] });
    assert.deepEqual(sd.pieces, [10]);
    const { pi, server } = plugIn({ archive: pack(t, FLASH), card: sd });
    const got = pi.fetch(server, 'initrd.img', { blksize: 1468 });
    assert.equal(got.outcome, 'complete');
    assert.ok(got.bytes.equals(sd.read('initrd.img')));
});

for (const [format, table, sdsc] of [['FAT16', 'MBR', true], ['exFAT', 'GPT', false]]) {
    test(`a card with ${format} in ${table === 'MBR' ? 'an MBR' : 'a GPT'} is read`, { skip: missingForCard }, (t) => {
        const files = { 'config.txt': 'arm_64bit=1\n', 'initramfs_2712': 60_000, 'overlays/overlay_map.dtb': 5_971 };
        const sd = card(t, files, { format, table });
        const { sd: model, pi, server } = plugIn({ card: sd, latency: { sdsc } });
        for (const name of Object.keys(files)) {
            assert.ok(pi.fetch(server, name).bytes.equals(sd.read(name)), name);
        }
        assert.equal(model.counts.aborted, 0, 'its select line rose within a transaction');
    });
}

test('wires that garble data at full speed: the card is read at a lower one', { skip: missingForCard }, (t) => {
    const files = card(t, { 'initramfs_2712': 60_000 });
    const { board, sd, pi, server } = plugIn({ card: files });
    const clock = () => board.chip.spi[1].clockFrequency;
    sd.disturbs = () => clock() > 13e6;
    const got = pi.fetch(server, 'initramfs_2712');
    assert.equal(got.outcome, 'complete');
    assert.ok(got.bytes.equals(files.read('initramfs_2712')));
    assert.ok(clock() > 12e6 && clock() <= 13e6, `the clock is ${clock()} Hz`);
});

test('the card is pulled out in the middle of a file, and put back', { skip: missingForCard }, (t) => {
    const archive = pack(t, FLASH);
    const files = card(t, { 'initramfs_2712': 200_000 });
    const { board, sd, pi, server } = plugIn({ archive, card: files });
    let pulled = null;
    const got = pi.fetch(server, 'initramfs_2712', {
        onBlock: ({ expected }) => {
            if (expected !== 100) return;
            pulled = board.now;
            sd.remove();
        },
    });
    assert.equal(typeof got.outcome.code, 'number', `no ERROR: ${got.outcome}`);
    t.diagnostic(`ERROR ${got.outcome.code} '${got.outcome.words}' after ${seconds(board.now - pulled)}`);
    assert.ok(board.now - pulled < 5e9);

    for (const name of Object.keys(FLASH)) {
        assert.ok(pi.fetch(server, name).bytes.equals(archive.read(name)), `${name} without the card`);
    }
    assert.equal(typeof pi.fetch(server, 'initramfs_2712').outcome.code, 'number', 'the card is out');

    sd.insert();
    const back = board.now;
    let again;
    do again = pi.fetch(server, 'initramfs_2712');
    while (again.outcome !== 'complete' && board.now - back < 20e9);
    assert.ok(again.bytes.equals(files.read('initramfs_2712')));
    t.diagnostic(`put back, it is served after ${seconds(board.now - back - again.nanos)}`);
    assert.equal(board.resets, 0);
});

const seconds = (nanos) => `${(nanos / 1e9).toFixed(2)} s`;
