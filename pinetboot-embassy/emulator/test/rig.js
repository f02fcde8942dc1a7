// The base of the tests of the whole appliance: the firmware, the boot ROM, `pinetboot`, and a tree of files.
//
// The firmware's ELF, the boot ROM and the program are named by FIRMWARE, BOOTROM and PINETBOOT; `.ci/run appliance-rp2040`
// makes all three.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { bench } from '../src/bench.js';
import { bridge } from '../src/bridge.js';
import { makeCard, openCard, scatter } from '../src/card.js';
import { Cable } from '../src/cable.js';
import { loadElf } from '../src/firmware.js';
import { live } from '../src/live.js';
import { Pi } from '../src/pi.js';

export const { FIRMWARE, BOOTROM, PINETBOOT } = process.env;

/** The reason to skip tests, in the form that node:test takes. */
export const missing = FIRMWARE && BOOTROM && PINETBOOT ? false : 'FIRMWARE, BOOTROM and PINETBOOT are not set: see .ci/run';

/** The same for tests with a card: a firmware can be built without card support. */
export const missingForCard =
    missing || ([...loadElf(FIRMWARE).symbols.keys()].some((name) => name.includes('_17pinetboot_embassy4card')) ? false : 'a firmware without a card');

/** Files of these sizes or with this text in a new directory, removed after the test. */
export function tree(t, files) {
    const root = mkdtempSync(join(tmpdir(), 'pinetboot-'));
    t.after(() => rmSync(root, { recursive: true }));
    for (const [name, content] of Object.entries(files)) {
        const path = join(root, name);
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, typeof content === 'number' ? noise(content) : content);
    }
    return { root, read: (name) => readFileSync(join(root, name)) };
}

/** A UF2 of the firmware and those files, for a board with that flash size. */
export function pack(t, files, flash = '2M') {
    const packed = tree(t, files);
    const uf2 = join(tree(t, {}).root, 'boot.uf2');
    execFileSync(PINETBOOT, ['pack', packed.root, '-o', uf2, '--flash', flash, '--firmware', FIRMWARE]);
    return { ...packed, uf2 };
}

/** A card with those files; the files with the short names in `scattered` lie on the card in pieces. `kind` is `makeCard`'s. */
export function card(t, files, { scattered = [], ...kind } = {}) {
    const source = tree(t, files);
    const path = join(tree(t, {}).root, 'card.img');
    makeCard(path, source.root, kind);
    const pieces = scattered.map((name) => scatter(path, name));
    const image = openCard(path);
    t.after(() => image.close());
    return { ...source, path, image, pieces };
}

/** The places of boot files, each with the reason to skip it; `put` makes the parts for a board. */
export const PLACES = [
    { place: 'flash', skip: missing, put: (t, files, flash) => ({ archive: pack(t, files, flash) }) },
    { place: 'the card', skip: missingForCard, put: (t, files) => ({ card: card(t, files) }) },
];

/**
 * The board in real time, from when the firmware serves until the test ends; the UDP port that is its cable.
 *
 * The start is in virtual time: a core that waits for a card computes all the while, and on a slow machine a client outside would
 * have given up by then.
 */
export async function switchOn(t, parts) {
    const { board, chip, log } = assemble(parts);
    const serves = () => ['serving on', 'link: '].every((said) => log.lines().some((line) => line.includes(said)));
    while (!serves() && board.now < 10e9) board.run(board.now + 0.1e9);
    const socket = await bridge(chip);
    const stop = new AbortController();
    const running = live(board, socket, stop.signal);
    t.after(async () => {
        stop.abort();
        await running;
        socket.close();
    });
    return socket.address().port;
}

function assemble({ archive, card, ...options }) {
    return bench({ firmware: FIRMWARE, bootrom: BOOTROM, archive: archive?.uf2, card: card?.image, ...options });
}

/** The board, powered, and its cable. */
export function powerOn({ archive, card, ...options } = {}) {
    const parts = assemble({ archive, card, ...options });
    return { ...parts, cable: new Cable(parts.board, parts.chip) };
}

/** The same, and a Pi on its cable that has an address. */
export function plugIn(board, pi = {}) {
    const parts = powerOn(board);
    const client = new Pi(parts.cable, pi);
    const ack = client.lease();
    const server = [...ack.options.get(54)].join('.');
    return { ...parts, pi: client, ack, server };
}

/** The same bytes every time, unlike any others. */
export function noise(length, seed = length + 1) {
    const bytes = Buffer.alloc(length);
    let state = seed >>> 0 || 1;
    for (let at = 0; at < length; at++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        bytes[at] = state >>> 24;
    }
    return bytes;
}

/** A fair coin of the same throws every time. */
export function chance(seed = 1) {
    let state = seed;
    return (probability) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 32 < probability;
    };
}
