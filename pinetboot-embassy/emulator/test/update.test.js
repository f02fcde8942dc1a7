// New boot files by TFTP: received with the key alone; interrupted at any point the board boots all the same.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { apply } from '../src/flash.js';
import { Upload, finish } from '../src/pi.js';
import { PINETBOOT, chance, missing, pack, plugIn, tree } from './rig.js';

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

test('the power is cut at 50 random points: the old files are there, or the new ones', { skip: missing }, (t) => {
    const before = plugIn({ archive: pack(t, OLD) });
    const flash = before.board.chip.flash.slice();
    assert.equal(put(before.pi, before.server, `${KEY}/boot.tar`, archive(t, NEW)), 'complete');
    const journal = before.board.flashJournal;
    const draw = chance(5);
    const random = (below) => {
        let low = 0;
        for (let span = below; span > 1; span = Math.ceil(span / 2)) low += draw(0.5) ? Math.floor(span / 2) : 0;
        return Math.min(low, below - 1);
    };
    const seen = { old: 0, new: 0 };
    for (let cut = 0; cut < 50; cut++) {
        const content = flash.slice();
        // The last changes are the header's: every other cut is among the last five.
        const whole = cut % 2 ? random(journal.length) : journal.length - 1 - random(5);
        journal.slice(0, whole).forEach((change) => apply(content, change));
        apply(content, journal[whole], random(journal[whole].bytes ? 256 : 4096));
        const { pi, server, board } = plugIn({ flash: content });
        const got = pi.fetch(server, 'config.txt');
        assert.equal(got.outcome, 'complete', `cut ${cut}: after ${whole} of ${journal.length} changes`);
        seen[got.bytes.toString().trim()]++;
        assert.equal(board.resets, 0);
    }
    t.diagnostic(`${journal.length} changes; served after a cut: ${JSON.stringify(seen)}`);
    assert.ok(seen.old > 0 && seen.new > 0 && seen.old + seen.new === 50);
});
