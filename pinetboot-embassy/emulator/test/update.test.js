// New boot files by TFTP: received with the key alone; interrupted at any point the board boots all the same.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { apply } from '../src/flash.js';
import { Pi, Upload, finish } from '../src/pi.js';
import { PINETBOOT, missing, pack, plugIn, powerOn, tree } from './rig.js';

const KEY = 'a-key-of-ours';
const TOML = `dhcp = "lease"\nupload = "${KEY}"\n`;
const OLD = { 'pinetboot.toml': TOML, 'config.txt': 'old\n', 'kernel_2712.img': 20_000 };
const NEW = { 'pinetboot.toml': TOML, 'config.txt': 'new\n', 'kernel_2712.img': 30_000, 'cmdline.txt': 'root=/dev/nfs\n' };

/** The archive that is uploaded. */
function archive(t, files) {
    const tar = join(tree(t, {}).root, 'boot.tar');
    execFileSync(PINETBOOT, ['pack', tree(t, files).root, '-o', tar, '--tar']);
    return readFileSync(tar);
}

function put(pi, server, path, bytes) {
    const upload = new Upload(pi, server, path, bytes);
    finish([upload]);
    return upload.outcome;
}

test('new files are received, and served after a restart', { skip: missing }, (t) => {
    const { board, pi, server } = plugIn({ archive: pack(t, OLD) });
    const bytes = archive(t, NEW);
    for (const path of ['boot.tar', 'another-key/boot.tar', `${KEY}/config.txt`]) {
        assert.equal(put(pi, server, path, bytes).code, 2, path);
    }
    assert.equal(put(pi, server, `${KEY}/boot.tar`, Buffer.alloc(10_000)).code, 3, 'no archive');
    assert.equal(pi.fetch(server, 'config.txt').bytes.toString(), 'old\n');
    assert.equal(board.flashJournal.length, 0, 'nothing was changed');
    const began = board.now;
    assert.equal(put(pi, server, `${KEY}/boot.tar`, bytes), 'complete');
    t.diagnostic(`${bytes.length} bytes in ${((board.now - began) / 1e9).toFixed(2)} s`);
    assert.ok(board.run(board.now + 20e9, () => board.resets === 1), 'no restart');
    assert.equal(pi.fetch(server, 'config.txt', { seconds: 20 }).bytes.toString(), 'new\n');
    assert.equal(pi.fetch(server, 'cmdline.txt').outcome, 'complete');
    // And once more, to the place before.
    assert.equal(put(pi, server, `${KEY}/boot.tar`, archive(t, OLD)), 'complete');
    assert.ok(board.run(board.now + 20e9, () => board.resets === 2), 'no restart');
    assert.equal(pi.fetch(server, 'config.txt', { seconds: 20 }).bytes.toString(), 'old\n');
});

test('without a key in the configuration nothing is received', { skip: missing }, (t) => {
    const { board, pi, server } = plugIn({ archive: pack(t, { 'config.txt': 'old\n' }) });
    assert.equal(put(pi, server, 'boot.tar', archive(t, NEW)).code, 2);
    assert.equal(board.flashJournal.length, 0);
});

test('the power is cut at random points: the old files are there, or the new ones', { skip: missing }, (t) => {
    const before = plugIn({ archive: pack(t, OLD) });
    const flash = before.board.chip.flash.slice();
    assert.equal(put(before.pi, before.server, `${KEY}/boot.tar`, archive(t, NEW)), 'complete');
    const journal = before.board.flashJournal;
    // Another run cuts elsewhere; SEED=number repeats one.
    const seed = Number(process.env.SEED ?? Date.now() % 1e6);
    t.diagnostic(`SEED=${seed}, ${CUTS} cuts in ${journal.length} changes`);
    const random = fractions(seed);
    const seen = { old: 0, new: 0 };
    for (let cut = 0; cut < CUTS; cut++) {
        const content = flash.slice();
        // Evenly spread; but the last changes are the header's, and every other cut is among the last five.
        const place = (cut - (cut % 2) + 2 * random()) / CUTS;
        const whole = Math.floor(cut % 2 ? place * journal.length : journal.length - 5 * (1 - place));
        const last = journal[whole];
        journal.slice(0, whole).forEach((change) => apply(content, change));
        apply(content, last, Math.floor(random() * (last.bytes?.length ?? 4096)));
        const { board, cable } = powerOn({ flash: content });
        const pi = new Pi(cable);
        pi.ip = '10.55.0.50';
        const got = pi.fetch('10.55.0.1', 'config.txt');
        assert.equal(got.outcome, 'complete', `cut ${cut}: after ${whole} of ${journal.length} changes`);
        seen[got.bytes.toString().trim()]++;
        assert.equal(board.resets, 0);
    }
    t.diagnostic(`served after a cut: ${JSON.stringify(seen)}`);
    assert.equal(seen.old + seen.new, CUTS);
    // With all changes the new ones are: the journal is what the board has done.
    const content = flash.slice();
    journal.forEach((change) => apply(content, change));
    const { cable } = powerOn({ flash: content });
    const pi = new Pi(cable);
    pi.ip = '10.55.0.50';
    assert.equal(pi.fetch('10.55.0.1', 'config.txt').bytes.toString(), 'new\n');
});

/** Numbers from 0 to 1, from a seed. */
function fractions(seed) {
    let state = seed >>> 0;
    return () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 32;
    };
}

/** In CI a few, elsewhere each time; the step `appliance-rp2040-all` makes all. */
const CUTS = process.env.PINETBOOT_ALL_PLACES ? 50 : 8;
