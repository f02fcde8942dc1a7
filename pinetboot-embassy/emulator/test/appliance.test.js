// The firmware, unmodified, on an emulated board, with a Pi 5 on its cable: in virtual time, so every run is the same.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BROADCAST, ethernet } from '../src/packets.js';
import { Transfer } from '../src/pi.js';
import { PLACES, chance, missing, pack, plugIn } from './rig.js';

const BOOT = {
    'config.txt': 'arm_64bit=1\n',
    'cmdline.txt': 'console=serial0,115200\n',
    'bcm2712-rpi-5-b.dtb': 78_744,
    'overlays/overlay_map.dtb': 5_971,
    'kernel_2712.img': 300_000,
};

for (const { place, skip, put } of PLACES) {
    test(`a Pi gets an address with all that it needs, and its files from ${place}`, { skip }, (t) => {
        const parts = put(t, BOOT);
        const { read } = parts.archive ?? parts.card;
        const { pi, ack, server } = plugIn(parts);
        assert.match(ack.address, /^10\.55\.0\./);
        assert.equal(ack.options.get(66).toString(), server);
        assert.equal(ack.options.get(60).toString(), 'PXEClient');
        assert.match(ack.options.get(43).toString('latin1'), /Raspberry Pi Boot/);

        // A Pi 5's own order (captured; some names left out).
        assert.equal(pi.probe(server, 'bd989ae1/config.txt'), 12);
        for (const name of ['config.txt', '/config.txt', '/overlays/overlay_map.dtb', 'cmdline.txt', 'bcm2712-rpi-5-b.dtb']) {
            const got = pi.fetch(server, `bd989ae1/${name}`);
            assert.equal(got.outcome, 'complete', name);
            assert.ok(got.bytes.equals(read(name)), name);
        }
        for (const name of ['pieeprom.sig', 'armstub8-2712.bin', 'none/config.txt']) {
            assert.equal(pi.fetch(server, `bd989ae1/${name}`).outcome.code, 1, name);
        }
        assert.equal(pi.probe(server, 'bd989ae1/kernel_2712.img'), 300_000);
        for (const blksize of [512, 1024, 1468]) {
            const got = pi.fetch(server, 'bd989ae1/kernel_2712.img', { blksize });
            assert.equal(got.outcome, 'complete');
            assert.equal(got.blksize, blksize);
            assert.ok(got.bytes.equals(read('kernel_2712.img')), `blksize ${blksize}`);
            assert.equal(got.duplicates, 0);
        }
    });
}

test('frames are lost on the cable, both ways, and the file comes all the same', { skip: missing }, (t) => {
    const archive = pack(t, BOOT);
    const { cable, pi, server } = plugIn({ archive });
    const lost = { to: 0, from: 0 };
    const draw = chance(7);
    cable.loses = (way) => draw(0.02) && ++lost[way] > 0;
    const got = pi.fetch(server, 'bd989ae1/kernel_2712.img', { seconds: 60 });
    assert.equal(got.outcome, 'complete');
    assert.ok(got.bytes.equals(archive.read('kernel_2712.img')));
    assert.ok(lost.to > 3 && lost.from > 3, `lost too little to mean anything: ${JSON.stringify(lost)}`);
});

test('one interrupt in ten is lost, and no block is sent twice', { skip: missing }, (t) => {
    const archive = pack(t, BOOT);
    const { chip, pi, server } = plugIn({ archive });
    const draw = chance(11);
    let lost = 0;
    chip.losesInterrupt = () => draw(0.1) && ++lost > 0;
    const got = pi.fetch(server, 'bd989ae1/bcm2712-rpi-5-b.dtb');
    assert.equal(got.outcome, 'complete');
    assert.ok(got.bytes.equals(archive.read('bcm2712-rpi-5-b.dtb')));
    assert.equal(got.duplicates, 0);
    assert.ok(lost > 3, `${lost} lost`);
});

test('a flood fills the chip’s buffer, and the transfer survives it', { skip: missing }, (t) => {
    const archive = pack(t, BOOT);
    const { pi, chip, server } = plugIn({ archive });
    const junk = ethernet(BROADCAST, Buffer.from('020000000099', 'hex'), 0x88b5, Buffer.alloc(1500));
    const got = pi.fetch(server, 'bd989ae1/kernel_2712.img', {
        seconds: 60,
        onBlock: ({ expected }) => expected % 100 === 0 && Array.from({ length: 40 }, () => pi.transmit(junk)),
    });
    assert.equal(got.outcome, 'complete');
    assert.ok(got.bytes.equals(archive.read('kernel_2712.img')));
    assert.ok(chip.counts.full > 20, `the buffer was never full: ${JSON.stringify(chip.counts)}`);
});

test('a bus that hangs is ended by the watchdog, and the board serves again', { skip: missing }, (t) => {
    const archive = pack(t, BOOT);
    const { board, pi, server } = plugIn({ archive });
    board.buses[0].hangs = true; // the firmware waits for the end of a byte without end
    const began = board.now;
    assert.equal(pi.fetch(server, 'bd989ae1/config.txt', { seconds: 0.1 }).outcome, 'given up');
    board.skip(7.5e9); // the emulator would take a minute to compute this
    const served = pi.fetch(server, 'bd989ae1/config.txt', { seconds: 20 }).outcome === 'complete';
    assert.ok(served, `not within ${(board.now - began) / 1e9} s; ${board.resets} resets`);
    assert.equal(board.resets, 1);
    t.diagnostic(`served after ${((board.now - began) / 1e9).toFixed(1)} s`);
});

test('a bus that hangs in a long transfer is noticed too, though the loops turn', { skip: missing }, (t) => {
    const archive = pack(t, BOOT);
    const { board, chip, pi, server } = plugIn({ archive });
    const [bus] = board.buses;
    let [frame, began] = [null, 0];
    const isLong = () => {
        if (chip.frame !== frame) [frame, began] = [chip.frame, bus.bytes];
        return frame !== null && bus.bytes - began > 300;
    };
    new Transfer(pi, server, 'bd989ae1/kernel_2712.img');
    assert.ok(board.run(board.now + 1e9, isLong), 'there was no long transfer');
    bus.hangs = true;
    const hung = board.now;
    board.run(board.now + 20e9, () => board.resets > 0);
    assert.equal(board.resets, 1);
    t.diagnostic(`restarted after ${((board.now - hung) / 1e9).toFixed(1)} s`);
    assert.equal(pi.fetch(server, 'bd989ae1/config.txt', { seconds: 20 }).outcome, 'complete');
});

for (const length of [0xffff, 0, 1517]) {
    test(`the chip reports a frame of ${length} bytes: within seconds the board serves again`, { skip: missing }, (t) => {
        const archive = pack(t, BOOT);
        const { board, chip, pi, server } = plugIn({ archive });
        chip.nextLength = length;
        const before = board.now;
        pi.fetch(server, 'bd989ae1/config.txt', { seconds: 0.1 }); // the frame with that length
        let served = false;
        while (!served && board.now < before + 20e9) {
            served = pi.fetch(server, 'bd989ae1/config.txt', { seconds: 3 }).outcome === 'complete';
        }
        assert.ok(served, `not within ${(board.now - before) / 1e9} s; ${board.resets} resets`);
        t.diagnostic(`served after ${((board.now - before) / 1e9).toFixed(1)} s, ${board.resets} resets by the watchdog`);
        const got = pi.fetch(server, 'bd989ae1/kernel_2712.img');
        assert.ok(got.bytes.equals(archive.read('kernel_2712.img')));
    });
}
