// Another DHCP server on the network: the board leases no addresses beside it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BROADCAST, ethernet, udp } from '../src/packets.js';
import { Pi } from '../src/pi.js';
import { missing, powerOn } from './rig.js';

/** A router on the switch, with a DHCP server that takes its time: it answers every DISCOVER with an OFFER, while it is on. */
class Router {
    constructor(cable) {
        this.cable = cable;
        this.on = true;
        this.asked = 0;
        cable.pis.push(this);
    }

    arrived() {}

    leaving() {}

    receive({ udp: datagram }) {
        if (datagram?.toPort !== 67) return;
        const { payload } = datagram;
        this.asked++;
        const offer = Buffer.concat([payload.subarray(0, 240), Buffer.from([53, 1, 2, 54, 4, 10, 55, 0, 254, 51, 4, 0, 0, 14, 16, 255])]);
        offer[0] = 2;
        Buffer.from([10, 55, 0, 99]).copy(offer, 16);
        const frame = ethernet(BROADCAST, Buffer.from('02000000fe00', 'hex'), 0x0800, udp('10.55.0.254', 67, '255.255.255.255', 68, offer));
        const { board } = this.cable;
        board.at(board.now + 2e9, () => this.on && this.cable.transmit(frame));
    }
}

test('another DHCP server is found before addresses are leased, told, and looked for again', { skip: missing }, (t) => {
    const { board, cable, log } = powerOn();
    const router = new Router(cable);
    const pi = new Pi(cable);
    assert.ok(board.run(10e9, () => router.asked > 0), 'no search');
    assert.equal(pi.discover(12)?.options.get(54)?.join('.') ?? null, null, 'an offer of the board');
    const remedy = 'No addresses are leased: remove it, or set dhcp = "proxy" in pinetboot.toml';
    assert.ok(log.lines().includes(`warn another DHCP server, 10.55.0.254, is on this network. ${remedy}`), log.lines().join('\n'));
    pi.ip = '10.55.0.50';
    const lines = pi.fetch('10.55.0.1', 'status.txt').bytes.toString().split('\n');
    assert.ok(lines.includes(`another DHCP server: 10.55.0.254. ${remedy}`), lines.join('\n'));

    const flashes = [];
    board.chip.gpio[25].addListener((level) => flashes.push({ level, at: board.now }));
    board.run(board.now + 8e9, () => flashes.length >= 4);
    const lit = flashes.slice(1).map(({ at }, index) => Math.round((at - flashes[index].at) / 1e8));
    assert.deepEqual(lit.slice(-2).toSorted((a, b) => a - b), [1, 18], 'tenths of a second, dark and lit');

    router.on = false;
    const gone = board.now;
    let offer = null;
    while (offer === null && board.now < gone + 320e9) offer = pi.discover(20);
    assert.equal(offer?.options.get(54)?.join('.'), '10.55.0.1');
    t.diagnostic(`leased ${((board.now - gone) / 1e9).toFixed(0)} s after the other server went`);
    assert.equal(board.resets, 0);
});
