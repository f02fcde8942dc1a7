// What a board says of itself: status.txt, the console on USB, and what outlives a reset.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Terminal } from '../src/terminal.js';
import { missing, pack, plugIn, powerOn } from './rig.js';

const FILES = { 'config.txt': 'arm_64bit=1\n', 'pinetboot.toml': 'dhcp = "lease"\ndhcp-clients = "all"\n' };

test('the status is a file: counters, and the Pis of the last boots', { skip: missing }, (t) => {
    const { pi, server } = plugIn({ archive: pack(t, FILES) });
    assert.equal(pi.fetch(server, 'bd989ae1/config.txt').outcome, 'complete');
    assert.equal(pi.fetch(server, 'bd989ae1/none').outcome.code, 1);
    const got = pi.fetch(server, 'status.txt');
    assert.equal(got.outcome, 'complete');
    const lines = got.bytes.toString().split('\n');
    assert.match(lines[0], /^pinetboot \d+\.\d+\.\d+ on rp2040$/);
    assert.match(lines[1], /^up 00:00:\d\d since power-on$/);
    assert.equal(lines[2], 'address 10.55.0.1, DHCP lease');
    assert.match(lines[3], /^\d+ bytes of files in flash, no card$/);
    assert.equal(lines[4], 'files: 0 under way, 1 sent, 0 failed, 0 refused, 1 not there');
    assert.equal(lines[5], 'addresses given: 1');
    assert.match(lines[6], /^pi [0-9a-f:]{17} 10\.55\.0\.\d+: no fault, heard 00:00:00 ago$/);
    assert.equal(pi.fetch(server, 'status.txt', { blksize: 512 }).outcome, 'complete');
    t.diagnostic(`${got.bytes.length} bytes`);
});

test('a session on the console, and a restart by command', { skip: missing }, (t) => {
    const { board } = powerOn({ archive: pack(t, FILES) });
    const terminal = new Terminal(board);
    assert.ok(board.run(10e9, () => terminal.connected), 'the port is not there');
    board.run(board.now + 1e9);
    assert.match(terminal.ask('status')[0], /^pinetboot .* on rp2040$/);
    assert.deepEqual(terminal.ask('config').slice(0, 2), ['dhcp = "lease"', 'address = "10.55.0.1/24"']);
    assert.ok(terminal.ask('help').some((line) => line.startsWith('bootsel')));
    assert.deepEqual(terminal.ask('x'.repeat(100)), ['the line is too long']);
    terminal.type('reset\r');
    assert.ok(board.run(board.now + 5e9, () => board.resets === 1), 'no restart');
    terminal.plugIn();
    assert.ok(board.run(board.now + 10e9, () => terminal.connected), 'the port is not there again');
    board.run(board.now + 1e9);
    assert.match(terminal.ask('status')[1], /since a restart by command/);
});

test('a panic is told after the reset that it leads to', { skip: missing }, (t) => {
    const { board, pi, server, program } = plugIn({ archive: pack(t, FILES) });
    const panics = program.functions.find(({ name }) => name.includes('9panicking18panic_bounds_check'));
    const [core] = board.cores.cores;
    // A place in the sources: "PINE", line 7, column 3; in RAM that the firmware does not use, but for the name, which is in a header.
    const name = SPARE + 16;
    [name, 4, 7, 3, 0x454e4950].forEach((word, index) => board.chip.writeUint32(SPARE + 4 * index, word));
    [core.registers[0], core.registers[1], core.registers[2], core.PC] = [9, 8, SPARE, panics.address];
    core.waiting = false;
    board.run(board.now + 0.1e9);
    board.skip(8e9); // the core has stopped
    assert.equal(pi.fetch(server, 'config.txt', { seconds: 20 }).outcome, 'complete');
    assert.equal(board.resets, 1);
    const lines = pi.fetch(server, 'status.txt').bytes.toString().split('\n');
    assert.match(lines[1], /since a panic$/);
    const told = 'before the reset: panicked at PINE:7:3: index out of bounds: the len is 8 but the index is 9';
    assert.ok(lines.includes(told), lines.join('\n'));
});

test('a Pi that is stuck is told after a reset by the watchdog', { skip: missing }, (t) => {
    const { board, pi, server } = plugIn({ archive: pack(t, { 'config.txt': 'arm_64bit=1\n' }) });
    assert.equal(pi.fetch(server, 'bd989ae1/config.txt').outcome, 'complete');
    assert.equal(pi.fetch(server, 'bd989ae1/kernel_2712.img').outcome.code, 1);
    board.run(board.now + 15e9);
    assert.match(pi.fetch(server, 'status.txt').bytes.toString(), /: STUCK by rule 20, heard 00:00:00 ago/);
    board.buses[0].hangs = true;
    pi.fetch(server, 'config.txt', { seconds: 0.1 });
    board.skip(7.5e9);
    const { bytes } = pi.fetch(server, 'status.txt', { seconds: 20 });
    assert.equal(board.resets, 1);
    assert.match(bytes.toString(), /since the watchdog's reset\n[^]*before the reset: a Pi stuck by rule 20\n/);
});

/** RAM above the part that the memory map names. */
const SPARE = 0x20040000;
