// The button BOOTSEL, held while the board runs: the configuration is ignored until the next restart.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pi } from '../src/pi.js';
import { Terminal } from '../src/terminal.js';
import { missing, pack, powerOn } from './rig.js';

const TOML = 'dhcp = "off"\naddress = "10.66.0.9/24"\n';

test('BOOTSEL held for five seconds starts the board without its configuration, once', { skip: missing }, (t) => {
    const { board, cable, log } = powerOn({ archive: pack(t, { 'config.txt': 'a file\n', 'pinetboot.toml': TOML }) });
    const fetch = (server, path) => {
        const pi = new Pi(cable);
        pi.ip = server.replace(/\d+$/, '77');
        return pi.fetch(server, path, { seconds: 8 });
    };
    assert.equal(fetch('10.66.0.9', 'config.txt').outcome, 'complete');
    board.bootselHeld = true;
    board.run(board.now + 3e9);
    board.bootselHeld = false;
    board.run(board.now + 3e9);
    board.bootselHeld = true;
    board.run(board.now + 3e9);
    assert.equal(board.resets, 0, 'three seconds are too few, also twice');
    assert.ok(board.run(board.now + 5e9, () => board.resets === 1), 'no restart');
    const terminal = new Terminal(board);
    const restarted = board.now;
    board.bootselHeld = false;
    assert.equal(fetch('10.55.0.1', 'config.txt').bytes.toString(), 'a file\n');
    const lines = fetch('10.55.0.1', 'status.txt').bytes.toString().split('\n');
    assert.equal(lines[2], 'address 10.55.0.1, DHCP lease');
    assert.ok(lines.includes('configuration ignored: the button was held'), lines.join('\n'));
    assert.ok(log.lines().some((line) => line.includes('configured as built in, for the button was held')));
    t.diagnostic(`${board.bootsel.reads} looks at the button in ${((board.now - restarted) / 1e9).toFixed(1)} s`);

    assert.ok(terminal.connected, 'the port is not there');
    terminal.type('reset\r');
    assert.ok(board.run(board.now + 5e9, () => board.resets === 2), 'no restart by command');
    assert.equal(fetch('10.66.0.9', 'config.txt').outcome, 'complete');
});

test('no core reads the flash while the button is read', { skip: missing }, (t) => {
    const { board } = powerOn({ archive: pack(t, { 'config.txt': 'a file\n' }) });
    board.run(board.now + 8e9);
    assert.ok(board.bootsel.reads > 5);
    assert.equal(board.resets, 0);
});
