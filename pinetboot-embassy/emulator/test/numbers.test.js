// The speed of the firmware, in the chip's own time, and its stack use.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadElf } from '../src/firmware.js';
import { Pi, Transfer, finish } from '../src/pi.js';
import { StackDepth } from '../src/stack.js';
import { FIRMWARE, card, missing, missingForCard, pack, plugIn, powerOn } from './rig.js';

/** The time of a Pi 5 for a block: 43 MB in 13 s at blksize 1468 (rpi-eeprom issue 857), its fast server's share included. */
const PI_5 = 440_000;

/** Bytes of an initramfs that a Pi 5 has to get within its 30 s; this test measures a part of them. */
const INITRAMFS = 22.5e6;

const RAM = 0x20000000;

/** From an ACK in the chip to the order to send the next DATA. */
const GOAL = 0.1e6;

/** For the initramfs in blocks of 1468 bytes. From a card the limit is the card: 2 KiB in each command. */
const LIMITS = { flash: 10.5e9, card: 16e9 };

test('from flash, a block is on its way soon after the last one’s ACK', { skip: missing }, (t) => {
    const archive = pack(t, { 'initramfs_2712': 900_000 });
    measure(t, 'flash', { archive }, archive);
});

test('from the card, a block is on its way nearly as soon', { skip: missingForCard }, (t) => {
    const sd = card(t, { 'initramfs_2712': 900_000 });
    measure(t, 'card', { card: sd }, sd);
});

test('every name of code that is to run from RAM is that of code that does', { skip: missing }, () => {
    const { functions } = loadElf(FIRMWARE);
    const script = readFileSync(join(import.meta.dirname, '../../boards/rp/memory-rp2040.x'), 'utf8');
    const patterns = [...script.matchAll(/\.text\.([^\s)]+)/g)].map(([, pattern]) => pattern);
    assert.ok(patterns.length >= 10);
    for (const pattern of patterns) {
        const name = new RegExp(`^${pattern.replaceAll(/[.$]/g, '\\$&').replaceAll('*', '.*')}$`);
        assert.ok(functions.some((code) => name.test(code.name) && code.address >= RAM), pattern);
    }
});

function measure(t, place, board, files) {
    const { pi, server } = plugIn(board, { think: PI_5 });
    const content = files.read('initramfs_2712');
    for (const blksize of [1024, 1468]) {
        const got = pi.fetch(server, 'bd989ae1/initramfs_2712', { blksize });
        assert.equal(got.outcome, 'complete');
        assert.ok(got.bytes.equals(content));
        const times = got.turnarounds.toSorted((a, b) => a - b);
        const [median, worst] = [times[times.length >> 1], times.at(-1)];
        const whole = (got.nanos * INITRAMFS) / content.length;
        t.diagnostic(
            `${place}, blksize ${blksize}: ACK to DATA ${ms(median)}, ${ms(worst)} at worst; ` +
                `22.5 MB in ${(whole / 1e9).toFixed(1)} s, by ${content.length} bytes of them`,
        );
        if (place === 'flash') assert.ok(median <= GOAL, `${ms(median)}: the goal is ${ms(GOAL)}`);
        if (blksize === 1468) assert.ok(whole <= LIMITS[place], `${whole / 1e9} s`);
    }
}

test('with four Pis at once: how deep the stacks get', { skip: missing }, (t) => {
    const archive = pack(t, { 'initramfs_2712': 100_000 });
    const sd = missingForCard ? undefined : card(t, { 'kernel_2712.img': 100_000 });
    const { board, cable } = powerOn({ archive, card: sd });
    const depth = new StackDepth(board);
    const pis = [1, 2, 3, 4].map((number) => new Pi(cable, { serial: number, mac: `2ccf6700000${number}`, think: PI_5 }));
    const server = [...pis.map((pi) => pi.lease()).at(-1).options.get(54)].join('.');
    for (const [files, name] of [[archive, 'initramfs_2712'], [sd, 'kernel_2712.img']]) {
        if (!files) continue;
        const transfers = pis.map((pi) => new Transfer(pi, server, name, { blksize: 1468 }));
        finish(transfers);
        for (const { outcome, bytes } of transfers) {
            assert.equal(outcome, 'complete');
            assert.ok(bytes.equals(files.read(name)));
        }
    }
    const [first, second] = [depth.bytes(0), depth.bytes(1)];
    t.diagnostic(`stack: ${first} bytes of core 0, ${second} of core 1`);
    // Core 1 has no more than 6 KB (boards/rp/src/card.rs), of which a panic needs some; core 0 what the RAM has left: many times this.
    assert.ok(first > 0 && first < 20_000, `core 0: ${first} bytes`);
    assert.ok(missingForCard ? second === 0 : second > 0 && second <= 4608, `core 1: ${second} bytes`);
});

const ms = (nanos) => `${(nanos / 1e6).toFixed(2)} ms`;
