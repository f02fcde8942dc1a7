// The page for browsers and the name pinetboot.local, on sockets that no transfer holds.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser } from '../src/browser.js';
import { Pi, Transfer, finish } from '../src/pi.js';
import { missing, pack, plugIn } from './rig.js';

const FILES = { 'config.txt': 'arm_64bit=1\n', 'kernel_2712.img': 400_000 };
const GET = 'GET / HTTP/1.1\r\nHost: 10.55.0.1\r\nUser-Agent: a test\r\n\r\n';
const NAME = Buffer.from('\x09PINETBOOT\x05local\0\0\x01\0\x01', 'latin1');

test('a browser is shown the report, once for each connection', { skip: missing }, (t) => {
    const { board, cable, chip, pi, server } = plugIn({ archive: pack(t, FILES) });
    assert.equal(pi.fetch(server, 'config.txt').outcome, 'complete');
    const browser = new Browser(cable);
    const page = browser.ask(server, GET);
    const [head, report] = page.split('\r\n\r\n');
    assert.match(head, /^HTTP\/1\.0 200 OK\r\nContent-Type: text\/plain\r\nRefresh: 5$/);
    const lines = report.split('\n');
    assert.match(lines[0], /^pinetboot \d+\.\d+\.\d+ on rp2040$/);
    assert.equal(lines[4], 'files: 0 under way, 1 sent, 0 failed, 0 refused, 0 not there');
    assert.match(lines[6], /^pi [0-9a-f:]{17} 10\.55\.0\.\d+: no fault/);
    board.run(board.now + 0.2e9);
    assert.match(browser.ask(server, 'GET /favicon.ico HTTP/1.1\r\n\r\n'), /^HTTP\/1\.0 404 /);
    board.run(board.now + 0.2e9);
    assert.match(browser.ask(server, GET, { piece: 3 }), /^HTTP\/1\.0 200 /, 'in pieces');

    // A client that says nothing is given up.
    board.run(board.now + 0.2e9);
    browser.connect(server);
    board.run(board.now + 4e9);
    assert.equal(new Browser(cable, { mac: '02000000be01', ip: '10.55.0.61' }).ask(server, GET), 'refused');
    board.run(board.now + 1.5e9);
    assert.match(browser.ask(server, GET), /^HTTP\/1\.0 200 /);
    assert.equal(board.resets, 0);
    assert.equal(chip.counts.misused, 0);
});

test('the name has the board’s address', { skip: missing }, (t) => {
    const { board, cable } = plugIn({ archive: pack(t, FILES) });
    const browser = new Browser(cable);
    const answers = browser.query(NAME);
    assert.equal(answers.length, 1);
    const [{ fromIp, fromPort, toIp, toPort, timeToLive, payload }] = answers;
    assert.deepEqual([fromIp, fromPort, toIp, toPort, timeToLive], ['10.55.0.1', 5353, '224.0.0.251', 5353, 255]);
    assert.equal(payload.readUInt16BE(2), 0x8400);
    assert.ok(payload.includes(Buffer.from('\x09pinetboot\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04\x0a\x37\0\x01', 'latin1')));
    assert.deepEqual(browser.query(NAME), [], 'twice in a second');
    board.run(board.now + 1e9);
    for (let length = 0; length < NAME.length; length++) assert.deepEqual(browser.query(NAME.subarray(0, length), 0.05), []);
    assert.deepEqual(browser.query(Buffer.from('\x05other\x05local\0\0\x01\0\x01', 'latin1')), []);
    // After a reset of the chip, and after the cable was away.
    board.run(board.now + 1e9);
    cable.chip.link = false;
    board.run(board.now + 1e9);
    cable.chip.link = true;
    board.run(board.now + 3e9);
    assert.equal(browser.query(NAME).length, 1);
    cable.chip.reset();
    board.run(board.now + 6e9);
    assert.equal(browser.query(NAME).length, 1);
    assert.equal(board.resets, 0);
});

test('four transfers at a time are not disturbed, and the page comes back', { skip: missing }, (t) => {
    const { board, cable, server, chip } = plugIn({ archive: pack(t, FILES) });
    const browser = new Browser(cable);
    const pis = [0, 1, 2, 3].map((number) => {
        const pi = new Pi(cable, { mac: `2ccf6700000${number}`, serial: 0x10000000 + number });
        pi.ip = `10.55.0.${70 + number}`;
        return pi;
    });
    const transfers = pis.map((pi) => new Transfer(pi, server, 'kernel_2712.img'));
    assert.ok(board.run(board.now + 5e9, () => transfers.every(({ chunks }) => chunks.length > 10)), 'four at a time');
    assert.equal(browser.ask(server, GET, { seconds: 0.1 }), 'refused');
    finish(transfers, 60);
    assert.deepEqual(transfers.map(({ outcome }) => outcome), Array(4).fill('complete'));
    assert.deepEqual(transfers.map(({ duplicates }) => duplicates), Array(4).fill(0));
    board.run(board.now + 2e9);
    assert.match(browser.ask(server, GET), /^HTTP\/1\.0 200 /);
    assert.equal(browser.query(NAME).length, 1);
    assert.equal(chip.counts.misused, 0);
});
