// The sources of the firmware's configuration, its effect on a client, and its log lines.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pi } from '../src/pi.js';
import { card, missing, missingForCard, pack, plugIn, powerOn } from './rig.js';

const LEASE = `dhcp = "lease"
address = "192.168.7.1/24"
lease-range = "192.168.7.40-192.168.7.49"

[pi.bd989ae1]
tree = "kitchen"
`;
const FILES = { 'config.txt': 'for all\n', 'kitchen/config.txt': 'for the kitchen\n' };

test('from the card: addresses, and the tree of a Pi', { skip: missingForCard }, (t) => {
    const sd = card(t, { 'pinetboot.toml': LEASE, ...FILES });
    const { pi, ack, server, log } = plugIn({ card: sd });
    assert.equal(server, '192.168.7.1');
    assert.match(ack.address, /^192\.168\.7\.4\d$/);
    assert.equal(pi.fetch(server, 'bd989ae1/config.txt').bytes.toString(), FILES['kitchen/config.txt']);
    assert.ok(log.lines().includes('info configured by pinetboot.toml on the card'));
});

test('from the card: beside a router, no addresses', { skip: missingForCard }, (t) => {
    const sd = card(t, { 'pinetboot.toml': 'dhcp = "proxy"\naddress = "192.168.7.2/24"\n' });
    const { cable } = powerOn({ card: sd });
    const offer = firstOffer(cable);
    assert.deepEqual([offer.type, offer.address, [...offer.options.get(54)].join('.')], [2, '0.0.0.0', '192.168.7.2']);
});

test('flash comes before the card', { skip: missingForCard }, (t) => {
    const sd = card(t, { 'pinetboot.toml': 'dhcp = "off"\n' });
    const { server, log } = plugIn({ archive: pack(t, { 'pinetboot.toml': LEASE }), card: sd });
    assert.equal(server, '192.168.7.1');
    assert.ok(log.lines().includes('info configured by pinetboot.toml in flash'));
});

test('a card without the file, and no card: as built in', { skip: missing }, (t) => {
    for (const sd of missingForCard ? [undefined] : [card(t, FILES), undefined]) {
        const { server, log } = plugIn({ card: sd });
        assert.equal(server, '10.55.0.1');
        assert.ok(log.lines().includes('info configured as built in, for there is no pinetboot.toml'));
    }
});

test('a card that takes a second to start is waited for', { skip: missingForCard }, (t) => {
    const { board, server } = plugIn({ card: card(t, { 'pinetboot.toml': LEASE }), latency: { start: 1e9 } });
    assert.equal(server, '192.168.7.1');
    assert.ok(board.now > 1e9);
});

const WRONG = [
    ['a wrong line', 'dhcp = "proxy"\nadress = "dhcp"\n', {}, "pinetboot.toml on the card, line 2: unknown setting 'adress'"],
    ['too long', `dhcp = "proxy"\n${'#'.repeat(2048)}`, {}, 'pinetboot.toml on the card, line 2: the file is longer than 2048 bytes'],
    ['on a card that never starts', 'dhcp = "proxy"\n', { start: Infinity }, 'pinetboot.toml is not read, the card takes more than 3 s'],
];
for (const [what, text, latency, said] of WRONG) {
    test(`${what}: no DHCP, and files all the same`, { skip: missingForCard }, (t) => {
        const archive = pack(t, FILES);
        const { board, cable, log } = powerOn({ archive, card: card(t, { 'pinetboot.toml': text }), latency });
        const pi = new Pi(cable);
        assertNoOffer(pi);
        pi.ip = '10.55.0.50';
        assert.equal(pi.fetch('10.55.0.1', 'config.txt').bytes.toString(), FILES['config.txt']);
        const lines = log.lines();
        assert.ok(lines.some((line) => line.startsWith(`error ${said}`)), lines.join('\n'));
        assert.equal(board.resets, 0);
    });
}

test('a card that is there and cannot be read is not taken for none: no DHCP, and the LED says so', { skip: missingForCard }, (t) => {
    const sd = card(t, { 'pinetboot.toml': 'dhcp = "proxy"\n' });
    sd.image.write(2048 * 512, new Uint8Array(512)); // the boot sector
    const archive = pack(t, FILES);
    const { board, cable, log } = powerOn({ archive, card: sd });
    const pi = new Pi(cable);
    assertNoOffer(pi);
    pi.ip = '10.55.0.50';
    assert.equal(pi.fetch('10.55.0.1', 'config.txt').bytes.toString(), FILES['config.txt']);
    assert.equal(pi.fetch('10.55.0.1', 'kernel_2712.img').outcome.code, 0, 'the file may be on the card');
    const lines = log.lines();
    const said = 'error card: unreadable, no FAT16, FAT32 or exFAT file system on the card. Its files are not served';
    assert.ok(lines.includes(said), lines.join('\n'));
    assert.ok(lines.some((line) => line.startsWith('error pinetboot.toml cannot be read')), lines.join('\n'));

    const flashes = [];
    board.chip.gpio[25].addListener((level) => flashes.push({ level, at: board.now }));
    board.run(board.now + 6e9, () => flashes.length >= 4);
    const lit = flashes.slice(1).map(({ at }, index) => Math.round((at - flashes[index].at) / 1e8));
    assert.deepEqual(lit.slice(-2).toSorted((a, b) => a - b), [1, 18], 'tenths of a second, lit and dark');
});

/** By the time at which a board has looked for another DHCP server, and would lease addresses. */
function assertNoOffer(pi) {
    pi.board.run(10e9);
    assert.equal(pi.discover(5), null);
}

/** The first offer to a client that asks every second. */
function firstOffer(cable) {
    const pi = new Pi(cable);
    for (let second = 0; second < 10; second++) {
        const offer = pi.discover(1);
        if (offer) return offer;
    }
    return assert.fail('no offer');
}
